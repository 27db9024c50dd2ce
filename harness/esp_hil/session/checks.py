"""What pytest reports of a test of the suites, as an entry of the row that it judged; one cause is said once."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from esp_hil.errors import BoardUnavailable, HilError
from esp_hil.results.outcome import OF_THE_MODEL
from esp_hil.results.record import Check, CheckOutcome, Failure
from esp_hil.session.options import Combination

MOST_LETTERS = 500
"""Of a message; the whole of it is in pytest's own report."""


def check_of(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Check | None:
    """What one phase of a test says; None if another phase says it: a set-up or a teardown that went well."""
    if report.when != "call" and report.passed:
        return None
    outcome: CheckOutcome = report.outcome
    if report.failed and report.when != "call" and not is_of_the_model(report):
        outcome = "error"
    return Check(
        suite=item.path.stem.removeprefix("test_"),
        name=_name(item),
        outcome=outcome,
        message=_message(call, report),
        seconds=round(call.duration, 6),
    )


def _name(item: pytest.Item) -> str:
    """The test's name, with those of its parameters that are not the combination."""
    name: str = getattr(item, "originalname", None) or item.name
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return name
    rest = callspec.id.replace(callspec.params["hil_combination"].id, "").strip("-")
    return f"{name}[{rest}]" if rest else name


def _message(call: pytest.CallInfo[None], report: pytest.TestReport) -> str:
    """The first line of what was raised; "" if nothing was."""
    if call.excinfo is None:
        return ""
    if isinstance(report.longrepr, tuple):  # (file, line, "Skipped: why")
        said = report.longrepr[2].removeprefix("Skipped: ")
    else:
        said = str(call.excinfo.value)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    first = lines[0] if lines else type(call.excinfo.value).__name__
    return first if len(first) <= MOST_LETTERS else first[: MOST_LETTERS - 1] + "…"


class _Said(NamedTuple):
    """What was said, by which test, and where that is."""

    what: str
    nodeid: str
    path: str
    line: int


class Causes:
    """What kept the tests of a combination from being asked: the first test says it, the others are skipped.

    A board that was given up is one cause for all combinations that come after.
    """

    def __init__(self) -> None:
        self._said: dict[Combination | BoardUnavailable, _Said] = {}

    def fold(
        self, item: pytest.Item, combination: Combination, error: HilError, report: pytest.TestReport
    ) -> None:
        """Change the report of a test that could not be set up: a failure of the model, or skipped if it was said.

        Args:
            item: the test.
            combination: what it is about.
            error: why it could not be set up.
            report: of its set-up.
        """
        keys: list[Combination | BoardUnavailable] = [combination]
        if isinstance(error, BoardUnavailable):
            keys.append(error)
        found = next((self._said[key] for key in keys if key in self._said), None)
        if found is not None and found.nodeid != item.nodeid:
            report.outcome = "skipped"
            # all at the place of the first: pytest tells skips of one place and reason in one line
            report.longrepr = (found.path, found.line, f"Skipped: {found.what}: see {found.nodeid}")
            return
        failure = Failure.of(error)
        what = _LEFT_OUT.get(failure.kind, "the board broke")
        said = _Said(what, item.nodeid, str(item.path), (item.location[1] or 0) + 1)
        self._said.update(dict.fromkeys(keys, said))
        if failure.kind in OF_THE_MODEL:
            setattr(report, _MARK, True)


_MARK = "hil_of_the_model"
_LEFT_OUT = {
    "out_of_memory": "the model does not fit this chip",
    "load": "the model is not loaded on this chip",
    "other": "it could not be prepared",
}


def is_of_the_model(report: pytest.TestReport) -> bool:
    """Whether a set-up failed because of the model: a failure, where pytest would count an error."""
    return bool(getattr(report, _MARK, False))

"""What pytest reports of a test of the suites, as an entry of the row that it judged."""

from __future__ import annotations

import pytest

from esp_hil.results.record import Check, CheckOutcome

MOST_LETTERS = 500
"""Of a message; the whole of it is in pytest's own report."""


def check_of(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Check | None:
    """What one phase of a test says; None if another phase says it: a set-up or a teardown that went well."""
    if report.when != "call" and report.passed:
        return None
    outcome: CheckOutcome = report.outcome
    if report.failed and report.when != "call":
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

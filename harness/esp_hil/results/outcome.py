"""How a run came out, in one word and one sentence: the same in the terminal, the page, junit and the history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from esp_hil.results.record import Check, FailureClass, Run

if TYPE_CHECKING:
    from esp_hil.results.regress import Comparison

Status = Literal["ok", "worse", "failed", "wrong", "broken"]

SEVERITY: Mapping[Status, int] = {"ok": 0, "worse": 1, "failed": 2, "wrong": 3, "broken": 4}
"""The worst comes first in every report."""

REGRESSION = "regression"
"""The suite whose red tests mean: worse than the baseline."""

OF_THE_MODEL: frozenset[FailureClass] = frozenset({"load", "out_of_memory"})
"""Failures that say something of the model on this chip, and nothing against the board."""


def status_of(run: Run) -> Status:
    """The worst of what is known of a run.

    Broken: board, line or build failed, so nothing is known of the answers. Wrong: the answers are. Failed: the
    model does not fit, or a test of the suites was red (leak, robustness, latency that cannot be, ...). Worse:
    only the comparison with the baseline was red.
    """
    if run.failure is not None and run.failure.kind != "numerics":
        return "failed" if run.failure.kind in OF_THE_MODEL else "broken"
    if run.failure is not None or (run.verdict is not None and not run.verdict.ok):
        return "wrong"
    red = run.red_checks
    if any(check.suite != REGRESSION for check in red):
        return "failed"
    return "worse" if red else "ok"


def reason_of(run: Run) -> str:
    """Why a run is not ok, the diagnosis first; of one that is ok the verdict's sentence."""
    if run.failure is not None:
        return run.failure_words
    if run.verdict is not None and not run.verdict.ok:
        return run.divergence or run.verdict.summary
    if run.red_checks:
        return "; ".join(dict.fromkeys(_words(check) for check in run.red_checks))
    return run.verdict.summary if run.verdict else "nothing was compared"


def _words(check: Check) -> str:
    """What a red test found; a comparison speaks for itself, of the others the suite is named."""
    said = check.message or check.name
    return said if check.suite == REGRESSION else f"{check.suite}: {said}"


def deciding(runs: Sequence[Run]) -> list[bool]:
    """Of each row, whether it is the one that counts for its combination; the others are further attempts at it.

    A run that is worse than its baseline, or whose board broke, is made again in the same session. The tests of
    the suites judge one of these rows; without tests the last attempt counts.
    """
    groups: dict[tuple[str, str, str, int], list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault((run.session_id, run.title, run.location, run.cores_used), []).append(place)
    found = [True] * len(runs)
    for places in groups.values():
        if all(runs[place].attempt == 1 for place in places):
            continue  # the same thing run several times over, not attempts at one
        judged = [place for place in places if runs[place].checks]
        best = judged[-1] if judged else max(places, key=lambda place: (runs[place].attempt, place))
        for place in places:
            found[place] = place == best
    return found


def judged(runs: Sequence[Run], comparison: Comparison) -> Iterator[Run]:
    """The rows with what a comparison says of them, as the suites would have put it there."""
    worse: dict[tuple[str, ...], list[str]] = {}
    for change in comparison.regressions:
        found = change.identity
        key = (found.model, found.recipe, found.runtime, found.target, change.board)
        worse.setdefault(key, []).append(change.summary)
    for run in runs:
        key = (run.model, run.recipe, run.runtime, run.target, run.board)
        known = any(check.suite == REGRESSION and not check.ok for check in run.checks)
        if key in worse and not known:
            said = "; ".join(worse[key])
            yield run.judged(Check(suite=REGRESSION, name="compared", outcome="failed", message=said))
        else:
            yield run

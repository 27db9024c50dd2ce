"""Rows of the conformance suite: what came of a case, and what changed since an earlier run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from esp_hil.results.conformance import Outcome, changes_since, conformance, outcome_of
from esp_hil.results.record import Failure, OperatorRow, Run
from tests.report.samples import sample_run


def row(name: str = "mul_ties", *, wrong: int = 0, wrong_in: str = "") -> Run:
    case = OperatorRow(
        name=name,
        operator="Mul",
        bits=8,
        what="1x8 by 1x8",
        origin="assembly",
        elements=8,
        wrong_in=wrong_in,
    )
    return replace(sample_run(model=f"Mul-{name}", wrong=wrong), case=case)


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        (row(), "exact"),
        (row(wrong=3), "differs"),
        (row(wrong=3, wrong_in="Mul"), "differs"),
        (row(wrong=3, wrong_in="Conv"), "not judged"),
        (replace(row(), failure=Failure(kind="crash", message="panic", step="infer")), "fails"),
        (replace(row(), verdict=None), "fails"),
    ],
)
def test_a_case_is_blamed_only_where_its_own_operator_is_wrong(run: Run, wanted: Outcome) -> None:
    assert outcome_of(run) == wanted


def test_what_changed_is_told_against_earlier_rows_and_nothing_without_any() -> None:
    (now,) = conformance([row(wrong=3), row("mul_broadcast")])
    assert changes_since(now, ()) == ()
    earlier = [replace(run, run_id=f"old-{run.run_id}") for run in (row(), row("mul_gone"))]
    told = {change.case: change.kind for change in changes_since(now, earlier)}
    assert told == {"mul_ties": "worse", "mul_gone": "gone", "mul_broadcast": "new"}

"""How a run came out: one word and one sentence for every artefact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from esp_hil.results.journal import Recorder, read_runs
from esp_hil.results.outcome import deciding, judged, reason_of, status_of
from esp_hil.results.record import Addendum, Check, Failure, FailureClass, Run
from esp_hil.results.regress.change import Change, Comparison
from esp_hil.results.regress.comparable import identity_of
from tests.report.samples import failed_run, sample_run

LEAK = Check(suite="memory", name="test_loading_leaks_nothing", outcome="failed", message="leaks 64 B")
SLOW = Check(suite="regression", name="test_nothing_got_worse", outcome="failed", message="+7 % latency")


def ok_run() -> Run:
    return sample_run(seed=1, median_ms=2.0)


def test_a_red_test_makes_the_row_red_and_says_why() -> None:
    run = ok_run().judged(LEAK)
    assert not run.passed
    assert status_of(run) == "failed"
    assert reason_of(run) == "memory: leaks 64 B"


def test_only_a_red_comparison_is_worse() -> None:
    assert status_of(ok_run().judged(SLOW)) == "worse"
    assert status_of(ok_run().judged(SLOW).judged(LEAK)) == "failed"


@pytest.mark.parametrize("kind", ["load", "out_of_memory"])
def test_a_model_that_does_not_fit_is_no_broken_board(kind: FailureClass) -> None:
    run = replace(ok_run(), verdict=None, failure=Failure(kind=kind, message="645,120 bytes", step="load"))
    assert status_of(run) == "failed"


def test_a_board_that_broke_is_broken_whatever_its_tests_say() -> None:
    assert status_of(failed_run().judged(replace(LEAK, outcome="error"))) == "broken"


def test_a_test_that_is_run_again_replaces_what_it_said() -> None:
    run = ok_run().judged(LEAK).judged(replace(LEAK, outcome="passed", message=""))
    assert len(run.checks) == 1
    assert run.passed


def test_what_a_test_says_reaches_the_row_of_the_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "runs.jsonl")
    first, second = ok_run(), sample_run(seed=2, median_ms=3.0)
    recorder.append(first)
    recorder.append(second)
    recorder.amend(Addendum(check_of=first.run_id, check=LEAK))
    recorder.amend(Addendum(check_of="of-a-row-that-was-lost", check=LEAK))
    assert read_runs(tmp_path).runs == (first.judged(LEAK), second)


def test_a_torn_addendum_loses_no_row(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "runs.jsonl")
    run = ok_run()
    recorder.append(run)
    whole = Addendum(check_of=run.run_id, check=LEAK).to_json()
    with recorder.path.open("a", encoding="ascii") as file:
        file.write(whole[: len(whole) // 2])
    found = read_runs(tmp_path)
    assert found.runs == (run,)
    assert len(found.warnings) == 1


def test_a_second_attempt_is_no_second_row_that_is_ok() -> None:
    first = ok_run()
    again = replace(first, run_id="again", attempt=2)
    assert deciding([first, again]) == [False, True]
    assert deciding([first.judged(SLOW), again]) == [True, False]
    other_session = replace(first, session_id="another", run_id="another")
    assert deciding([first.judged(SLOW), again, other_session]) == [True, False, True]
    assert deciding([first, replace(first, run_id="b")]) == [True, True]


def test_a_comparison_is_put_into_every_row_that_has_not_heard_it_whatever_else_is_red() -> None:
    red, heard, green = (
        replace(sample_run(seed=1, median_ms=2.0), run_id=name, board=name)
        for name in ("red", "heard", "green")
    )
    comparison = Comparison(changes=tuple(worse(run.board) for run in (red, heard, green)))
    given = [red.judged(LEAK), heard.judged(SLOW), green]
    told = list(judged(given, comparison))
    assert [[check.suite for check in run.checks] for run in told] == [
        ["memory", "regression"],
        ["regression"],
        ["regression"],
    ]
    assert told[1] == given[1]
    assert list(judged(given, Comparison(changes=()))) == given


def worse(board: str) -> Change:
    run = ok_run()
    return Change(
        identity=identity_of(run),
        board=board,
        simulated=False,
        metric="latency",
        group="latency",
        unit="ms",
        base=1.0,
        new=2.0,
        allowed=0.1,
        judgement="worse",
    )

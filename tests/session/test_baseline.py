"""The suites against a baseline: planted faults of virtual boards are regressions in the right words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esp_hil.errors import ReportError
from esp_hil.results.history import History
from esp_hil.results.journal import Recorder
from esp_hil.results.rows import is_history
from esp_hil.session.baseline import base_rows
from tests.report.samples import sample_run
from tests.test_plugin import QUICK, outcome, rows, suites

FILES = ("suites/test_regression.py",)


def plan(**engine: object) -> str:
    """A virtual board whose cycles follow from the model, with 1 % noise."""
    modelled = {"cycles_per_mac": 0.5, "cycles_noise": 0.01, "cycles_seed": 1}
    return json.dumps({"engine": modelled | engine})


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a board without faults, as a file."""
    folder = tmp_path_factory.mktemp("baseline")
    done = suites(
        "--target", "esp32p4", "--hil-board", "virtual", *QUICK, "--hil-runs", "30", "--hil-virtual-faults", plan(),
        "--hil-results", str(folder), files=("suites/test_numerics.py",),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return folder


def against(baseline: Path, tmp_path: Path, faults: str, *more: str) -> tuple[dict[str, int], str]:
    done = suites(
        "--target", "esp32p4", "--hil-board", "virtual", *QUICK, "--hil-runs", "30", "--hil-virtual-faults", faults,
        "--hil-baseline", str(baseline), "--hil-results", str(tmp_path / "new"), *more, files=FILES,
    )  # fmt: skip
    return outcome(done), done.stdout


def test_the_same_again_is_no_regression(baseline: Path, tmp_path: Path) -> None:
    counts, said = against(baseline, tmp_path, plan(cycles_seed=2), "--hil-gate-simulated")
    assert counts == {"passed": 2}, said
    assert "0 worse" not in said
    assert len(rows(tmp_path / "new")) == 1


def test_five_percent_slower_is_found_confirmed_and_said(baseline: Path, tmp_path: Path) -> None:
    faults = plan(cycles_seed=2, cycles_factor=1.05)
    history = tmp_path / "history.sqlite"
    counts, said = against(baseline, tmp_path, faults, "--hil-gate-simulated", "--hil-history", str(history))
    assert counts == {"failed": 1, "passed": 1}, said
    assert "WORSE   mnist w8a8 espdl on esp32p4: latency_ms 5.9" in said
    assert "confirmed by 1 re-run" in said
    assert "every layer alike" in said
    assert [run.attempt for run in rows(tmp_path / "new")] == [1, 2]
    found = json.loads((tmp_path / "new" / "changes.json").read_text())["changes"][0]
    assert (found["metric"], found["judgement"], found["reruns"]) == ("latency_ms", "worse", 1)
    assert found["new"] / found["base"] == pytest.approx(1.05, abs=0.015)
    with History.open(str(history)) as opened:
        assert len(list(opened.runs())) == 2


def test_simulated_time_is_not_gated_unless_asked(baseline: Path, tmp_path: Path) -> None:
    counts, said = against(baseline, tmp_path, plan(cycles_factor=2.0))
    assert counts == {"passed": 2}, said


def test_one_wrong_integer_is_a_regression_of_accuracy(baseline: Path, tmp_path: Path) -> None:
    faults = plan(output=[{"tensor": "output", "index": 3, "add_lsb": 2}])
    counts, said = against(baseline, tmp_path, faults)
    assert counts == {"failed": 1, "passed": 1}, said
    assert "port_different 0 -> 12 values; confirmed by 1 re-run" in said
    assert "port_max_lsb 0 -> 2 LSB" in said


def test_a_model_that_the_baseline_lacks_is_skipped_with_a_reason(baseline: Path, tmp_path: Path) -> None:
    done = suites(
        "--target", "esp32s3", "--hil-board", "virtual", *QUICK, "--hil-baseline", str(baseline),
        "--hil-results", str(tmp_path), files=FILES,
    )  # fmt: skip
    assert outcome(done) == {"skipped": 2}, done.stdout
    assert "the baseline has no row of mnist w8a8 espdl on esp32s3" in done.stdout


def test_a_baseline_or_plan_that_cannot_be_read_ends_the_run_at_once(tmp_path: Path) -> None:
    for option, words in (("--hil-baseline", "cannot read"), ("--hil-virtual-faults", "fault plan")):
        done = suites(
            "--target", "esp32p4", "--hil-board", "virtual", *QUICK, option, str(tmp_path / "none.jsonl"),
            "--hil-results", str(tmp_path), files=FILES,
        )  # fmt: skip
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert words in done.stdout + done.stderr


def test_faults_are_not_planted_in_a_real_board(tmp_path: Path) -> None:
    done = suites(
        "--target", "esp32p4", "--hil-board", "/dev/null", *QUICK, "--hil-virtual-faults", plan(),
        "--hil-results", str(tmp_path), files=("suites/test_memory.py",),
    )  # fmt: skip
    assert "faults can only be planted in a virtual board" in done.stdout


@pytest.mark.parametrize(
    ("source", "database"),
    [("a/b", False), ("a.jsonl", False), ("a.sqlite", True), ("postgresql+psycopg://x/y", True)],
)
def test_a_history_is_told_from_a_file(source: str, database: bool) -> None:
    assert is_history(source) is database


def test_rows_come_from_either_and_an_empty_history_is_refused(tmp_path: Path) -> None:
    run = sample_run()
    Recorder(tmp_path / "runs.jsonl").append(run)
    assert base_rows(str(tmp_path)) == (run,)
    path = str(tmp_path / "h.sqlite")
    with pytest.raises(ReportError, match="no history at"):
        base_rows(path, first=True)
    assert not Path(path).exists()
    assert base_rows(path, first=True, create=True) == ()
    with pytest.raises(ReportError, match="no rows older"):
        base_rows(path)
    with History.open(path) as history:
        history.add([run])
    assert base_rows(path) == (run,)
    with pytest.raises(ReportError, match="no rows older"):
        base_rows(path, before_utc=run.started_utc)

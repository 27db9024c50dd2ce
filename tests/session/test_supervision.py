"""Boards that break while the suites run: recognised, logged, brought back, tried again, given up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp_hil.boards import quarantine
from esp_hil.boards.select import select
from esp_hil.cli import main
from esp_hil.errors import BoardUnavailable, ConfigError, DeviceCrashed, DeviceReset, LinkTimeout
from esp_hil.esp.backtrace import Backtrace, SourceLocation
from esp_hil.esp.supervise import crashed, parse_crash
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Failure, Run
from esp_hil.session import supervision
from esp_hil.session.supervision import is_trouble, is_worth_a_retry
from esp_hil.targets import target
from esp_hil.virtual import EngineFaults, FaultPlan, VirtualBoard
from esp_hil.virtual.chip import CRASHES
from esp_hil.virtual.faults import CRASH_KINDS
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="boards are pseudo-terminals here")

P4 = target("esp32p4")
QUICK = ("--hil-inputs", "6", "--hil-runs", "3", "--hil-recipe", "w8a8")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Quarantine of this test alone; no boards.toml of a user."""
    folder = tmp_path / "state"
    monkeypatch.setenv("HIL_STATE", str(folder))
    monkeypatch.delenv("HIL_BOARDS", raising=False)
    return folder


class Desk:
    """A virtual board that boards.toml calls `desk`, with a command that cuts its power."""

    def __init__(self, machine: VirtualBoard, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cycled = folder / "cycled"
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._url = machine.url

    def list(self, *more: str, power_cycle: str = "") -> None:
        """Write boards.toml."""
        command = power_cycle or f"touch {self.cycled}"
        rows = ["[desk]", 'target = "esp32p4"', f'url = "{self._url}"', f'power_cycle = "{command}"', *more]
        path = self._folder / "boards.toml"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        self._monkeypatch.setenv("HIL_BOARDS", str(path))


@pytest.fixture
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The board with the engine faults of the parameter."""
    with VirtualBoard(P4, faults=FaultPlan(engine=request.param)) as machine:
        made = Desk(machine, tmp_path, monkeypatch)
        made.list()
        yield made


def suites(results: Path, *arguments: str, models: str = "mnist") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites/test_numerics.py"]
    command += [
        "--target",
        "esp32p4",
        "--hil-model",
        models,
        *QUICK,
        "--hil-results",
        str(results),
        *arguments,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def on_desk(results: Path, models: str = "mnist") -> subprocess.CompletedProcess[str]:
    return suites(results, "--hil-board", "desk", "--skip-autoflash", "y", models=models)


def rows(folder: Path) -> tuple[Run, ...]:
    return read_runs(folder).runs


def log_of(folder: Path, run: Run) -> str:
    return (folder / "logs" / f"{run.run_id}.log").read_text(encoding="utf-8")


# what is worth what


@pytest.mark.parametrize(
    ("kind", "failure", "again"),
    [
        ("panic", "crash", True),
        ("stack_overflow", "crash", False),
        ("out_of_memory", "out_of_memory", False),
        ("task_watchdog", "crash", True),
        ("brownout", "crash", True),
    ],
)
def test_each_planted_crash_is_classified_and_tried_again_only_where_that_makes_sense(
    kind: str, failure: str, again: bool
) -> None:
    crash = parse_crash(CRASHES[kind])
    assert crash is not None
    error = crashed(crash)
    assert error.kind == kind
    assert Failure.of(error).kind == failure
    assert is_worth_a_retry(error) == again
    assert set(CRASHES) == set(CRASH_KINDS)


def test_what_the_board_does_to_itself_is_trouble_and_what_was_asked_of_it_is_not() -> None:
    assert is_trouble(DeviceReset("x"))
    assert is_trouble(LinkTimeout("x"))
    assert is_trouble(DeviceCrashed("x"))
    assert not is_trouble(ConfigError("x"))
    assert not is_trouble(BoardUnavailable("x"))


def test_frames_inside_the_allocator_tell_a_panic_to_be_a_corrupt_heap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crash = parse_crash(CRASHES["panic"])
    assert crash is not None
    error = crashed(crash)
    frames = (
        SourceLocation(address=0x40001234, function="tlsf_free", file="tlsf.c", line=9),
        SourceLocation(address=1),
    )
    monkeypatch.setattr(supervision, "decode", lambda *_: Backtrace(frames=frames))
    supervision.explain(error, None, P4)
    assert error.kind == "heap_corruption"
    assert error.message.startswith("heap corruption, by its frames; panic at pc 0x40001234")
    assert error.message.endswith("tlsf_free at tlsf.c:9")
    assert error.trace.splitlines() == ["0x40001234 tlsf_free at tlsf.c:9", "0x00000001 ?"]


# runs


@pytest.mark.parametrize("desk", [EngineFaults(panic_at_run=3)], indirect=True)
def test_a_panic_is_one_failed_row_with_its_log_and_the_second_attempt_counts(
    desk: Desk, tmp_path: Path
) -> None:
    done = on_desk(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = rows(tmp_path)
    assert first.failure is not None
    assert (first.failure.kind, first.attempt, second.attempt) == ("crash", 1, 2)
    assert "panic at pc 0x40001234" in first.failure.message
    assert second.passed
    text = log_of(tmp_path, first)
    assert "Guru Meditation Error" in text
    assert "0x40001234" in text.partition("backtrace")[2]
    assert "Project name" in text.partition("\nconsole\n")[2]
    assert "crash" not in quarantine.quarantined()


def test_the_second_attempt_runs_at_the_rate_that_the_line_was_tuned_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_BAUD_MODEL", "115200,limit=1000000")
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    plan = json.dumps({"engine": {"panic_at_run": 3}})
    done = suites(tmp_path, "--hil-board", "virtual", "--hil-virtual-faults", plan)
    # the process is started anew and its counter of runs with it: the fault comes again
    found = rows(tmp_path)
    assert done.returncode == 1
    assert [row.attempt for row in found] == [1, 2]
    assert [row.link.baud for row in found if row.link is not None] == [921_600, 921_600]


@pytest.mark.parametrize("desk", [EngineFaults(panic_at_run=3, panic_again=True)], indirect=True)
def test_a_board_that_two_models_in_a_row_crash_goes_to_quarantine_until_it_is_lifted(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = on_desk(tmp_path, models="fashion,gesture,mnist")
    assert done.returncode == 1
    found = [(row.model, row.attempt, row.failure.kind) for row in rows(tmp_path) if row.failure]
    assert found == [
        ("fashion", 1, "crash"), ("fashion", 2, "crash"),
        ("gesture", 1, "crash"), ("gesture", 2, "crash"), ("mnist", 1, "other"),
    ]  # fmt: skip
    entry = quarantine.quarantined()["desk"]
    assert "2 models in a row crashed it" in entry.reason
    with pytest.raises(BoardUnavailable, match=r"quarantine: 2 models in a row.*hil boards --lift desk"):
        select(P4, board="desk")
    with pytest.raises(BoardUnavailable, match="in quarantine: desk"):
        select(P4)
    assert main(["boards"]) == 0
    assert "-> look at the board, then: hil boards --lift desk" in capsys.readouterr().out
    refused = on_desk(tmp_path / "later")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "in quarantine" in refused.stderr
    assert "no tests ran" in refused.stdout
    assert main(["boards", "--lift", "desk"]) == 0
    assert select(P4, board="desk").id == "desk"
    assert main(["boards", "--lift", "desk"]) == 2
    assert "not in quarantine" in capsys.readouterr().err


@pytest.mark.parametrize(
    "desk", [EngineFaults(panic_at_run=2, panic_again=True, crash="brownout")], indirect=True
)
def test_a_brownout_cuts_the_power_and_a_second_one_is_the_board_s_fault(desk: Desk, tmp_path: Path) -> None:
    done = on_desk(tmp_path)
    assert done.returncode == 1
    assert desk.cycled.exists()
    first, second = rows(tmp_path)
    assert first.failure is not None
    assert second.failure is not None
    assert "brownout" in first.failure.message
    assert "failed again after a restart: brownout" in quarantine.quarantined()["desk"].reason


@pytest.mark.parametrize(
    "desk", [EngineFaults(panic_at_run=2, panic_again=True, crash="stack_overflow")], indirect=True
)
def test_a_crash_that_must_come_again_is_not_tried_again(desk: Desk, tmp_path: Path) -> None:
    done = on_desk(tmp_path)
    assert done.returncode == 1
    (row,) = rows(tmp_path)
    assert row.failure is not None
    assert "stack overflow" in row.failure.message
    assert quarantine.quarantined() == {}


def test_the_other_boards_go_on_when_one_breaks(tmp_path: Path) -> None:
    plan = json.dumps({"engine": {"panic_at_run": 3, "panic_again": True}})
    done = suites(tmp_path, "--hil-board", "virtual", "--hil-virtual-faults", plan, models="mnist")
    assert done.returncode == 1
    assert [(row.attempt, row.passed) for row in rows(tmp_path)] == [(1, False), (2, False)]
    good = suites(tmp_path / "good", "--hil-board", "virtual", "--target", "esp32s3,esp32p4")
    assert good.returncode == 0, good.stdout


def test_a_board_that_does_not_come_back_is_given_up_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = FaultPlan(engine=EngineFaults(panic_at_run=2, crash="brownout"))
    with VirtualBoard(P4, faults=faults) as machine:
        assert machine._process is not None
        made = Desk(machine, tmp_path, monkeypatch)
        made.list(power_cycle=f"kill -9 {machine._process.pid}")
        done = on_desk(tmp_path)
    assert done.returncode == 1
    (row,) = rows(tmp_path)
    assert row.failure is not None
    assert "does not answer after power cycle and reset" in quarantine.quarantined()["desk"].reason


# quarantine


def test_quarantine_by_the_row_is_lifted_in_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "boards.toml"
    path.write_text('[lab]\ntarget = "esp32p4"\nurl = "COM3"\nquarantine = "lent to Ann"\n', encoding="utf-8")
    monkeypatch.setenv("HIL_BOARDS", str(path))
    with pytest.raises(
        BoardUnavailable, match=r"in quarantine: lent to Ann .*take `quarantine` out of its row"
    ):
        select(P4, board="lab")
    assert main(["boards", "--lift", "lab"]) == 2
    assert "take it out of boards.toml" in capsys.readouterr().err


def test_a_damaged_file_of_quarantine_is_named_and_not_taken_for_an_empty_one(state: Path) -> None:
    state.mkdir()
    (state / "quarantine.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"quarantine\.json.*delete it"):
        quarantine.quarantined()


def test_the_first_reason_stays() -> None:
    quarantine.put("a", "first")
    assert quarantine.put("a", "second").reason == "first"
    assert quarantine.lift("a")
    assert not quarantine.lift("a")

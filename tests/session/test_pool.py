"""Several boards for one run: which combination runs where, and two runs that share their boards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from esp_hil.boards import quarantine
from esp_hil.boards.pool import any_of, places
from esp_hil.boards.select import select
from esp_hil.errors import BoardUnavailable, ConfigError
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from esp_hil.session.option_rows import Options, Sources, given
from esp_hil.session.options import combinations
from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from tests.conftest import ROOT
from tests.test_plugin import QUICK

S3, P4 = target("esp32s3"), target("esp32p4")


@pytest.fixture(autouse=True)
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of boards whose ports are there, but one's."""
    port = tmp_path / "port"
    port.touch()
    rows = [("s3-a", "esp32s3"), ("s3-b", "esp32s3"), ("p4-a", "esp32p4")]
    text = "".join(f'[{name}]\ntarget = "{chip}"\nurl = "{port}"\n' for name, chip in rows)
    path = tmp_path / "boards.toml"
    path.write_text(f'{text}[s3-c]\ntarget = "esp32s3"\nserial_number = "none has it"\n')
    monkeypatch.setenv("HIL_BOARDS", str(path))
    monkeypatch.setenv("HIL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HIL_LOCKS", str(tmp_path / "locks"))
    return path


def options(board: str, *targets: str) -> Options:
    return Options(targets=targets, board=board, models=("mnist",), recipes=("w8a8",))


def test_each_board_of_a_list_runs_what_its_chip_can() -> None:
    found = combinations(options("s3-a,s3-b,p4-a", "esp32s3", "esp32p4"))
    assert [(one.target.name, one.board) for one in found] == [
        ("esp32p4", "p4-a"),
        ("esp32s3", "s3-a"),
        ("esp32s3", "s3-b"),
    ]
    assert len({one.id for one in found}) == 3
    assert len({one.group for one in found}) == 3, "boards work side by side"


def test_a_single_board_keeps_the_names_of_its_tests() -> None:
    (found,) = combinations(options("s3-a", "esp32s3"))
    assert found.id == "mnist-w8a8-esp32s3"


def test_boards_without_a_row_are_tried_for_each_chip() -> None:
    assert places(["virtual", "s3-a"], [S3, P4]) == [(S3, "virtual"), (S3, "s3-a"), (P4, "virtual")]


def test_a_board_whose_chip_nobody_asked_for_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="p4-a is an esp32p4, which no --target asks for"):
        combinations(options("s3-a,p4-a", "esp32s3"))


def test_a_chip_that_no_board_of_the_list_has_is_said_when_it_is_chosen() -> None:
    _, none = places(["s3-a", "s3-b"], [S3, P4])[-1]
    with pytest.raises(BoardUnavailable, match="no esp32p4 among s3-a,s3-b"):
        select(P4, board=none)


def test_any_is_what_is_attached_and_not_in_quarantine() -> None:
    quarantine.put("s3-b", "does not answer")
    found = any_of(["esp32s3"])
    assert found.boards == ("s3-a",)
    assert found.left_out["s3-c"] == "not attached"
    assert found.left_out["s3-b"].startswith("in quarantine: does not answer")
    assert any_of(["esp32c3"]).boards == ()
    quarantine.put("s3-a", "smells")
    with pytest.raises(BoardUnavailable, match=r"s3-a is in quarantine: smells .*s3-c is not attached"):
        select(S3, board="any")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400)]
)
def test_a_wait_is_a_time_with_a_unit(text: str, seconds: float) -> None:
    sources = Sources(command_line={"hil_wait": text}, environ={}, file={}, folder=Path())
    assert given(sources)["wait"] == seconds


@pytest.mark.parametrize("text", ["soon", "-5", "5d", "m"])
def test_a_wait_that_is_no_time_is_refused(text: str) -> None:
    sources = Sources(command_line={"hil_wait": text}, environ={}, file={}, folder=Path())
    with pytest.raises(ConfigError, match="not a time"):
        given(sources)


def test_a_run_waits_in_ci_and_not_at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert options("s3-a", "esp32s3").wait_s == 1800
    assert Options(targets=(), wait=5).wait_s == 5
    monkeypatch.delenv("CI")
    assert options("s3-a", "esp32s3").wait_s == 0


# real runs on two boards


@pytest.fixture
def two(boards: Path) -> Iterator[Path]:
    """Two boards that are ports to their runs, as at a desk; and one in quarantine."""
    with ExitStack() as stack:
        text = ""
        for name, chip in (("s3-a", S3), ("p4-a", P4)):
            board = stack.enter_context(VirtualBoard(chip))
            text += f'[{name}]\ntarget = "{chip.name}"\nurl = "{board.url}"\n'
        boards.write_text(text + '[s3-out]\ntarget = "esp32s3"\nurl = "/dev/ttyX9"\nquarantine = "burnt"\n')
        yield boards


def started(results: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites/test_numerics.py"),
        *("--target", "esp32s3,esp32p4", "--hil-board", "any", "--skip-autoflash", "y", *QUICK),
        *("--hil-results", str(results), *arguments),
    ]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ.copy()
    )


def rows(folder: Path) -> tuple[Run, ...]:
    return read_runs(folder).runs


def interval(run: Run) -> tuple[datetime, datetime]:
    began = datetime.fromisoformat(run.started_utc)
    return began, began + timedelta(seconds=run.duration_s)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")
def test_two_nightlies_share_their_boards_and_never_use_one_at_the_same_time(
    two: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    running = [started(folder, "-n", "2", "--hil-wait", "4m") for folder in folders]
    said = [process.communicate(timeout=280)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)
    found = [run for folder in folders for run in rows(folder)]
    for folder in folders:
        assert sorted((run.target, run.board) for run in rows(folder)) == [
            ("esp32p4", "p4-a"),
            ("esp32s3", "s3-a"),
        ]
    for board in ("s3-a", "p4-a"):
        times = sorted(interval(run) for run in found if run.board == board)
        assert all(before[1] <= after[0] for before, after in pairwise(times)), times
    kept = [run.custody for run in found if run.custody]
    assert len({custody.lease for custody in kept}) == len(found)
    assert {custody.host for custody in kept} == {socket.gethostname()}
    for text in said:
        assert "left out: s3-out (in quarantine: burnt)" in text

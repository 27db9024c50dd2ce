"""`hil history` as it is typed: what only reads makes nothing, and a misspelt filter is no good news."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.results.history import History
from esp_hil.results.journal import Recorder
from tests.report.samples import sample_run
from tests.results.history.test_lines import nights

READERS = ("sessions", "show", "steps", "figures", "prune --keep 400d")


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """A history of one model that became slower one night."""
    path = str(tmp_path / "h.sqlite")
    with History.open(path) as history:
        history.add(nights(40, 25))
    return path


@pytest.mark.parametrize("command", READERS)
def test_what_only_reads_makes_no_history(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none" / "x.sqlite"
    assert main(["history", "--history", str(path), *command.split()]) == 2
    assert f"no history at {path} (hil history add DIR makes one)" in capsys.readouterr().err
    assert not path.parent.exists()


@pytest.mark.parametrize("command", READERS)
def test_somebody_else_s_database_is_left_as_it_is(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    assert main(["history", "--history", str(path), *command.split()]) == 2
    assert "no history at" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_adding_makes_one_once_there_is_something_to_add(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made" / "h.sqlite"
    assert main(["history", "--history", str(path), "add", str(tmp_path / "none")]) == 2
    assert not path.parent.exists()
    Recorder(tmp_path / "runs.jsonl").append(sample_run())
    assert main(["history", "--history", str(path), "add", str(tmp_path)]) == 0
    assert "1 of 1 rows were new" in capsys.readouterr().out
    assert path.is_file()


@pytest.mark.parametrize(("command", "said"), [("sessions", "no sessions yet"), ("steps", "no rows yet")])
def test_an_empty_history_says_how_rows_come_into_it(
    command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "h.sqlite")
    History.open(path).close()
    assert main(["history", "--history", path, command]) == 0
    assert f"{said} (hil history add reports/out/<time>)" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["show", "steps"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--metric latncy", "no figure 'latncy' (did you mean 'latency_ms'?)"),
        ("--metric latency", "did you mean 'latency_ms'?"),
        ("--metric latency_ms --metric xyzzy", "no figure 'xyzzy'"),
        ("--model mnits", "no rows of model 'mnits' (did you mean 'mnist'? there are: mnist)"),
        ("--recipe w4a4", "no rows of recipe 'w4a4'"),
        ("--model mnist --target esp32s3", "no rows of target 'esp32s3'"),
        (
            "--board esp32p4-b",
            "no rows of board 'esp32p4-b' (did you mean 'esp32p4-a'? there are: esp32p4-a)",
        ),
    ],
)
def test_a_filter_that_no_row_meets_is_an_error(
    command: str, words: str, said: str, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--history", kept, command, *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_filters_that_rows_meet_leave_the_gate_as_it_is(
    kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--model mnist --recipe w8a8 --target esp32p4 --board esp32p4-a --metric latency_ms"
    assert main(["history", "--history", kept, "steps", *words.split()]) == 1
    assert "1 step, 1 for the worse" in capsys.readouterr().out
    later = [*words.split(), "--since", "2026-12-01"]
    assert main(["history", "--history", kept, "steps", *later]) == 0


def test_each_figure_that_is_shown_can_be_asked_for_with_its_unit(
    kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--history", kept, "show"]) == 0
    shown = capsys.readouterr().out.splitlines()
    figures = {
        title.rpartition(": ")[2]: line
        for title, line in itertools.pairwise(shown)
        if "@" in title and " worse" not in title
    }
    assert len(figures) > 5
    for name, line in figures.items():
        assert main(["history", "--history", kept, "show", "--metric", name]) == 0
        assert line in capsys.readouterr().out.splitlines()

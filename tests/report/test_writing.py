"""Writing reports, the terminal's table, and `hil report`: each mistake is one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.errors import ReportError
from esp_hil.report import summary, write_reports
from esp_hil.report.view import SIMULATED_BANNER, milliseconds, size
from esp_hil.results.journal import Recorder
from esp_hil.results.text import clean
from tests.report.samples import a_night, failed_run, sample_run


def recorded(folder: Path) -> Path:
    """A file with the rows of a night."""
    recorder = Recorder(folder / "runs.jsonl")
    for run in a_night():
        recorder.append(run)
    return recorder.path


def test_reports_are_drawn_from_a_file_or_its_folder(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    for source in (path, tmp_path):
        written = write_reports(source, tmp_path / "out", formats=["csv"])
        assert len(written["csv"].read_text("utf-8").splitlines()) == 7


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReportError) as caught:
        write_reports(a_night(), tmp_path / "file")
    assert "cannot write" in str(caught.value)
    assert "--out" in str(caught.value)


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        ReportError, match=r"unknown format pdf \(one of: csv, html, junit, markdown, openmetrics, parquet\)"
    ):
        write_reports(a_night(), tmp_path / "out", formats=["pdf", "csv"])
    assert not (tmp_path / "out").exists()


def test_no_runs_are_no_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no runs to report"):
        write_reports([], tmp_path)


def test_a_report_that_fails_midway_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reports([sample_run()], tmp_path, formats=["csv"])
    before = (tmp_path / "results.csv").read_bytes()

    def half(_report: object, path: Path) -> None:
        path.write_text("half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esp_hil.report.formats.csv.render", half)
    with pytest.raises(ReportError, match="No space left"):
        write_reports(a_night(), tmp_path, formats=["csv"])
    assert (tmp_path / "results.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_the_plain_summary_says_what_is_wrong_and_what_is_simulated() -> None:
    text = summary(a_night(), colour=False)
    assert "\x1b" not in text
    assert text.isascii()
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith("ok ")]) == 4
    assert any(line.startswith("WRONG mnist on esp32s3-a: port: WRONG over 100 inputs") for line in lines)
    assert any(line.startswith("BROKEN mnist on esp32s3-b: timeout in load") for line in lines)
    assert lines[-2:] == [SIMULATED_BANNER, "6 runs: 4 ok, 1 broken, 1 wrong; 2 of them simulated"]
    assert len([line for line in lines if "ms SIM" in line]) == 2


def test_the_coloured_summary_takes_names_as_text() -> None:
    text = summary([sample_run(model="[red]x[/red]\x1b]0;title\x07")], colour=True, width=160)
    assert "[red]x[/red]\\x1b]0;title\\x07" in text
    assert "\x1b[32mok" in text
    assert SIMULATED_BANNER not in text


def test_a_summary_of_nothing_says_so() -> None:
    assert summary([]) == "no runs"


def test_hil_report_writes_beside_the_rows_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    assert main(["report", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert str(tmp_path / "report.html") in out
    assert (tmp_path / "results.parquet").exists()


def test_hil_report_is_content_with_a_night_that_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Recorder(tmp_path / "runs.jsonl").append(sample_run())
    argv = [
        "report",
        str(tmp_path / "runs.jsonl"),
        "--out",
        str(tmp_path / "out"),
        "--formats",
        "csv",
        "html",
    ]
    assert main(argv) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "results.csv"]
    assert "1 run: 1 ok" in capsys.readouterr().out


def test_hil_report_tells_of_a_torn_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded(tmp_path)
    with path.open("ab") as file:
        file.write(sample_run().to_json().encode()[:300])
    main(["report", str(tmp_path), "--formats", "markdown"])
    assert "warning: " in capsys.readouterr().out
    assert "torn or damaged" in (tmp_path / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        (b"", "the file is empty"),
        (b"MZ\x90\n", "not text"),
        (b"{}\n", "not a row of esp-hil"),
    ],
)
def test_hil_report_of_something_else_is_one_line_and_status_2(
    content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert main(["report", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_summary_needs_neither_pandas_nor_jinja() -> None:
    program = (
        "import sys; from esp_hil.report import summary; from tests.report.samples import failed_run;"
        "summary([failed_run()], colour=False);"
        "heavy = {'pandas', 'jinja2', 'rich'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_clean_text_has_no_control_characters_and_keeps_the_rest() -> None:
    assert clean("Zürich 速い") == "Zürich 速い"
    assert clean("a\x00\u202eb\udcff") == "a\\x00\\x202eb\\udcff"


def test_figures_are_printed_as_people_write_them() -> None:
    assert [milliseconds(ms) for ms in (0.0421, 2.5037, 41.111, 812.34, 12_345.6)] == [
        "42.1 us",
        "2.504 ms",
        "41.11 ms",
        "812.3 ms",
        "12346 ms",
    ]
    assert [size(count) for count in (512, 131_072, 3_500_000)] == ["512 B", "128.0 KiB", "3.34 MiB"]
    assert summary([failed_run()], colour=False).splitlines()[1].endswith("-")

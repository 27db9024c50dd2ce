"""What a format leaves out of very many rows it says, and what is not ok is never left out first."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from esp_hil.report import summary, write_reports
from esp_hil.results.record import Run
from tests.report.samples import sample_run


def many(count: int = 6) -> list[Run]:
    """Rows of which only the last one is wrong."""
    runs = [sample_run(model=f"model-{number}", run_id=str(number)) for number in range(count - 1)]
    return [*runs, sample_run(model="culprit", wrong=2)]


def written(name: str, runs: list[Run], tmp_path: Path) -> str:
    return write_reports(runs, tmp_path, formats=[name])[name].read_text(encoding="utf-8")


def test_markdown_keeps_what_is_wrong_and_counts_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.report.formats.markdown.MOST_ROWS", 2)
    text = written("markdown", many(), tmp_path)
    assert text.count("| ✅") == 1
    assert text.count("| ❌") == 1
    assert "4 further runs are in report.html and results.csv." in text
    monkeypatch.setattr("esp_hil.report.formats.markdown.MOST_DETAILS", 0)
    assert "1 further runs that are not ok are in report.html." in written("markdown", many(), tmp_path)


def test_junit_has_every_run_and_the_figures_of_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.report.formats.junit.MOST_PROPERTIES", 5)
    root = xml.fromstring(written("junit", many(), tmp_path))
    cases = root.findall(".//testcase")
    assert len(cases) == 6
    figured = [len(suite.findall("./properties/property")) > 10 for suite in root.findall("testsuite")]
    assert figured == [False] * 5 + [True, False]  # the last one tells of the report itself
    assert "6 runs: the figures of those that are ok are in results.parquet" in str(
        root.findtext(".//system-out")
    )


def test_the_terminal_shows_what_is_wrong_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esp_hil.report.terminal.MOST_ROWS", 2)
    text = summary(many(), colour=False)
    assert "culprit" in text
    assert "model-1" not in text
    assert "4 further runs are not shown" in text
    assert "6 runs: 5 ok, 1 wrong" in text


def test_a_dashboard_gets_the_latest_sample_of_each_series(tmp_path: Path) -> None:
    old = sample_run(run_id="old", started_utc="2026-03-14T02:00:00Z", leak_bytes=1)
    new = sample_run(run_id="new", started_utc="2026-03-15T02:00:00Z", leak_bytes=2)
    again = dataclasses.replace(new, run_id="again", attempt=2, leak_bytes=3)
    other = sample_run(run_id="other", board="desk-2", leak_bytes=4)
    text = written("openmetrics", [again, new, old, other], tmp_path)
    leaks = [line for line in text.splitlines() if line.startswith("hil_leak_bytes{")]
    assert [line.split("} ")[1].split()[0] for line in leaks] == ["3.0", "4.0"]
    assert not any("run_id" in line for line in leaks)
    infos = [line for line in text.splitlines() if line.startswith("hil_run_info{")]
    assert ['run_id="again"' in line for line in infos] == [True, False]

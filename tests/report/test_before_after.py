"""Before and after in every row, with the verdict, where there is something to compare with."""

from __future__ import annotations

from pathlib import Path

from esp_hil.cli import main
from esp_hil.report import write_reports
from esp_hil.report.before_after import before_after
from esp_hil.results.history import History
from esp_hil.results.history.lines import lines_about
from esp_hil.results.journal import Recorder
from esp_hil.results.record import Run
from esp_hil.results.regress import compare
from tests.report.samples import sample_run


def nights() -> tuple[list[Run], list[Run]]:
    base = [sample_run(model=name, run_id=f"b-{name}") for name in ("calm", "slower")]
    new = [
        sample_run(model="calm", started_utc="2026-03-15T02:00:00Z", run_id="n1", session_id="s2"),
        sample_run(
            model="slower", median_ms=2.7, started_utc="2026-03-15T02:00:00Z", run_id="n2", session_id="s2"
        ),
    ]
    return base, new


def test_the_worst_combination_comes_first_with_what_changed_and_how_sure_that_is() -> None:
    base, new = nights()
    rows = before_after(compare(base, new))
    assert [row.title.split()[0] for row in rows] == ["slower", "calm"]
    cell = rows[0].cells["latency"]
    assert cell.judgement == "worse"
    assert "2.5" in cell.text
    assert "+8" in cell.text
    assert "fps" in cell.detail
    assert "95 %" in cell.detail
    assert rows[1].judgement == "same"
    assert rows[1].cells["top-1"].text


def test_what_was_not_compared_says_why_in_its_row() -> None:
    base, new = sample_run(kind="virtual"), sample_run(kind="virtual", median_ms=3.0)
    (row,) = before_after(compare([base], [new]))
    assert "not gated" in row.not_compared


def record(folder: Path, runs: list[Run]) -> Path:
    recorder = Recorder(folder / "runs.jsonl")
    for run in runs:
        recorder.append(run)
    return folder


def test_two_folders_or_a_folder_and_a_history_draw_the_same_table(tmp_path: Path) -> None:
    base, new = nights()
    before, after = record(tmp_path / "a", base), record(tmp_path / "b", new)
    url = str(tmp_path / "h.sqlite")
    with History.open(url) as history:
        history.add(base)
    for given in ([str(before), str(after)], [str(after), url]):
        main(["report", *given, "--out", str(tmp_path / "out")])
        page = (tmp_path / "out" / "report.html").read_text("utf-8")
        assert "Before → after" in page
        table = page[page.index('id="changes"') :]
        assert table.index("slower w8a8") < table.index("calm w8a8")
        markdown = (tmp_path / "out" / "report.md").read_text("utf-8")
        assert "**worse**" in markdown
        assert "1 WORSE than baseline" in page


def test_the_page_draws_the_last_nights_beside_a_change(tmp_path: Path) -> None:
    base, new = nights()
    with History.open(str(tmp_path / "h.sqlite")) as history:
        history.add([*base, *new])
        lines = lines_about(history, new)
    page = write_reports(
        new, tmp_path, formats=["html"], history=lines, comparison=compare(base, new), baseline="last night"
    )["html"].read_text("utf-8")
    assert "plot spark" in page
    assert "last night" in page

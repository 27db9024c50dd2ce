"""Reports first, history last: what cannot be done is one line and an exit status, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.errors import ReportError
from esp_hil.results.history import History
from esp_hil.results.journal import Recorder, read_runs
from esp_hil.results.regress import Rules
from esp_hil.session.baseline import Baseline
from esp_hil.session.publishing import NOT_COMPARED, UNPUBLISHED, check_history, publish
from tests.report.samples import sample_run

DOWN = "postgres://hil:secret@127.0.0.1:1/none?connect_timeout=1"


def test_a_history_that_is_down_costs_no_report_and_says_how_to_put_the_rows_in_later(tmp_path: Path) -> None:
    run = sample_run()
    Recorder(tmp_path / "runs.jsonl").append(run)
    done = publish([run], tmp_path, history=DOWN, baseline=None)
    assert done.status == UNPUBLISHED
    assert {"html", "junit", "markdown", "parquet"} <= done.reports.keys()
    (said,) = done.troubles
    assert f"add {tmp_path}" in said
    assert "secret" not in said
    assert "\n" not in said
    with History.open(str(tmp_path / "later.sqlite")) as history:
        assert history.add(read_runs(tmp_path).runs) == 1


def test_a_history_that_answers_has_the_rows_and_the_page_its_lines(tmp_path: Path) -> None:
    url = str(tmp_path / "h.sqlite")
    done = publish([sample_run()], tmp_path, history=url, baseline=None)
    assert (done.status, done.troubles) == (0, [])
    with History.open(url) as history:
        assert len(list(history.runs())) == 1


def test_a_baseline_that_did_not_answer_is_said_in_every_report(tmp_path: Path) -> None:
    done = publish([sample_run()], tmp_path, history=None, baseline=None, not_compared="the database is down")
    assert done.status == NOT_COMPARED
    for name in ("html", "markdown", "junit"):
        assert "not compared: the database is down" in done.reports[name].read_text("utf-8").replace("\\", "")


def test_a_folder_that_cannot_be_written_still_gives_the_history_its_rows(tmp_path: Path) -> None:
    url = str(tmp_path / "h.sqlite")
    results = tmp_path / "a-file"
    results.write_text("")
    done = publish([sample_run()], results, history=url, baseline=Baseline([], Rules(), 1))
    assert done.status == UNPUBLISHED
    assert "a-file" in done.troubles[0]
    with History.open(url) as history:
        assert len(list(history.runs())) == 1


def test_the_history_is_asked_before_the_boards_are() -> None:
    assert "does not answer" in check_history(DOWN)
    assert check_history(None) == ""
    with pytest.raises(ReportError, match="no histories in postgress"):
        check_history("postgress://db/hil")

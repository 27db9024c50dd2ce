"""The history keeps rows whole, once, in order; in SQLite, and in a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sql

from esp_hil.cli import main
from esp_hil.errors import HistoryUnreachable, ReportError
from esp_hil.results.history import History, Where, default_url
from esp_hil.results.history_url import parsed, shown
from esp_hil.results.metrics import BY_NAME
from esp_hil.results.record import Run
from tests.report.samples import a_night, sample_run
from tests.results.history import postgres


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    if reason := postgres.why_not():
        pytest.skip(reason)
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    """An empty history in either database."""
    if request.param == "sqlite":
        url = str(tmp_path / "made" / "history.sqlite")
    else:
        url = request.getfixturevalue("postgresql")
        engine = sql.create_engine(url)
        with engine.begin() as connection:
            connection.execute(
                sql.text("DROP TABLE IF EXISTS hil_runs, hil_version, hil_combinations, hil_figures")
            )
        engine.dispose()
    with History.open(url) as opened:
        yield opened


def night(day: int) -> list[Run]:
    """Distinct rows of one session."""
    return [
        dataclasses.replace(
            run,
            run_id=f"{day}-{number}",
            session_id=f"session-{day}",
            started_utc=f"2026-03-{day:02d}T02:00:{number:02d}Z",
        )
        for number, run in enumerate(a_night())
    ]


def test_rows_come_back_equal_and_in_order(history: History) -> None:
    later, earlier = night(2), night(1)
    assert history.add([*later, *earlier]) == 12
    assert list(history.runs()) == [*earlier, *later]


def test_a_row_is_in_it_once_however_often_it_is_added(history: History) -> None:
    assert history.add(night(1)) == 6
    assert history.add([*night(1), *night(2)]) == 6
    assert len(list(history.runs())) == 12


def test_rows_are_chosen_by_what_they_are_and_when(history: History) -> None:
    history.add([*night(1), *night(2), *night(3)])
    assert {run.target for run in history.runs(Where(target="esp32s3"))} == {"esp32s3"}
    assert {run.session_id for run in history.runs(Where(before_utc="2026-03-02"))} == {"session-1"}
    assert {run.session_id for run in history.runs(Where(since_utc="2026-03-03"))} == {"session-3"}
    assert [run.run_id for run in history.runs(latest=2)] == ["3-4", "3-5"]
    assert list(history.runs(Where(model="none"))) == []


def test_sessions_are_listed_newest_first_with_how_they_went(history: History) -> None:
    history.add([*night(1), *night(2)])
    assert history.sessions() == (
        ("session-2", "2026-03-02T02:00:00Z", 6, 4),
        ("session-1", "2026-03-01T02:00:00Z", 6, 4),
    )
    assert len(history.sessions(latest=1)) == 1


@pytest.mark.parametrize("name", ["'; DROP TABLE hil_runs; --", "<script>", "ünï\u202e\0\ud800", "a" * 5000])
def test_any_name_is_a_value_and_comes_back(history: History, name: str) -> None:
    run = sample_run(model=name)
    history.add([run])
    assert list(history.runs(Where(model=name))) == [run]


def test_two_writers_at_once_lose_nothing(history: History) -> None:
    batches = [night(1) + night(2), night(2) + night(3)]
    failures: list[BaseException] = []

    def write(rows: list[Run]) -> None:
        try:
            for row in rows:
                history.add([row])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(rows,)) for rows in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(history.runs())) == 18


@pytest.mark.parametrize("history", ["sqlite", "postgresql"], indirect=True)
def test_an_empty_database_may_be_opened_by_many_at_once(history: History) -> None:
    url = history._engine.url.render_as_string(hide_password=False)
    for _ in range(5):
        with history._engine.begin() as connection:
            for table in ("hil_runs", "hil_version", "hil_combinations", "hil_figures"):
                connection.execute(sql.text(f"DROP TABLE {table}"))
        ready = threading.Barrier(8)

        def opened(ready: threading.Barrier = ready) -> int:
            ready.wait()
            with History.open(url) as one:
                return one.add(night(1))

        with ThreadPoolExecutor(8) as pool:
            added = list(pool.map(lambda _: opened(), range(8)))
        assert {run.run_id for run in history.runs()} == {run.run_id for run in night(1)}
        assert max(added) <= len(night(1))


def test_an_opened_history_has_what_it_had(tmp_path: Path) -> None:
    for day in (1, 2):
        with History.open(str(tmp_path / "h.sqlite")) as opened:
            opened.add(night(day))
    with History.open(f"sqlite:///{tmp_path / 'h.sqlite'}") as opened:
        assert len(list(opened.runs())) == 12


def test_a_history_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    History.open(str(path)).close()
    engine = sql.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sql.text("INSERT INTO hil_version VALUES (99)"))
    engine.dispose()
    with pytest.raises(ReportError, match="has version 99"):
        History.open(str(path))


def test_a_row_of_another_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History.open(str(path)) as opened:
        opened.add([sample_run()])
        engine = sql.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            connection.execute(sql.text("UPDATE hil_runs SET row = x'00'"))
        engine.dispose()
        with pytest.raises(ReportError, match=r"row .*: "):
            list(opened.runs())


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://x",
        "postgres//hil:secret@h/d",
        "reports",
        "postgresql+nodriver://x/y",
        "sqlite:////dev/null/x.sqlite",
        "://",
    ],
)
def test_what_is_no_history_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ReportError) as caught:
        History.open(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://hil:secret@127.0.0.1:1/none?connect_timeout=1",
        "postgres://hil:secret@127.0.0.1:1/none?connect_timeout=1",
        "postgresql://hil:se@secret@127.0.0.1:1/none?connect_timeout=1",
        "postgres://hil:a:secret@127.0.0.1/none",
        "postgres://hil:a/secret@127.0.0.1/none",
        "nonsense://hil:secret@127.0.0.1/none",
        "postgres//hil:secret@127.0.0.1/none",
        "mysql+nodriver://hil:secret@127.0.0.1/none",
        "postgres://hil:x@y:secret@[/none",
    ],
)
def test_no_password_is_ever_shown(url: str) -> None:
    with pytest.raises(ReportError) as caught:
        History.open(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in shown(url)
    assert "\n" not in str(caught.value)


def test_a_url_as_databases_print_it_takes_the_driver_that_we_install() -> None:
    for text in ("postgres://hil@db/hil", "postgresql://hil@db/hil", "postgresql+psycopg://hil@db/hil"):
        assert parsed(text).drivername == "postgresql+psycopg"
    assert parsed("reports/h.sqlite").drivername == "sqlite"
    assert shown("reports/a:b@c.sqlite") == "reports/a:b@c.sqlite"


def test_a_database_that_is_down_is_told_from_a_url_that_is_wrong() -> None:
    with pytest.raises(HistoryUnreachable):
        History.open("postgres://hil@127.0.0.1:1/none?connect_timeout=1")
    with pytest.raises(ReportError) as caught:
        History.open("postgress://hil@127.0.0.1:1/none")
    assert not isinstance(caught.value, HistoryUnreachable)


def test_the_default_is_the_file_beside_the_reports_or_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIL_HISTORY", raising=False)
    assert default_url() == "sqlite:///reports/history.sqlite"
    monkeypatch.setenv("HIL_HISTORY", "postgresql+psycopg://db/hil")
    assert default_url() == "postgresql+psycopg://db/hil"


def test_the_last_rows_of_a_combination_are_read_and_no_others(history: History) -> None:
    many = [
        dataclasses.replace(
            sample_run(model=name, seed=i + 1),
            run_id=f"{name}-{i}",
            started_utc=f"2026-01-{i + 1:02}T00:00:00Z",
        )
        for name in ("a", "b")
        for i in range(9)
    ]
    assert history.add(many) == 18
    assert history.add(many) == 0
    wanted = history.combinations(Where(model="b"))
    assert [where.model for where in wanted] == ["b"]
    found = list(history.last_runs(wanted, latest=3))
    assert [run.run_id for run in found] == ["b-6", "b-7", "b-8"]
    assert len(history.combinations()) == 2


def test_a_history_of_the_first_version_is_upgraded_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History.open(str(path)) as history:
        history.add(a_night())
    with sqlite3.connect(path) as old:  # as version 1 left it
        old.execute("DROP TABLE hil_combinations")
        old.execute("DROP TABLE hil_figures")
        old.execute("DROP INDEX hil_runs_latest")
        old.execute("UPDATE hil_version SET version = 1")
    with History.open(str(path)) as history:
        assert {run.run_id for run in history.runs()} == {run.run_id for run in a_night()}
        assert {where.model for where in history.combinations()} == {run.model for run in a_night()}
    with sqlite3.connect(path) as new:
        names = {name for (name,) in new.execute("SELECT name FROM sqlite_master")}
    assert {"hil_combinations", "hil_runs_latest"} <= names


def figures_in(history: History) -> dict[tuple[str, str], float]:
    query = "SELECT run_id, metric, value FROM hil_figures"
    with history._engine.connect() as connection:
        return {(run, name): value for run, name, value in connection.execute(sql.text(query))}


def test_figures_stand_beside_the_rows_and_can_be_made_again(history: History) -> None:
    history.add(night(1))
    there = figures_in(history)
    run = next(run for run in night(1) if run.cycles)
    assert there[run.run_id, "latency_ms"] == BY_NAME["latency_ms"].of(run)
    with history._engine.begin() as connection:  # as version 2 left it
        connection.execute(sql.text("DELETE FROM hil_figures"))
    assert history.fill_figures() == len(night(1))
    assert figures_in(history) == there
    assert history.fill_figures() == len(night(1))
    assert figures_in(history) == there


def test_what_is_deleted_is_gone_with_its_figures_and_nothing_else(history: History) -> None:
    history.add([*night(1), *night(2), *night(3)])
    assert history.remove(Where(before_utc="2026-03-02T00:00:00Z"), dry_run=True) == 6
    assert len(list(history.runs())) == 18
    assert history.remove(Where(before_utc="2026-03-02T00:00:00Z")) == 6
    assert history.remove(Where(session_id="session-3")) == 6
    assert history.remove(Where(session_id="session-3")) == 0
    assert {run.session_id for run in history.runs()} == {"session-2"}
    assert {name.partition("-")[0] for name, _ in figures_in(history)} == {"2"}
    with pytest.raises(ReportError, match="nothing says which rows"):
        history.remove(Where())


def test_old_rows_are_pruned_by_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "h.sqlite")
    today = datetime.now(UTC)
    with History.open(path) as history:
        for days in (1, 399, 401):
            began = (today - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
            history.add([dataclasses.replace(sample_run(), run_id=str(days), started_utc=began)])
    command = ["history", "--history", path, "prune", "--keep", "400d"]
    assert main([*command, "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 rows would be deleted\n"
    assert main(command) == 0
    with History.open(path) as history:
        assert {run.run_id for run in history.runs()} == {"1", "399"}
    assert main(["history", "--history", path, "prune"]) != 0
    assert main(["history", "--history", path, "prune", "--keep", "soon"]) != 0


def test_no_column_of_a_row_may_lack_its_value(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    History.open(str(path)).close()
    engine = sql.create_engine(f"sqlite:///{path}")
    columns = sql.inspect(engine).get_columns("hil_runs")
    engine.dispose()
    assert len(columns) > 10
    assert [column["name"] for column in columns if column["nullable"]] == []

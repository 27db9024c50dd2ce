"""The database: whole rows, compressed, and beside each the few columns that one asks for.

Figures are pure functions of rows, so a new metric has a history at once; some are kept as well, for others who ask in
SQL (`esp_hil.results.history.figures`).
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError

from esp_hil.errors import HistoryUnreachable, ReportError
from esp_hil.results.history.figures import figures_of
from esp_hil.results.history_url import parsed, shown
from esp_hil.results.record import Run
from esp_hil.settings import variable

HISTORY_VERSION = 3
BATCH = 500

LATEST = 300
"""Rows of a combination that are looked at for its level and its steps: the last ones."""

SESSION_ROWS = 1000
"""A session that is listed is looked for among so many rows for each that is asked for, at most."""

TRIES = 20
MADE_S = 0.05
LOCK = 0x68696C
"""Of PostgreSQL's advisory locks: who makes or upgrades the tables."""

_TABLES = sql.MetaData()

_VERSION = sql.Table("hil_version", _TABLES, sql.Column("version", sql.Integer, primary_key=True))

_RUNS = sql.Table(
    "hil_runs",
    _TABLES,
    sql.Column("run_id", sql.String(64), primary_key=True),
    sql.Column("session_id", sql.String(64), nullable=False, index=True),
    sql.Column("started_utc", sql.String(40), nullable=False, index=True),
    sql.Column("model", sql.Text, nullable=False),
    sql.Column("recipe", sql.Text, nullable=False),
    sql.Column("runtime", sql.Text, nullable=False),
    sql.Column("target", sql.Text, nullable=False),
    sql.Column("board", sql.Text, nullable=False),
    sql.Column("kind", sql.String(16), nullable=False),
    sql.Column("attempt", sql.Integer, nullable=False),
    sql.Column("passed", sql.Boolean, nullable=False),
    sql.Column("git_sha", sql.String(64), nullable=False),
    sql.Column("row", sql.LargeBinary, nullable=False),
)

_IDENTITY = ("model", "recipe", "runtime", "target")

_LATEST = sql.Index("hil_runs_latest", *(_RUNS.c[name] for name in _IDENTITY), _RUNS.c.started_utc)
"""Every question about a combination is for its last rows: read from this index, whatever lies before."""

_COMBINATIONS = sql.Table(
    "hil_combinations",
    _TABLES,
    *(sql.Column(name, sql.Text, primary_key=True) for name in _IDENTITY),
)
"""Each identity that has rows: a few hundred, where the rows are millions."""


_FIGURES = sql.Table(
    "hil_figures",
    _TABLES,
    sql.Column("run_id", sql.String(64), primary_key=True),
    sql.Column("metric", sql.String(64), primary_key=True),
    sql.Column("value", sql.Float(53), nullable=False),
)
"""Some figures of each row, for what asks in SQL (docs/grafana); the harness itself never reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which rows; None takes all. `before_utc` and `since_utc` bound the start, the second one included."""

    model: str | None = None
    recipe: str | None = None
    runtime: str | None = None
    target: str | None = None
    board: str | None = None
    kind: str | None = None
    session_id: str | None = None
    since_utc: str | None = None
    before_utc: str | None = None


def default_url() -> str:
    """The history that HIL_HISTORY names, or the file beside the reports."""
    return variable("HIL_HISTORY") or "sqlite:///reports/history.sqlite"


class History:
    """A history that is open; close it, or use it as a context.

    Args:
        engine: of SQLAlchemy, with the tables made.
    """

    def __init__(self, engine: sql.Engine) -> None:
        self._engine = engine
        self.name = engine.url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, url: str | None = None, *, create: bool = True) -> Self:
        """Open a history.

        Args:
            url: of SQLAlchemy, or the path of a SQLite file; None: `default_url()`.
            create: make file, folder and tables where there are none; False for who only reads, so that a misspelt
                name is no empty history.

        Raises:
            HistoryUnreachable: the database does not answer, or refuses us.
            ReportError: not a URL, no driver, no history there, or it was made by a later version.
        """
        found = parsed(url or default_url())
        name = found.render_as_string(hide_password=True)
        file = Path(found.database or "") if found.drivername.startswith("sqlite") else None
        if file is not None and not create and not file.exists():
            raise _absent(name)
        with _translated(name):
            try:
                if file is not None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                history = cls(sql.create_engine(found))
            except OSError as error:
                raise ReportError(f"cannot make {name}: {error.strerror}", step="history") from None
        with _translated(history.name):
            if not create and not sql.inspect(history._engine).has_table(_VERSION.name):
                raise _absent(name)
            history._prepare()
        return history

    def _prepare(self) -> None:
        """Make what is missing; of several that open an empty database at once, one makes each table."""
        for left in reversed(range(TRIES)):
            try:
                self._make()
            except (IntegrityError, ProgrammingError, OperationalError) as error:
                # the others find it there a moment later
                if not left or "already exists" not in str(error):
                    raise
                time.sleep(MADE_S)
            else:
                return

    def _make(self) -> None:
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK)))
            _TABLES.create_all(connection)
            found = connection.execute(sql.select(sql.func.max(_VERSION.c.version))).scalar()
            if found is None or found < HISTORY_VERSION:
                if found is not None:
                    self._upgrade(connection)
                self._insert_ignoring(connection, _VERSION, [{"version": HISTORY_VERSION}])
            elif found > HISTORY_VERSION:
                raise ReportError(
                    f"{self.name} has version {found}, this esp-hil knows {HISTORY_VERSION}",
                    hint="use the esp-hil that wrote it, or a later one",
                    step="history",
                )

    def _upgrade(self, connection: sql.Connection) -> None:
        """Add what older versions had not; no row changes.

        Version 1 had neither the index of the last rows nor the list of combinations, version 2 no figures: those
        of its rows are made when somebody asks for them (`fill_figures`), for that reads every row.
        """
        _LATEST.create(connection, checkfirst=True)
        distinct = sql.select(*(_RUNS.c[name] for name in _IDENTITY)).distinct()
        rows = [dict(zip(_IDENTITY, found, strict=True)) for found in connection.execute(distinct)]
        for batch in _batches(rows):
            self._insert_ignoring(connection, _COMBINATIONS, batch)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, runs: Iterable[Run]) -> int:
        """Add rows; one that is there already stays as it is. Returns how many were new.

        Raises:
            ReportError: the database refused; none of these rows is in it then.
        """
        runs = list(runs)
        rows = {run.run_id: _columns(run) for run in runs}
        combinations = {tuple(row[name] for name in _IDENTITY) for row in rows.values()}
        new = 0
        with _translated(self.name), self._engine.begin() as connection:
            known = [dict(zip(_IDENTITY, found, strict=True)) for found in sorted(combinations)]
            for batch in _batches(known):
                self._insert_ignoring(connection, _COMBINATIONS, batch)
            for batch in _batches(list(rows.values())):
                before = self._count(connection, batch)
                self._insert_ignoring(connection, _RUNS, batch)
                new += self._count(connection, batch) - before
            for figures in _batches(_figure_rows(runs)):
                self._insert_ignoring(connection, _FIGURES, figures)
        return new

    def fill_figures(self) -> int:
        """Make the figures of all rows anew: after an upgrade, or when there are more of them. How many rows.

        Raises:
            ReportError: the database failed, or holds a row that this version cannot read.
        """
        rows, last = 0, ""
        while True:
            query = (
                sql.select(_RUNS.c.run_id, _RUNS.c.row)
                .where(_RUNS.c.run_id > last)
                .order_by(_RUNS.c.run_id)
                .limit(BATCH)
            )
            with _translated(self.name), self._engine.begin() as connection:
                found = [(str(name), _run(self.name, name, blob)) for name, blob in connection.execute(query)]
                if not found:
                    return rows
                names = [name for name, _ in found]
                connection.execute(sql.delete(_FIGURES).where(_FIGURES.c.run_id.in_(names)))
                for figures in _batches(_figure_rows([run for _, run in found])):
                    self._insert_ignoring(connection, _FIGURES, figures)
            rows, last = rows + len(found), names[-1]

    def remove(self, where: Where, *, dry_run: bool = False) -> int:
        """Delete rows and their figures; their identities stay, for a writer may just be adding to one. How many rows.

        Args:
            where: which; what names nothing would delete everything, and is refused.
            dry_run: only count them.

        Raises:
            ReportError: the database refused; all rows are there then.
        """
        if where == Where():
            raise ReportError("nothing says which rows to delete", hint="a day, or a session", step="history")
        chosen = _filtered(sql.select(_RUNS.c.run_id), where)
        with _translated(self.name), self._engine.begin() as connection:
            counted = sql.select(sql.func.count()).select_from(chosen.subquery())
            rows = int(connection.execute(counted).scalar_one())
            if dry_run or not rows:
                return rows
            connection.execute(sql.delete(_FIGURES).where(_FIGURES.c.run_id.in_(chosen)))
            connection.execute(sql.delete(_RUNS).where(_RUNS.c.run_id.in_(chosen)))
        return rows

    @staticmethod
    def _count(connection: sql.Connection, rows: list[dict[str, Any]]) -> int:
        """How many of these rows are there, by their key."""
        there = _RUNS.c.run_id.in_([row["run_id"] for row in rows])
        return int(
            connection.execute(sql.select(sql.func.count()).select_from(_RUNS).where(there)).scalar_one()
        )

    @staticmethod
    def _insert_ignoring(connection: sql.Connection, table: sql.Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows whose key is not there yet; two writers at once do each other no harm."""
        if not rows:
            return
        dialect = connection.dialect.name
        if dialect == "postgresql":
            connection.execute(postgresql.insert(table).on_conflict_do_nothing(), rows)
        elif dialect == "sqlite":
            connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)
        else:
            keys = list(table.primary_key.columns)
            wanted = [tuple(row[key.name] for key in keys) for row in rows]
            query = sql.select(*keys).where(sql.tuple_(*keys).in_(wanted))
            there = {tuple(found) for found in connection.execute(query)}
            fresh = [row for row, key in zip(rows, wanted, strict=True) if key not in there]
            if fresh:
                connection.execute(sql.insert(table), fresh)

    def runs(self, where: Where | None = None, *, latest: int | None = None) -> Iterator[Run]:
        """Rows in the order of their start.

        Args:
            where: which; all if None.
            latest: only so many, the last ones.

        Raises:
            ReportError: the database failed, or holds a row that this version cannot read.
        """
        query = _filtered(sql.select(_RUNS.c.run_id, _RUNS.c.row), where or Where())
        if latest is None:
            query = query.order_by(_RUNS.c.started_utc, _RUNS.c.run_id)
        else:
            chosen = query.add_columns(_RUNS.c.started_utc).order_by(
                _RUNS.c.started_utc.desc(), _RUNS.c.run_id.desc()
            )
            newest = chosen.limit(latest).subquery()
            query = sql.select(newest.c.run_id, newest.c.row).order_by(newest.c.started_utc, newest.c.run_id)
        with _translated(self.name), self._engine.connect() as connection:
            for run_id, blob in connection.execution_options(yield_per=BATCH).execute(query):
                yield _run(self.name, run_id, blob)

    def combinations(self, where: Where | None = None) -> tuple[Where, ...]:
        """The identities that have rows, as far as `where` names model, recipe, runtime and target; sorted."""
        query = sql.select(*(_COMBINATIONS.c[name] for name in _IDENTITY))
        for name in _IDENTITY:
            value = getattr(where, name) if where is not None else None
            if value is not None:
                query = query.where(_COMBINATIONS.c[name] == _text(value))
        with _translated(self.name), self._engine.connect() as connection:
            found = sorted(connection.execute(query).all())
        base = where or Where()
        return tuple(replace(base, **dict(zip(_IDENTITY, row, strict=True))) for row in found)

    def boards(self, wanted: Iterable[Where]) -> tuple[str, ...]:
        """Ids of the boards that have rows of some combinations, wherever these look for a board; sorted."""
        found: set[str] = set()
        with _translated(self.name), self._engine.connect() as connection:
            for where in wanted:
                query = _filtered(sql.select(_RUNS.c.board).distinct(), replace(where, board=None))
                found.update(connection.execute(query).scalars())
        return tuple(sorted(found))

    def last_runs(self, wanted: Iterable[Where], *, latest: int = LATEST) -> Iterator[Run]:
        """The last rows of each of some combinations: as fast with a million rows before them as with none."""
        for where in wanted:
            yield from self.runs(where, latest=latest)

    def sessions(self, *, latest: int = 20) -> tuple[tuple[str, str, int, int], ...]:
        """The last sessions, the newest first: id, start, number of rows, how many of them passed."""
        passed = sql.func.sum(sql.case((_RUNS.c.passed, 1), else_=0))
        start = sql.func.min(_RUNS.c.started_utc)
        with _translated(self.name), self._engine.connect() as connection:
            # by their names: a database that is asked for rows of some sessions may read all rows to find them
            query = (
                sql.select(_RUNS.c.session_id, start, sql.func.count(), passed)
                .where(_RUNS.c.session_id.in_(self._last_sessions(connection, latest)))
                .group_by(_RUNS.c.session_id)
                .order_by(start.desc())
                .limit(latest)
            )
            found = connection.execute(query).all()
        return tuple((str(a), str(b), int(c), int(d)) for a, b, c, d in found)

    @staticmethod
    def _last_sessions(connection: sql.Connection, latest: int) -> list[str]:
        """Names of the sessions of the last rows, at least so many if there are."""
        rows = LATEST
        while True:
            query = sql.select(_RUNS.c.session_id).order_by(_RUNS.c.started_utc.desc()).limit(rows)
            found = connection.execute(query).scalars().all()
            names = list(dict.fromkeys(map(str, found)))
            if len(names) > latest or len(found) < rows or rows >= latest * SESSION_ROWS:
                return names
            rows *= 4


def _absent(name: str) -> ReportError:
    return ReportError(
        f"no history at {name.removeprefix('sqlite:///')}",
        hint="hil history add DIR makes one",
        step="history",
    )


def _columns(run: Run) -> dict[str, Any]:
    plain = {
        name: getattr(run, name)
        for name in ("run_id", "session_id", "started_utc", "model", "recipe", "runtime", "target", "board")
    }
    others = {"kind": run.kind, "attempt": run.attempt, "passed": run.passed}
    blob = zlib.compress(run.to_json().encode("ascii"), 6)
    texts = {name: _text(value) for name, value in plain.items()}
    return texts | others | {"git_sha": run.provenance.git_sha, "row": blob}


def _figure_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    return [
        {"run_id": _text(run.run_id), "metric": name, "value": value}
        for run in runs
        for name, value in figures_of(run).items()
    ]


def _text(value: str) -> str:
    """A name as every database takes it, without half surrogates and NUL; the row itself keeps those."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def _run(name: str, run_id: str, blob: bytes) -> Run:
    try:
        return Run.from_json(zlib.decompress(blob).decode("ascii"))
    except (ReportError, zlib.error, UnicodeDecodeError) as error:
        said = error.message if isinstance(error, ReportError) else str(error)
        hint = error.hint if isinstance(error, ReportError) else ""
        raise ReportError(f"{name}: row {run_id}: {said}", hint=hint, step="history") from None


def _filtered(query: sql.Select[Any], where: Where) -> sql.Select[Any]:
    for field in fields(Where):
        value = getattr(where, field.name)
        if value is None:
            continue
        if field.name == "since_utc":
            query = query.where(_RUNS.c.started_utc >= value)
        elif field.name == "before_utc":
            query = query.where(_RUNS.c.started_utc < value)
        else:
            query = query.where(_RUNS.c[field.name] == _text(value))
    return query


def _batches(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for at in range(0, len(rows), BATCH):
        yield list(rows[at : at + BATCH])


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Foreign errors become ours where they enter."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise HistoryUnreachable(
            f"{name}: {shown(_first_line(error))}",
            hint="is the database up, and the URL right?",
            step="history",
        ) from None
    except SQLAlchemyError as error:
        raise ReportError(f"{name}: {shown(_first_line(error))}", step="history") from None


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(error).__name__

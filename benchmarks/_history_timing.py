"""How much longer a night takes with a long history than with a short one.

`add` puts a night's rows in, `compare` reads the baseline of all combinations and judges the night, `steps` looks
for the steps of each figure that the night has, `open` is connecting and asking for the last sessions. Both
histories have the same COMBINATIONS on the same boards, so the long one has more nights, not more models, and the
short one has already as many rows of each as are ever looked at (`history.LATEST`). Rounds alternate between the
two; the ratios are those of medians, of the wall clock and of this process's CPU, which a loaded machine disturbs less
(PostgreSQL's own is not in it).

The older nights are copies of the first one with other days, made by the database itself; the measured ones go in
through `History.add`.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import sqlalchemy as sql

from esp_hil.results.history import History, lines_of
from esp_hil.results.history.lines import where_of
from esp_hil.results.history.store import _RUNS
from esp_hil.results.record import Run
from esp_hil.results.regress import compare
from esp_hil.results.regress.comparable import identity_of
from esp_hil.session.baseline import base_rows
from tests.report.samples import sample_run
from tests.results.history import postgres

COMBINATIONS = 25
"""Models; a night of 500 rows has each of them on 20 boards."""
EPOCH = datetime(2020, 1, 1, 2, tzinfo=UTC)
DISTINCT = 300
"""Rows that those of a night are made from."""
STEPS = ("open", "add", "compare", "steps")


def night_of(number: int, size: int) -> list[Run]:
    """A session: the combinations on one board after the other; the same rows for the same number."""
    began = EPOCH + timedelta(days=number)
    return [
        dataclasses.replace(
            _base(i % DISTINCT),
            run_id=f"{number:06d}-{i:04d}",
            session_id=f"session-{number:06d}",
            model=f"model-{i % COMBINATIONS}",
            board=f"board-{i // COMBINATIONS}",
            started_utc=(began + timedelta(seconds=i)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        for i in range(size)
    ]


_BASES: dict[int, Run] = {}


def _base(seed: int) -> Run:
    if seed not in _BASES:
        _BASES[seed] = sample_run(seed=seed + 1, median_ms=1 + seed % 37)
    return _BASES[seed]


_COLUMNS = [column.name for column in _RUNS.columns]
_OTHERS = ", ".join(_COLUMNS[3:])
_MULTIPLY = {
    "sqlite": f"""
        WITH RECURSIVE nights(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM nights WHERE n < :last)
        INSERT INTO hil_runs ({", ".join(_COLUMNS)})
        SELECT printf('%06d', n) || substr(run_id, 7), 'session-' || printf('%06d', n),
               strftime('%Y-%m-%dT%H:%M:%SZ', started_utc, '+' || n || ' days'), {_OTHERS}
        FROM nights, one_night""",
    "postgresql": f"""
        INSERT INTO hil_runs ({", ".join(_COLUMNS)})
        SELECT lpad(n::text, 6, '0') || substr(run_id, 7), 'session-' || lpad(n::text, 6, '0'),
               to_char(started_utc::timestamp + n * interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), {_OTHERS}
        FROM generate_series(cast(:first AS integer), :last) AS nights(n), one_night""",
}
"""One night made many, in the database."""
TOGETHER = 10
"""Nights that one statement makes: they lie in the order of time, as those that came one after the other do."""


def fill(url: str, rows: int, size: int) -> int:
    """Nights up to so many rows; returns their number."""
    nights = rows // size
    with History.open(url) as history:
        history.add(night_of(0, size))
    engine = sql.create_engine(url if "://" in url else f"sqlite:///{url}")
    with engine.begin() as connection:
        connection.execute(sql.text("CREATE TEMPORARY TABLE one_night AS SELECT * FROM hil_runs"))
        for first in range(1, nights, TOGETHER):
            span = {"first": first, "last": min(first + TOGETHER, nights) - 1}
            connection.execute(sql.text(_MULTIPLY[engine.dialect.name]), span)
        connection.execute(sql.text("ANALYZE"))  # as PostgreSQL does by itself after a while
    engine.dispose()
    return nights


Times = dict[str, tuple[float, float]]
"""Step -> seconds of the wall clock, and of this process's CPU."""


def measure(url: str, number: int, size: int) -> Times:
    """What each step of one night takes."""
    night = night_of(number, size)
    found: Times = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        work()
        found[name] = time.perf_counter() - start, time.process_time() - cpu

    def opened() -> None:
        with History.open(url) as history:
            history.sessions()

    def added() -> None:
        with History.open(url) as history:
            assert history.add(night) == size

    def compared() -> None:
        base = base_rows(url, before_utc=night[0].started_utc)
        assert compare(base, night).changes

    def stepped() -> None:
        with History.open(url) as history:
            wanted = dict.fromkeys(where_of(identity_of(run)) for run in night)
            assert lines_of(history.last_runs(wanted))

    for name, work in zip(STEPS, (opened, added, compared, stepped), strict=True):
        timed(name, work)
    return found


def main(args: Namespace) -> None:
    """Print a line for each night that is measured, and the ratios."""
    kinds = ("sqlite", "postgresql") if args.database == "both" else (args.database,)
    for kind in kinds:
        if kind == "postgresql" and (reason := postgres.why_not()):
            print(f"postgresql: not measured: {reason}")
            continue
        with ExitStack() as stack:
            urls = [_empty(kind, stack) for _ in args.rows]
            _measure_both(kind, urls, args)


def _empty(kind: str, stack: ExitStack) -> str:
    if kind == "postgresql":
        return stack.enter_context(postgres.server())
    return str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "history.sqlite")


def _measure_both(kind: str, urls: list[str], args: Namespace) -> None:
    print(f"{kind:>10} {'rows':>9} " + " ".join(f"{name:>9}" for name in STEPS) + "   load")
    nights = []
    for url, rows in zip(urls, args.rows, strict=True):
        start = time.perf_counter()
        nights.append(fill(url, rows, args.night))
        print(f"{kind:>10} {rows:9,} made in {time.perf_counter() - start:.0f} s", flush=True)
    found: list[list[Times]] = [[] for _ in urls]
    for round_ in range(args.rounds):
        for which in (0, 1) if round_ % 2 == 0 else (1, 0):
            seconds = measure(urls[which], nights[which] + round_, args.night)
            found[which].append(seconds)
            print(
                f"{kind:>10} {args.rows[which]:9,} {_words(seconds)}   {os.getloadavg()[0]:.1f}", flush=True
            )
    for which, clock in enumerate(("wall", "CPU")):
        short, long = ({name: median(one[name][which] for one in times) for name in STEPS} for times in found)
        print(
            f"{kind:>10} {'x ' + clock:>9} "
            + " ".join(f"{long[name] / short[name]:8.2f}x" for name in STEPS),
            flush=True,
        )


def _words(times: Times) -> str:
    return " ".join(f"{times[name][0]:7.2f} s" for name in STEPS)

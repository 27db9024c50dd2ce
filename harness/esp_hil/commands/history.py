"""`hil history`: rows of all sessions in a database, and what changed over time."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_skip_damaged

if TYPE_CHECKING:
    from esp_hil.errors import HilError
    from esp_hil.results.history import History, HistoryLine, Where

HELP = "keep rows of all sessions; show figures over time, and when one changed for good"
EXAMPLES = """
  hil history add reports/out/latest
  hil history show
  hil history steps
"""

_FILTERS = ("model", "recipe", "target", "board")
_NONE_YET = "(hil history add reports/out/<time>)"
_BARS = "▁▂▃▄▅▆▇█"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil history`."""
    parser.add_argument(
        "--history",
        metavar="URL",
        help="SQLAlchemy URL or SQLite file (default: HIL_HISTORY, else reports/history.sqlite)",
    )
    commands = parser.add_subparsers(dest="history_command", required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="put recorded rows into the history")
    add.add_argument("runs", nargs="+", type=Path, metavar="DIR|RUNS.jsonl")
    add_skip_damaged(add)
    sessions = commands.add_parser("sessions", help="list the last sessions")
    sessions.add_argument("--last", type=int, default=20, help="show this many (default 20)")
    prune = commands.add_parser("prune", help="delete old rows, or those of a session")
    prune.add_argument("--keep", metavar="DAYS", help="delete what is older, such as 400d")
    prune.add_argument(
        "--session", metavar="ID", help="delete the rows of this session (hil history sessions)"
    )
    prune.add_argument("--board", metavar="BOARD", help="only rows of this board")
    prune.add_argument("--dry-run", action="store_true", help="say how many rows, delete none")
    commands.add_parser("figures", help="rebuild from all rows the figures that Grafana reads (docs/grafana)")
    show = commands.add_parser("show", help="figures over time, as one line each")
    steps = commands.add_parser("steps", help="when did a figure change for good? status 1 if one got worse")
    steps.add_argument("--last", type=int, metavar="N", help="only steps within the last N values of a line")
    for command in (show, steps):
        for name in _FILTERS:
            command.add_argument(f"--{name}", metavar=name.upper(), help=f"only rows of this {name}")
        command.add_argument("--since", metavar="YYYY-MM-DD", help="only rows from that day on")
        command.add_argument(
            "--metric",
            action="append",
            metavar="NAME",
            help="only this figure, such as latency_ms; may be repeated (default: all that are gated)",
        )


def run(args: Namespace) -> int:
    """Do what the subcommand says."""
    from esp_hil.results.history import History

    _check(args)
    if args.history_command == "add":
        return _add(args.history, args.runs, skip_damaged=args.skip_damaged)
    with History.open(args.history, create=False) as history:
        if args.history_command == "sessions":
            return _sessions(history, args.last)
        if args.history_command == "prune":
            return _prune(history, args)
        if args.history_command == "figures":
            print(f"figures of {history.fill_figures()} rows")
            return 0
        lines = _lines(history, args)
        return _show(lines) if args.history_command == "show" else _steps(lines, args.last)


def _check(args: Namespace) -> None:
    from esp_hil.errors import ConfigError

    if (last := getattr(args, "last", None)) is not None and last < 1:
        raise ConfigError(f"--last {last} is too few", hint="give at least 1")
    if (since := getattr(args, "since", None)) is not None:
        try:
            date.fromisoformat(since[:10])
        except ValueError:
            raise ConfigError(f"--since {since}: not a day", hint="as 2026-03-14") from None


def _add(url: str | None, sources: list[Path], *, skip_damaged: bool) -> int:
    from esp_hil.results.history import History
    from esp_hil.results.journal import read_runs

    for source in sources:
        recorded = read_runs(source, skip_damaged=skip_damaged)
        for warning in recorded.warnings:
            print(f"warning: {warning}")
        with History.open(url) as history:  # made only now that there is something to put in
            print(f"{source}: {history.add(recorded.runs)} of {len(recorded.runs)} rows were new")
    return 0


def _prune(history: History, args: Namespace) -> int:
    from datetime import UTC, datetime, timedelta

    from esp_hil.errors import ConfigError
    from esp_hil.results.history import Where

    before = None
    if args.keep is not None:
        found = re.fullmatch(r"(\d{1,5}) ?d?", args.keep.strip())
        if found is None:
            raise ConfigError(f"--keep {args.keep}: not a number of days", hint="such as 400d")
        before = (datetime.now(UTC) - timedelta(days=int(found[1]))).strftime("%Y-%m-%dT%H:%M:%SZ")
    if before is None and args.session is None:
        raise ConfigError(
            "hil history prune needs to know what to delete", hint="--keep 400d or --session ID"
        )
    where = Where(before_utc=before, session_id=args.session, board=args.board)
    rows = history.remove(where, dry_run=args.dry_run)
    print(f"{rows} rows {'would be deleted' if args.dry_run else 'deleted'}")
    return 0


def _sessions(history: History, last: int) -> int:
    found = history.sessions(latest=last)
    for session, start, rows, passed in found:
        print(f"{start[:19]}  {session}  {passed} of {rows} ok")
    if not found:
        print(f"no sessions yet {_NONE_YET}")
    return 0


def _lines(history: History, args: Namespace) -> Sequence[HistoryLine]:
    """Lines of what the filters leave.

    Raises:
        ConfigError: a filter or a figure has a name that no row has: nothing was looked at, so nothing is well.
    """
    from esp_hil.errors import ConfigError, did_you_mean
    from esp_hil.results.history import figure_names, lines_of

    runs = list(history.last_runs(_wanted(history, args)))
    if not runs and not any(getattr(args, name) for name in (*_FILTERS, "since")):
        print(f"no rows yet {_NONE_YET}")
    for name in args.metric or ():
        known = figure_names(runs)
        if name not in known:
            hint = did_you_mean(name, known) or "hil history show, without --metric, names figures"
            raise ConfigError(f"no figure {name!r}", hint=hint)
    return lines_of(runs, args.metric)


def _wanted(history: History, args: Namespace) -> Sequence[Where]:
    """The combinations that the filters leave; each filter is looked at among the rows that those before it left.

    Raises:
        ConfigError: one leaves none.
    """
    from esp_hil.results.history import Where

    left: Sequence[Where] = history.combinations(Where(board=args.board, since_utc=args.since))
    for name in ("model", "recipe", "target"):
        if (value := getattr(args, name)) is not None:
            there = sorted({getattr(where, name) for where in left})
            left = [where for where in left if getattr(where, name) == value]
            if not left:
                raise _no_rows(name, value, there)
    if args.board is not None and not any(True for _ in history.last_runs(left, latest=1)):
        ever = [replace(where, since_utc=None) for where in left]
        boards = history.boards(ever)
        if args.board not in boards:
            raise _no_rows("board", args.board, boards)
    return left


def _no_rows(name: str, value: str, there: Sequence[str]) -> HilError:
    from esp_hil.errors import ConfigError, did_you_mean

    hint = f"{did_you_mean(value, there)} there are: {', '.join(there) or 'none'}".strip()
    return ConfigError(f"no rows of {name} {value!r}", hint=hint)


def _show(lines: Sequence[HistoryLine]) -> int:
    for line in sorted(lines, key=_weight):
        values = [point.value for point in line.points]
        mark = {"silicon": "", "emulated": " (emulated)", "virtual": " (virtual board)"}[line.kind]
        unit = f" {line.unit}" if line.unit else ""
        print(f"{line.title}{mark}")
        print(f"  {sparkline(values)}  {values[0]:.5g} -> {values[-1]:.5g}{unit}, {len(values)} sessions")
        for step in line.steps:
            print(f"  {line.summary(step)}")
    if not lines:
        print("no figure was measured twice")
    return 0


_FIRST = (
    "latency_ms",
    "top1_device_pct",
    "agreement_device_float_pct",
    "arena_bytes",
    "arena_internal_bytes",
)


def _weight(line: HistoryLine) -> tuple[str, str, int, str]:
    """Of a combination first what people ask for: latency, top-1, arena; then the other figures by name."""
    place = _FIRST.index(line.metric) if line.metric in _FIRST else len(_FIRST)
    return line.identity.summary, line.board, place, line.metric


def _steps(lines: Sequence[HistoryLine], last: int | None) -> int:
    worse = found = 0
    for line in lines:
        for step in line.steps:
            if last is None or step.at >= len(line.points) - last:
                found += 1
                worse += line.worse(step) is True
                print(line.summary(step))
    print(f"{found} step{'s' if found != 1 else ''}, {worse} for the worse")
    return 1 if worse else 0


def sparkline(values: list[float], width: int = 60) -> str:
    """Values as a line of bars from the lowest to the highest; the last `width` of them."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    if high == low:
        return _BARS[0] * len(shown)
    return "".join(_BARS[int((value - low) / (high - low) * (len(_BARS) - 1))] for value in shown)

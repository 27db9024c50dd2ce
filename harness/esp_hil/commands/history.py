"""`hil history`: rows of all sessions in a database, and what changed over time."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_skip_damaged

if TYPE_CHECKING:
    from esp_hil.results.history import History, HistoryLine, Where

HELP = "keep rows of all sessions; show figures over time, and when one changed for good"
EXAMPLES = """
  hil history add reports/out/latest
  hil history show
  hil history steps
"""

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
    commands.add_parser(
        "figures", help="make anew, from all rows, the figures that Grafana reads (docs/grafana)"
    )
    show = commands.add_parser("show", help="figures over time, as one line each")
    steps = commands.add_parser("steps", help="when did a figure change for good? status 1 if one got worse")
    steps.add_argument("--last", type=int, metavar="N", help="only steps within the last N values of a line")
    for command in (show, steps):
        command.add_argument("--model")
        command.add_argument("--recipe")
        command.add_argument("--target")
        command.add_argument("--board")
        command.add_argument("--since", metavar="YYYY-MM-DD", help="only rows from that day on")
        command.add_argument(
            "--metric",
            action="append",
            metavar="NAME",
            help="only these figures (default: all that are gated)",
        )


def run(args: Namespace) -> int:
    """Do what the subcommand says."""
    from esp_hil.results.history import History

    _check(args)
    with History.open(args.history) as history:
        if args.history_command == "add":
            return _add(history, args.runs, skip_damaged=args.skip_damaged)
        if args.history_command == "sessions":
            return _sessions(history, args.last)
        if args.history_command == "prune":
            return _prune(history, args)
        if args.history_command == "figures":
            print(f"figures of {history.fill_figures()} rows")
            return 0
        return _show(history, args) if args.history_command == "show" else _steps(history, args)


def _check(args: Namespace) -> None:
    from esp_hil.errors import ConfigError

    if (last := getattr(args, "last", None)) is not None and last < 1:
        raise ConfigError(f"--last {last}", hint="at least 1")
    if (since := getattr(args, "since", None)) is not None:
        try:
            date.fromisoformat(since[:10])
        except ValueError:
            raise ConfigError(f"--since {since}: not a day", hint="as 2026-03-14") from None


def _add(history: History, sources: list[Path], *, skip_damaged: bool) -> int:
    from esp_hil.results.journal import read_runs

    for source in sources:
        recorded = read_runs(source, skip_damaged=skip_damaged)
        for warning in recorded.warnings:
            print(f"warning: {warning}")
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
    for session, start, rows, passed in history.sessions(latest=last):
        print(f"{start[:19]}  {session}  {passed} of {rows} ok")
    return 0


def _where(args: Namespace) -> Where:
    from esp_hil.results.history import Where

    return Where(
        model=args.model,
        recipe=args.recipe,
        target=args.target,
        board=args.board,
        since_utc=args.since,
    )


def _show(history: History, args: Namespace) -> int:
    from esp_hil.results.history import lines_of

    lines = lines_of(history.last_runs(history.combinations(_where(args))), args.metric)
    for line in sorted(lines, key=_weight):
        values = [point.value for point in line.points]
        mark = {"silicon": "", "emulated": " (emulated)", "virtual": " (simulated)"}[line.kind]
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


def _steps(history: History, args: Namespace) -> int:
    from esp_hil.results.history import lines_of

    worse = found = 0
    for line in lines_of(history.last_runs(history.combinations(_where(args))), args.metric):
        for step in line.steps:
            if args.last is None or step.at >= len(line.points) - args.last:
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

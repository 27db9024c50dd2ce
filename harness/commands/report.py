"""`hil report`: draws the reports again from rows that were recorded; no board is needed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "write the reports of recorded runs again"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil report`."""
    parser.add_argument("runs", type=Path, metavar="DIR|RUNS.jsonl", help="folder or file of recorded rows")
    parser.add_argument("--out", type=Path, help="folder for the reports (default: where the rows are)")
    parser.add_argument("--formats", nargs="+", metavar="NAME", help="only these formats (default: all)")


def run(args: Namespace) -> int:
    """Write the reports and print the short table; 1 if a run is wrong or broken."""
    from harness.journal import read_runs
    from harness.report import summary, write_reports

    recorded = read_runs(args.runs)
    out = args.out or (args.runs if args.runs.is_dir() else args.runs.parent)
    written = write_reports(recorded.runs, out, formats=args.formats, warnings=recorded.warnings)
    for warning in recorded.warnings:
        print(f"warning: {warning}")
    print(summary(recorded.runs))
    for name, path in sorted(written.items()):
        print(f"{name:9} {path}")
    return 0 if all(run.passed for run in recorded.runs) else 1

"""`hil bench report`: how long a report takes to make and to show."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "how long a report takes to make and to show, alone or beside another commit's"


def add_arguments(parser: ArgumentParser) -> None:
    """How much of it, and beside what."""
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=1, help="how often each page is made (default 1)")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="CHECKOUT",
        help="another commit's working tree (git worktree add FOLDER COMMIT): pages are made by both, in turn",
    )


def run(args: Namespace) -> int:
    """Measure and print."""
    from benchmarks._report_timing import main

    main(args)
    return 0

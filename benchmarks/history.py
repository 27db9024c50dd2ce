"""`hil bench history`: does a long history make a night slower?"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "a night's rows into a short and a long history, compared with it, its steps: the ratio of their times"


def add_arguments(parser: ArgumentParser) -> None:
    """How long."""
    parser.add_argument("--rows", type=int, nargs=2, default=[10_000, 1_000_000], metavar=("SHORT", "LONG"))
    parser.add_argument("--night", type=int, default=500, help="rows of a night (default 500)")
    parser.add_argument("--rounds", type=int, default=3, help="nights that are measured (default 3)")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")


def run(args: Namespace) -> int:
    """Measure and print."""
    from benchmarks._history_timing import main

    main(args)
    return 0

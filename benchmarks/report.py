"""`hil bench report`: how long a report takes to make and to show."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "how long a report takes to make and to show"


def add_arguments(parser: ArgumentParser) -> None:
    """How much of it."""
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])


def run(args: Namespace) -> int:
    """Measure and print."""
    from benchmarks._report_timing import main

    main(args)
    return 0

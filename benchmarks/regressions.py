"""`hil bench regressions`: false alarms and detections of hil compare on seeded noise."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "false alarms and detections of hil compare on seeded noise"


def add_arguments(parser: ArgumentParser) -> None:
    """How much of it."""
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--check", action="store_true", help="measure what is promised; exit 1 if it is not kept"
    )


def run(args: Namespace) -> int:
    """Measure and print."""
    from benchmarks._regression_study import main

    return main(args)

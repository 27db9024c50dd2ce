"""`hil bench boards`: how much more many virtual boards do than one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "how much more many virtual boards do than one"


def add_arguments(parser: ArgumentParser) -> None:
    """How much of it."""
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--delay-s", type=float, default=0.5, help="of each inference, like a slow chip")
    parser.add_argument("--seconds", type=float, default=15.0)


def run(args: Namespace) -> int:
    """Measure and print."""
    from benchmarks._many_boards import main

    main(args)
    return 0

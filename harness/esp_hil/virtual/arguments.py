"""The options of a virtual board's process, for `hil virtual` and `python -m esp_hil.virtual`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "run a virtual board and print its URL"


def add_arguments(parser: ArgumentParser) -> None:
    """Add them."""
    parser.add_argument("--target", required=True, help="the chip: esp32, esp32s3, esp32p4 ...")
    parser.add_argument(
        "--runtime", choices=("espdl", "tflm"), default="espdl", help="of its firmware (default: %(default)s)"
    )
    parser.add_argument(
        "--flash", type=Path, metavar="FILE", help="flash image, made if absent; default: a new one each time"
    )
    parser.add_argument(
        "--listen",
        default="tcp" if sys.platform == "win32" else "pty",
        metavar="PORT",
        help="pty, pty:PATH (a link to it), tcp or tcp:NUMBER (default: %(default)s)",
    )
    parser.add_argument(
        "--faults",
        metavar="PLAN",
        help="faults to plant: a .toml or .json file (see harness/esp_hil/virtual/faults.py)",
    )
    parser.add_argument(
        "--baud-model",
        default="",
        metavar="MODEL",
        help="a line that takes its time: bits a second, then latency_ms=, limit=, fifo=, buffer= of the bridge"
        " (921600,latency_ms=16)",
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="take commands from standard input (reset, power_cycle, quit) and end with it",
    )


def run(args: Namespace) -> int:
    """Serve until interrupted; SIGUSR1 resets the chip.

    Raises:
        HilError: unknown target, bad plan, unusable flash file or port.
    """
    from esp_hil.targets import target
    from esp_hil.virtual.faults import FaultPlan, load_plan
    from esp_hil.virtual.process import exit_now, serve
    from esp_hil.virtual.settings import VirtualSettings

    settings = VirtualSettings(
        target=target(args.target),
        runtime=args.runtime,
        flash=args.flash,
        listen=args.listen,
        faults=load_plan(args.faults) if args.faults else FaultPlan(),
        control=args.control,
        line=args.baud_model,
    )
    serve(settings)
    exit_now(0)
    return 0

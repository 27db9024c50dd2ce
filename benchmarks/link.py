"""`hil bench link`: the link on a simulated line: efficiency, overlap, faults, other exchanges, growth."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "measure the link on a simulated line (its own clock: the same figures on every machine)"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil bench link`."""
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--transfers",
        type=int,
        default=200,
        metavar="N",
        help="of each fault campaign (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw how the cost grows into an .svg file")


def run(args: Namespace) -> int:
    """Measure and print; the status is 1 if any answer was wrong."""
    import json
    from dataclasses import asdict

    from benchmarks._link_report import as_markdown, growth_svg, measure

    report = measure(transfers=args.transfers, seed=args.seed)
    print(json.dumps(asdict(report), indent=2) if args.json else as_markdown(report))
    if args.plot:
        args.plot.write_text(growth_svg(report), encoding="utf-8")
    return int(any(count.wrong for count in report.faults))

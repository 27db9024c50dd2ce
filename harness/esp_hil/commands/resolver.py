"""`hil resolver`: which operators a TFLM firmware image must have."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "list the operators of .tflite models for the firmware's resolver"
EXAMPLES = """
  hil resolver wake.tflite person.tflite --out operators.txt
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil resolver`."""
    parser.add_argument(
        "models", type=Path, nargs="*", metavar="MODEL.tflite", help="none: the firmware's default"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, for -DHIL_TFLM_OPERATORS=FILE")


def run(args: Namespace) -> int:
    """Print or write the lines of an operators.inc."""
    from esp_hil.formats.tflite import read_tflite
    from esp_hil.formats.tflite.operators import IMAGE_OPERATORS, resolver_lines
    from esp_hil.report.writing import write_text

    names = {name for path in args.models for name in read_tflite(path).operator_names} or IMAGE_OPERATORS
    text = resolver_lines(names)
    if args.out is None:
        print(text, end="")
    else:
        write_text(args.out, text)
        print(f"wrote {args.out}: {len(names)} operators")
    return 0

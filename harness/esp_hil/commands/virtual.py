"""`hil virtual`: run a virtual board in the foreground."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "run a virtual board and print its URL"
EXAMPLES = """
  hil virtual --target esp32s3
  hil virtual --target esp32 --runtime tflm --listen tcp:5000
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil virtual`: those of `python -m esp_hil.virtual`."""
    from esp_hil.virtual.arguments import add_arguments

    add_arguments(parser)


def run(args: Namespace) -> int:
    """Serve until interrupted; SIGUSR1 resets the chip."""
    from esp_hil.virtual.arguments import run

    return run(args)

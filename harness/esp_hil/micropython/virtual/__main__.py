"""`python -m esp_hil.micropython.virtual`: a virtual MicroPython board in the foreground."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from esp_hil.errors import HilError

HELP = "run a virtual MicroPython board and print its URL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--target", default="esp32s3", help="the chip (default: %(default)s)")
    parser.add_argument("--zoo", type=Path, metavar="DIR", help="folder with the weights (default: HIL_ZOO)")
    parser.add_argument(
        "--listen",
        default="pty",
        help="a UART at pty, pty:PATH, tcp or tcp:NUMBER, or the chip's USB at usb (default: pty)",
    )
    parser.add_argument(
        "--binding",
        default="",
        help="102d875, 6012426 or ours (default: the newest with images for the chip)",
    )
    parser.add_argument("--direct-writes", action="store_true", help="a file system like FAT, not LittleFS")
    parser.add_argument("--psram-bytes", type=int, help="what frames and networks share (default: 8 MB)")
    parser.add_argument("--flash", type=Path, metavar="DIR", help="the board's files; default: a new folder")
    parser.add_argument("--quirks", default="", help="what is wrong on purpose, comma-separated")
    parser.add_argument("--classes", default="", help="what the firmware offers, comma-separated")
    parser.add_argument("--ring-bytes", type=int, help="what the receiver holds (default: 260)")
    parser.add_argument("--control", action="store_true", help="take commands from standard input")


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; SIGUSR1 resets the chip."""
    from esp_hil.micropython.virtual.helper import PSRAM_BYTES
    from esp_hil.micropython.virtual.process import RING_BYTES, InterpreterSettings, serve
    from esp_hil.micropython.virtual.quirks import parse_quirks
    from esp_hil.session.options import words
    from esp_hil.targets import target
    from esp_hil.tasks import zoo_folder

    serve(
        InterpreterSettings(
            target=target(args.target).name,
            zoo=zoo_folder(args.zoo),
            listen=args.listen,
            binding=args.binding,
            direct_writes=args.direct_writes,
            psram_bytes=args.psram_bytes or PSRAM_BYTES,
            flash=args.flash,
            quirks=parse_quirks(words(args.quirks)),
            classes=words(args.classes),
            ring_bytes=args.ring_bytes or RING_BYTES,
            control=args.control,
        )
    )
    return 0


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m esp_hil.micropython.virtual", description=HELP)
    add_arguments(parser)
    try:
        return run(parser.parse_args())
    except HilError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

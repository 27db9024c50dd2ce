"""`hil flash`: put an image, and a model, onto a board."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import BoardUnavailable

if TYPE_CHECKING:
    from esp_hil.esp.image import FirmwareImage

HELP = "write a built image, and a model, to a board: only what differs"
EXAMPLES = """
  hil flash --build-dir firmware/build/esp32s3-espdl-perf --model my.espdl
  hil flash --build-dir BUILD --merge flash.bin      for an emulator, or another flashing tool
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hil flash`."""
    parser.add_argument("--build-dir", required=True, help="a build folder of idf.py or of hil build")
    parser.add_argument("--model", type=Path, help="an .espdl file for the model partition")
    parser.add_argument(
        "--board", help="id of boards.toml; default: the attached board of the image's target"
    )
    parser.add_argument("--port", help="its port or URL")
    parser.add_argument("--skip-lint", action="store_true", help="also a model that `hil lint` refuses")
    parser.add_argument("--merge", type=Path, metavar="FILE", help="write the whole flash to a file instead")


def run(args: argparse.Namespace) -> int:
    """Flash, and say what was written."""
    from esp_hil.boards.flash import merge
    from esp_hil.esp.image import FirmwareImage

    image = FirmwareImage.from_build_dir(Path(args.build_dir))
    if args.model:
        image = _with_model(image, args)
    if args.merge:
        print(f"wrote {merge(image, args.merge)}")
        return 0
    from esp_hil.boards.flash import flash
    from esp_hil.boards.provision import flashed_before
    from esp_hil.boards.select import rows, select
    from esp_hil.device.ports import serial_ports
    from esp_hil.esp.esptool_program import Flasher
    from esp_hil.progress import progress_on
    from esp_hil.targets import target

    board = select(target(image.target), board=args.board, port=args.port)
    port = board.port(serial_ports())
    if port is None:
        raise BoardUnavailable(
            f"{board.id} is not attached", hint="hil boards shows the ports", board=board.id
        )
    done = flash(
        image,
        board,
        Flasher.at(port),
        others=rows().values(),
        history=flashed_before(),
        progress=progress_on(sys.stderr),
    )
    print(f"{board.id}: {done.chip.description}, MAC {done.chip.mac}")
    print(f"written: {', '.join(done.written) or 'nothing'} ({done.bytes_written:,} B at {done.baud} baud)")
    print(f"already there: {', '.join(done.kept) or 'nothing'}")
    return 0


def _with_model(image: FirmwareImage, args: argparse.Namespace) -> FirmwareImage:
    """The image with the model, which `hil lint` has seen: nothing with a known hazard goes to a chip."""
    from esp_hil.esp.partitions import model_partition
    from esp_hil.lint.preflight import preflight
    from esp_hil.models.device_file import open_device_file
    from esp_hil.targets import target

    file = open_device_file(args.model)
    place = model_partition(image.partitions)
    if place is not None and not args.skip_lint:
        preflight(file, target(image.target), partition_bytes=place.size)
    return image.with_model(file.image)

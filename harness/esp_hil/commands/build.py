"""`hil build`: the firmware for a chip, with its sizes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import require
from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.esp.image import FirmwareImage

HELP = "build the firmware for a chip, or show what a build folder holds"
EXAMPLES = """
  hil build --target esp32s3
  hil build --target esp32 --runtime tflm --build-profile perf,flash-4mb
  hil build --build-dir firmware/build/esp32s3-espdl-perf      what is in it, and how large
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hil build`."""
    parser.add_argument("--target", help="the chip, such as esp32s3")
    parser.add_argument("--runtime", default="espdl", help="the runtime: a folder of firmware/engines")
    parser.add_argument(
        "--build-profile",
        default="",
        help="fragments of firmware/profiles, comma-separated; perf is among them unless size or debug is",
    )
    parser.add_argument(
        "--port", help="a board that is attached: an ESP32-P4 gets the image of its revision (default: v1.x)"
    )
    parser.add_argument("--model", type=Path, help="a model to embed in the application")
    parser.add_argument("--builds", type=Path, help="where build folders go (default firmware/build)")
    parser.add_argument(
        "-D", dest="definitions", action="append", default=[], metavar="NAME=VALUE", help="a CMake variable"
    )
    parser.add_argument("--build-dir", help="show this build folder instead of building")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Build or look, and print."""
    from esp_hil.boards.build import with_sizes
    from esp_hil.esp.image import image_of

    prebuilt = image_of(build_dir=args.build_dir, app_path=None)
    image = with_sizes(prebuilt) if prebuilt else _built(args)
    print(json.dumps(_plain(image), indent=2) if args.json else _text(image))
    return 0


def _built(args: argparse.Namespace) -> FirmwareImage:
    from esp_hil.boards.build import BuildOrder, build
    from esp_hil.esp.idf import find_idf
    from esp_hil.progress import progress_on
    from esp_hil.targets import target

    require(args, target=args.target or None)
    target(args.target)  # a wrong chip is said before a missing ESP-IDF
    definitions = {}
    for text in args.definitions:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"-D {text}: give NAME=VALUE")
        definitions[name] = value
    order = BuildOrder(
        target=args.target,
        runtime=args.runtime,
        profile=_profile(args),
        model=args.model,
        definitions=definitions,
    )
    return build(order, find_idf(), builds=args.builds, progress=progress_on(sys.stderr))


def _profile(args: argparse.Namespace) -> tuple[str, ...]:
    from esp_hil.boards.profiles import P4, added_up

    revision = None
    if args.port and args.target == P4:
        from esp_hil.boards.flash import identify
        from esp_hil.esp.esptool_program import Flasher

        revision = identify(Flasher.at(args.port)).revision
    wanted = [name for name in args.build_profile.split(",") if name]
    return added_up(wanted, target=args.target, revision=revision)


def _plain(image: FirmwareImage) -> dict[str, object]:
    return {
        "target": image.target,
        "folder": str(image.folder),
        "idf": image.idf,
        "app_sha256": image.app_sha256,
        "sdkconfig_sha256": image.sdkconfig_sha256,
        "image_sha256": image.sha256,
        "flash_bytes": image.flash_bytes,
        "needs_psram": image.needs_psram,
        "regions": [
            {"name": region.name, "offset": region.offset, "bytes": len(region.data)}
            for region in image.regions
        ],
        "sizes": {
            section.name: {"used": section.used, "total": section.total, "parts": dict(section.parts)}
            for section in image.sizes
        },
    }


def _text(image: FirmwareImage) -> str:
    lines = [
        f"{image.target}, ESP-IDF {image.idf}, {image.flash_bytes >> 20} MB flash"
        + (", PSRAM needed" if image.needs_psram else ""),
        f"folder     {image.folder}",
        f"app        {image.app_sha256}",
        f"sdkconfig  {image.sdkconfig_sha256}",
    ]
    lines += [f"{region.offset:#010x} {len(region.data):>11,} B  {region.name}" for region in image.regions]
    for section in image.sizes:
        of = f" of {section.total:,}" if section.total else ""
        lines.append(f"{section.name:<12} {section.used:>11,} B{of}")
    return "\n".join(lines)

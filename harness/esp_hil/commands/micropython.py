"""`hil micropython`: look at a board under MicroPython, at a prebuilt image of one, or at a face database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from esp_hil.errors import ConfigError

HELP = "what a MicroPython board, a prebuilt image or a face database has in it"
EXAMPLES = """
  hil micropython board /dev/ttyACM0
  hil micropython image firmware.bin --target esp32s3
  hil micropython faces face.db --mend whole.db
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil micropython`."""
    parser.add_argument("what", choices=("board", "image", "faces"), help="a port, an image, a database")
    parser.add_argument("where", metavar="PORT|FILE", help="e.g. /dev/ttyACM0, firmware.bin, face.db")
    parser.add_argument("--baud", type=int, default=115_200, help="of a serial port (default: %(default)s)")
    parser.add_argument("--target", help="say why an image does not fit this chip")
    parser.add_argument("--mend", type=Path, metavar="OUT", help="write what is whole of a torn database")


def run(args: Namespace) -> int:
    """Print it."""
    if args.what == "board":
        return _board(args)
    return _image(args) if args.what == "image" else _faces(args)


def _board(args: Namespace) -> int:
    from esp_hil.micropython.driver import open_board
    from esp_hil.micropython.virtual.quirks import named

    if args.where == "virtual":
        raise ConfigError(
            "`hil micropython board` looks at a port",
            hint="python -m esp_hil.micropython.virtual --zoo DIR prints that of a virtual board",
        )
    with open_board(args.where, baud=args.baud) as board:
        firmware = board.firmware
        print(
            f"{firmware.version}; {firmware.machine}; {firmware.kind} {firmware.target or 'of unknown chip'}"
        )
        offered = ", ".join(firmware.classes) if firmware.classes is not None else "no module of that name"
        print(f"espdl: {offered or 'no classes'}")
        formats = ", ".join(f"{name}={number}" for name, number in firmware.formats.items())
        if firmware.binding:
            assumed = "" if firmware.kind == "virtual" else ", taken for"
            print(f"binding{assumed} {firmware.binding}, ESP-DL {firmware.espdl or 'newest'}")
        for quirk in sorted(firmware.quirks):
            print(f"  {named(quirk)}")
        print(f"pixel formats: {formats or 'RGB888 only'}; jpeg: {'yes' if firmware.has_jpeg else 'no'}")
        print(f"free: {firmware.free_bytes} bytes")
    return 0


def _image(args: Namespace) -> int:
    from esp_hil.micropython.firmware import FLAGS
    from esp_hil.micropython.prebuilt import read_image
    from esp_hil.targets import target

    image = read_image(Path(args.where))
    print(
        f"{image.version or 'no version of MicroPython'}; {image.target}; {image.flash_bytes >> 20} MB flash"
    )
    print(f"begins at {image.offset:#x}; partitions: {', '.join(row.name for row in image.partitions)}")
    for name, flag in FLAGS.items():
        missing = image.problems(image.target, None, (name,))
        print(f"  {name:15} {'no ' if any(name in words for words in missing) else 'yes'}  {flag}")
    print(f"models: {', '.join(image.models) or 'none named'}")
    for file, versions in image.weights:
        of = " and ".join(
            f"ESP-DL {version}" if version else "the newest ESP-DL" for version in sorted(versions)
        )
        print(f"  {file}: of {of}")
    if image.unknown_weights:
        print(f"  {image.unknown_weights} networks of no known version")
    print(f"other modules: {', '.join(image.modules) or 'neither jpeg nor camera'}")
    files = next((row for row in image.partitions if row.name in {"vfs", "ffat"}), None)
    if files is not None:
        print(f"files: at {files.offset:#x}; those of a board whose table has them elsewhere are lost")
    problems = image.problems(target(args.target or image.target).name, None)
    for problem in problems:
        print(f"problem: {problem}")
    return 1 if problems else 0


def _faces(args: Namespace) -> int:
    from esp_hil.errors import FormatError, cannot_write
    from esp_hil.micropython.face_database import mend, parse

    try:
        data = Path(args.where).read_bytes()
    except OSError as error:
        raise ConfigError(f"{args.where}: {error.strerror}", hint="give a face.db") from None
    try:
        found = parse(data)
    except FormatError:
        if args.mend is None:
            raise
        found = mend(data)
        try:
            args.mend.write_bytes(found.to_bytes())
        except OSError as error:
            raise cannot_write(args.mend, error) from None
        print(f"{len(found.records)} whole records written to {args.mend}")
    print(f"format of {found.flavour}, features of {found.length}, {len(found.records)} records")
    for number, face in enumerate(found.records, start=1):
        print(f"  {number:5}  {face.name or '<no name>' if face.id else '<deleted>'}")
    return 0

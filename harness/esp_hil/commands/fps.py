"""`hil fps`: frames per second of a MicroPython board by resolution, split into parts, beside the published table."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError, cannot_write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from esp_hil.micropython.firmware import MicroPythonFirmware
    from esp_hil.micropython.fps import FrameRate

FASTEST_BAUD = 921_600
HELP = "frame rates of a MicroPython board by resolution: transfer, decode, resize, network, post-processing"
EXAMPLES = """
  hil fps --board virtual --zoo esp-dl/models --frames QVGA,VGA
  hil fps --board /dev/ttyACM0 --svg fps.svg
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil fps`."""
    parser.add_argument("--target", default="esp32s3", help="the chip (default: %(default)s)")
    parser.add_argument(
        "--board", help="`virtual`, an id of boards.toml, or a port; default: the attached one"
    )
    parser.add_argument("--zoo", type=Path, metavar="DIR", help="ESP-DL's models (or HIL_ZOO), for `virtual`")
    parser.add_argument("--classes", default="", help="comma-separated; default: all that the firmware has")
    parser.add_argument("--frames", default="", help="frame sizes, e.g. QQVGA,VGA,HD; default: all twelve")
    parser.add_argument("--formats", default="jpeg,rgb565", help="jpeg, rgb888 ... (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each (default: %(default)s)")
    parser.add_argument("--image", default="@astronaut", help="picture file, or @NAME (default: %(default)s)")
    parser.add_argument(
        "--baud",
        type=int,
        help="of the column that tells the line's time; default: that of the firmware's UART, else 921600",
    )
    parser.add_argument("--csv", type=Path, metavar="OUT.csv", help="write the rows")
    parser.add_argument("--svg", type=Path, metavar="OUT.svg", help="write the plot, of the first format")


def run(args: Namespace) -> int:
    """Measure, print the table and what follows from it."""
    from esp_hil import tasks
    from esp_hil.micropython.boards import opened
    from esp_hil.micropython.firmware import ALIASES, FLAGS
    from esp_hil.micropython.fps import check_sizes_and_formats, measure
    from esp_hil.session.options import words
    from esp_hil.targets import target

    if args.runs < 1:
        raise ConfigError(f"--runs {args.runs}: must be at least 1")
    spelled = {alias: name for name, alias in ALIASES.items()}
    classes = [spelled.get(name, name) for name in words(args.classes)]
    for name in classes:
        if name not in FLAGS:
            raise ConfigError(f"no class {name!r}", hint=f"one of: {', '.join(FLAGS)}")
    check_sizes_and_formats(words(args.frames), words(args.formats))
    picture = _picture(args.image)
    zoo = tasks.zoo_folder(args.zoo) if args.board == "virtual" else args.zoo
    hand = opened(target(args.target), board=args.board, zoo=zoo)
    rows: list[FrameRate] = []
    with hand.board as board:
        print(f"{board.firmware.version}, {board.firmware.machine}, {args.target}")
        baud = args.baud or board.firmware.console_baud or FASTEST_BAUD
        print(_HEAD.format(baud=f"at {baud}"))
        for name in classes or [name for name in FLAGS if board.firmware.has(name)]:
            for row in measure(
                board,
                name,
                picture,
                chip=args.target,
                formats=words(args.formats),
                frames=words(args.frames) or tuple(tasks.FRAMES),
                runs=args.runs,
            ):
                rows.append(row)
                print(_line(row, baud), flush=True)
        _say_of_the_uart(board.firmware)
    _conclude(rows, args)
    return 0


def _say_of_the_uart(firmware: MicroPythonFirmware) -> None:
    from esp_hil.micropython.fps import BITS_PER_BYTE
    from esp_hil.tasks import FRAMES

    if not firmware.console_baud:
        return
    bytes_per_s = firmware.console_baud / BITS_PER_BYTE
    width, height = FRAMES["VGA"]
    print(
        f"images of {firmware.binding} have their UART at {firmware.console_baud} baud: a raw VGA frame takes "
        f"{3 * width * height / bytes_per_s:.0f} s to it; what the board says goes there too, and is no faster "
        f"than {bytes_per_s / 1000:.1f} kB/s at USB either"
    )


_HEAD = (
    "class           frame     format      bytes  transfer {baud:>10}   decode  resize  network   post ms"
    "      fps published"
)


def _line(row: FrameRate, baud: int) -> str:
    published = f"{row.published_fps:9g}" if row.published_fps is not None else f"{'-':>9}"
    note = "" if row.told == "board" else "  (by the line)" if row.told == "line" else "  (not told apart)"
    return (
        f"{row.class_name:15} {row.frame:9} {row.format:8} {row.sent_bytes:8} {row.transfer_ms:9.1f} "
        f"{row.line_ms(baud):10.0f} {row.decode_ms:8.2f} {row.resize_ms:7.2f} {row.network_ms:8.2f} "
        f"{row.post_ms:9.2f} {row.fps:8.1f} {published}{note}"
    )


def _conclude(rows: Sequence[FrameRate], args: Namespace) -> None:
    from esp_hil.micropython.fps import bound_fps, findings, oddities
    from esp_hil.micropython.fps_plot import svg

    if any(row.simulated for row in rows):
        print("the board is virtual: its times are those of this machine, not of a chip")
    for finding in findings(rows):
        print(finding.summary)
    for name in dict.fromkeys(row.class_name for row in rows):
        if bound := bound_fps(name, args.target):
            print(f"{name}: at most {bound[0]:.1f} fps on {args.target} by {bound[1]}")
    for odd in oddities(rows, args.target):
        print(f"published table: {odd}")
    if args.csv is not None:
        _write(args.csv, _as_csv(rows))
    if args.svg is not None:
        _write(args.svg, svg(rows, format_name=rows[0].format))


def _picture(name: str) -> NDArray[np.uint8]:
    from esp_hil.tasks import Image, pictures

    image = pictures.picture(name[1:]) if name.startswith("@") else Image.of_file(Path(name))
    return image.rgb()


def _as_csv(rows: Sequence[FrameRate]) -> str:
    import csv
    import io
    from dataclasses import asdict

    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error

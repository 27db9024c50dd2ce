"""Prebuilt MicroPython images: what is in one, whether a board and a run can use it, onto the board with it.

MicroPython's makeimg.py puts bootloader, partition table and application into one file, which begins at the
bootloader's place in the flash: 0x0 on most chips, 0x1000 on ESP32 and ESP32-S2, 0x2000 on ESP32-P4 and ESP32-C5.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from esp_hil.boards.flash import identify
from esp_hil.boards.select import Board
from esp_hil.errors import ConfigError, FlashError, FormatError
from esp_hil.esp.esptool_program import Flasher, run_esptool
from esp_hil.esp.image import Region
from esp_hil.esp.partitions import Partition, parse_binary
from esp_hil.micropython.firmware import ALIASES, FLAGS
from esp_hil.tasks import names, read_spec

_MAGIC = 0xE9
_HEADER_BYTES = 24
_CHIPS: Mapping[int, str] = MappingProxyType(
    {
        0: "esp32",
        2: "esp32s2",
        5: "esp32c3",
        9: "esp32s3",
        12: "esp32c2",
        13: "esp32c6",
        16: "esp32h2",
        18: "esp32p4",
        23: "esp32c5",
    }
)
"""esp_chip_id_t, esp_app_format.h."""
_BEGINS: Mapping[str, int] = MappingProxyType(
    {"esp32": 0x1000, "esp32s2": 0x1000, "esp32p4": 0x2000, "esp32c5": 0x2000}
)
_FLASH_BYTES = 1 << 20
_TABLES = (0x8000, 0x9000, 0xC000, 0x10000)
_TABLE_MAGIC = b"\xaa\x50"
_TABLE_BYTES = 0xC00
_VERSION = re.compile(rb"v\d+\.\d+\.\d+[\w.+-]{0,40} on \d{4}-\d\d-\d\d")
_MODULES: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {"jpeg": (b"get_img_info",), "camera": (b"Camera", b"reconfigure")}
)
"""Words that only these modules bring into an application."""
_EDL_HEADER_BYTES = 16
_LEAST_NETWORK_BYTES = 1024
_MODEL = re.compile(rb"[a-z0-9_]{4,60}\.espdl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prebuilt:
    """A prebuilt image, read.

    Attributes:
        path: of the file.
        target: the chip that it is for.
        offset: where in the flash it begins.
        flash_bytes: size of flash that it is made for, as its bootloader's header says.
        partitions: its table.
        version: of MicroPython, "" if the application does not name one.
        classes: of `espdl` that it offers.
        models: names of the .espdl files inside, as packed or embedded ones keep them.
        weights: of each network inside that is known, its file's name and the versions of ESP-DL that have it (`3.1`,
            "": the newest; they share some).
        unknown_weights: so many networks inside are of no known version.
        modules: of `jpeg` and `camera`, those that are there.
        data: the file.
    """

    path: Path
    target: str
    offset: int
    flash_bytes: int
    partitions: tuple[Partition, ...]
    version: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    weights: tuple[tuple[str, frozenset[str]], ...]
    unknown_weights: int
    modules: tuple[str, ...]
    data: bytes

    @property
    def espdl(self) -> str | None:
        """The version of ESP-DL that all known networks inside are of: `3.1`, "" for the newest; None: not told."""
        versions = [found for _, found in self.weights]
        common = frozenset.intersection(*versions) if versions else frozenset()
        return next(iter(common)) if len(common) == 1 else None

    def problems(self, target: str, flash_bytes: int | None, wanted: Sequence[str] = ()) -> list[str]:
        """Why it should not be flashed, one sentence each.

        Args:
            target: the board's chip.
            flash_bytes: of the board; None: unknown.
            wanted: classes that the run needs.
        """
        found = []
        if self.target != target:
            found.append(f"the image is for {self.target}, the board is an {target}")
        if flash_bytes is not None and self.flash_bytes > flash_bytes:
            found.append(
                f"the image needs {self.flash_bytes >> 20} MB of flash, the board has {flash_bytes >> 20} MB"
            )
        if not self.version:
            found.append("the image names no version of MicroPython")
        if not self.classes:
            found.append("the image does not have the binding: it is MicroPython without espdl")
        elif "jpeg" not in self.modules:
            found.append(
                "the image has no module jpeg: built with a mp_jpeg newer than 81df537, which the binding does not find"
            )
        for name in wanted:
            if not {name, ALIASES.get(name, name)} & set(self.classes):
                found.append(f"the image has no {name}: it was built without -D {FLAGS[name]}=1")
        return found


def read_image(path: Path) -> Prebuilt:
    """Read a prebuilt image.

    Raises:
        ConfigError: there is no such file.
        FormatError: it is not a merged image of an ESP32 chip, or its application is cut short.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="give the firmware.bin of the binding") from None
    if data[:4] == b"PK\x03\x04":
        raise FormatError(
            f"{path.name} is a zip, as the binding's CI makes them",
            offset=0,
            hint=f"unpack it and give {_inside(path)}",
        )
    if len(data) < _HEADER_BYTES or data[0] != _MAGIC:
        raise FormatError(
            f"{path.name} does not begin with a bootloader",
            offset=0,
            hint="give the merged firmware.bin that makeimg.py writes, not micropython.bin or a .uf2",
        )
    (number,) = struct.unpack_from("<H", data, 12)
    if number not in _CHIPS:
        raise FormatError(f"{path.name} is for a chip of unknown number {number}", offset=12)
    offset = _BEGINS.get(_CHIPS[number], 0)
    partitions = _table(data, offset, path.name)
    app = _application(data, partitions, offset, path.name)
    version = _VERSION.search(app)
    weights, unknown = _weights(data)
    return Prebuilt(
        path=path,
        target=_CHIPS[number],
        offset=offset,
        flash_bytes=_FLASH_BYTES << (data[3] >> 4),
        partitions=partitions,
        version=f"MicroPython {version[0].decode()}" if version else "",
        classes=tuple(name for name in (*FLAGS, *ALIASES.values()) if _has_word(app, name.encode())),
        models=tuple(sorted({found.decode() for found in _MODEL.findall(data)})),
        weights=weights,
        unknown_weights=unknown,
        modules=tuple(
            name for name, words in _MODULES.items() if all(_has_word(app, word) for word in words)
        ),
        data=data,
    )


def _has_word(app: bytes, word: bytes) -> bool:
    """Whether a NUL-terminated string is there, as interned names are stored.

    With -Os the linker keeps only the longer of two strings with one end: FaceRecognizer is then the end of the log tag
    HumanFaceRecognizer.
    """
    return re.search(rb"(?<![A-Za-z0-9_])(?:Human)?" + re.escape(word) + rb"\0", app) is not None


def _inside(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".bin")]
    except (OSError, zipfile.BadZipFile):
        names = []
    return " or ".join(names[:5]) or "the firmware.bin in it"


def _weights(data: bytes) -> tuple[tuple[tuple[str, frozenset[str]], ...], int]:
    """The networks inside that the tasks know, by SHA-256, and how many others there are."""
    known = _known_weights()
    found, unknown = [], 0
    for hit in re.finditer(rb"EDL2\0\0\0\0", data):
        (size,) = struct.unpack_from("<I", data, hit.end()) if hit.end() + 4 <= len(data) else (0,)
        whole = data[hit.start() : hit.start() + _EDL_HEADER_BYTES + size]
        if not _LEAST_NETWORK_BYTES <= size <= len(whole) - _EDL_HEADER_BYTES:
            continue
        network = known.get(hashlib.sha256(whole).hexdigest())
        if network is None:
            unknown += 1
        else:
            found.append(network)
    return tuple(sorted(set(found), key=lambda row: row[0])), unknown


def _known_weights() -> dict[str, tuple[str, frozenset[str]]]:
    """File name and versions of ESP-DL by SHA-256."""
    made: dict[str, tuple[str, frozenset[str]]] = {}
    for task in names():
        newest = read_spec(task)
        for spec in (newest, *newest.older.values()):
            for network in spec.networks.values():
                for digest in network.sha256.values():
                    before = made.get(digest, (network.file, frozenset[str]()))[1]
                    made[digest] = network.file, before | {spec.espdl}
    return made


def _table(data: bytes, offset: int, name: str) -> tuple[Partition, ...]:
    for place in _TABLES:
        at = place - offset
        if data[at : at + 2] == _TABLE_MAGIC:
            return parse_binary(data[at : at + _TABLE_BYTES])
    raise FormatError(
        f"{name} has no partition table at {', '.join(map(hex, _TABLES))}",
        offset=_TABLES[0] - offset,
        hint="give the merged firmware.bin that makeimg.py writes",
    )


def _application(data: bytes, partitions: Sequence[Partition], offset: int, name: str) -> bytes:
    app = next((row for row in partitions if row.is_app), None)
    if app is None:
        raise FormatError(f"{name}: no partition holds a program", offset=0)
    at = app.offset - offset
    if data[at : at + 1] != bytes([_MAGIC]):
        raise FormatError(
            f"{name} has no application in its partition {app.name}", offset=at, hint="the file is cut short"
        )
    return data[at : app.end - offset]


def flash_image(image: Prebuilt, board: Board, flasher: Flasher, *, wanted: Sequence[str] = ()) -> None:
    """Check a prebuilt image against the chip at a port and write it.

    Files of the board's file system stay if the image's `vfs` begins where the board's does: not between the variants
    for 4, 8 and 16 MB.

    Raises:
        FlashError: it is not for this board, lacks a class that is wanted, or esptool failed.
    """
    chip = identify(flasher)
    wrong = image.problems(chip.target or board.target, chip.flash_bytes or board.flash_bytes, wanted)
    if chip.target and chip.target != board.target:
        wrong.insert(
            0, f"the chip at {flasher.port} is an {chip.target}, {board.id} should be an {board.target}"
        )
    if wrong:
        raise FlashError(
            "; ".join(wrong), hint="nothing was written; choose another image", step="flash", board=board.id
        )
    region = Region(name="micropython", offset=image.offset, data=image.data)
    # the bootloader's header has mode, size and frequency; rewriting them would change what was built
    keep = ("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep")
    run_esptool(
        flasher,
        image.target,
        ("write-flash", *keep, f"{image.offset:#x}", str(image.path)),
        regions=(region,),
    )

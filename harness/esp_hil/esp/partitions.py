"""Partition tables: ESP-IDF's CSV and the binary form on the chip, read and checked.

The binary form is that of gen_esp32part.py: 32-byte entries (AA 50, type, subtype, offset, size, label[16],
flags), then an entry EB EB with the MD5 of all before it, then FF.
"""

from __future__ import annotations

import csv
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from esp_hil.errors import ConfigError, FormatError

MODEL = "model"
"""Label of the partition that holds the model image."""

_TYPES = {"app": 0, "data": 1}
_SUBTYPES = {
    0: {"factory": 0x00, "test": 0x20, **{f"ota_{i}": 0x10 + i for i in range(16)}},
    1: {
        "ota": 0x00,
        "phy": 0x01,
        "nvs": 0x02,
        "coredump": 0x03,
        "nvs_keys": 0x04,
        "efuse": 0x05,
        "undefined": 0x06,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": 0x83,
    },
}
_ENTRY = struct.Struct("<2sBBII16sI")
_APP_ALIGNMENT = 0x10000  # the MMU maps 64 KiB pages
_SECTOR = 0x1000
_UNITS = {"K": 1 << 10, "M": 1 << 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One row; `offset` and `size` in bytes, `type` and `subtype` as on the chip."""

    name: str
    type: int
    subtype: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size

    @property
    def is_app(self) -> bool:
        """Whether it holds a program."""
        return self.type == _TYPES["app"]


def parse_csv(text: str) -> tuple[Partition, ...]:
    """The rows of a CSV; every row must give its offset.

    Raises:
        ConfigError: a row has another form, an unknown type or no offset.
    """
    rows = []
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for cells in csv.reader(lines, skipinitialspace=True):
        if len(cells) < 5:
            raise ConfigError(f"partition row {','.join(cells)!r} has {len(cells)} of at least 5 cells")
        name, kind, subtype, offset, size = (cell.strip() for cell in cells[:5])
        if kind not in _TYPES:
            raise ConfigError(f"partition {name}: unknown type {kind!r}")
        type_ = _TYPES[kind]
        if subtype not in _SUBTYPES[type_]:
            raise ConfigError(f"partition {name}: unknown subtype {subtype!r} of {kind}")
        rows.append(
            Partition(
                name=name,
                type=type_,
                subtype=_SUBTYPES[type_][subtype],
                offset=_number(offset, name),
                size=_number(size, name),
            )
        )
    return tuple(rows)


def _number(text: str, name: str) -> int:
    factor = _UNITS.get(text[-1:].upper(), 1)
    try:
        return int(text[:-1] if factor > 1 else text, 0) * factor
    except ValueError:
        raise ConfigError(f"partition {name}: {text!r} is not a number of bytes") from None


def parse_binary(table: bytes) -> tuple[Partition, ...]:
    """The rows of a binary table.

    Raises:
        FormatError: an entry is none, or the MD5 is wrong.
    """
    rows: list[Partition] = []
    for at in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        entry = table[at : at + _ENTRY.size]
        if entry == b"\xff" * _ENTRY.size:
            return tuple(rows)
        if entry.startswith(b"\xeb\xeb"):
            if entry[16:] != hashlib.md5(table[:at], usedforsecurity=False).digest():
                raise FormatError("partition table: MD5 is wrong", offset=at)
            continue
        magic, type_, subtype, offset, size, label, _flags = _ENTRY.unpack(entry)
        if magic != b"\xaa\x50":
            raise FormatError(f"partition table: entry begins with {magic.hex()}", offset=at)
        name = label.rstrip(b"\0").decode("utf-8", "replace")
        rows.append(Partition(name=name, type=type_, subtype=subtype, offset=offset, size=size))
    raise FormatError("partition table has no end", offset=len(table))


def problems(rows: Iterable[Partition], flash_bytes: int, *, table_offset: int = 0x8000) -> list[str]:
    """What a flasher or the loader would refuse: overlaps, bad alignment, rows outside the flash.

    Args:
        rows: of a table.
        flash_bytes: size of the flash.
        table_offset: where the table lies; nothing may begin before its sector ends.
    """
    found = []
    end, before = table_offset + _SECTOR, "the partition table"
    for row in sorted(rows, key=lambda row: row.offset):
        if row.offset < end:
            found.append(f"{row.name} at {row.offset:#x} overlaps {before}, which ends at {end:#x}")
        alignment = _APP_ALIGNMENT if row.is_app else _SECTOR
        if row.offset % alignment:
            found.append(f"{row.name} at {row.offset:#x} is not aligned to {alignment:#x}")
        if row.size % _SECTOR or row.size == 0:
            found.append(f"{row.name} has {row.size:#x} bytes, not a multiple of a sector")
        if row.end > flash_bytes:
            found.append(f"{row.name} ends at {row.end:#x}, the flash at {flash_bytes:#x}")
        end, before = max(end, row.end), row.name
    return found


def model_partition(rows: Iterable[Partition]) -> Partition | None:
    """The partition of the model image, or None."""
    return next((row for row in rows if row.name == MODEL), None)

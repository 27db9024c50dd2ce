"""ESP-IDF's partition table: 32-byte entries at 0x8000, closed by an MD5 of those before it.

    entry = magic AA 50  type:u8  subtype:u8  offset:u32  size:u32  name[16]  flags:u32
    md5   = magic EB EB  FF * 14  digest[16]

Source: ESP-IDF, partition_table/gen_esp32part.py and bootloader_support/include/esp_flash_partitions.h.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from harness.errors import FormatError

TABLE_OFFSET = 0x8000
TABLE_BYTES = 0xC00
SECTOR_BYTES = 0x1000
APP_ALIGNMENT = 0x10000

_ENTRY = struct.Struct("<HBBII16sI")
_MAGIC = 0x50AA
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14

TYPE_APP, TYPE_DATA = 0x00, 0x01
SUBTYPE_FACTORY = 0x00
SUBTYPE_PHY, SUBTYPE_NVS = 0x01, 0x02
SUBTYPE_SPIFFS = 0x82
"""What ESP-DL's examples give their model partition, though it holds no file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition; offset and size in bytes from the start of the flash."""

    name: str
    type: int
    subtype: int
    offset: int
    size_bytes: int
    flags: int = 0

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.offset + self.size_bytes


def table_for(flash_bytes: int) -> tuple[Partition, ...]:
    """The table of a board with that much flash: nvs, phy_init, factory, and the rest for the model.

    Raises:
        FormatError: the flash is too small for an application and a model.
    """
    app_bytes = min(0x300000, flash_bytes // 2 - APP_ALIGNMENT) & -APP_ALIGNMENT
    model_offset = APP_ALIGNMENT + app_bytes
    if app_bytes <= 0 or model_offset >= flash_bytes:
        raise FormatError(f"a flash of {flash_bytes} bytes has no room for an application and a model")
    return (
        Partition(name="nvs", type=TYPE_DATA, subtype=SUBTYPE_NVS, offset=0x9000, size_bytes=0x6000),
        Partition(name="phy_init", type=TYPE_DATA, subtype=SUBTYPE_PHY, offset=0xF000, size_bytes=0x1000),
        Partition(
            name="factory",
            type=TYPE_APP,
            subtype=SUBTYPE_FACTORY,
            offset=APP_ALIGNMENT,
            size_bytes=app_bytes,
        ),
        Partition(
            name="model",
            type=TYPE_DATA,
            subtype=SUBTYPE_SPIFFS,
            offset=model_offset,
            size_bytes=flash_bytes - model_offset,
        ),
    )


def write_table(partitions: Iterable[Partition]) -> bytes:
    """The 3,072 bytes at 0x8000: entries, MD5, FF to the end."""
    entries = b"".join(
        _ENTRY.pack(_MAGIC, p.type, p.subtype, p.offset, p.size_bytes, p.name.encode(), p.flags)
        for p in partitions
    )
    digest = hashlib.md5(entries, usedforsecurity=False).digest()
    return (entries + _MD5_MAGIC + digest).ljust(TABLE_BYTES, b"\xff")


def read_table(data: bytes) -> tuple[Partition, ...]:
    """The partitions of a table.

    Args:
        data: from 0x8000 on.

    Raises:
        FormatError: an entry has neither magic, the MD5 is missing or wrong, or partitions overlap.
    """
    partitions: list[Partition] = []
    for at in range(0, min(len(data), TABLE_BYTES) - _ENTRY.size + 1, _ENTRY.size):
        entry = data[at : at + _ENTRY.size]
        if entry.startswith(_MD5_MAGIC):
            if hashlib.md5(data[:at], usedforsecurity=False).digest() != entry[16:]:
                raise FormatError("the partition table's MD5 is wrong", offset=TABLE_OFFSET + at)
            _check_overlap(partitions)
            return tuple(partitions)
        magic, kind, subtype, offset, size, name, flags = _ENTRY.unpack(entry)
        if magic != _MAGIC:
            raise FormatError(f"no partition entry, magic {magic:#06x}", offset=TABLE_OFFSET + at)
        partitions.append(
            Partition(
                name=name.rstrip(b"\0").decode("ascii", "replace"),
                type=kind,
                subtype=subtype,
                offset=offset,
                size_bytes=size,
                flags=flags,
            )
        )
    raise FormatError("the partition table has no MD5", offset=TABLE_OFFSET)


def _check_overlap(partitions: list[Partition]) -> None:
    ordered = sorted(partitions, key=lambda p: p.offset)
    for before, after in pairwise(ordered):
        if after.offset < before.end:
            raise FormatError(f"partitions {before.name} and {after.name} overlap", offset=after.offset)

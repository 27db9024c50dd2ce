"""The virtual board's flash: a file with a partition table and the model partition's storage.

As on NOR flash, erasing sets a sector to FF and writing only clears bits. A label says what is stored; it is
written last, so that a power cut during an upload leaves no model that would load.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from esp_hil.errors import FormatError
from esp_hil.esp.partitions import Partition, model_partition, parse_binary, problems
from esp_hil.wire.objects import Location
from esp_hil.wire.status import Status

TABLE_OFFSET = 0x8000
TABLE_BYTES = 0xC00
SECTOR_BYTES = 0x1000
APP_OFFSET = 0x10000
APP_BYTES = 0x300000

_ENTRY = struct.Struct("<2sBBII16sI")
_LABEL = struct.Struct("<4sIII")
"""Magic, length, CRC-32 of the image, CRC-32 of the twelve bytes before."""
_COMPLETE = b"HILM"
_BEGUN = b"HILB"
_HEADER = struct.Struct("<4sII")
"""Of an .espdl image: magic, encryption mode, length of what follows (EDL2: after 4 more bytes)."""


class StorageError(Exception):
    """What the storage refuses, as the server wants it: a status of docs/PROTOCOL.md and words."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message


class Flash:
    """A flash image in a file; made with an erased flash and a partition table if it is not there.

    Args:
        path: the file.
        size_bytes: of the whole flash.

    Attributes:
        path: the file.

    Raises:
        FormatError: the file has another size, or no readable partition table with a model partition.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        if not path.exists():
            _create(path, size_bytes)
        if path.stat().st_size != size_bytes:
            raise FormatError(
                f"{path} has {path.stat().st_size} bytes, the board's flash has {size_bytes}",
                hint="give another file, or remove this one to start with an empty flash",
            )
        self.path = path
        self._file = path.open("r+b", buffering=0)
        # a core that was just abandoned by a reset may still be reading
        self._lock = threading.Lock()
        try:
            partitions = self._partitions(size_bytes)
            self.model = _named(partitions, "model")
            self.golden = next((row for row in partitions if row.name == "golden"), None)
        except FormatError:
            self._file.close()
            raise

    def _partitions(self, size_bytes: int) -> Sequence[Partition]:
        partitions = parse_binary(self.read(TABLE_OFFSET, TABLE_BYTES))
        wrong = problems(partitions, size_bytes)
        if wrong or model_partition(partitions) is None:
            what = wrong[0] if wrong else "no partition named model"
            raise FormatError(f"partition table: {what}", offset=TABLE_OFFSET)
        return partitions

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)

    def erase(self, offset: int, length: int) -> None:
        """Set whole sectors to FF."""
        end = -(-(offset + length) // SECTOR_BYTES) * SECTOR_BYTES
        self._put(offset, b"\xff" * (end - offset))

    def write(self, offset: int, data: bytes) -> None:
        """Clear bits.

        Raises:
            StorageError: a bit that is 0 would have to become 1.
        """
        there = self.read(offset, len(data))
        if there.count(0xFF) != len(there):
            old, new = int.from_bytes(there, "little"), int.from_bytes(data, "little")
            if old & new != new:
                raise StorageError(Status.STORAGE_FAILED, f"flash at {offset:#x} is not erased")
        self._put(offset, data)

    def _put(self, offset: int, data: bytes) -> None:
        with self._lock:
            self._file.seek(offset)
            self._file.write(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _named(partitions: Sequence[Partition], name: str) -> Partition:
    return next(row for row in partitions if row.name == name)


def table_for(flash_bytes: int) -> tuple[Partition, ...]:
    """The partition table of a board with that much flash: nvs, phy_init, factory, golden sets, the rest for the model.

    Raises:
        FormatError: the flash has no room for an application and a model.
    """
    app_bytes = min(APP_BYTES, flash_bytes // 2 - APP_OFFSET) & -APP_OFFSET
    golden_at = APP_OFFSET + app_bytes
    golden_bytes = (flash_bytes - golden_at) // 4 & -APP_OFFSET
    model_at = golden_at + golden_bytes
    if app_bytes <= 0:
        raise FormatError(f"a flash of {flash_bytes} bytes has no room for an application and a model")
    return (
        Partition(name="nvs", type=1, subtype=0x02, offset=0x9000, size=0x6000),
        Partition(name="phy_init", type=1, subtype=0x01, offset=0xF000, size=0x1000),
        Partition(name="factory", type=0, subtype=0x00, offset=APP_OFFSET, size=app_bytes),
        Partition(name="golden", type=1, subtype=0x82, offset=golden_at, size=golden_bytes),
        Partition(name="model", type=1, subtype=0x82, offset=model_at, size=flash_bytes - model_at),
    )


def write_table(rows: Iterable[Partition]) -> bytes:
    """The bytes of a partition table at 0x8000: entries, their MD5, FF to the end (gen_esp32part.py)."""
    entries = b"".join(
        _ENTRY.pack(b"\xaa\x50", row.type, row.subtype, row.offset, row.size, row.name.encode(), 0)
        for row in rows
    )
    digest = hashlib.md5(entries, usedforsecurity=False).digest()
    return (entries + b"\xeb\xeb" + b"\xff" * 14 + digest).ljust(TABLE_BYTES, b"\xff")


def _create(path: Path, size_bytes: int) -> None:
    table = write_table(table_for(size_bytes))
    with path.open("xb") as file:
        blank = b"\xff" * (1 << 20)
        for _ in range(0, size_bytes, len(blank)):
            file.write(blank)
        file.truncate(size_bytes)
        file.seek(TABLE_OFFSET)
        file.write(table)


class GoldenPartition:
    """The partition `golden` as the device core wants it.

    Args:
        flash: stays open as long as this.
        partition: its place.
    """

    sector_bytes = SECTOR_BYTES

    def __init__(self, flash: Flash, partition: Partition) -> None:
        self.size_bytes = partition.size
        self._flash = flash
        self._offset = partition.offset

    def erase(self, offset: int, length: int) -> None:
        """Set whole sectors to FF."""
        self._flash.erase(self._offset + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Clear bits.

        Raises:
            StorageError: a bit that is 0 would have to become 1.
        """
        self._flash.write(self._offset + offset, data)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there."""
        return self._flash.read(self._offset + offset, length)


class ModelStorage:
    """Where the device core keeps models: location 0 in the flash's model partition, 1 in RAM.

    An image begins where its partition begins. The partition's last sector is its label, in the form of
    firmware/ports/esp: magic, length, CRC-32 of the image, CRC-32 of these. An .espdl image that a flasher
    put there has no label and tells its length itself.

    Args:
        flash: stays open as long as this.
        ram_bytes: room for a model in RAM (PSRAM).
    """

    locations: tuple[str, ...] = ("partition", "ram")

    def __init__(self, flash: Flash, ram_bytes: int) -> None:
        self._flash = flash
        self._rooms = (flash.model.size - SECTOR_BYTES, ram_bytes)
        self._label_at = flash.model.end - SECTOR_BYTES
        self._ram = bytearray()
        self._ram_crc: int | None = None
        self._coming = (0, 0)

    def begin(self, location: int, length: int, crc: int) -> bool:
        """Prepare to write; True if an intact image of this length and CRC-32 is there already.

        Raises:
            StorageError: it does not fit.
        """
        room = self._rooms[location]
        if length > room:
            where = self.locations[location]
            raise StorageError(Status.TOO_LARGE, f"{length} bytes; {where} holds {room}")
        self._coming = (length, crc)
        if location == Location.RAM:
            if (len(self._ram), self._ram_crc) == self._coming:
                return True
            self._ram, self._ram_crc = bytearray(length), None
            return False
        if zlib.crc32(self.read(location, 0, length)) == crc:
            if self._label() != (_COMPLETE, length, crc):
                self._write_label(_COMPLETE)
            return True
        self._write_label(_BEGUN)
        self._flash.erase(self._flash.model.offset, length)
        return False

    def write(self, location: int, offset: int, data: bytes) -> None:
        """Bytes of the image, in any order."""
        if location == Location.PARTITION:
            self._flash.write(self._flash.model.offset + offset, data)
        else:
            self._ram[offset : offset + len(data)] = data

    def finish(self, location: int) -> None:
        """Everything is there: say so."""
        if location == Location.PARTITION:
            self._write_label(_COMPLETE)
        else:
            self._ram_crc = self._coming[1]

    def abort(self, location: int) -> None:
        """The image will not come; of the partition its label says so already."""
        if location == Location.RAM:
            self._ram, self._ram_crc = bytearray(), None

    def open(self, location: int, path: str) -> int:
        """Length of the image.

        Raises:
            StorageError: there is none, it is damaged, or a path is given: there is no file system.
        """
        if path:
            raise StorageError(Status.BAD_OBJECT, "a virtual board has no file system")
        if location == Location.RAM:
            if self._ram_crc is None:
                raise StorageError(Status.NO_MODEL, "no model is in RAM")
            return len(self._ram)
        return self._open_partition()

    def _open_partition(self) -> int:
        label, by_header = self._label(), self._length_by_header()
        if label is not None:
            magic, length, crc = label
            if magic == _BEGUN:
                raise StorageError(Status.NO_MODEL, "an upload to the partition did not come to its end")
            if zlib.crc32(self.read(Location.PARTITION, 0, length)) == crc:
                return length
            if by_header in {None, length}:
                raise StorageError(Status.CRC_MISMATCH, "the image in the partition is damaged")
        # a flasher put another image there, or the first one
        if by_header is None:
            raise StorageError(Status.NO_MODEL, "no model is in the partition")
        return by_header

    def read(self, location: int, offset: int, length: int) -> bytes:
        """Bytes of the image."""
        if location == Location.PARTITION:
            return self._flash.read(self._flash.model.offset + offset, length)
        return bytes(self._ram[offset : offset + length])

    def _label(self) -> tuple[bytes, int, int] | None:
        """Magic, length and CRC-32 of the partition's label, if it has one."""
        data = self._flash.read(self._label_at, _LABEL.size)
        magic, length, crc, check = _LABEL.unpack(data)
        known = magic in {_COMPLETE, _BEGUN} and zlib.crc32(data[:-4]) == check
        return (magic, int(length), int(crc)) if known and length <= self._rooms[0] else None

    def _write_label(self, magic: bytes) -> None:
        head = _LABEL.pack(magic, *self._coming, 0)[:-4]
        self._flash.erase(self._label_at, SECTOR_BYTES)
        self._flash.write(self._label_at, head + zlib.crc32(head).to_bytes(4, "little"))

    def _length_by_header(self) -> int | None:
        """Length of an .espdl image by its own header, if one lies there whole."""
        magic, _, body = _HEADER.unpack(self.read(Location.PARTITION, 0, _HEADER.size))
        extra = {b"EDL1": 12, b"EDL2": 16}.get(magic)
        return int(body) + extra if extra and body + extra <= self._rooms[0] else None

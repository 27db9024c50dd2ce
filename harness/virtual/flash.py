"""The virtual board's flash: a file with a partition table and the model partition's storage.

As on NOR flash, erasing sets a sector to FF and writing only clears bits. The last sector of the model
partition says what is stored: it is erased first and written last, so that a power cut in between leaves no
model.
"""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path

from harness.errors import FormatError
from harness.virtual.partitions import (
    SECTOR_BYTES,
    TABLE_BYTES,
    TABLE_OFFSET,
    Partition,
    read_table,
    table_for,
    write_table,
)
from harness.wire.messages import Location
from harness.wire.status import Status

_LABEL = struct.Struct("<4sIII")
"""Magic, length, CRC-32 of the image, CRC-32 of the twelve bytes before."""
_LABEL_MAGIC = b"HILM"


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
        self._file = path.open("r+b", buffering=0)
        # a core that was just abandoned by a reset may still be reading
        self._lock = threading.Lock()
        self.partitions = read_table(self.read(TABLE_OFFSET, TABLE_BYTES))
        models = [partition for partition in self.partitions if partition.name == "model"]
        if not models:
            raise FormatError(f"{path} has no partition named model", offset=TABLE_OFFSET)
        self.model: Partition = models[0]

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


def _create(path: Path, size_bytes: int) -> None:
    table = write_table(table_for(size_bytes))
    with path.open("xb") as file:
        blank = b"\xff" * (1 << 20)
        for _ in range(0, size_bytes, len(blank)):
            file.write(blank)
        file.truncate(size_bytes)
        file.seek(TABLE_OFFSET)
        file.write(table)


class ModelStorage:
    """Where the device core keeps models: location 0 in the flash's model partition, 1 in RAM.

    Args:
        flash: stays open as long as this.
        ram_bytes: room for a model in RAM (PSRAM).
    """

    locations = ("partition", "ram")

    def __init__(self, flash: Flash, ram_bytes: int) -> None:
        self._flash = flash
        self._room = {
            Location.PARTITION: flash.model.size_bytes - SECTOR_BYTES,
            Location.RAM: ram_bytes,
        }
        self._label_at = flash.model.end - SECTOR_BYTES
        self._ram = bytearray()
        self._ram_crc: int | None = None
        self._coming = (0, 0)

    def begin(self, location: int, length: int, crc: int) -> bool:
        """Prepare to write; True if an intact image of this length and CRC-32 is there already.

        Raises:
            StorageError: it does not fit.
        """
        if length > self._room[Location(location)]:
            raise StorageError(
                Status.TOO_LARGE,
                f"{length} bytes; {self.locations[location]} holds {self._room[Location(location)]}",
            )
        if self._label(location) == (length, crc) and zlib.crc32(self._image(location, 0, length)) == crc:
            return True
        self._coming = (length, crc)
        if location == Location.PARTITION:
            self._flash.erase(self._label_at, SECTOR_BYTES)
            self._flash.erase(self._flash.model.offset, length)
        else:
            self._ram, self._ram_crc = bytearray(length), None
        return False

    def write(self, location: int, offset: int, data: bytes) -> None:
        """Bytes of the image, in any order."""
        if location == Location.PARTITION:
            self._flash.write(self._flash.model.offset + offset, data)
        else:
            self._ram[offset : offset + len(data)] = data

    def finish(self, location: int) -> None:
        """Everything is there: say so."""
        length, crc = self._coming
        if location == Location.PARTITION:
            head = _LABEL.pack(_LABEL_MAGIC, length, crc, 0)[:-4]
            self._flash.write(self._label_at, head + zlib.crc32(head).to_bytes(4, "little"))
        else:
            self._ram_crc = crc

    def abort(self, location: int) -> None:
        """The image will not come: nothing says that there is one."""
        if location == Location.RAM:
            self._ram, self._ram_crc = bytearray(), None

    def open(self, location: int, path: str) -> int:
        """Length of the image.

        Raises:
            StorageError: there is none, or a path is given: there is no file system.
        """
        if path:
            raise StorageError(Status.BAD_OBJECT, "a virtual board has no file system")
        label = self._label(location)
        if label is None:
            raise StorageError(Status.NO_MODEL, f"no model is stored in {self.locations[location]}")
        return label[0]

    def read(self, location: int, offset: int, length: int) -> bytes:
        """Bytes of the image."""
        return self._image(location, offset, length)

    def _image(self, location: int, offset: int, length: int) -> bytes:
        if location == Location.PARTITION:
            return self._flash.read(self._flash.model.offset + offset, length)
        return bytes(self._ram[offset : offset + length])

    def _label(self, location: int) -> tuple[int, int] | None:
        """Length and CRC-32 of the stored image."""
        if location == Location.RAM:
            return None if self._ram_crc is None else (len(self._ram), self._ram_crc)
        data = self._flash.read(self._label_at, _LABEL.size)
        magic, length, crc, check = _LABEL.unpack(data)
        if magic != _LABEL_MAGIC or zlib.crc32(data[:-4]) != check:
            return None
        return int(length), int(crc)

"""All places where a virtual board's firmware can have a model: partition, RAM, the image itself, a file.

What no line can write lies beside the flash file: `<flash>.rodata` is the model that was linked into the
application, the files of the folder `<flash>.storage` are those of the SPIFFS partition, mounted as /storage.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from esp_hil.virtual.flash import Flash, ModelStorage, StorageError
from esp_hil.wire.objects import Location
from esp_hil.wire.status import Status

MOUNT = PurePosixPath("/storage")
LONGEST_PATH_BYTES = 63
RODATA_SUFFIX = ".rodata"
FILES_SUFFIX = ".storage"


def rodata_of(flash: Path) -> Path:
    """The model that is linked into the application, by the flash file's path."""
    return flash.with_name(flash.name + RODATA_SUFFIX)


def files_of(flash: Path) -> Path:
    """Folder of the files below MOUNT, by the flash file's path."""
    return flash.with_name(flash.name + FILES_SUFFIX)


class Places(ModelStorage):
    """The four locations of PROTOCOL.md's LOAD, in their order; see `ModelStorage` for the first two.

    Args:
        flash: stays open as long as this.
        ram_bytes: room for a model in RAM (PSRAM).
    """

    locations = ("partition", "ram", "rodata", "file")

    def __init__(self, flash: Flash, ram_bytes: int) -> None:
        super().__init__(flash, ram_bytes)
        self._rodata, self._files = rodata_of(flash.path), files_of(flash.path)
        self._opened = b""

    def begin(self, location: int, length: int, crc: int) -> bool:
        """Prepare to write; see `ModelStorage.begin`.

        Raises:
            StorageError: it does not fit, or nothing can be written there over the line.
        """
        if location > Location.RAM:
            where = self.locations[location]
            raise StorageError(Status.BAD_OBJECT, f"{where} cannot be written over the line")
        return super().begin(location, length, crc)

    def open(self, location: int, path: str) -> int:
        """Length of the image.

        Raises:
            StorageError: there is none, it is damaged, or a path is given for anything but a file.
        """
        if location == Location.FILE:
            self._opened = self._file(path)
        elif location == Location.RODATA and not path:
            if not self._rodata.is_file():
                raise StorageError(Status.NO_MODEL, "no model is linked into this image")
            self._opened = self._rodata.read_bytes()
        else:
            return super().open(location, path)
        return len(self._opened)

    def _file(self, path: str) -> bytes:
        if len(path.encode()) > LONGEST_PATH_BYTES:
            raise StorageError(Status.BAD_REQUEST, f"the path is longer than {LONGEST_PATH_BYTES} bytes")
        given = PurePosixPath(path)
        # SPIFFS knows no folders: a name is all there is below the mount
        found = self._files / given.name
        if given.parent != MOUNT or not given.name or not found.is_file():
            raise StorageError(Status.NO_MODEL, path)
        return found.read_bytes()

    def read(self, location: int, offset: int, length: int) -> bytes:
        """Bytes of the image."""
        if location > Location.RAM:
            return self._opened[offset : offset + length]
        return super().read(location, offset, length)

"""The flash of a virtual MicroPython board: a folder that can lose its power.

As LittleFS does, which the ESP32 port formats its flash with, a file that is written becomes visible when it is closed
(extmod/vfs_lfsx_file.c): what lost its power before is the old file, whole. A file system that takes each write at
once, as FAT does, is the other mode.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath


class PowerLost(Exception):
    """The power went away in the middle of a write; what came before it is kept."""


class FileSystemFull(Exception):
    """No block is free for what is written; what came before it is kept."""


class Storage:
    """Files of the board below a folder of this machine.

    Args:
        folder: it is made if absent.
        direct: take each write at once, as FAT does, not at the file's end.
    """

    def __init__(self, folder: Path, *, direct: bool = False) -> None:
        self._folder = folder
        self._direct = direct
        self._open: dict[Path, bytearray] = {}
        self._power_bytes: int | None = None
        self._free_bytes: int | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def cut_power_after(self, count: int) -> None:
        """Lose the power when `count` more bytes are written."""
        self._power_bytes = count

    def leave_free(self, count: int | None) -> None:
        """Be full after `count` more bytes; None: no longer."""
        self._free_bytes = count

    def _path(self, name: str) -> Path:
        parts: list[str] = []
        for part in PurePosixPath(name).parts:
            if part == "..":
                parts = parts[:-1]
            elif part != "/":
                parts.append(part)
        return self._folder.joinpath(*parts)

    def names(self) -> dict[str, list[str]]:
        """Folders, outer ones first, and files, as the board names them."""
        found = sorted(self._folder.rglob("*"))
        return {
            "folders": [f"/{path.relative_to(self._folder).as_posix()}" for path in found if path.is_dir()],
            "files": [f"/{path.relative_to(self._folder).as_posix()}" for path in found if path.is_file()],
        }

    def load(self, name: str) -> bytes:
        """The bytes of a file."""
        return self._path(name).read_bytes()

    def store(self, name: str, at: int, data: bytes) -> None:
        """Write bytes into a file, which is made if absent.

        Raises:
            PowerLost: after as many bytes as were left.
            FileSystemFull: nothing of it was written.
        """
        if self._free_bytes is not None:
            if len(data) > self._free_bytes:
                raise FileSystemFull
            self._free_bytes -= len(data)
        kept = data if self._power_bytes is None else data[: self._power_bytes]
        path = self._path(name)
        if self._direct:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.seek(at)
                file.write(kept)
        else:
            held = self._held(path)
            held.extend(bytes(max(0, at - len(held))))
            held[at : at + len(kept)] = kept
        if self._power_bytes is not None:
            self._power_bytes -= len(kept)
            if len(kept) < len(data) or self._power_bytes == 0:
                self._power_bytes = None
                self.power_off()
                raise PowerLost

    def _held(self, path: Path) -> bytearray:
        if path not in self._open:
            self._open[path] = bytearray(path.read_bytes() if path.exists() else b"")
        return self._open[path]

    def close(self, name: str) -> None:
        """A file was closed: what was written to it is there from now on."""
        held = self._open.pop(self._path(name), None)
        if held is not None:
            self._path(name).write_bytes(held)

    def power_off(self) -> None:
        """What was not closed is lost."""
        self._open.clear()

    def change(self, operation: str, name: str, *, to: str = "", empty: bool = False) -> None:
        """Create, remove, rename a file, make or remove a folder."""
        path = self._path(name)
        if operation == "create" and not self._direct:
            held = self._held(path)
            if empty:
                held.clear()
        elif operation == "create":
            path.touch()
            if empty:
                path.write_bytes(b"")
        elif operation == "make_folder":
            path.mkdir(exist_ok=True)
        elif operation == "rename":
            path.replace(self._path(to))
        elif operation == "remove":
            self._open.pop(path, None)
            path.unlink(missing_ok=True)
        elif operation == "remove_folder":
            shutil.rmtree(path)
        else:
            raise ValueError(operation)

"""The bytes of a line with their times, kept in a file, so that somebody's trouble can be looked at again.

One JSON value a line. The first: {"hil_recording": 1, "url": ..., "baud": ...}. Then [seconds, "tx" | "rx", hex]
for bytes to and from the board, [seconds, "baud", rate] and [seconds, "closed", why]. Each is written at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esp_hil.device.link import Link
from esp_hil.errors import ConfigError, FormatError, LinkClosed
from esp_hil.json_text import parse_json

VERSION = 1
MADE_BY = "pytest --hil-record FILE and hil link --record FILE make recordings"
What = Literal["tx", "rx", "baud", "closed"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened on the line, `at` seconds after the recording began."""

    at: float
    what: What
    data: bytes = b""
    baud: int = 0
    words: str = ""


class RecordedLink:
    """A link whose bytes are kept; otherwise as the one inside.

    Args:
        link: open.
        path: of the file; a new one for each recording.

    Raises:
        ConfigError: the file exists already, or cannot be written.
    """

    def __init__(self, link: Link, path: Path) -> None:
        self._link = link
        self.url = link.url
        try:
            self._file = path.open("x", encoding="utf-8")
        except OSError as error:
            hint = (
                "name another file"
                if isinstance(error, FileExistsError)
                else "name a file that can be written"
            )
            said = error.strerror if path.parent.is_dir() else f"no folder {path.parent}"
            raise ConfigError(f"cannot record to {path}: {said}", hint=hint) from error
        self._began_s = link.now()
        self._write({"hil_recording": VERSION, "url": link.url, "baud": link.baud})

    @property
    def bytes_per_s(self) -> float | None:
        """See `esp_hil.device.link.Link`."""
        return self._link.bytes_per_s

    @property
    def baud(self) -> int | None:
        """See `esp_hil.device.link.Link`."""
        return self._link.baud

    def now(self) -> float:
        """See `esp_hil.device.link.Link`."""
        return self._link.now()

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """See `esp_hil.device.link.Link`."""
        try:
            sent, data = self._link.exchange(outgoing, until)
        except LinkClosed as error:
            self._note("closed", error.message)
            raise
        if sent:
            self._note("tx", outgoing[:sent].hex())
        if data:
            self._note("rx", data.hex())
        return sent, data

    def set_baud(self, baud: int) -> None:
        """See `esp_hil.device.link.Link`."""
        self._link.set_baud(baud)
        self._note("baud", baud)

    def reset(self, *, to_loader: bool = False) -> None:
        """See `esp_hil.device.link.Link`."""
        self._link.reset(to_loader=to_loader)

    def close(self) -> None:
        """See `esp_hil.device.link.Link`."""
        self._link.close()
        self._file.close()

    def _note(self, what: What, value: str | int) -> None:
        self._write([round(self._link.now() - self._began_s, 6), what, value])

    def _write(self, value: object) -> None:
        if not self._file.closed:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()


def unused(path: Path) -> Path:
    """The path, or with -2, -3 ... before its ending where this process or another has recorded there already."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def check_place(path: Path) -> None:
    """Make sure that a recording could lie there; nothing is written.

    Raises:
        ConfigError: it is a folder, or its folder is none.
    """
    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else f"no folder {path.parent}"
        raise ConfigError(f"cannot record to {path}: {what}", hint="name a file that can be written")


def read_recording(path: Path) -> Iterator[Moment]:
    """What happened, in order; a last line that was cut off is left out.

    Raises:
        FormatError: not a recording, or a line that cannot be read; the message names it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {error}", hint=MADE_BY) from error
    head = _parsed(lines[0]) if lines else None
    if not isinstance(head, dict) or head.get("hil_recording") != VERSION:
        raise FormatError(f"{path} is not a recording of this version", hint=MADE_BY)
    for number, line in enumerate(lines[1:], start=2):
        moment = _moment(_parsed(line))
        if moment is None:
            if number == len(lines):
                return
            raise FormatError(f"{path}: line {number} cannot be read", hint=MADE_BY)
        yield moment


def _parsed(line: str) -> object:
    try:
        return parse_json(line)
    except ValueError:
        return None


def _moment(value: object) -> Moment | None:
    match value:
        case [float() | int() as at, "tx" | "rx" as what, str() as text]:
            try:
                return Moment(float(at), what, data=bytes.fromhex(text))
            except ValueError:
                return None
        case [float() | int() as at, "baud", int() as baud]:
            return Moment(float(at), "baud", baud=baud)
        case [float() | int() as at, "closed", str() as words]:
            return Moment(float(at), "closed", words=words)
    return None

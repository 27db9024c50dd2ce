"""The face databases of the MicroPython binding and of ESP-DL: read, write, change, mend.

Both begin with three little-endian uint16: records in all, valid ones, length of a feature. A record of ESP-DL
is uint16 id and float32[length] (dl_recognition_database.cpp: 2050 bytes for 512); the binding adds
char name[32] (mp_esp_dl_recognition_database.cpp: 2082 bytes). A deleted record stays with id 0; the n-th
record has id n. Nothing in the file says which of the two it is: its length does.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError, InputError
from esp_hil.tasks import cosine

Flavour = Literal["binding", "espdl"]
NAME_BYTES = 32
_META = struct.Struct("<HHH")
_MOST = 0xFFFF
_NORM_SLACK = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """One record.

    Attributes:
        id: from 1; 0 of a deleted one.
        feature: float32 (length,).
        name: "" without one, and always in ESP-DL's own format.
    """

    id: int
    feature: NDArray[np.float32]
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceDatabase:
    """All records of a database, deleted ones too: their places count.

    Attributes:
        flavour: whose format it is.
        length: of a feature.
        records: in the order of the file.
    """

    flavour: Flavour
    length: int = 512
    records: tuple[Face, ...] = ()

    @property
    def faces(self) -> tuple[Face, ...]:
        """Those that are not deleted."""
        return tuple(face for face in self.records if face.id)

    def enrolled(self, feature: NDArray[np.float32], name: str = "") -> FaceDatabase:
        """With one more face, as the firmware numbers it: records in all plus one.

        Raises:
            InputError: a feature of another length, a name too long or with NUL, a name in ESP-DL's format,
                or no number is left.
        """
        if feature.shape != (self.length,):
            raise InputError(f"a feature of shape {feature.shape} into a database of {self.length}")
        if len(self.records) >= _MOST:
            raise InputError(f"the database has {_MOST} records, there is no number for another")
        _check_name(name, self.flavour)
        face = Face(id=len(self.records) + 1, feature=feature.astype(np.float32), name=name)
        return replace(self, records=(*self.records, face))

    def deleted(self, number: int) -> FaceDatabase:
        """Without a face; its record stays with id 0.

        Raises:
            InputError: no face has this id.
        """
        if number < 1 or number not in {face.id for face in self.records}:
            known = ", ".join(str(face.id) for face in self.faces) or "none"
            raise InputError(f"no face has the id {number}", hint=f"there are: {known}")
        kept = tuple(replace(face, id=0) if face.id == number else face for face in self.records)
        return replace(self, records=kept)

    def query(self, feature: NDArray[np.float32], *, threshold: float = 0.5) -> tuple[int, float] | None:
        """Id and similarity of the most similar face above the threshold; None: a stranger."""
        known = [(face.id, cosine(feature, face.feature)) for face in self.faces]
        best = max(known, key=lambda row: row[1], default=(0, threshold))
        return best if best[1] > threshold else None

    def to_bytes(self) -> bytes:
        """The file."""
        meta = _META.pack(len(self.records), len(self.faces), self.length)
        return meta + b"".join(_packed(face, self.flavour) for face in self.records)


def record_bytes(flavour: Flavour, length: int) -> int:
    """Length of a record: 2082 of the binding and 2050 of ESP-DL with 512 numbers."""
    return 2 + 4 * length + (NAME_BYTES if flavour == "binding" else 0)


def _check_name(name: str, flavour: Flavour) -> None:
    if name and flavour == "espdl":
        raise InputError("ESP-DL's own database has no names", hint="use the binding's format")
    if len(name.encode()) >= NAME_BYTES or "\0" in name:
        raise InputError(
            f"the name {name!r} does not fit", hint=f"at most {NAME_BYTES - 1} bytes of UTF-8, without NUL"
        )


def _packed(face: Face, flavour: Flavour) -> bytes:
    name = face.name.encode().ljust(NAME_BYTES, b"\0") if flavour == "binding" else b""
    return struct.pack("<H", face.id) + face.feature.astype("<f4").tobytes() + name


def _meta(data: bytes) -> tuple[int, int, int]:
    if len(data) < _META.size:
        raise FormatError(
            f"a face database of {len(data)} bytes has no header",
            offset=len(data),
            hint="the file is cut short",
        )
    total, valid, length = _META.unpack_from(data)
    if not length or valid > total:
        raise FormatError(
            f"not a face database: {valid} valid of {total} records of length {length}",
            offset=0,
            hint="the header is damaged",
        )
    return total, valid, length


def parse(data: bytes, *, length: int | None = None, flavour: Flavour | None = None) -> FaceDatabase:
    """Read a database.

    Args:
        data: the whole file.
        length: of the features that the model makes; None: any.
        flavour: None: told by the length of the file; an empty one is the binding's.

    Raises:
        FormatError: cut short, too long, a count, an id, a number or a name that cannot be; features of
            another model's length. The offset is where it went wrong.
    """
    total, valid, found = _meta(data)
    if length is not None and found != length:
        raise FormatError(
            f"features of {found} numbers, the model makes {length}",
            offset=4,
            hint="the database belongs to another model: enrol again",
        )
    kind = flavour or _flavour_of(len(data), total, found)
    size = record_bytes(kind, found)
    if len(data) != _META.size + total * size:
        whole = (len(data) - _META.size) // size
        raise FormatError(
            f"{total} records announced, {len(data)} bytes hold {whole} and "
            f"{(len(data) - _META.size) % size} bytes more",
            offset=_META.size + min(whole, total) * size,
            hint="power was lost in the middle of a write: mend() keeps what is whole",
        )
    records = tuple(_record(data, at, kind, found, number) for number, at in _places(total, size))
    alive = sum(face.id != 0 for face in records)
    if alive != valid:
        raise FormatError(
            f"{valid} valid records announced, {alive} found",
            offset=2,
            hint="power was lost between two writes: mend() counts again",
        )
    return FaceDatabase(flavour=kind, length=found, records=records)


def _places(total: int, size: int) -> list[tuple[int, int]]:
    return [(number, _META.size + (number - 1) * size) for number in range(1, total + 1)]


def _flavour_of(size: int, total: int, length: int) -> Flavour:
    flavours: tuple[Flavour, ...] = ("binding", "espdl")
    for flavour in flavours:
        if size == _META.size + total * record_bytes(flavour, length):
            return flavour
    raise FormatError(
        f"{size} bytes are neither {total} records of the binding nor of ESP-DL",
        offset=_META.size,
        hint="cut short by lost power: mend() keeps what is whole",
    )


def _record(data: bytes, at: int, flavour: Flavour, length: int, number: int) -> Face:
    (found,) = struct.unpack_from("<H", data, at)
    if found not in {0, number}:
        raise FormatError(
            f"record {number} has the id {found}", offset=at, hint="ids are places; it is damaged"
        )
    feature = np.frombuffer(data, "<f4", length, at + 2).astype(np.float32)
    if not np.isfinite(feature).all():
        raise FormatError(f"record {number} has numbers that are not finite", offset=at + 2)
    norm = float(np.linalg.norm(feature.astype(np.float64)))
    if found and abs(norm - 1.0) > _NORM_SLACK:
        raise FormatError(
            f"the feature of record {number} has the length {norm:g} instead of 1",
            offset=at + 2,
            hint="it is damaged",
        )
    name = ""
    if flavour == "binding":
        place = at + 2 + 4 * length
        raw = data[place : place + NAME_BYTES]
        try:
            name = raw[: raw.index(0)].decode()
        except ValueError:
            raise FormatError(f"record {number} has no name that ends", offset=place) from None
    return Face(id=found, feature=feature, name=name)


def mend(data: bytes, *, flavour: Flavour = "binding") -> FaceDatabase:
    """What is whole of a database that lost power in the middle of a write: leading whole records, counted anew.

    The binding writes the header before the record: after a lost enrolment the header counts one record too
    many, and the next enrolment would put its record behind the torn one, where it is never found again.

    Raises:
        FormatError: there is no usable header.
    """
    total, _, length = _meta_mended(data)
    size = record_bytes(flavour, length)
    whole = min(total, (len(data) - _META.size) // size)
    kept: list[Face] = []
    for number, at in _places(whole, size):
        try:
            kept.append(_record(data, at, flavour, length, number))
        except FormatError:
            break
    return FaceDatabase(flavour=flavour, length=length, records=tuple(kept))


def _meta_mended(data: bytes) -> tuple[int, int, int]:
    """The header, where only its count of valid records may be wrong."""
    if len(data) < _META.size:
        return _meta(data)
    total, _, length = _META.unpack_from(data)
    return _meta(_META.pack(total, 0, length))


def same(first: FaceDatabase, second: FaceDatabase) -> bool:
    """Whether two databases have the same records in the same places."""
    return first.to_bytes() == second.to_bytes() and first.flavour == second.flavour


def names(faces: Sequence[Face]) -> dict[int, str]:
    """Names by id."""
    return {face.id: face.name for face in faces}

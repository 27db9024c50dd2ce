"""Messages about the line itself, packed data and golden sets; docs/PROTOCOL.md sections 3, 7 and 8."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from esp_hil.wire.message import Message


@dataclass(frozen=True, slots=True)
class Line(Message):
    """Another rate, on trial for `trial_ms` (0 keeps the present one), and the pad that ends what is sent."""

    KIND: ClassVar[int] = 0x88
    FORM: ClassVar[struct.Struct] = struct.Struct("<IHB")
    baud: int
    trial_ms: int
    pad: int


@dataclass(frozen=True, slots=True)
class Prbs(Message):
    """Ask for so many PATTERN frames of `size` bytes, and for what came of those sent there."""

    KIND: ClassVar[int] = 0x89
    FORM: ClassVar[struct.Struct] = struct.Struct("<HH")
    frames: int
    size: int


@dataclass(frozen=True, slots=True)
class Golden(Message):
    """Open the golden set of that name: records x record_bytes bytes with that SHA-256."""

    KIND: ClassVar[int] = 0x8A
    FORM: ClassVar[struct.Struct] = struct.Struct("<II32s")
    records: int
    record_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class LineAnswer(Message):
    """The rate from after this answer on; 0: the line has none."""

    KIND: ClassVar[int] = 0xA8
    FORM: ClassVar[struct.Struct] = struct.Struct("<I")
    baud: int


@dataclass(frozen=True, slots=True)
class PrbsAnswer(Message):
    """Of the PATTERN frames since the last one: those that came, those with wrong bytes, noise segments."""

    KIND: ClassVar[int] = 0xA9
    FORM: ClassVar[struct.Struct] = struct.Struct("<III")
    received: int
    wrong: int
    noise_segments: int


@dataclass(frozen=True, slots=True)
class GoldenAnswer(Message):
    """1: the set is there and intact; 0: it is to be written as object GOLDEN, and asked for again."""

    KIND: ClassVar[int] = 0xAA
    FORM: ClassVar[struct.Struct] = struct.Struct("<B")
    found: int


@dataclass(frozen=True, slots=True)
class Packed(Message):
    """DATA whose bytes are a raw DEFLATE stream; `offset` counts unpacked bytes."""

    KIND: ClassVar[int] = 0x92
    FORM: ClassVar[struct.Struct] = struct.Struct("<HI")
    TAIL: ClassVar[bool] = True
    transfer: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Pattern(Message):
    """Bytes of the test pattern (`esp_hil.wire.pattern`) from the place of that number on."""

    KIND: ClassVar[int] = 0x93
    FORM: ClassVar[struct.Struct] = struct.Struct("<H")
    TAIL: ClassVar[bool] = True
    number: int
    data: bytes

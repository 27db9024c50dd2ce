"""What nobody answers (docs/PROTOCOL.md sections 3 and 7): bytes of transfers, acknowledgements, faults, boot, log.

All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from esp_hil.errors import WireError
from esp_hil.wire.frame import Frame
from esp_hil.wire.message import Message

MAX_RANGES = 8


@dataclass(frozen=True, slots=True)
class Data(Message):
    """Bytes of a transfer from `offset` on."""

    KIND: ClassVar[int] = 0x90
    FORM: ClassVar[struct.Struct] = struct.Struct("<HI")
    TAIL: ClassVar[bool] = True
    transfer: int
    offset: int
    data: bytes

    def payload(self) -> bytes:
        """The fixed fields and the bytes (written out: this is the one message that must be fast)."""
        return self.FORM.pack(self.transfer, self.offset) + self.data


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


@dataclass(frozen=True, slots=True)
class Ack(Message):
    """All below `cumulative` and the `ranges` (start, end) are there; `credit` bytes may be in flight."""

    KIND: ClassVar[int] = 0x91
    FORM: ClassVar[struct.Struct] = struct.Struct("<HBII")
    PAIR: ClassVar[struct.Struct] = struct.Struct("<II")
    TAIL: ClassVar[bool] = True
    transfer: int
    status: int
    cumulative: int
    credit: int
    ranges: tuple[tuple[int, int], ...] = ()

    def payload(self) -> bytes:
        """The fixed fields, then start and end of each range."""
        head = self.FORM.pack(self.transfer, self.status, self.cumulative, self.credit)
        return head + b"".join(self.PAIR.pack(start, end) for start, end in self.ranges)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read such a payload.

        Raises:
            WireError: it is too short, or what follows is not a list of at most 8 pairs.
        """
        transfer, status, cumulative, credit = cls._fixed(payload)
        tail = payload[cls.FORM.size :]
        if len(tail) % cls.PAIR.size or len(tail) > MAX_RANGES * cls.PAIR.size:
            raise WireError(f"Ack's ranges take {len(tail)} bytes")
        ranges = tuple((start, end) for start, end in cls.PAIR.iter_unpack(tail))
        return cls(transfer, status, cumulative, credit, ranges)


@dataclass(frozen=True, slots=True)
class Fault(Message):
    """The device got a frame that is not a valid request; a gap's detail is the expected seq (u16)."""

    KIND: ClassVar[int] = 0xB0
    FORM: ClassVar[struct.Struct] = struct.Struct("<B")
    TAIL: ClassVar[bool] = True
    status: int
    detail: bytes = b""

    @property
    def expected_seq(self) -> int:
        """The seq that a device with a gap waits for.

        Raises:
            WireError: the detail is no u16.
        """
        if len(self.detail) < 2:
            raise WireError(f"gap's detail has {len(self.detail)} bytes")
        return int.from_bytes(self.detail[:2], "little")


@dataclass(frozen=True, slots=True)
class Boot(Message):
    """The device has started; `boot_id` differs at each start."""

    KIND: ClassVar[int] = 0xB1
    FORM: ClassVar[struct.Struct] = struct.Struct("<IB")
    boot_id: int
    reset_reason: int


@dataclass(frozen=True, slots=True)
class Log(Message):
    """A line of the device's log."""

    KIND: ClassVar[int] = 0xB2
    FORM: ClassVar[struct.Struct] = struct.Struct("<B")
    TAIL: ClassVar[bool] = True
    level: int
    text: bytes


UNANSWERED: dict[int, type[Message]] = {
    kind.KIND: kind
    for kind in (
        Data,
        Packed,
        Pattern,
        Ack,
        Fault,
        Boot,
        Log,
    )
}


def parse_unanswered(frame: Frame) -> Message | None:
    """The message of a DATA, ACK, FAULT, BOOT or LOG frame; None for a kind that this version does not know.

    Raises:
        WireError: the payload has the wrong length.
    """
    message = UNANSWERED.get(frame.kind)
    return message.parse(frame.payload) if message is not None else None

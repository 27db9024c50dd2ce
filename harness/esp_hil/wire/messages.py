"""The messages of docs/PROTOCOL.md section 3: one frozen dataclass each, payload bytes <-> fields.

A request's answer has its kind + 0x20 and starts with a status byte: `parse_answer` gives its message, or
`Failure` with the device's words. All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from esp_hil.errors import WireError
from esp_hil.wire.frame import Frame
from esp_hil.wire.line_messages import (
    Golden,
    GoldenAnswer,
    Line,
    LineAnswer,
    Packed,
    Pattern,
    Prbs,
    PrbsAnswer,
)
from esp_hil.wire.message import Message
from esp_hil.wire.objects import Location, Object
from esp_hil.wire.status import Status

__all__ = ["Location", "Object"]  # and everything defined here

ANSWER = 0x20
"""Added to a request's kind in its answer."""
WHOLE = 0xFFFF_FFFF  # OpenRead.length for everything from the offset on
MAX_RANGES = 8

RUN_INLINE_INPUTS = 1
RUN_INLINE_OUTPUTS = 2
RUN_CAPTURE = 4
RUN_PROFILE = 8
RUN_GOLDEN = 16
RUN_EXPECT = 32
RUN_PACKED = 64

LOAD_PARAMETERS_IN_FLASH = 1
LOAD_SELF_TEST = 2

HELLO_MODEL_LOADED = 1
HELLO_RUNNING = 2
HELLO_LINE = 4
HELLO_GOLDEN = 8
HELLO_PACKED = 16


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Begin a session; ends every open transfer and forgets queued runs."""

    KIND: ClassVar[int] = 0x80
    FORM: ClassVar[struct.Struct] = struct.Struct("<BBIH")
    version_min: int
    version_max: int
    nonce: int
    max_payload: int


@dataclass(frozen=True, slots=True)
class OpenWrite(Message):
    """Announce `length` bytes with CRC-32 `crc` for an object."""

    KIND: ClassVar[int] = 0x81
    FORM: ClassVar[struct.Struct] = struct.Struct("<BHHII")
    object: int
    index: int
    slot: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class OpenRead(Message):
    """Ask for bytes of an object."""

    KIND: ClassVar[int] = 0x82
    FORM: ClassVar[struct.Struct] = struct.Struct("<BHHII")
    object: int
    index: int = 0
    slot: int = 0
    offset: int = 0
    length: int = WHOLE


@dataclass(frozen=True, slots=True)
class Load(Message):
    """Make the model at `location` ready to run; `path` is for file systems."""

    KIND: ClassVar[int] = 0x83
    FORM: ClassVar[struct.Struct] = struct.Struct("<BBH")
    TAIL: ClassVar[bool] = True
    location: int
    cores: int
    options: int = 0
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class Run(Message):
    """Run the model on a slot; flags are the RUN_ constants of this module."""

    KIND: ClassVar[int] = 0x84
    FORM: ClassVar[struct.Struct] = struct.Struct("<HBBHHB")
    TAIL: ClassVar[bool] = True
    slot: int
    flags: int
    cores: int
    warmup: int
    repeats: int
    name: bytes = b""
    inline: bytes = b""

    def payload(self) -> bytes:
        """The fixed fields, the name's length, the name, the inputs."""
        head = self.FORM.pack(self.slot, self.flags, self.cores, self.warmup, self.repeats, len(self.name))
        return head + self.name + self.inline

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read such a payload.

        Raises:
            WireError: it is too short for its fields or its name.
        """
        slot, flags, cores, warmup, repeats, length = cls._fixed(payload)
        end = cls.FORM.size + length
        if end > len(payload):
            raise WireError(f"Run's name has {length} bytes, got {len(payload) - cls.FORM.size}")
        return cls(slot, flags, cores, warmup, repeats, payload[cls.FORM.size : end], payload[end:])


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Forget a transfer."""

    KIND: ClassVar[int] = 0x85
    FORM: ClassVar[struct.Struct] = struct.Struct("<H")
    transfer: int


@dataclass(frozen=True, slots=True)
class Reset(Message):
    """Restart (mode 0) or go to the ROM loader (mode 1)."""

    KIND: ClassVar[int] = 0x86
    FORM: ClassVar[struct.Struct] = struct.Struct("<B")
    mode: int


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Any bytes, to be sent back."""

    KIND: ClassVar[int] = 0x87
    FORM: ClassVar[struct.Struct] = struct.Struct("")
    TAIL: ClassVar[bool] = True
    data: bytes


@dataclass(frozen=True, slots=True)
class HelloAnswer(Message):
    """What the device can take: payload and window in bytes, slots, requests in its queue."""

    KIND: ClassVar[int] = Hello.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<BIHIBBB")
    version: int
    boot_id: int
    max_payload: int
    rx_window: int
    slots: int
    queue: int
    flags: int


@dataclass(frozen=True, slots=True)
class OpenWriteAnswer(Message):
    """Bytes that the device has already: 0, or the whole length when nothing needs to be sent."""

    KIND: ClassVar[int] = OpenWrite.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<I")
    received: int


@dataclass(frozen=True, slots=True)
class OpenReadAnswer(Message):
    """Length and CRC-32 of the bytes that follow as DATA."""

    KIND: ClassVar[int] = OpenRead.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<II")
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class LoadAnswer(Message):
    """The generation of the model (INFO of another one is out of date) and its input/output slots."""

    KIND: ClassVar[int] = Load.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<IB")
    generation: int
    slots: int


@dataclass(frozen=True, slots=True)
class RunAnswer(Message):
    """CPU cycles of the first run since LOAD (or 0) and of the last one; outputs if asked for."""

    KIND: ClassVar[int] = Run.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<QQH")
    TAIL: ClassVar[bool] = True
    cold: int
    last: int
    repeats: int
    inline: bytes = b""


@dataclass(frozen=True, slots=True)
class CancelAnswer(Message):
    """The transfer is forgotten."""

    KIND: ClassVar[int] = Cancel.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")


@dataclass(frozen=True, slots=True)
class ResetAnswer(Message):
    """The device resets now."""

    KIND: ClassVar[int] = Reset.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")


@dataclass(frozen=True, slots=True)
class PingAnswer(Message):
    """The bytes of the ping."""

    KIND: ClassVar[int] = Ping.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")
    TAIL: ClassVar[bool] = True
    data: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not ok: the status and the device's own words."""

    status: int
    words: str


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
            WireError: it is too short, or what follows is no list of at most 8 pairs.
        """
        transfer, status, cumulative, credit = cls._fixed(payload)
        tail = payload[cls.FORM.size :]
        if len(tail) % cls.PAIR.size or len(tail) > MAX_RANGES * cls.PAIR.size:
            raise WireError(f"Ack's ranges take {len(tail)} bytes")
        ranges = tuple((start, end) for start, end in cls.PAIR.iter_unpack(tail))
        return cls(transfer, status, cumulative, credit, ranges)


@dataclass(frozen=True, slots=True)
class Fault(Message):
    """The device got a frame that is no valid request; a gap's detail is the expected seq (u16)."""

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


REQUESTS: dict[int, type[Message]] = {
    kind.KIND: kind
    for kind in (Hello, OpenWrite, OpenRead, Load, Run, Cancel, Reset, Ping, Line, Prbs, Golden)
}
ANSWERS: dict[int, type[Message]] = {
    kind.KIND: kind
    for kind in (
        HelloAnswer,
        OpenWriteAnswer,
        OpenReadAnswer,
        LoadAnswer,
        RunAnswer,
        CancelAnswer,
        ResetAnswer,
        PingAnswer,
        LineAnswer,
        PrbsAnswer,
        GoldenAnswer,
    )
}
UNANSWERED: dict[int, type[Message]] = {
    kind.KIND: kind for kind in (Data, Ack, Packed, Pattern, Fault, Boot, Log)
}


def parse_answer(frame: Frame) -> Message | Failure:
    """The answer that a frame of kind A0..A7 carries.

    Raises:
        WireError: no status byte, a body of the wrong length, or a kind that is not an answer's.
    """
    answer = ANSWERS.get(frame.kind)
    if answer is None:
        raise WireError(f"kind {frame.kind:#04x} is not an answer")
    if not frame.payload:
        raise WireError(f"answer of kind {frame.kind:#04x} without a status")
    status = frame.payload[0]
    if status != Status.OK:
        return Failure(status, frame.payload[1:].decode("utf-8", "replace"))
    return answer.parse(frame.payload[1:])


def parse_unanswered(frame: Frame) -> Message | None:
    """The message of a DATA, ACK, FAULT, BOOT or LOG frame; None for a kind that this version does not know.

    Raises:
        WireError: the payload has the wrong length.
    """
    message = UNANSWERED.get(frame.kind)
    return message.parse(frame.payload) if message is not None else None

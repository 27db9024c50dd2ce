"""What the device answers (docs/PROTOCOL.md section 3): one frozen dataclass for each request's answer.

An answer has its request's kind + 0x20 and starts with a status byte: `parse_answer` gives its message, or
`FailureAnswer` with the device's words. All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from esp_hil.errors import WireError
from esp_hil.wire.frame import Frame
from esp_hil.wire.message import Message
from esp_hil.wire.requests import (
    CancelRequest,
    GateRequest,
    GoldenRequest,
    HelloRequest,
    LineRequest,
    LoadRequest,
    OpenReadRequest,
    OpenWriteRequest,
    PingRequest,
    PrbsRequest,
    ResetRequest,
    RunRequest,
)
from esp_hil.wire.status import Status

ANSWER = 0x20
"""Added to a request's kind in its answer."""

HELLO_MODEL_LOADED = 1
HELLO_RUNNING = 2
HELLO_LINE = 4
HELLO_GOLDEN = 8
HELLO_PACKED = 16
HELLO_GATE = 32


@dataclass(frozen=True, slots=True)
class HelloAnswer(Message):
    """What the device can take: payload and window in bytes, slots, requests in its queue."""

    KIND: ClassVar[int] = HelloRequest.KIND + ANSWER
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

    KIND: ClassVar[int] = OpenWriteRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<I")
    received: int


@dataclass(frozen=True, slots=True)
class OpenReadAnswer(Message):
    """Length and CRC-32 of the bytes that follow as DATA."""

    KIND: ClassVar[int] = OpenReadRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<II")
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class LoadAnswer(Message):
    """The generation of the model (INFO of another one is out of date) and its input/output slots."""

    KIND: ClassVar[int] = LoadRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<IB")
    generation: int
    slots: int


@dataclass(frozen=True, slots=True)
class RunAnswer(Message):
    """CPU cycles of the first run since LOAD (or 0) and of the last one; outputs if asked for."""

    KIND: ClassVar[int] = RunRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<QQH")
    TAIL: ClassVar[bool] = True
    cold: int
    last: int
    repeats: int
    inline: bytes = b""


@dataclass(frozen=True, slots=True)
class CancelAnswer(Message):
    """The transfer is forgotten."""

    KIND: ClassVar[int] = CancelRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")


@dataclass(frozen=True, slots=True)
class ResetAnswer(Message):
    """The device resets now."""

    KIND: ClassVar[int] = ResetRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")


@dataclass(frozen=True, slots=True)
class PingAnswer(Message):
    """The bytes of the ping."""

    KIND: ClassVar[int] = PingRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")
    TAIL: ClassVar[bool] = True
    data: bytes


@dataclass(frozen=True, slots=True)
class LineAnswer(Message):
    """The rate from after this answer on; 0: the line has none."""

    KIND: ClassVar[int] = LineRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<I")
    baud: int


@dataclass(frozen=True, slots=True)
class PrbsAnswer(Message):
    """Of the PATTERN frames since the last one: those that came, those with wrong bytes, noise segments."""

    KIND: ClassVar[int] = PrbsRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<III")
    received: int
    wrong: int
    noise_segments: int


@dataclass(frozen=True, slots=True)
class GoldenAnswer(Message):
    """1: the set is there and intact; 0: it is to be written as object GOLDEN, and asked for again."""

    KIND: ClassVar[int] = GoldenRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("<B")
    found: int


@dataclass(frozen=True, slots=True)
class GateAnswer(Message):
    """The pin is an output at that level."""

    KIND: ClassVar[int] = GateRequest.KIND + ANSWER
    FORM: ClassVar[struct.Struct] = struct.Struct("")


@dataclass(frozen=True, slots=True)
class FailureAnswer:
    """An answer that is not ok: the status and the device's own words."""

    status: int
    words: str


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
        GateAnswer,
    )
}


def parse_answer(frame: Frame) -> Message | FailureAnswer:
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
        return FailureAnswer(status, frame.payload[1:].decode("utf-8", "replace"))
    return answer.parse(frame.payload[1:])

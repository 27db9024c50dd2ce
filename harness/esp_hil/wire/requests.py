"""What the host asks (docs/PROTOCOL.md section 3): one frozen dataclass for each request, payload bytes <-> fields.

All integers are little-endian. The answers are in esp_hil.wire.answers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from esp_hil.errors import WireError
from esp_hil.wire.message import Message

WHOLE = 0xFFFF_FFFF  # OpenReadRequest.length for everything from the offset on

RUN_INLINE_INPUTS = 1
RUN_INLINE_OUTPUTS = 2
RUN_CAPTURE = 4
RUN_PROFILE = 8
RUN_GOLDEN = 16
RUN_EXPECT = 32
RUN_PACKED = 64
RUN_GATE = 128

NO_GATE = 0xFF
"""GateRequest.pin for none."""

LOAD_PARAMETERS_IN_FLASH = 1
LOAD_SELF_TEST = 2


@dataclass(frozen=True, slots=True)
class HelloRequest(Message):
    """Begin a session; ends every open transfer and forgets queued runs."""

    KIND: ClassVar[int] = 0x80
    FORM: ClassVar[struct.Struct] = struct.Struct("<BBIH")
    version_min: int
    version_max: int
    nonce: int
    max_payload: int


@dataclass(frozen=True, slots=True)
class OpenWriteRequest(Message):
    """Announce `length` bytes with CRC-32 `crc` for an object."""

    KIND: ClassVar[int] = 0x81
    FORM: ClassVar[struct.Struct] = struct.Struct("<BHHII")
    object: int
    index: int
    slot: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class OpenReadRequest(Message):
    """Ask for bytes of an object."""

    KIND: ClassVar[int] = 0x82
    FORM: ClassVar[struct.Struct] = struct.Struct("<BHHII")
    object: int
    index: int = 0
    slot: int = 0
    offset: int = 0
    length: int = WHOLE


@dataclass(frozen=True, slots=True)
class LoadRequest(Message):
    """Make the model at `location` ready to run; `path` is for file systems."""

    KIND: ClassVar[int] = 0x83
    FORM: ClassVar[struct.Struct] = struct.Struct("<BBH")
    TAIL: ClassVar[bool] = True
    location: int
    cores: int
    options: int = 0
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class RunRequest(Message):
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
class CancelRequest(Message):
    """Forget a transfer."""

    KIND: ClassVar[int] = 0x85
    FORM: ClassVar[struct.Struct] = struct.Struct("<H")
    transfer: int


@dataclass(frozen=True, slots=True)
class ResetRequest(Message):
    """Restart (mode 0) or go to the ROM loader (mode 1)."""

    KIND: ClassVar[int] = 0x86
    FORM: ClassVar[struct.Struct] = struct.Struct("<B")
    mode: int


@dataclass(frozen=True, slots=True)
class PingRequest(Message):
    """Any bytes, to be sent back."""

    KIND: ClassVar[int] = 0x87
    FORM: ClassVar[struct.Struct] = struct.Struct("")
    TAIL: ClassVar[bool] = True
    data: bytes


@dataclass(frozen=True, slots=True)
class LineRequest(Message):
    """Another rate, on trial for `trial_ms` (0 keeps the present one), and the pad that ends what is sent."""

    KIND: ClassVar[int] = 0x88
    FORM: ClassVar[struct.Struct] = struct.Struct("<IHB")
    baud: int
    trial_ms: int
    pad: int


@dataclass(frozen=True, slots=True)
class PrbsRequest(Message):
    """Ask for so many PATTERN frames of `size` bytes, and for what came of those sent there."""

    KIND: ClassVar[int] = 0x89
    FORM: ClassVar[struct.Struct] = struct.Struct("<HH")
    frames: int
    size: int


@dataclass(frozen=True, slots=True)
class GoldenRequest(Message):
    """Open the golden set of that name: records x record_bytes bytes with that SHA-256."""

    KIND: ClassVar[int] = 0x8A
    FORM: ClassVar[struct.Struct] = struct.Struct("<II32s")
    records: int
    record_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class GateRequest(Message):
    """Make a pin the gate, at level 0 or 1, until the session ends; NO_GATE: none."""

    KIND: ClassVar[int] = 0x8B
    FORM: ClassVar[struct.Struct] = struct.Struct("<BB")
    pin: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Reminder(Message):
    """A request that the device has, sent again without its fields: only kind and seq are looked at."""

    kind: int

    def payload(self) -> bytes:
        """Nothing."""
        return b""


REQUESTS: dict[int, type[Message]] = {
    kind.KIND: kind
    for kind in (
        HelloRequest,
        OpenWriteRequest,
        OpenReadRequest,
        LoadRequest,
        RunRequest,
        CancelRequest,
        ResetRequest,
        PingRequest,
        LineRequest,
        PrbsRequest,
        GoldenRequest,
        GateRequest,
    )
}

"""What surrounds a server in tests: an engine that reverses its input, storage in memory, a simple host."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from esp_hil import _device
from esp_hil.wire.status import Status

Role = Literal["input", "output"]


@dataclass
class Spec:
    role: Role
    index: int
    name: str
    nbytes: int
    dtype: str = "int8"
    layout: str = "N"
    exponent: int | None = -7

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, self.nbytes)


@dataclass
class NullModel:
    tensors: list[Spec]
    family: str = "c"
    name: str = "null"


@dataclass
class NullResult:
    outputs: list[bytes]
    cycles: int | None = None
    captured: bytes | None = None
    profile: list[tuple[str, str, int]] = field(default_factory=list)


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NullEngine:
    """The output is the input backwards; what goes wrong can be chosen."""

    name = "null"
    version = "1"
    families = ("c",)

    def __init__(self, nbytes: int = 64) -> None:
        self.nbytes = nbytes
        self.error: Exception | None = None
        self.outputs: Callable[[bytes], list[bytes]] = lambda data: [data[::-1]]
        self.image = b""
        self.loaded = False
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> NullModel:
        del location, path, cores, options
        if self.error:
            raise self.error
        self.image, self.loaded = image, True
        return NullModel([Spec("input", 0, "x", self.nbytes), Spec("output", 0, "y", self.nbytes)])

    def unload(self) -> None:
        self.loaded = False

    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> NullResult:
        self.began.set()
        assert self.may_end.wait(30)
        if self.error:
            raise self.error
        return NullResult(
            self.outputs(inputs[0]),
            cycles=1000 * cores,
            captured=inputs[0] if capture == "x" else None,
            profile=[("reverse", "Reverse", 999)] if profile else [],
        )

    def counters(self) -> list[tuple[str, str, int]]:
        return [("arena_used", "bytes", 77 if self.loaded else 0)]


TEXTS = (
    "app",
    "app_version",
    "chip",
    "mac",
    "idf",
    "sdkconfig_sha256",
    "image_sha256",
    "reset_reason",
    "kind",
)
NUMBERS = (
    "revision",
    "clock_hz",
    "flash_bytes",
    "psram_bytes",
    "internal_bytes",
    "reset_reason_code",
)


class NullBoard:
    def __init__(self) -> None:
        self.resets: list[int] = []
        self.identity: dict[str, str | int] = {key: "w" for key in TEXTS} | {key: 7 for key in NUMBERS}
        self.identity |= {"cores": 2, "boot_id": 0xDEADBEEF}

    def reset(self, mode: int) -> None:
        self.resets.append(mode)

    def counters(self) -> list[tuple[str, str, int]]:
        return [("heap_free", "bytes", 2**40)]


class NullStorage:
    locations = ("partition", "ram")

    def __init__(self) -> None:
        self.parts: dict[int, bytearray] = {}
        self.images: dict[int, bytes] = {}
        self.error: Exception | None = None

    def begin(self, location: int, length: int, crc: int) -> bool:
        held = self.images.get(location, b"")
        if len(held) == length and zlib.crc32(held) == crc:
            return True
        self.parts[location] = bytearray(length)
        return False

    def write(self, location: int, offset: int, data: bytes) -> None:
        if self.error:
            raise self.error
        self.parts[location][offset : offset + len(data)] = data

    def finish(self, location: int) -> None:
        self.images[location] = bytes(self.parts.pop(location))

    def abort(self, location: int) -> None:
        self.parts.pop(location, None)

    def open(self, location: int, path: str) -> int:
        del path
        if location not in self.images:
            raise Refused(Status.NO_MODEL, "nothing is there")
        return len(self.images[location])

    def read(self, location: int, offset: int, length: int) -> bytes:
        return bytes(self.images.get(location) or self.parts[location])[offset : offset + length]


IMAGE = bytes(range(256)) * 40
INPUT = bytes(range(64))
HELLO, OPEN_WRITE, OPEN_READ, LOAD, RUN, RESET, PING = 0x80, 0x81, 0x82, 0x83, 0x84, 0x86, 0x87
DATA, ACK = 0x90, 0x91


class Host:
    """Speaks to one server; keeps the frames that came back."""

    def __init__(self, **options: Any) -> None:
        self.engine, self.board, self.storage = NullEngine(), NullBoard(), NullStorage()
        sizes = {"clock_hz": 1_000_000, "slots_bytes": 4096} | options
        self.server = _device.Server(self.engine, self.board, self.storage, **sizes)
        self.decoder = _device.FrameDecoder()
        self.frames: list[tuple[int, int, int, bytes]] = []
        self.sent = b""
        self.seq = 0

    def send(self, kind: int, payload: bytes, seq: int = 0) -> None:
        data = _device.encode_frame(kind, 7, seq, payload)
        self.sent += data
        self.server.receive(data)

    def take(self, limit: int = 70_000) -> None:
        while line := self.server.transmit(limit):
            for event in self.decoder.feed(line):
                assert event[0] == "frame"
                self.frames.append(event[1:])

    def ask(self, kind: int, payload: bytes, *, wait: bool = True) -> bytes:
        """The payload of the answer, status first; empty if there is none yet and `wait` is false."""
        self.seq += 1
        self.send(kind, payload, self.seq)
        while wait and self.server.busy:
            time.sleep(0.0002)  # the worker needs the GIL
            self.server.poll()
        self.take()
        answers = [f[3] for f in self.frames if f[0] == kind + 0x20 and f[2] == self.seq]
        return answers[-1] if answers else b""

    def hello(self) -> bytes:
        return self.ask(HELLO, struct.pack("<BBIH", 1, 1, 99, 4096))

    def write(self, target: int, content: bytes, index: int = 0, slot: int = 0) -> int:
        """The status of the write, from the answer or from the last ACK."""
        opened = self.ask(
            OPEN_WRITE,
            struct.pack("<BHHII", target, index, slot, len(content), zlib.crc32(content)),
            wait=False,
        )
        if opened[0] != Status.OK or opened[1:] == struct.pack("<I", len(content)):
            return opened[0]  # refused, or the device has it
        for at in range(0, len(content), 3000):
            self.send(DATA, struct.pack("<HI", self.seq, at) + content[at : at + 3000])
        self.take()
        return [f[3] for f in self.frames if f[0] == ACK][-1][2]

    def read(self, target: int, index: int = 0, slot: int = 0) -> bytes:
        opened = self.ask(OPEN_READ, struct.pack("<BHHII", target, index, slot, 0, 0xFFFFFFFF), wait=False)
        assert opened[0] == Status.OK, opened
        length, crc = struct.unpack_from("<II", opened, 1)
        content = bytearray(length)
        for kind, _, seq, payload in self.frames:
            if kind == DATA and seq == self.seq:
                at = int.from_bytes(payload[2:6], "little")
                content[at : at + len(payload) - 6] = payload[6:]
        assert zlib.crc32(content) == crc
        self.send(ACK, struct.pack("<HBII", self.seq, 0, length, 65536))
        return bytes(content)

    def load(self) -> bytes:
        assert self.write(1, IMAGE, index=1) == Status.OK
        return self.ask(LOAD, struct.pack("<BBH", 1, 1, 0))

    def run(self, flags: int = 3, name: bytes = b"", repeats: int = 1, *, wait: bool = True) -> bytes:
        inputs = INPUT if flags & 1 else b""
        head = struct.pack("<HBBHHB", 0, flags, 1, 0, repeats, len(name))
        return self.ask(RUN, head + name + inputs, wait=wait)

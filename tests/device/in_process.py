"""The device core in this process, behind a link without port or clock: thousands of exchanges a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from esp_hil._device import Server
from esp_hil.errors import DeviceFault, LinkClosed, LinkError
from esp_hil.wire.status import Status

IDENTITY: dict[str, str | int] = {
    "app": "in-process",
    "app_version": "1",
    "chip": "esp32p4",
    "mac": "02:00:00:00:00:01",
    "idf": "none",
    "sdkconfig_sha256": "",
    "image_sha256": "",
    "reset_reason": "power_on",
    "kind": "virtual",
    "revision": 100,
    "cores": 2,
    "clock_hz": 360_000_000,
    "flash_bytes": 1 << 24,
    "psram_bytes": 0,
    "internal_bytes": 1 << 19,
    "reset_reason_code": 1,
}
IMAGE = b"esp32p4 model\n" + bytes(range(256)) * 8
"""A model of the engine below: its first word is its family."""


@dataclass(frozen=True)
class Spec:
    role: Literal["input", "output"]
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str
    exponent: int | None
    nbytes: int


@dataclass(frozen=True)
class LoadedModel:
    family: str
    name: str
    tensors: list[Spec]


@dataclass(frozen=True)
class RunResult:
    outputs: list[bytes]
    cycles: int | None
    captured: bytes | None
    profile: list[tuple[str, str, int]]


def two_inputs(length: int) -> list[Spec]:
    """Inputs a and b of `length` bytes, output sum alike and output digest of 4 bytes."""
    return [
        Spec("input", 0, "a", "int8", (1, length), "NC", -7, length),
        Spec("input", 1, "b", "int8", (1, length), "NC", -6, length),
        Spec("output", 0, "sum", "int8", (1, length), "NC", -7, length),
        Spec("output", 1, "digest", "uint8", (4,), "C", 0, 4),
    ]


def answer(a: bytes, b: bytes) -> tuple[bytes, bytes]:
    """What the engine computes: a + 3 b modulo 256, and a digest of it."""
    total = (np.frombuffer(a, np.uint8) + 3 * np.frombuffer(b, np.uint8)).astype(np.uint8)
    digest = int(np.dot(total.astype(np.uint64), np.arange(1, len(total) + 1, dtype=np.uint64)))
    return total.tobytes(), (digest & 0xFFFF_FFFF).to_bytes(4, "little")


class AddingEngine:
    """Two inputs, a sum and a digest; cycles count the runs."""

    name = "adding"
    version = "1"
    families = ("esp32p4",)

    def __init__(self, length: int = 16) -> None:
        self.length = length
        self.runs = 0

    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> LoadedModel:
        del location, path, cores, options
        family = image.split(b" ")[0].decode("ascii", "replace")
        if family not in self.families:
            raise DeviceFault(f"made for {family[:20]}", status=Status.WRONG_FAMILY)
        return LoadedModel(family, "adder", two_inputs(self.length))

    def unload(self) -> None:
        self.runs = 0

    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> RunResult:
        del cores
        self.runs += 1
        outputs = list(answer(*inputs))
        captured = {"tripled": bytes(3 * byte % 256 for byte in inputs[1])}.get(capture or "")
        layers = [("triple", "Mul", 10), ("add", "Add", 20)] if profile else []
        return RunResult(outputs, 1000 + self.runs, captured, layers)

    def counters(self) -> list[tuple[str, str, int]]:
        return [("arena_bytes", "byte", 4 * self.length), ("runs", "", self.runs)]


class Board:
    """Identity, and whether a reset was asked for."""

    def __init__(self, boot_id: int) -> None:
        self.identity = IDENTITY | {"boot_id": boot_id}
        self.resets = 0

    def reset(self, mode: int) -> None:
        del mode
        self.resets += 1


class MemoryStorage:
    """Two locations in RAM."""

    locations = ("partition", "ram")

    def __init__(self) -> None:
        self.images: dict[int, bytearray] = {}
        self.crcs: dict[int, tuple[int, int]] = {}

    def begin(self, location: int, length: int, crc: int) -> bool:
        if self.crcs.get(location) == (length, crc):
            return True
        self.images[location] = bytearray(length)
        self.crcs.pop(location, None)
        self.coming = (length, crc)
        return False

    def write(self, location: int, offset: int, data: bytes) -> None:
        self.images[location][offset : offset + len(data)] = data

    def finish(self, location: int) -> None:
        self.crcs[location] = self.coming

    def abort(self, location: int) -> None:
        self.images.pop(location, None)

    def open(self, location: int, path: str) -> int:
        del path
        if location not in self.crcs:
            raise DeviceFault("nothing there", status=Status.NO_MODEL)
        return len(self.images[location])

    def read(self, location: int, offset: int, length: int) -> bytes:
        return bytes(self.images[location][offset : offset + length])


@dataclass
class InProcessBoard:
    """A device that can be reset; its storage outlives that."""

    length: int = 16
    max_payload: int = 512
    rx_window: int = 2048
    answer_bytes: int = 256
    slots_bytes: int = 1 << 16
    capture_bytes: int = 1 << 12
    boot_id: int = 1
    engine: AddingEngine = field(init=False)
    board: Board = field(init=False)
    server: Server = field(init=False)
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    console: bytes = b""

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.engine = AddingEngine(self.length)
        self.board = Board(self.boot_id)
        self.server = Server(
            self.engine,
            self.board,
            self.storage,
            clock_hz=360_000_000,
            slots_bytes=self.slots_bytes,
            max_slots=2,
            rx_window=self.rx_window,
            max_payload=self.max_payload,
            answer_bytes=self.answer_bytes,
            capture_bytes=self.capture_bytes,
            max_repeats=100,
            threaded=False,
        )
        self.server.boot()

    def reset(self) -> None:
        self.boot_id += 1
        self.start()

    def exchange(self, data: bytes) -> bytes:
        """Bytes from the host in, all that the device has to say out."""
        if data:
            self.server.receive(data)
        self.server.poll()
        out = [self.console]
        self.console = b""
        while piece := self.server.transmit(4096):
            out.append(piece)
        self.server.poll()
        if self.server.stopped:
            self.reset()
        return b"".join(out)


Damage = Callable[[bytes], bytes]


class FakeLink:
    """A link to an InProcessBoard; time passes only when nothing comes.

    Args:
        board: the device.
        to_device: what the line does to bytes on their way there.
        to_host: likewise, on their way back.
    """

    def __init__(
        self, board: InProcessBoard, to_device: Damage = lambda b: b, to_host: Damage = lambda b: b
    ) -> None:
        self.url = "fake"
        self.bytes_per_s: float | None = None
        self.baud: int | None = None
        self.board = board
        self.to_device = to_device
        self.to_host = to_host
        self.clock = 0.0
        self.sent = b""
        self.received = b""
        self.closed = False
        self.exchanges = 0

    def now(self) -> float:
        return self.clock

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        if self.closed:
            raise LinkClosed("closed")
        self.exchanges += 1
        self.sent += outgoing
        incoming = self.to_host(self.board.exchange(self.to_device(outgoing)))
        self.received += incoming
        self.clock = self.clock + 1e-4 if incoming else max(self.clock + 1e-4, until)
        return len(outgoing), incoming

    def set_baud(self, baud: int) -> None:
        raise LinkError(f"no rate, and not {baud}")

    def reset(self, *, to_loader: bool = False) -> None:
        del to_loader
        self.board.reset()

    def close(self) -> None:
        self.closed = True

"""The parts of a simulated device: engine, storage, rate, board; `esp_hil.virtual.simulated` puts them together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from esp_hil.virtual.simulated import SimulatedDevice

CLOCK_HZ = 240_000_000
MAX_BAUD = 5_000_000


@dataclass(frozen=True, slots=True)
class Tensor:
    role: Literal["input", "output"]
    index: int
    name: str
    nbytes: int
    dtype: str = "uint8"
    layout: str = "N"
    exponent: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.nbytes,)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    tensors: list[Tensor]
    family: str = "c"
    name: str = "simulated"


@dataclass(frozen=True, slots=True)
class Result:
    outputs: list[bytes]
    cycles: int
    captured: bytes | None = None
    profile: list[tuple[str, str, int]] = field(default_factory=list)


def answer(data: bytes, output_bytes: int) -> bytes:
    """What the simulated engine computes: 3 x + 1 + position modulo 256, repeated or cut to the output's size."""
    values = np.resize(np.frombuffer(data, np.uint8), output_bytes)
    return (values * np.uint8(3) + np.arange(1, output_bytes + 1, dtype=np.uint32).astype(np.uint8)).tobytes()


class Engine:
    """Computes `answer`; with `compute_s` it waits until the simulation says that the time is over."""

    name = "simulated"
    version = "1"
    families = ("c",)

    def __init__(self, settings: SimulatedDevice, events: queue.SimpleQueue[str]) -> None:
        self._settings = settings
        self._events = events
        self.may_end = threading.Semaphore(0)
        self.abandoned = False

    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> LoadedModel:
        del image, location, path, cores, options
        of = self._settings
        return LoadedModel(
            [Tensor("input", 0, "x", of.input_bytes), Tensor("output", 0, "y", of.output_bytes)]
        )

    def unload(self) -> None:
        return

    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> Result:
        del cores, capture, profile
        of = self._settings
        of.runs += 1
        if of.compute_s and not self.abandoned:
            self._events.put("run")
            self.may_end.acquire()
        return Result([answer(inputs[0], of.output_bytes)], max(1, round(of.compute_s * CLOCK_HZ)))


class Storage:
    """A model partition in memory; it outlives resets."""

    locations = ("partition", "ram")

    def __init__(self) -> None:
        self.images: dict[int, bytearray] = {}
        self.whole: dict[int, tuple[int, int]] = {}
        self._coming = (0, 0)

    def begin(self, location: int, length: int, crc: int) -> bool:
        if self.whole.get(location) == (length, crc):
            return True
        self.images[location] = bytearray(length)
        self.whole.pop(location, None)
        self._coming = (length, crc)
        return False

    def write(self, location: int, offset: int, data: bytes) -> None:
        self.images[location][offset : offset + len(data)] = data

    def finish(self, location: int) -> None:
        self.whole[location] = self._coming

    def abort(self, location: int) -> None:
        self.images.pop(location, None)

    def open(self, location: int, path: str) -> int:
        del path
        return len(self.images.get(location, b""))

    def read(self, location: int, offset: int, length: int) -> bytes:
        return bytes(self.images[location][offset : offset + length])

    def hold(self, image: bytes) -> None:
        """As if it had been written before."""
        self.images[0] = bytearray(image)
        self.whole[0] = (len(image), crc32(image))


class Rate:
    """The device's end of the line's rate."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self.baud = device.start_baud

    def possible(self, baud: int) -> bool:
        return 9600 <= baud <= MAX_BAUD

    def set_baud(self, baud: int) -> None:
        self.baud = baud
        self._device.rate_changed()

    def now_ms(self) -> int:
        return int(self._device.clock() * 1000)


class GoldenFlash:
    """Flash for golden sets; it outlives resets."""

    sector_bytes = 4096

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._bytes = bytearray(b"\xff" * size_bytes)

    def erase(self, offset: int, length: int) -> None:
        self._bytes[offset : offset + length] = b"\xff" * length

    def write(self, offset: int, data: bytes) -> None:
        self._bytes[offset : offset + len(data)] = data

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._bytes[offset : offset + length])


class Board:
    def __init__(self, identity: Mapping[str, str | int]) -> None:
        self.identity = identity

    def reset(self, mode: int) -> None:
        del mode

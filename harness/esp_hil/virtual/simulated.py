"""A device at the other end of a simulated line: the C++ core in this process, under a clock of its own.

    link = SimulatedLink(LineModel(baud=921_600), SimulatedDevice(input_bytes=16_384))
    with Device(link) as device:
        device.connect()

The core is the same as on a chip. Everything that takes time on a bench takes it here on the line's own clock
(`link.now()`): bytes, buffers, the bridge, the engine. The PC's own computing takes none.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from zlib import crc32

import numpy as np

from esp_hil._device import Server
from esp_hil.errors import LinkClosed
from esp_hil.virtual.faults import FaultPlan, LineFaults
from esp_hil.virtual.line import BadLine, Happening
from esp_hil.virtual.simline import BITS_PER_BYTE, LineModel, wires

CLOCK_HZ = 240_000_000
MAX_BAUD = 5_000_000
WORK_S = 60.0
"""Longest real time that a step of the core's worker thread may take: beyond it something hangs."""
STALL_S = 0.5
AWAY_S = 0.2
"""How long a port that vanished stays away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """The core's memory; the defaults are those of the firmware for a chip without PSRAM, but more slots memory."""

    max_payload: int = 2048
    rx_window: int = 8192
    answer_bytes: int = 1024
    slots_bytes: int = 1 << 20
    max_slots: int = 4
    golden_bytes: int = 0


_TEXTS = ("app", "app_version", "chip", "mac", "idf", "sdkconfig_sha256", "image_sha256")
_NUMBERS = ("revision", "flash_bytes", "psram_bytes", "internal_bytes")


def _nothing() -> None:
    return


def _no_time() -> float:
    return 0.0


def answer(data: bytes, output_bytes: int) -> bytes:
    """What the simulated engine computes: 3 x + 1 + position modulo 256, repeated or cut to the output's size."""
    values = np.resize(np.frombuffer(data, np.uint8), output_bytes)
    return (values * np.uint8(3) + np.arange(1, output_bytes + 1, dtype=np.uint32).astype(np.uint8)).tobytes()


class SimulatedDevice:
    """The core with an engine whose answer anybody can compute (`answer`).

    Args:
        input_bytes: of its one input, `x`.
        output_bytes: of its one output, `y`.
        compute_s: what an inference takes on the line's clock; 0: nothing, and no thread is used.
        core: memory of the core.
    """

    def __init__(
        self,
        *,
        input_bytes: int = 1024,
        output_bytes: int = 1024,
        compute_s: float = 0.0,
        core: CoreSettings | None = None,
    ) -> None:
        self.input_bytes = input_bytes
        self.output_bytes = output_bytes
        self.compute_s = compute_s
        self.core = core or CoreSettings()
        self.runs = 0
        self.resets = 0
        self.storage = _Storage()
        self.golden = _GoldenFlash(self.core.golden_bytes) if self.core.golden_bytes else None
        self.start_baud = 115_200
        self.rate_changed: Callable[[], None] = _nothing
        self.clock: Callable[[], float] = _no_time
        self.run_ends_at = float("inf")
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.start()

    def start(self) -> None:
        """(Re)start: RAM is empty, BOOT follows."""
        self.resets += 1
        self.run_ends_at = float("inf")
        if self.resets > 1:
            self._abandon()
        # a run that was interrupted reports to the old queue
        events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._events = events
        self._engine = _Engine(self, events)
        identity: dict[str, str | int] = dict.fromkeys(_TEXTS, "simulated")
        identity |= dict.fromkeys(_NUMBERS, 0)
        identity |= {"cores": 1, "clock_hz": CLOCK_HZ, "boot_id": self.resets, "kind": "virtual"}
        identity |= {"reset_reason": "software", "reset_reason_code": 3}
        core = self.core
        self.rate = _Rate(self)
        self.server = Server(
            self._engine,
            _BoardTables(identity),
            self.storage,
            clock_hz=CLOCK_HZ,
            slots_bytes=core.slots_bytes,
            max_slots=core.max_slots,
            rx_window=core.rx_window,
            max_payload=core.max_payload,
            answer_bytes=core.answer_bytes,
            threaded=self.compute_s > 0,
            on_work_done=lambda: events.put("done"),
            line=self.rate,
            golden=self.golden,
        )
        self.server.boot()

    def _abandon(self) -> None:
        self._engine.abandoned = True
        for _ in range(16):
            self._engine.may_end.release()
        self.server.close()

    def receive(self, data: bytes, now: float) -> None:
        """Bytes of the line."""
        self.server.receive(data)
        self.work(now)

    def work(self, now: float) -> None:
        """End a run whose time is over, see what begins."""
        if now >= self.run_ends_at:
            self.run_ends_at = float("inf")
            self._engine.may_end.release()
        elif self.run_ends_at < float("inf"):
            return
        self.server.poll()
        while self.compute_s and self.server.busy and self.run_ends_at == float("inf"):
            # what the worker thread does next decides; when it does so in real time has no influence
            if self._events.get(timeout=WORK_S) == "run":
                self.run_ends_at = now + self.compute_s
            else:
                self.server.poll()

    def close(self) -> None:
        """End the worker thread."""
        self._abandon()


@dataclass(frozen=True, slots=True)
class _Tensor:
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
class _LoadedModel:
    tensors: list[_Tensor]
    family: str = "c"
    name: str = "simulated"


@dataclass(frozen=True, slots=True)
class _Result:
    outputs: list[bytes]
    cycles: int
    captured: bytes | None = None
    profile: list[tuple[str, str, int]] = field(default_factory=list)


class _Engine:
    """Computes `answer`; with `compute_s` it waits until the simulation says that the time is over."""

    name = "simulated"
    version = "1"
    families = ("c",)

    def __init__(self, settings: SimulatedDevice, events: queue.SimpleQueue[str]) -> None:
        self._settings = settings
        self._events = events
        self.may_end = threading.Semaphore(0)
        self.abandoned = False

    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> _LoadedModel:
        del image, location, path, cores, options
        of = self._settings
        return _LoadedModel(
            [_Tensor("input", 0, "x", of.input_bytes), _Tensor("output", 0, "y", of.output_bytes)]
        )

    def unload(self) -> None:
        return

    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> _Result:
        del cores, capture, profile
        of = self._settings
        of.runs += 1
        if of.compute_s and not self.abandoned:
            self._events.put("run")
            self.may_end.acquire()
        return _Result([answer(inputs[0], of.output_bytes)], max(1, round(of.compute_s * CLOCK_HZ)))


class _Storage:
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


class _Rate:
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


class _GoldenFlash:
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


class _BoardTables:
    def __init__(self, identity: Mapping[str, str | int]) -> None:
        self.identity = identity

    def reset(self, mode: int) -> None:
        del mode


class SimulatedLink:
    """The PC's end of the line, as `esp_hil.device.link.Link`.

    Args:
        model: of the line.
        device: at the other end.
        faults: of the line, for both directions; the engine's are ignored.
        url: for error messages.
    """

    def __init__(
        self,
        model: LineModel,
        device: SimulatedDevice,
        faults: FaultPlan | None = None,
        url: str = "simulated",
    ) -> None:
        plan = faults or FaultPlan()
        self.url = url
        self.bytes_per_s: float | None = model.bytes_per_s
        self.model = model
        self.device = device
        self.down, self.up = wires(
            model, BadLine(plan.to_device, plan.seed), BadLine(plan.to_host, plan.seed + 1)
        )
        self.restart_at = float("inf")
        """When the device restarts next, once."""
        self.disconnect_at = float("inf")
        """When the port vanishes next, once."""
        self.stall_at = float("inf")
        """When nothing moves for STALL_S next, once."""
        self._clock = 0.0
        self._pump_at = 0.0
        self._closed = False
        self.baud: int | None = model.baud
        self._plan = plan
        device.start_baud = device.rate.baud = model.baud
        device.resets = 0
        device.start()
        device.rate_changed, device.clock = self._rates_changed, self.now

    def now(self) -> float:
        """Seconds of the line's clock."""
        return self._clock

    def set_baud(self, baud: int) -> None:
        """See `Link`."""
        # what was written leaves first
        while self._clock < self.down.free_at:
            self._clock = min(self.down.free_at, self._next_event())
            self._turn_device()
        self.baud = baud
        self.bytes_per_s = baud / BITS_PER_BYTE
        self._rates_changed()

    def _rates_changed(self) -> None:
        host, device = self.baud or self.model.baud, self.device.rate.baud
        down, up = replace(self.model, baud=host), replace(self.model, baud=device)
        self.down.set_rate(down.byte_s, down.host_buffer_bytes, down.fifo_idle_bytes * down.byte_s)
        self.up.set_rate(up.byte_s, up.device_buffer_bytes, up.latency_s)
        for wire in (self.down, self.up):
            wire.garbles = random.Random(1) if host != device else None
        if self.model.limit_baud:
            beyond = LineFaults(bit_error_rate=1e-3) if max(host, device) > self.model.limit_baud else None
            self.down.spoil(BadLine(beyond or self._plan.to_device, 5))
            self.up.spoil(BadLine(beyond or self._plan.to_host, 6))

    def _next_event(self) -> float:
        return max(self._clock, min(self._device_due(), self.up.due))

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """See `Link`."""
        if self._closed:
            raise LinkClosed("the simulated port has vanished")
        sent = self._write(outgoing)
        left = len(outgoing) - sent
        if sent and left:
            return sent, self.up.pop(self._clock)
        room_at = float("inf")
        if left:
            room_at = self.down.room_at(min(left, self.model.host_buffer_bytes // 4))
        while True:
            data = self.up.pop(self._clock)
            if data:
                return sent, data
            at = min(self.up.due, self._device_due(), room_at, until)
            if at == float("inf"):
                raise LinkClosed("nothing will ever happen again")
            self._clock = max(self._clock, at)
            self._turn_device()
            if self._closed:
                raise LinkClosed("the simulated port has vanished")
            if self._clock >= room_at:
                return sent + self._write(outgoing[sent:]), self.up.pop(self._clock)
            if self._clock >= until:
                return sent, self.up.pop(self._clock)

    def _write(self, outgoing: bytes) -> int:
        data = outgoing[: self.down.room(self._clock)]
        if data:
            self._suffer(self.down.push(data, self._clock))
        return len(data)

    def _device_due(self) -> float:
        return min(self.down.due, self._pump_at, self.device.run_ends_at, self._incident_at)

    def _turn_device(self) -> None:
        now = self._clock
        self._befall(now)
        if self._closed:
            return
        data = self.down.pop(now)
        if data:
            self.device.receive(data, now)
        if now >= self.device.run_ends_at:
            self.device.work(now)
        elif not data and now < self._pump_at:
            return
        self._pump_at = float("inf")
        while room := self.up.room(now):
            outgoing = self.device.server.transmit(room)
            if not outgoing:
                break
            self._suffer(self.up.push(outgoing, now))
        else:
            self._pump_at = self.up.room_at(self.model.device_buffer_bytes // 4)
        if self.device.server.stopped:
            self.restart_device()

    @property
    def _incident_at(self) -> float:
        return min(self.restart_at, self.disconnect_at, self.stall_at)

    def _befall(self, now: float) -> None:
        if now >= self.restart_at:
            self.restart_at = float("inf")
            self.restart_device()
        if now >= self.stall_at:
            self.stall_at = float("inf")
            for wire in (self.down, self.up):
                wire.free_at = max(wire.free_at, now) + STALL_S
        if now >= self.disconnect_at:
            self.disconnect_at = float("inf")
            self._suffer([Happening("disconnect")])

    def _suffer(self, happened: list[Happening]) -> None:
        for happening in happened:
            if happening.what == "reset":
                self.restart_device()
            elif happening.what == "disconnect":
                self._closed = True
                self.down.lose()
                self.up.lose()

    def restart_device(self) -> None:
        """The chip starts anew; what it had not sent is lost."""
        self.down.lose()
        self.device.start()
        self._rates_changed()
        self._pump_at = self._clock

    def reopen(self) -> SimulatedLink:
        """The port after it came back."""
        self._clock += AWAY_S
        self._closed = False
        self._pump_at = self._clock
        return self

    def reset(self, *, to_loader: bool = False) -> None:
        """See `Link`."""
        del to_loader
        self.restart_device()

    def close(self) -> None:
        """See `Link`; it can be opened again."""

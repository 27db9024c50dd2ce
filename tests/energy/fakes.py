"""Models of meters as their drivers see them: bytes of a PPK2, blocks of a Joulescope, registers of an INA.

Each sees the power of a `SimulatedBoard`, with the noise, the skew and the faults of a `MeterModel`. They are written
from public documentation, apart from the drivers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from esp_hil.energy import ina, ppk2
from esp_hil.energy.ina import CHIPS, Ina
from esp_hil.energy.joulescope import Joulescope
from esp_hil.energy.meter import Values
from esp_hil.energy.ppk2 import Ppk2
from esp_hil.energy.simulated import MeterModel, SimulatedBoard, SimulatedClock

FACTORS = {
    "R": (1003.3506, 101.5865, 10.3027, 0.9636, 0.0564),
    "GS": (0.0, 112.789, 18.0115, 2.4217, 0.0729),
    "GI": (1.0, 0.9695, 0.9609, 0.9519, 0.9582),
    "O": (112.942, 75.4627, 64.602, 50.4983, 87.2177),
    "S": (0.0, -1e-8, -5e-8, -2.3e-6, -4.4e-5),
    "I": (-0.0, 3e-7, 4e-6, 1.9e-5, 1.47e-3),
    "UG": (1.0, 1.0, 1.0, 1.0, 1.0),
}
TOPS_A = (50e-6, 500e-6, 5e-3, 60e-3, np.inf)
"""Where a PPK2 changes to the next range."""


def metadata() -> bytes:
    """What a PPK2 prints of itself."""
    lines = ["Calibrated: 0"]
    lines += [f"{name}{n}: {value:.8f}" for name, values in FACTORS.items() for n, value in enumerate(values)]
    lines += ["VDD: 3300", "HW: 9173", "mode: 2", "IA: 59", "END", ""]
    return "\n".join(lines).encode()


class FakePpk2:
    """The other end of a PPK2's serial port.

    Args:
        board: whose power it sees.
        model: its noise, skew and faults; `lost` is of samples, `gap_s` of bytes in the middle.
    """

    def __init__(self, board: SimulatedBoard, model: MeterModel) -> None:
        self.board, self.model = board, model
        self.commands = bytearray()
        self.millivolts = 0
        self.power_on = False
        self._answer = b""
        self._began_s: float | None = None
        self._made = 0
        self._rng = np.random.default_rng(model.seed)
        self._range = 0

    # a MeterLine

    def now(self) -> float:
        return self.board.clock.now_s()

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        del until
        self.take(outgoing)
        return len(outgoing), self.give()

    def close(self) -> None:
        return

    # bytes

    def take(self, data: bytes) -> None:
        self.commands += data
        while self.commands:
            code = self.commands[0]
            length = {ppk2.REGULATOR_SET: 3, ppk2.DEVICE_RUNNING_SET: 2, ppk2.SET_POWER_MODE: 2}.get(code, 1)
            if len(self.commands) < length:
                return
            self._obey(code, bytes(self.commands[1:length]))
            del self.commands[:length]

    def _obey(self, code: int, rest: bytes) -> None:
        if code == ppk2.GET_META_DATA:
            self._answer += metadata()
        elif code == ppk2.REGULATOR_SET:
            self.millivolts = int.from_bytes(rest, "big")
        elif code == ppk2.DEVICE_RUNNING_SET:
            self.power_on = rest == b"\1"
        elif code == ppk2.AVERAGE_START:
            self._began_s, self._made = self.now(), 0
        elif code == ppk2.AVERAGE_STOP and self._began_s is not None:
            self._answer += self._samples()
            self._began_s = None

    def give(self) -> bytes:
        answer, self._answer = self._answer, b""
        return answer + self._samples()

    def _samples(self) -> bytes:
        """All that have been taken since the last ones."""
        if self._began_s is None or not self.power_on:
            return b""
        true_hz = ppk2.SAMPLE_HZ / (1 + self.model.skew)
        count = int((self.now() - self._began_s) * true_hz)
        if count <= self._made:
            return b""
        numbers = np.arange(self._made, count)
        self._made = count
        times_s: Values = self._began_s + (numbers + 1) / true_hz
        current = self.board.watts(times_s - 1 / true_hz, times_s) / (self.millivolts / 1000)
        # by what flows, not by its noise: the meter changes down later than it changes up
        ranges = np.searchsorted(np.array(TOPS_A), current, side="right").astype(np.int64)
        current *= self.model.gain * (1 + self.model.noise * self._rng.standard_normal(len(current)))
        current += self.model.floor_a * self._rng.standard_normal(len(current))
        current = np.clip(current, 0, self.model.range_a)
        counts = self._counts(current, ranges)
        # the first samples of another range are not true yet
        unsettled = np.flatnonzero(np.diff(ranges, prepend=self._range))
        for offset in range(2):
            counts[np.minimum(unsettled + offset, len(counts) - 1)] = 40
        self._range = int(ranges[-1])
        gate = self.board.gate(times_s) if self.model.gate else np.zeros(len(times_s), np.bool_)
        words = counts | (ranges << 14) | ((numbers & 63) << 18) | (gate.astype(np.int64) << 24)
        if self.model.lost:
            words = words[self._rng.random(len(words)) >= self.model.lost]
        data: bytes = words.astype("<u4").tobytes()
        at = int(self.model.gap_at_s * true_hz)
        if self.model.gap_s and numbers[0] <= at <= numbers[-1]:
            # bytes, not samples: what follows is shifted
            begin = 4 * (at - int(numbers[0])) + 1
            data = data[:begin] + data[begin + 4 * int(self.model.gap_s * true_hz) + 2 :]
        return data

    def _counts(self, current: Values, ranges: Any) -> Any:
        r, o, gs, gi, s, i, ug = (
            np.array(FACTORS[name])[ranges] for name in ("R", "O", "GS", "GI", "S", "I", "UG")
        )
        constant = s * self.millivolts / 1000 + i - current / ug
        curved = np.where(gs > 0, gs, 1.0)
        root = np.sqrt(np.maximum(0, gi**2 - 4 * curved * constant))
        x = np.where(gs > 0, (root - gi) / (2 * curved), -constant / gi)
        return np.clip(np.round(x * r / ppk2.VOLTS_A_COUNT + o / 4), 0, 0x3FFF).astype(np.int64)


def make_ppk2(board: SimulatedBoard, model: MeterModel) -> Ppk2:
    return Ppk2(FakePpk2(board, model), supply_v=model.supply_v, gate_channel=0 if model.gate else None)


class FakePpk2Pty:
    """A fake PPK2 behind a pty, on the wall's clock."""

    def __init__(self, fake: FakePpk2) -> None:
        self._fake = fake
        self._master, slave = os.openpty()
        self.url = os.ttyname(slave)
        self._slave = slave
        self._ended = threading.Event()
        os.set_blocking(self._master, False)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        waiting = b""
        while not self._ended.is_set():
            with suppress(BlockingIOError):
                self._fake.take(os.read(self._master, 4096))
            waiting += self._fake.give()
            with suppress(BlockingIOError):
                waiting = waiting[os.write(self._master, waiting) :] if waiting else b""
            time.sleep(0.002)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)


class FakeJoulescopeDriver:
    """The calls of `pyjoulescope_driver.Driver` that are used, for one JS220 beside a board."""

    BASE_HZ = 1_000_000
    BLOCK = 4096

    def __init__(self, board: SimulatedBoard, model: MeterModel, path: str = "u/js220/001234") -> None:
        self.board, self.model, self.path = board, model, path
        self.published: dict[str, Any] = {}
        self.opened: list[str] = []
        self._subscribed: dict[str, Callable[[str, Any], None]] = {}
        self._began: dict[str, float] = {}
        self._rng = np.random.default_rng(model.seed)

    def device_paths(self, timeout: float | None = None) -> list[str]:
        del timeout
        return [self.path]

    def open(self, device_prefix: str, mode: str | None = None, timeout: float | None = None) -> None:
        del mode, timeout
        self.opened.append(device_prefix)

    def close(self, device_prefix: str, timeout: float | None = None) -> None:
        del timeout
        self.opened.remove(device_prefix)

    def publish(self, topic: str, value: Any, timeout: float | None = None) -> None:
        del timeout
        self.published[topic] = value
        if topic.endswith("/ctrl") and value:
            self._began[topic.removesuffix("/ctrl")] = self.board.clock.now_s()

    def subscribe(
        self, topic: str, flags: Any, fn: Callable[[str, Any], None], timeout: float | None = None
    ) -> None:
        del flags, timeout
        self._subscribed[topic.removesuffix("/!data")] = fn

    def unsubscribe(self, topic: str, fn: Callable[[str, Any], None], timeout: float | None = None) -> None:
        del fn, timeout
        del self._subscribed[topic.removesuffix("/!data")]

    def deliver(self) -> None:
        """Give all blocks until now to those who subscribed; a device's sample numbers begin anywhere."""
        fs = int(self.published[f"{self.path}/h/fs"])
        factor = self.BASE_HZ // fs
        true_hz = fs / (1 + self.model.skew)
        first = 123_456
        for late, (signal, fn) in enumerate(self._subscribed.items()):
            count = int((self.board.clock.now_s() - self._began[signal]) * true_hz) // 8 * 8
            skip = 8 * late
            numbers = np.arange(skip, count)
            times_s: Values = self._began[signal] + (numbers + 1) / true_hz
            values = self._values(signal, times_s, true_hz)
            for at in range(0, len(values), self.BLOCK):
                data = values[at : at + self.BLOCK]
                if self.model.lost and self._rng.random() < 30 * self.model.lost and at:
                    continue
                block = {
                    "sample_id": (first + skip + at) * factor,
                    "utc": 0,
                    "sample_rate": self.BASE_HZ,
                    "decimate_factor": factor,
                    "data": np.packbits(data, bitorder="little") if "gpi" in signal else data,
                }
                fn(f"{signal}/!data", block)

    def _values(self, signal: str, times_s: Values, true_hz: float) -> Any:
        if "gpi" in signal:
            return self.board.gate(times_s).astype(np.uint8)
        if signal.endswith("s/v"):
            return np.full(len(times_s), self.model.supply_v, np.float32)
        current = self.board.watts(times_s - 1 / true_hz, times_s) / self.model.supply_v
        current *= self.model.gain * (1 + self.model.noise * self._rng.standard_normal(len(times_s)))
        current += self.model.floor_a * self._rng.standard_normal(len(times_s))
        current[np.abs(current) >= self.model.range_a] = (
            np.nan
        )  # as the maker's driver marks what it cannot tell
        if self.model.gap_s:
            at = int(self.model.gap_at_s * true_hz)
            current[at : at + int(self.model.gap_s * true_hz)] = np.nan
        return current.astype(np.float32)


RATES_HZ = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)


def make_joulescope(board: SimulatedBoard, model: MeterModel) -> Joulescope:
    driver = FakeJoulescopeDriver(board, model)

    def sleep(seconds: float) -> None:
        board.clock.sleep(seconds)
        driver.deliver()

    rate = min(RATES_HZ, key=lambda hz: abs(hz - model.sample_hz))
    channel = 0 if model.gate else None
    return Joulescope(driver, driver.path, gate_channel=channel, sample_hz=rate, sleep=sleep)


class FakeInaBus:
    """An I2C bus with one INA chip on it, by its registers."""

    def __init__(
        self, chip: str, board: SimulatedBoard, model: MeterModel, *, address: int, ohm: float
    ) -> None:
        self.chip, self.board, self.model = CHIPS[chip], board, model
        self.address, self.ohm = address, ohm
        self.registers: dict[int, int] = {}
        self._rng = np.random.default_rng(model.seed)

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        if i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        bits = 8 * length
        return list((self._value(register) & ((1 << bits) - 1)).to_bytes(length, "big"))

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        if i2c_addr != self.address:
            raise OSError(121, "Remote I/O error")
        self.registers[register] = int.from_bytes(bytes(data), "big")

    def close(self) -> None:
        return

    def _value(self, register: int) -> int:
        if register not in {self.chip.shunt[0], self.chip.bus[0]}:
            identity = self.chip.identity
            return identity[2] << identity[1] if identity and register == identity[0] else 0
        if register == self.chip.shunt[0]:
            now = np.array([self.board.clock.now_s()])
            current = float(self.board.watts(now - 2.1e-3, now)[0]) / self.model.supply_v
            current *= self.model.gain * (1 + self.model.noise * self._rng.standard_normal())
            raw = round(current * self.ohm / self.chip.shunt[3])
            full = self.chip.shunt_full
            return max(-full, min(full, raw)) << self.chip.shunt[2]
        return round(self.model.supply_v / self.chip.bus[3]) << self.chip.bus[2]


def make_ina(chip: str, ohm: float = 0.1) -> Callable[[SimulatedBoard, MeterModel], Ina]:
    """A maker of meters, for `setups.measured`."""

    def make(board: SimulatedBoard, model: MeterModel) -> Ina:
        clock = board.clock
        assert isinstance(clock, SimulatedClock)
        bus = FakeInaBus(chip, board, model, address=0x40, ohm=ohm)
        meter = Ina(CHIPS[chip], bus, address=0x40, shunt_ohm=ohm, clock=clock, sample_hz=ina.SAMPLE_HZ)
        clock.watch(1 / ina.SAMPLE_HZ, meter.pump)
        return meter

    return make

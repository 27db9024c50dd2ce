"""TI's INA219, INA226 and INA228 on an I2C bus, by their registers; `smbus2` of the extra `energy` reaches /dev/i2c-N.

They measure the voltage over a shunt resistor and that of the supply; the host asks for both at its own pace, and its
clock is the meter's. They have no gate input. Sources: TI's data sheets SBOS448 (INA219), SBOS547 (INA226), SLYS021
(INA228).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from esp_hil.energy.meter import Clock, MeterInfo, PowerTrace
from esp_hil.errors import MeterError

SAMPLE_HZ = 200.0


class I2cBus(Protocol):
    """What is used of `smbus2.SMBus`."""

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        """Bytes of a register, the highest first."""
        ...

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        """Write them."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InaChip:
    """One of them.

    Attributes:
        name: as in `ina226:1:0x40:0.1`.
        setup: registers and values that make it convert shunt and bus all the time, in some 4 ms together.
        shunt: register, its bytes, bits below the value, volts of its lowest bit.
        bus: likewise.
        shunt_full: the largest value of the shunt's voltage.
        identity: register, bits below it, and what it must say; None: it has none.
    """

    name: str
    setup: tuple[tuple[int, int], ...]
    shunt: tuple[int, int, int, float]
    bus: tuple[int, int, int, float]
    shunt_full: int
    identity: tuple[int, int, int] | None = None


CHIPS: dict[str, InaChip] = {
    # 16 V, shunt of 320 mV; both converted at 12 bits, four times each
    "ina219": InaChip(
        name="ina219",
        setup=((0x00, 0x1D57),),
        shunt=(0x01, 2, 0, 10e-6),
        bus=(0x02, 2, 3, 4e-3),
        shunt_full=32_000,
    ),
    # no averaging, 2.1 ms for each of both
    "ina226": InaChip(
        name="ina226",
        setup=((0x00, 0x416F),),
        shunt=(0x01, 2, 0, 2.5e-6),
        bus=(0x02, 2, 0, 1.25e-3),
        shunt_full=32_767,
        identity=(0xFF, 4, 0x226),
    ),
    # the wide range of 163.84 mV; shunt and bus, 2.07 ms each
    "ina228": InaChip(
        name="ina228",
        setup=((0x00, 0x0000), (0x01, 0xBDA0)),
        shunt=(0x04, 3, 4, 312.5e-9),
        bus=(0x05, 3, 4, 195.3125e-6),
        shunt_full=524_287,
        identity=(0x3F, 4, 0x228),
    ),
}


def open_bus(number: str) -> I2cBus:
    """/dev/i2c-NUMBER of this machine: its own bus, or that of a USB bridge with a kernel driver (MCP2221, CH341).

    Raises:
        MeterError: smbus2 is not installed, or there is no such bus.
    """
    try:
        from smbus2 import SMBus
    except ImportError:
        raise MeterError("smbus2 is not installed", hint="pip install 'esp-hil[energy]'") from None
    try:
        bus: I2cBus = SMBus(int(number) if number.isdigit() else number)
    except (OSError, ValueError) as error:
        raise MeterError(
            f"I2C bus {number}: {error}", hint="ls /dev/i2c-*; are you in the group i2c?"
        ) from None
    return bus


class Ina:
    """A chip with its shunt in the board's supply.

    Args:
        chip: which.
        bus: that it is on.
        address: there.
        shunt_ohm: of the resistor.
        clock: by which it is asked.
        sample_hz: how often.

    Raises:
        MeterError: it does not answer, or is another chip.
    """

    def __init__(
        self,
        chip: InaChip,
        bus: I2cBus,
        *,
        address: int,
        shunt_ohm: float,
        clock: Clock,
        sample_hz: float = SAMPLE_HZ,
    ) -> None:
        self._chip, self._bus, self._address = chip, bus, address
        self._shunt_ohm, self._clock, self._period_s = shunt_ohm, clock, 1 / sample_hz
        self._samples: list[tuple[float, float, float, bool]] = []
        self._next_s = 0.0
        if chip.identity is not None:
            register, below, wanted = chip.identity
            found = self._register(register, 2) >> below
            if found != wanted:
                said = f"address {address:#x} says {found:#x}, an {chip.name.upper()} says {wanted:#x}"
                raise MeterError(said, hint="another chip, or another address?")
        for register, value in chip.setup:
            self._write(register, value)
        full_v = chip.shunt_full * chip.shunt[3]
        self._info = MeterInfo(
            kind=chip.name,
            serial=f"{address:#x}",
            sample_hz=sample_hz,
            range_a=full_v / shunt_ohm,
            # it converts the supply's voltage in the other half of the time
            averages=False,
            calibration=f"shunt of {shunt_ohm:g} ohm as told, the chip's converter as made",
            measures_voltage=True,
        )

    @property
    def info(self) -> MeterInfo:
        """What it is."""
        return self._info

    @property
    def received(self) -> int:
        """Samples since `start`."""
        return len(self._samples)

    def start(self) -> None:
        """Begin anew."""
        self._samples = []
        self._next_s = self._clock.now_s()

    def pump(self) -> None:
        """Take one sample when it is due."""
        wait_s = self._next_s - self._clock.now_s()
        if wait_s > 0:
            self._clock.sleep(wait_s)
        self._sample()
        self._next_s += self._period_s
        self._next_s = max(self._next_s, self._clock.now_s())

    def _sample(self) -> None:
        at_s = self._clock.now_s()
        register, count, below, volts = self._chip.shunt
        raw = _signed(self._register(register, count), 8 * count) >> below
        beyond = abs(raw) >= self._chip.shunt_full
        register, count, below, bus_volts = self._chip.bus
        supply_v = (self._register(register, count) >> below) * bus_volts
        self._samples.append((at_s, raw * volts / self._shunt_ohm, supply_v, beyond))

    def stop(self) -> PowerTrace:
        """Everything since `start`."""
        columns = np.array(self._samples, np.float64).reshape(-1, 4)
        return PowerTrace(
            times_s=columns[:, 0] - (columns[0, 0] if len(columns) else 0.0),
            current_a=columns[:, 1],
            voltage_v=columns[:, 2],
            gate=None,
            saturated=columns[:, 3] > 0,
        )

    def close(self) -> None:
        """Let go of the bus."""
        self._bus.close()

    def _register(self, register: int, count: int) -> int:
        try:
            return int.from_bytes(bytes(self._bus.read_i2c_block_data(self._address, register, count)), "big")
        except OSError as error:
            raise MeterError(
                f"{self._chip.name} at {self._address:#x} does not answer: {error}",
                hint="i2cdetect shows what does",
            ) from error

    def _write(self, register: int, value: int) -> None:
        try:
            self._bus.write_i2c_block_data(self._address, register, list(value.to_bytes(2, "big")))
        except OSError as error:
            raise MeterError(
                f"{self._chip.name} at {self._address:#x} does not answer: {error}",
                hint="i2cdetect shows what does",
            ) from error


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value

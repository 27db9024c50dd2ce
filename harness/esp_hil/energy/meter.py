"""What a meter is: samples of current with their times, a gate channel if it has one, and what it says of itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterInfo:
    """What a meter is, for the row.

    Attributes:
        kind: ppk2, joulescope, ina226, program, simulated, ...
        serial: of the piece; "" if it has none.
        sample_hz: nominal rate of its samples.
        range_a: the largest current that it can tell, in A.
        averages: whether a sample is the mean since the one before; else it is what was there at its moment.
        calibration: where its scale comes from, for people.
        has_gate: whether it has a digital input that is sampled together with the current.
        measures_voltage: whether voltage is measured; else it is what the meter supplies, or what it was told.
        simulated: whether nothing was measured.
    """

    kind: str
    serial: str = ""
    sample_hz: float
    range_a: float
    averages: bool = True
    calibration: str = ""
    has_gate: bool = False
    measures_voltage: bool = False
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerTrace:
    """Samples in the order of their times; all arrays have one element a sample.

    Attributes:
        times_s: on the meter's own clock, from its first sample on.
        current_a: NaN where the meter knows that it lost one.
        voltage_v: at the board.
        gate: level of the gate channel; None if the meter has none.
        saturated: where the current was beyond the range.
    """

    times_s: Values
    current_a: Values
    voltage_v: Values
    gate: Flags | None
    saturated: Flags

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def power_w(self) -> Values:
        """Current times voltage."""
        return self.current_a * self.voltage_v

    @staticmethod
    def regular(
        current_a: NDArray[Any],
        *,
        sample_hz: float,
        voltage_v: float | NDArray[Any],
        gate: NDArray[Any] | None = None,
        saturated: NDArray[Any] | None = None,
    ) -> PowerTrace:
        """A trace whose samples are equally far apart."""
        count = len(current_a)
        return PowerTrace(
            times_s=np.arange(count) / sample_hz,
            current_a=np.asarray(current_a, np.float64),
            voltage_v=np.broadcast_to(np.asarray(voltage_v, np.float64), (count,)),
            gate=None if gate is None else np.asarray(gate, np.bool_),
            saturated=np.zeros(count, np.bool_) if saturated is None else np.asarray(saturated, np.bool_),
        )


class Meter(Protocol):
    """A meter that is open. `pump` may be called by a thread of its own, the others by one thread."""

    @property
    def info(self) -> MeterInfo:
        """What it is."""
        ...

    @property
    def received(self) -> int:
        """Samples since `start`."""
        ...

    def start(self) -> None:
        """Forget what was sampled and begin anew.

        Raises:
            MeterError: it does not.
        """
        ...

    def pump(self) -> None:
        """Take in what has come; waits no longer than some 0.1 s for it.

        Raises:
            MeterError: the meter is gone, or says what it should not.
        """
        ...

    def stop(self) -> PowerTrace:
        """End sampling; everything since `start`.

        Raises:
            MeterError: as `pump`.
        """
        ...

    def close(self) -> None:
        """Let go of it; more than once does no harm."""
        ...


class Clock(Protocol):
    """The time that passes while a board works beside a meter."""

    @property
    def real(self) -> bool:
        """Whether samples come while the program does something else."""
        ...

    def now_s(self) -> float:
        """Seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class WallClock:
    """This machine's."""

    real = True

    def now_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

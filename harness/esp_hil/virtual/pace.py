"""The cycles that a virtual board reports: this machine's time, or a model of a chip's.

This machine's time is as noisy as the machine is busy, and a change of a few percent cannot be planted in it.
Where a plan asks for it (`cycles_per_mac`), cycles follow from the model's multiply-accumulates instead, with
seeded noise: the same plan gives the same figures everywhere. Either is simulated, and marked so.
"""

from __future__ import annotations

import random

from esp_hil.targets import Target
from esp_hil.virtual.faults import EngineFaults

CALL_CYCLES = 2_000
"""Of the modelled chip, for an inference that multiplies nothing."""


class Pace:
    """Counts the cycles of a virtual chip.

    Args:
        target: the chip, for its clock.
        faults: `cycles_factor`, `cycles_per_mac`, `cycles_noise`, `cycles_seed`.
    """

    def __init__(self, target: Target, faults: EngineFaults) -> None:
        self.modelled = faults.cycles_per_mac > 0
        self._clock_hz = target.clock_hz
        self._faults = faults
        self._noise = random.Random(faults.cycles_seed)

    def cycles(self, elapsed_ns: int, macs: int) -> int:
        """Cycles of one inference.

        Args:
            elapsed_ns: that it took on this machine.
            macs: of the model; only looked at where cycles are modelled.
        """
        base = elapsed_ns * 1e-9 * self._clock_hz
        if self.modelled:
            base = CALL_CYCLES + macs * self._faults.cycles_per_mac
        noise = self._faults.cycles_noise * self._noise.gauss(0, 1) if self._faults.cycles_noise else 0.0
        return max(1, int(base * self._faults.cycles_factor * max(0.1, 1 + noise)))


def macs_of(image: bytes) -> int:
    """Multiply-accumulates of a device file that an engine has read.

    Raises:
        HilError: it cannot be read, or has an operator whose work cannot be told.
    """
    from esp_hil.models.device_file import open_device_file
    from esp_hil.results.timing.work import total_macs, work_of

    return total_macs(work_of(open_device_file(image)))

"""The cycles that a virtual board reports: those predicted for its chip, or a planted model of them.

What an inference takes on this machine tells nothing of a chip, so no figure of a virtual board is this machine's
time. Its cycles are what `hil predict` says of the model, node by node, the same in every run. Where a plan asks
for it (`cycles_per_mac`), they follow from the multiply-accumulates instead, with seeded noise: a change of a few
percent can be planted in them. The former are marked `predicted`, the latter `simulated`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from esp_hil.errors import HilError
from esp_hil.targets import Target
from esp_hil.virtual.faults import EngineFaults

CALL_CYCLES = 2_000
"""Of the modelled chip, for an inference that multiplies nothing."""

UNKNOWN_CYCLES_PER_BYTE = 10
"""For a byte of a model that nothing can be said of."""


class Pace:
    """Counts the cycles of a virtual chip.

    Args:
        target: the chip, for its clock and its kernels.
        faults: `cycles_factor`, `cycles_per_mac`, `cycles_noise`, `cycles_seed`.
    """

    def __init__(self, target: Target, faults: EngineFaults) -> None:
        self.modelled = faults.cycles_per_mac > 0
        self._target = target
        self._faults = faults
        self._noise = random.Random(faults.cycles_seed)
        self._nodes: tuple[float, ...] = ()

    def open(self, image: bytes) -> None:
        """Take the model that the next inferences are of.

        Raises:
            HilError: it cannot be read, or its work cannot be told though a plan asks for it.
        """
        if self.modelled:
            self._nodes = (CALL_CYCLES + macs_of(image) * self._faults.cycles_per_mac,)
        else:
            self._nodes = node_cycles(image, self._target)

    def cycles(self) -> int:
        """Cycles of one inference."""
        noise = self._faults.cycles_noise * self._noise.gauss(0, 1) if self._faults.cycles_noise else 0.0
        return max(1, int(sum(self._nodes) * self._faults.cycles_factor * max(0.1, 1 + noise)))

    def shares(self, sizes: Sequence[int]) -> list[float]:
        """How an inference's cycles divide among nodes; by the size of what each makes, where that is not known."""
        weights: Sequence[float] = self._nodes if len(self._nodes) == len(sizes) else sizes
        total = sum(weights)
        return [weight / total if total else 1 / len(sizes) for weight in weights]


def node_cycles(image: bytes, target: Target) -> tuple[float, ...]:
    """Predicted cycles of each node on a chip, at the clock that the virtual board reports.

    A model that has no prediction (an operator that nothing is known of) counts one node, by its size.
    """
    from esp_hil.models.device_file import open_device_file
    from esp_hil.results.timing.forecast import forecast
    from esp_hil.results.timing.setup import setup_of

    try:
        found = forecast(open_device_file(image), target, setup=setup_of(target, clock_hz=target.clock_hz))
    except HilError:
        return (CALL_CYCLES + UNKNOWN_CYCLES_PER_BYTE * len(image),)
    return tuple(node.ms * target.clock_hz / 1e3 for node in found.nodes)


def macs_of(image: bytes) -> int:
    """Multiply-accumulates of a device file that an engine has read.

    Raises:
        HilError: it cannot be read, or has an operator whose work cannot be told.
    """
    from esp_hil.models.device_file import open_device_file
    from esp_hil.results.timing.work import total_macs, work_of

    return total_macs(work_of(open_device_file(image)))

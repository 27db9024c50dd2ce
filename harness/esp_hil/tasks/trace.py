"""What a task did on its way: every intermediate array by name, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Phase = Literal["decode", "resize", "network", "post"]
PHASES: tuple[Phase, ...] = ("decode", "resize", "network", "post")


class Trace:
    """Collects arrays and seconds of one run.

    Args:
        keep: whether arrays are kept; without, only the seconds are.

    Attributes:
        arrays: by step, e.g. `msr.input`, in the order they were made.
        seconds: by phase on this machine: `decode` bytes to RGB, `resize` to the network's integers,
            `network` the inferences, `post` outputs to results.
        inferences: number of runs of each network.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self.arrays: dict[str, NDArray[Any]] = {}
        self.seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self.inferences: dict[str, int] = {}

    def step(self, name: str, values: object) -> None:
        """Keep an array, or a list of numbers as one."""
        if self._keep:
            self.arrays[name] = np.array(values)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Add the time of a block to a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

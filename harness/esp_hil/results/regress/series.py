"""Repetitions of one or more runs as one series, and the judgement of a new run against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from esp_hil.results.record import Run
from esp_hil.results.regress.dependence import neighbour_correlation
from esp_hil.results.regress.gates import Gate
from esp_hil.results.regress.ranks import Shift, shift

SPREAD_RUNS = 4
"""From so many runs of the base on, their own spread is known and widens the allowance."""

SPREAD_SIGMAS = 3.0
NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Repetitions of comparable runs, in the unit of their figure.

    Attributes:
        runs: of each run, in the order of their making.
    """

    runs: tuple[NDArray[np.float64], ...]

    @cached_property
    def repetitions(self) -> NDArray[np.float64]:
        """Of all runs together."""
        return np.concatenate(self.runs)

    @cached_property
    def run_medians(self) -> NDArray[np.float64]:
        """One value a run."""
        return np.array([float(np.median(values)) for values in self.runs])

    @property
    def median(self) -> float:
        """Of all repetitions."""
        return float(np.median(self.repetitions))

    @property
    def spread(self) -> float:
        """Standard deviation from run to run as a share of the median; 0 from fewer than SPREAD_RUNS runs.

        Two runs of one image differ by more than their repetitions do: where the code lies in the cache, the
        temperature. It comes from the median absolute deviation, so that one bad night does not widen it.
        """
        medians = self.run_medians
        if len(medians) < SPREAD_RUNS:
            return 0.0
        middle = float(np.median(medians))
        return NORMAL_MAD * float(np.median(np.abs(medians - middle))) / middle


def series_of(runs: Sequence[Run], gate: Gate) -> Series | None:
    """The repetitions of runs; None if none of them has any."""
    timed = [np.asarray(values, np.float64) for run in runs if (values := gate.repetitions_of(run))]
    return Series(runs=tuple(timed)) if timed else None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedShift:
    """A shift of a repeated figure beside what is allowed; less is better."""

    shift: Shift
    allowed_share: float

    def worse(self, alpha: float) -> bool:
        """More by more than is allowed, and by more than chance."""
        return self.shift.ratio > 1 + self.allowed_share and self.shift.probability < alpha

    def better(self, alpha: float) -> bool:
        """Less by more than the allowance, and by more than chance."""
        return self.shift.ratio < 1 - self.allowed_share and self.shift.probability < alpha


def judged_shift(base: Series, run: Run, gate: Gate) -> JudgedShift:
    """A new run against the base; the allowance is the gate's, or what the base itself varies by."""
    share = max(gate.allowance(base.median) / base.median, SPREAD_SIGMAS * base.spread)
    fresh = np.asarray(gate.repetitions_of(run), np.float64)
    alike = neighbour_correlation([*base.runs, fresh]) if gate.in_a_row else 0.0
    return JudgedShift(shift=shift(base.repetitions, fresh, correlation=alike), allowed_share=share)

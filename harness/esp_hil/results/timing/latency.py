"""Raw cycles to figures of latency.

Latency on a chip has a floor and a tail: the median and its interval say what to expect, the percentiles
what to fear, the mean is not given. The cold run, which fills caches, is never mixed with the others.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from esp_hil.errors import InputError
from esp_hil.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Figures of one series of repetitions, in ms; the cold run is in `cold_ms` only.

    Attributes:
        n: number of repetitions.
        cold_ms: the first run after loading; None if it was not timed.
        median_low_ms: lower end of the 95 % interval of the median.
        median_high_ms: upper end of it.
        mad_ms: median absolute deviation from the median, not scaled to a normal's sigma.
        fps: inferences per second at the median.
    """

    n: int
    cold_ms: float | None
    min_ms: float
    median_ms: float
    median_low_ms: float
    median_high_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    mad_ms: float
    fps: float


def statistics(cycles: Sequence[int], clock_hz: int, cold_cycles: int | None = None) -> Latency:
    """Figures of the cycles of each repetition at `clock_hz`.

    Percentiles are interpolated linearly between order statistics. The interval of the median is the
    percentile interval of the bootstrap with infinitely many resamples, which is known in closed form
    (Efron 1979, Annals of Statistics 7:1; see `median_interval`), so that the same cycles always give the
    same interval.

    Raises:
        InputError: no repetitions, a repetition of 0 or fewer cycles, or a clock of 0 or less.
    """
    ordered = sorted(cycles)
    if not ordered or ordered[0] <= 0 or clock_hz <= 0:
        raise InputError(f"no latency from {len(cycles)} repetitions at {clock_hz} Hz", step="bench")

    def ms(count: float) -> float:
        return 1e3 * count / clock_hz

    median = quantile(ordered, 0.5)
    low, high = median_interval(len(ordered))
    return Latency(
        n=len(ordered),
        cold_ms=None if cold_cycles is None else ms(cold_cycles),
        min_ms=ms(ordered[0]),
        median_ms=ms(median),
        median_low_ms=ms(ordered[low]),
        median_high_ms=ms(ordered[high]),
        p95_ms=ms(quantile(ordered, 0.95)),
        p99_ms=ms(quantile(ordered, 0.99)),
        max_ms=ms(ordered[-1]),
        mad_ms=ms(quantile(_deviations(ordered, median), 0.5)),
        fps=clock_hz / median,
    )


def _deviations(ordered: Sequence[int], middle: float) -> list[float]:
    """Ascending distances of ascending values from one between them: two ascending halves, merged."""
    half = bisect_left(ordered, middle)
    below = [middle - value for value in reversed(ordered[:half])]
    return sorted(below + [value - middle for value in ordered[half:]])


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of ascending values lie, linear between neighbours."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@cache
def median_interval(n: int) -> tuple[int, int]:
    """Indices, in n ascending values, of the ends of the 95 % bootstrap interval of their median.

    The r-th smallest of n draws with replacement is at most the j-th smallest value exactly if at least r
    draws are, and how many are is binomial with p = j / n. For even n the lower of both middle draws gives
    the lower end and the upper one the upper end, which makes the interval a little too wide, never too
    narrow.
    """

    def first(rank: int, share: float) -> int:
        """The first index whose probability that the rank-th draw does not exceed it reaches `share`."""
        low, high = 1, n
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if _at_least(rank, n, middle / n) >= share else (middle + 1, high)
        return low - 1

    return first((n + 1) // 2, 0.025), first(n // 2 + 1, 0.975)


def _at_least(successes: int, n: int, p: float) -> float:
    """Probability of at least that many successes in n trials of probability p."""
    if p >= 1:
        return 1.0
    log_p, log_q, log_all = math.log(p), math.log1p(-p), math.lgamma(n + 1)
    return math.fsum(
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q)
        for k in range(successes, n + 1)
    )


def floor_ms(macs: int, target: Target, *, cores: int = 1, clock_hz: int | None = None) -> float:
    """The time that no program on the chip can beat: every lane of every core multiplies in every cycle.

    Args:
        macs: int8 multiply-accumulates of one inference.
        target: the chip; its clock is used unless `clock_hz` is given.
        cores: cores that the runtime may use.
        clock_hz: the clock that the device reports.
    """
    return 1e3 * macs / (target.int8_lanes * cores * (clock_hz or target.clock_hz))

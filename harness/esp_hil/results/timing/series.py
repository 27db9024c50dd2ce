"""The shape of a series of repetitions: does it drift, step, or have two speeds?

A median of such a series is a figure of nothing. All functions are deterministic and take the values in the
order in which they were measured. The significance of each shape comes from a rank test, so that a single
interrupt in a thousand repetitions says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SIGNIFICANCE = 1e-4
"""Probability of a false finding in a series without shape, for each of the three shapes."""

MIN_VALUES = 20
"""Shorter series show no shape that one could tell from chance."""

MIN_SIDE = 5
"""A step or a mode has at least so many values."""

STEP_SHARE = 0.05
DRIFT_SHARE = 0.02
MODES_SHARE = 0.02
"""How large a shape must be, as a share of the median, to spoil it."""

MODES_SEPARATION = 5.0
"""Distance of two modes in their own standard deviations; halves of one normal have 2.7, of a uniform 3.5.

Few values scatter more: 40 / n is added."""

MODES_LEAST = 0.1
"""Share of the values that the smaller mode must have: what is rarer is a tail, and p99 tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedStep:
    """The speed changed at the repetition `at` (counted from 0) and stayed so."""

    at: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """Median after over median before."""
        return self.after / self.before


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Two speeds that alternate; `slow_share` of the repetitions had the slower one."""

    fast: float
    slow: float
    slow_share: float


def step_in(values: Sequence[float] | Values) -> SpeedStep | None:
    """The one step that explains the series best, if it is large, lasting and no chance.

    The split with the largest standardized Mann-Whitney statistic is taken (Pettitt 1979, Applied Statistics
    28:2); its probability is that of one split times the number of splits (Bonferroni).
    """
    series = np.asarray(values, np.float64)
    n = len(series)
    if n < MIN_VALUES:
        return None
    scores = np.abs(_split_scores(series)[MIN_SIDE - 1 : n - MIN_SIDE])
    at = MIN_SIDE + int(np.argmax(scores))
    if len(scores) * math.erfc(float(scores.max()) / math.sqrt(2)) > SIGNIFICANCE:
        return None
    before, after = float(np.median(series[:at])), float(np.median(series[at:]))
    found = SpeedStep(at=at, before=before, after=after)
    return found if abs(found.ratio - 1) >= STEP_SHARE and _lasts(series, at) else None


def _split_scores(series: Values) -> Values:
    """U_t = sum over i < t <= j of sign(x_j - x_i), in its standard deviations, for t = 1 .. n - 1."""
    n = len(series)
    taken = np.arange(1, n)
    excess = taken * (n + 1) - 2 * np.cumsum(_ranks(series))[:-1]
    scores: Values = excess / np.sqrt(taken * (n - taken) * (n + 1) / 3)
    return scores


def _ranks(series: Values) -> Values:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(series, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Values = (ends - (counts - 1) / 2)[inverse]
    return ranks


def _lasts(series: Values, at: int) -> bool:
    """Whether the two sides hardly overlap: three quarters of each lie beyond the midpoint between them."""
    before, after = series[:at], series[at:]
    middle = (np.median(before) + np.median(after)) / 2
    rises = np.median(after) > np.median(before)
    low, high = (before, after) if rises else (after, before)
    return bool(np.mean(low < middle) >= 0.75 and np.mean(high > middle) >= 0.75)


def drift_of(values: Sequence[float] | Values) -> float | None:
    """How much the series rises or falls from its first to its last value, as a share of its median.

    The slope is Theil and Sen's (median of all slopes between two values, here between values half the
    series apart, which needs n/2 of them); the trend is tested by Mann and Kendall's S. None if the trend is
    small or may be chance.
    """
    series = np.asarray(values, np.float64)
    n = len(series)
    if n < MIN_VALUES:
        return None
    half = n // 2
    slope = float(np.median(series[half:] - series[: n - half])) / half
    share = slope * (n - 1) / float(np.median(series))
    if abs(share) < DRIFT_SHARE or _kendall_probability(series) > SIGNIFICANCE:
        return None
    return share


def _kendall_probability(series: Values) -> float:
    """Two-sided probability of a trend at least as clear in a series without one (normal approximation)."""
    n = len(series)
    s = sum(float(np.sign(series[i + 1 :] - series[i]).sum()) for i in range(n - 1))
    counts = np.unique(series, return_counts=True)[1]
    ties = float(np.sum(counts * (counts - 1) * (2 * counts + 5)))
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(s) - 1) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def modes_of(values: Sequence[float] | Values) -> Modes | None:
    """Two speeds, if the values fall into two groups with a gap between them.

    The split is the one with the least squares within both groups (Otsu 1979, IEEE Trans. SMC 9:1); the
    groups count as two if they are MODES_SEPARATION of their standard deviations apart (Ashman, Bird and
    Zepf 1994, Astronomical Journal 108:6).
    """
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    least = max(MIN_SIDE, math.ceil(MODES_LEAST * n))
    if n < MIN_VALUES or ordered[0] == ordered[-1]:
        return None
    taken = np.arange(1, n)
    sums = np.cumsum(ordered - ordered[0])
    between = (sums[:-1] / taken - (sums[-1] - sums[:-1]) / (n - taken)) ** 2 * taken * (n - taken)
    at = 1 + int(np.argmax(between))
    fast, slow = ordered[:at], ordered[at:]
    if min(len(fast), len(slow)) < least:
        return None
    gap = float(slow.mean() - fast.mean())
    deviation = math.sqrt((float(fast.var()) + float(slow.var())) / 2)
    if gap < MODES_SHARE * float(np.median(ordered)) or gap < (MODES_SEPARATION + 40 / n) * deviation:
        return None
    return Modes(fast=float(np.median(fast)), slow=float(np.median(slow)), slow_share=len(slow) / n)

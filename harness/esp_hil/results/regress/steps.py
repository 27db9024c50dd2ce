"""Steps in a long history: when did a figure change for good?

The history is cut into pieces of constant level so that the squared deviations plus a price for each cut are
least: optimal partitioning (Jackson et al. 2005, IEEE Signal Processing Letters 12:2) with the price that the
Bayesian information criterion asks for (Yao 1988, Statistics and Probability Letters 6:3), times a factor for
noise that is not normal. Values far from the noise are pulled in first, so that one bad night makes no step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEAST_LENGTH = 4
"""A level holds for at least so many values; what came and went faster was not a step."""

PRICE = 7.0
"""Price of a cut in units of sigma^2 ln n; 2 would be the criterion for normal noise and two parameters."""

REACH_SIGMAS = 3.0
"""A value further than this from the median around it counts as if it lay there."""

WINDOW = 7
SHARE = 0.01
"""Steps smaller than this share of the level are not told."""

NORMAL_MAD = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStep:
    """The level of a history changed at the value `at`, counted from 0.

    Attributes:
        at: index of the first value of the new level.
        before: median of the level before it.
        after: median of the level from it on.
    """

    at: int
    before: float
    after: float

    @property
    def share(self) -> float:
        """Relative change of the level; infinite from 0."""
        return self.after / self.before - 1 if self.before else math.inf


def steps_of(values: Sequence[float] | Values, *, share: float = SHARE) -> tuple[LevelStep, ...]:
    """The steps of a history, oldest first.

    Args:
        values: in the order of time; finite.
        share: steps smaller than this share of the level are not told.
    """
    series = np.asarray(values, np.float64)
    if len(series) < 2 * LEAST_LENGTH:
        return ()
    cuts = [0, *_cuts(_calmed(series)), len(series)]
    levels = [float(np.median(series[a:b])) for a, b in pairwise(cuts)]
    found = [
        LevelStep(at=at, before=before, after=after)
        for at, before, after in zip(cuts[1:-1], levels[:-1], levels[1:], strict=True)
    ]
    return tuple(step for step in found if abs(step.share) >= share)


def _sigma(series: Values) -> float:
    """Noise of one value, from the differences of neighbours: steps hardly touch their median.

    A figure that is nearly always the same (a size) has no noise by that measure; then the smallest
    difference that occurs stands for it, far below which nothing can be told anyway.
    """
    jumps = np.abs(np.diff(series))
    sigma = NORMAL_MAD * float(np.median(jumps)) / math.sqrt(2)
    if sigma > 0:
        return sigma
    moved = jumps[jumps > 0]
    return float(moved.min()) / 10 if len(moved) else 1.0


def _calmed(series: Values) -> Values:
    """The series with values far from the median of their neighbourhood pulled towards it."""
    reach = REACH_SIGMAS * _sigma(series)
    padded = np.pad(series, WINDOW // 2, mode="reflect")
    around = np.median(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    calmed: Values = np.clip(series, around - reach, around + reach)
    return calmed


def _cuts(series: Values) -> list[int]:
    """Where to cut; O(n^2) with one vector operation for each value."""
    n = len(series)
    price = PRICE * _sigma(series) ** 2 * math.log(n)
    centred = series - np.median(series)
    sums, squares = np.concatenate([[0], np.cumsum(centred)]), np.concatenate([[0], np.cumsum(centred**2)])
    best = np.full(n + 1, np.inf)
    best[0] = -price
    came_from = np.zeros(n + 1, np.int64)
    for end in range(LEAST_LENGTH, n + 1):
        starts = np.arange(0, end - LEAST_LENGTH + 1)
        inside = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
        costs = best[starts] + inside + price
        came_from[end] = int(np.argmin(costs))
        best[end] = float(costs[came_from[end]])
    cuts: list[int] = []
    at = n
    while came_from[at] > 0:
        at = int(came_from[at])
        cuts.append(at)
    return cuts[::-1]

"""Is the difference of two series of repetitions more than chance, and how large is it?

No function draws a random number: the same repetitions always give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.results.regress.dependence import worth
from esp_hil.results.timing.latency import median_interval, quantile

NORMAL_975 = 1.959964
"""Quantile of the normal distribution that a 95 % interval reaches to."""

LEAST_FREEDOM = 4.0
"""Degrees of freedom of repetitions that are all alike: with fewer, not even twice the latency would be a finding."""

Correction = Literal["holm", "bh", "none"]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far the median of one series is from that of another.

    Attributes:
        ratio: median of the new series over that of the base.
        low: lower end of the 95 % interval of the ratio.
        high: upper end of it.
        probability: two-sided, of a difference at least as large if both series were alike.
    """

    ratio: float
    low: float
    high: float
    probability: float


def shift(
    base: Sequence[float] | Values, new: Sequence[float] | Values, *, correlation: float = 0.0
) -> Shift:
    """Compare two series of positive values.

    Two tests must both call the difference more than chance, so the larger probability is given. The first is
    Mann and Whitney's (1947, Annals of Mathematical Statistics 18:1): exact for short series without equal
    values, else normal with the correction for ties. It takes repetitions for independent. The second holds
    the logarithm of the ratio of the medians against its standard error, with Student's distribution and as
    many degrees of freedom as the series have independent values.

    The interval of the ratio comes from the bootstrap intervals of both medians, whose half-widths are
    combined as independent errors on the logarithmic scale.

    Args:
        base: values of the base, in any order.
        new: values of the new run, in any order.
        correlation: of neighbours, 0..1; see `esp_hil.results.regress.dependence`.

    Raises:
        InputError: a series is empty or has a value that is not positive.
    """
    from scipy.stats import mannwhitneyu, t

    a, b = np.sort(np.asarray(base, np.float64)), np.sort(np.asarray(new, np.float64))
    if not len(a) or not len(b) or a[0] <= 0 or b[0] <= 0:
        raise InputError(
            f"no ratio of {len(a)} and {len(b)} values", hint="they must be above 0", step="compare"
        )
    worths = [worth(len(values), correlation) for values in (a, b)]
    wider = math.sqrt((1 / worths[0] + 1 / worths[1]) / (1 / len(a) + 1 / len(b)))
    freedom = max(LEAST_FREEDOM, sum(worths) - 2)
    reach = float(t.ppf(0.975, freedom)) / NORMAL_975 * wider if correlation > 0 else 1.0
    (a_low, a_mid, a_high), (b_low, b_mid, b_high) = _median(a), _median(b)
    down = math.hypot(math.log(b_mid / b_low), math.log(a_high / a_mid))
    up = math.hypot(math.log(b_high / b_mid), math.log(a_mid / a_low))
    ratio = b_mid / a_mid
    far, error = abs(math.log(ratio)), (down if ratio > 1 else up) * wider / NORMAL_975
    by_medians = 1.0 if not far else 2 * float(t.sf(far / error, freedom)) if error else 0.0
    return Shift(
        ratio=ratio,
        low=ratio * math.exp(-down * reach),
        high=ratio * math.exp(up * reach),
        probability=max(by_medians, float(mannwhitneyu(b, a, alternative="two-sided").pvalue)),
    )


def _median(ordered: Values) -> tuple[float, float, float]:
    """The median between the ends of its 95 % interval."""
    low, high = median_interval(len(ordered))
    return float(ordered[low]), quantile(ordered.tolist(), 0.5), float(ordered[high])


def adjusted(probabilities: Sequence[float], correction: Correction) -> tuple[float, ...]:
    """Probabilities corrected for how many there are, in their own order; each is to be held against alpha.

    holm: no false finding at all with probability 1 - alpha (Holm 1979, Scand. J. of Statistics 6:2).
    bh: at most a share alpha of the findings is false (Benjamini and Hochberg 1995, JRSS B 57:1).
    none: as they are.
    """
    p = np.asarray(probabilities, np.float64)
    n = len(p)
    if correction == "none" or not n:
        return tuple(p.tolist())
    order = np.argsort(p, kind="stable")
    if correction == "holm":
        stepped = np.maximum.accumulate(p[order] * (n - np.arange(n)))
    else:
        scaled = p[order] * n / np.arange(1, n + 1)
        stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    found = np.empty(n)
    found[order] = np.minimum(stepped, 1.0)
    return tuple(found.tolist())

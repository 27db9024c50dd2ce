"""How much repetitions tell that are alike because they follow each other.

A temperature or a flash cache changes slowly: thirty repetitions of such a series say as much as three that
have nothing to do with each other. What is estimated is the correlation of neighbours, and from it how many
independent repetitions a series is worth, as if it were autoregressive of the first order (Bayley and
Hammersley 1946, Supplement to the JRSS 8:2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEAST_LENGTH = 10
"""Shorter series say nothing of their correlation, and are taken for independent."""

MOST = 0.97
"""An estimate beyond this cannot be told from 1, where a series says nothing at all."""


def neighbour_correlation(series: Sequence[Values]) -> float:
    """Correlation of neighbours, pooled over series, each in the order of its making; 0..MOST.

    It is that of the ranks, which one outlier does not move, as a normal distribution would have it of the
    values (Pearson 1907). From n values it is estimated too small by about (1 + 4 rho) / n, because their own
    mean is taken away and n - 1 products are held against n squares (Marriott and Pope 1954, Biometrika
    41:3/4); that is put right. A negative one is taken for 0.
    """
    from scipy.stats import rankdata

    shared = whole = count = 0.0
    for values in series:
        if len(values) < LEAST_LENGTH:
            continue
        ranks = rankdata(values)
        centred = ranks - ranks.mean()
        size = float(centred @ centred)
        if size > 0:
            # each series counts by its length, however spread its ranks are
            shared += len(values) * float(centred[1:] @ centred[:-1]) / size
            whole += len(values)
            count += 1
    if not whole:
        return 0.0
    length = whole / count
    found = (length * 2 * math.sin(math.pi / 6 * shared / whole) + 1) / (length - 4)
    return min(MOST, max(0.0, found))


def worth(length: int, correlation: float) -> float:
    """How many independent values a series of that length is worth, 1..length."""
    lags = np.arange(1, length)
    inflation = 1 + 2 * float(np.sum((1 - lags / length) * correlation**lags))
    return max(1.0, length / inflation)

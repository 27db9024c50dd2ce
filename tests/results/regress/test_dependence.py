"""Repetitions that are alike are worth fewer, and how many is estimated rightly."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._regression_study import sticky
from esp_hil.results.regress.dependence import LEAST_LENGTH, MOST, neighbour_correlation, worth
from esp_hil.results.regress.ranks import shift


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_the_correlation_of_many_short_series_is_estimated_without_bias(correlation: float) -> None:
    rng = np.random.default_rng(1)
    found = neighbour_correlation([sticky(correlation)(rng, 30, 1.0) for _ in range(2000)])
    assert found == pytest.approx(correlation, abs=0.05)


def test_outliers_do_not_hide_that_neighbours_are_alike() -> None:
    rng = np.random.default_rng(2)
    series = [sticky(0.8)(rng, 60, 1.0) for _ in range(50)]
    for values in series:
        values[10] += 1000
    assert neighbour_correlation(series) > 0.6


def test_short_constant_and_alternating_series_are_taken_for_independent() -> None:
    assert neighbour_correlation([np.arange(LEAST_LENGTH - 1, dtype=float)]) == 0
    assert neighbour_correlation([np.ones(40)]) == 0
    assert neighbour_correlation([np.tile([1.0, 2.0], 20)]) == 0
    assert neighbour_correlation([]) == 0


def test_a_trend_is_as_alike_as_can_be_told() -> None:
    assert neighbour_correlation([np.arange(100, dtype=float)]) == MOST


def test_the_worth_of_a_series_is_the_variance_of_its_mean() -> None:
    rng = np.random.default_rng(3)
    means = [sticky(0.7)(rng, 30, 1.0).mean() for _ in range(4000)]
    assert worth(30, 0.7) == pytest.approx(1 / np.var(means), rel=0.1)
    assert worth(30, 0.0) == 30
    assert worth(1, 0.5) == 1


def test_alike_repetitions_need_a_larger_change() -> None:
    rng = np.random.default_rng(4)
    base, new = 10 + 0.1 * rng.standard_normal(30), 10.2 + 0.1 * rng.standard_normal(30)
    alone, alike = shift(base, new), shift(base, new, correlation=0.9)
    assert alone.probability < 1e-5
    assert alike.probability > 0.01
    assert alike.low < alone.low < 1.02 < alone.high < alike.high
    assert shift(base, 2 * new, correlation=0.9).probability < 0.01

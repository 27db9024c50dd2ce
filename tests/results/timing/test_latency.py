"""Figures of latency, against values worked out by hand and against a bootstrap that draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import InputError
from esp_hil.results.timing.latency import floor_ms, median_interval, quantile, statistics
from esp_hil.targets import target


def test_figures_are_those_worked_out_by_hand() -> None:
    found = statistics([200, 100, 400, 300, 1000], 1000, cold_cycles=5000)
    assert (found.n, found.min_ms, found.median_ms, found.max_ms) == (5, 100.0, 300.0, 1000.0)
    assert found.mad_ms == 100.0
    assert found.p95_ms == pytest.approx(880.0)
    assert found.p99_ms == pytest.approx(976.0)
    assert found.fps == pytest.approx(1000 / 300)


def test_the_cold_run_is_kept_apart() -> None:
    assert statistics([10, 10], 1000, cold_cycles=99).max_ms == 10.0
    assert statistics([10, 10], 1000, cold_cycles=99).cold_ms == 99.0
    assert statistics([10, 10], 1000).cold_ms is None


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=200))
def test_figures_are_ordered_and_do_not_depend_on_the_order_of_repetitions(cycles: list[int]) -> None:
    found = statistics(cycles, 240_000_000)
    order = (found.min_ms, found.median_low_ms, found.median_ms, found.median_high_ms, found.max_ms)
    assert list(order) == sorted(order)
    assert found.median_ms <= found.p95_ms <= found.p99_ms <= found.max_ms
    assert statistics(cycles[::-1], 240_000_000) == found


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantile(sorted(values), share) == pytest.approx(float(np.quantile(values, share)), abs=1e-6)


@pytest.mark.parametrize("n", [5, 11, 31, 101])
def test_the_interval_of_the_median_is_that_of_a_bootstrap_with_many_draws(n: int) -> None:
    rng = np.random.default_rng(7)
    medians = np.median(rng.integers(0, n, (60_000, n)), axis=1)
    low, high = median_interval(n)
    assert abs(low - np.quantile(medians, 0.025, method="inverted_cdf")) <= 1
    assert abs(high - np.quantile(medians, 0.975, method="inverted_cdf")) <= 1


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    samples = np.sort(rng.lognormal(size=(4000, 50)), axis=1)
    low, high = median_interval(50)
    covered = float(((samples[:, low] <= 1.0) & (samples[:, high] >= 1.0)).mean())
    assert 0.93 <= covered <= 0.98


def test_the_interval_of_ten_thousand_repetitions_is_narrow_and_symmetric() -> None:
    low, high = median_interval(10_000)
    assert (low, high) == (10_000 - 1 - high, 10_000 - 1 - low)
    assert 150 <= high - low <= 250


def test_one_repetition_is_its_own_interval() -> None:
    assert median_interval(1) == (0, 0)
    found = statistics([7], 1000)
    assert found.median_low_ms == found.median_high_ms == found.median_ms


@pytest.mark.parametrize(("cycles", "clock_hz"), [([], 1), ([0], 1), ([5, -1], 1), ([5], 0)])
def test_figures_of_nothing_are_refused(cycles: list[int], clock_hz: int) -> None:
    with pytest.raises(InputError, match="no latency from"):
        statistics(cycles, clock_hz)


def test_the_floor_is_macs_over_lanes_cores_and_clock() -> None:
    chip = target("esp32s3")
    assert floor_ms(chip.int8_lanes * chip.clock_hz, chip) == 1000.0
    assert floor_ms(chip.int8_lanes * chip.clock_hz, chip, cores=2) == 500.0
    assert floor_ms(chip.int8_lanes * 80_000_000, chip, clock_hz=80_000_000) == 1000.0

"""Shapes that spoil a median are found in seeded noise, and noise without shape has none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.results.timing.series import drift_of, modes_of, step_in

Noise = NDArray[np.float64]

SERIES = 300


def noise(kind: str, n: int, rng: np.random.Generator) -> Noise:
    """A series without shape around 1."""
    made: dict[str, Noise] = {
        "normal": 1 + 0.02 * rng.standard_normal(n),
        "one-sided": 1 + 0.02 * rng.exponential(size=n),
        "with outliers": 1 + 0.005 * np.abs(rng.standard_t(2, n)),
        "uniform": 1 + 0.05 * rng.random(n),
        "few values": np.round(1 + 0.01 * rng.standard_normal(n), 2),
    }
    return made[kind]


@pytest.mark.parametrize("n", [30, 100])
@pytest.mark.parametrize("kind", ["normal", "one-sided", "with outliers", "uniform", "few values"])
def test_noise_has_no_shape(kind: str, n: int) -> None:
    rng = np.random.default_rng(len(kind) * n)
    found = [
        shape
        for _ in range(SERIES)
        for series in (noise(kind, n, rng),)
        for shape in (step_in(series), drift_of(series), modes_of(series))
        if shape is not None
    ]
    assert len(found) <= SERIES // 100


def test_a_step_is_found_where_it_is() -> None:
    rng = np.random.default_rng(1)
    for at in (12, 30, 88):
        series = np.where(np.arange(100) < at, 1.0, 1.1) * (1 + 0.01 * rng.standard_normal(100))
        step = step_in(series)
        assert step is not None
        assert abs(step.at - at) <= 1
        assert step.ratio == pytest.approx(1.1, abs=0.01)


def test_a_step_to_faster_repetitions_is_a_step_too() -> None:
    series = [2.0 + 0.001 * i for i in range(20)] + [1.0 + 0.001 * i for i in range(20)]
    step = step_in(series)
    assert step is not None
    assert step.at == 20
    assert [step.before, step.after] == pytest.approx([2.0095, 1.0095])


def test_a_step_smaller_than_five_percent_is_left_alone() -> None:
    assert step_in([1.0] * 20 + [1.049] * 20) is None
    assert step_in([1.0] * 20 + [1.051] * 20) is not None


def test_a_visit_of_another_task_is_no_step() -> None:
    series = [1.0 + 0.001 * (i % 7) for i in range(60)]
    series[20:26] = [1.5] * 6
    assert step_in(series) is None


def test_a_rise_is_measured_from_the_first_to_the_last_value() -> None:
    rng = np.random.default_rng(2)
    for end in (1.06, 0.94):
        share = drift_of(np.linspace(1, end, 60) + 0.005 * rng.standard_normal(60))
        assert share == pytest.approx(end - 1, abs=0.01)


def test_a_small_rise_is_no_drift() -> None:
    assert drift_of(list(np.linspace(1, 1.015, 60))) is None


def test_two_speeds_are_told_with_their_shares() -> None:
    rng = np.random.default_rng(3)
    slow = rng.random(200) < 0.3
    modes = modes_of(np.where(slow, 1.08, 1.0) + 0.005 * rng.standard_normal(200))
    assert modes is not None
    assert modes.fast == pytest.approx(1.0, abs=0.002)
    assert modes.slow == pytest.approx(1.08, abs=0.002)
    assert modes.slow_share == pytest.approx(slow.mean(), abs=0.01)


def test_a_rare_slow_repetition_is_a_tail_and_no_mode() -> None:
    assert modes_of([1.0 + 0.0001 * i for i in range(95)] + [1.5] * 5) is None


def test_equal_and_short_series_have_no_shape() -> None:
    for series in ([1.0] * 100, [1.0, 2.0] * 9):
        assert step_in(series) is None
        assert drift_of(series) is None
        assert modes_of(series) is None

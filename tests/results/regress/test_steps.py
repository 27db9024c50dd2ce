"""Steps in histories: found where they are, and not where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.results.regress.steps import steps_of


def test_a_step_is_found_at_the_night_it_came() -> None:
    rng = np.random.default_rng(1)
    for at in (10, 50, 90):
        levels = np.where(np.arange(100) < at, 2.0, 2.06)
        steps = steps_of(levels * (1 + 0.005 * rng.standard_normal(100)))
        assert len(steps) == 1
        assert abs(steps[0].at - at) <= 1
        assert steps[0].share == pytest.approx(0.03, abs=0.004)


def test_several_steps_up_and_down_are_all_found() -> None:
    rng = np.random.default_rng(2)
    levels = np.concatenate([np.full(30, 1.0), np.full(25, 1.1), np.full(40, 0.9)])
    steps = steps_of(levels * (1 + 0.01 * rng.standard_normal(95)))
    assert [step.at for step in steps] == [30, 55]
    assert [step.share > 0 for step in steps] == [True, False]


def test_histories_without_steps_have_few() -> None:
    rng = np.random.default_rng(3)
    noises = [0.01 * rng.standard_normal(120) for _ in range(100)]
    noises += [0.01 * rng.exponential(size=120) for _ in range(100)]
    assert sum(bool(steps_of(1 + noise)) for noise in noises) <= 4


def test_one_bad_night_is_no_step() -> None:
    values = 1 + 0.005 * np.random.default_rng(4).standard_normal(60)
    values[30] = 2.0
    values[45:47] = 1.5
    assert steps_of(values) == ()


def test_a_size_that_hardly_ever_changes_steps_exactly() -> None:
    steps = steps_of([131_072] * 20 + [135_168] * 15)
    assert [(step.at, step.before, step.after) for step in steps] == [(20, 131_072, 135_168)]


def test_a_counter_that_leaves_zero_is_a_step() -> None:
    (step,) = steps_of([0.0] * 10 + [3.0] * 10)
    assert step.share == float("inf")


def test_constant_and_short_histories_have_no_steps() -> None:
    assert steps_of([5.0] * 50) == ()
    assert steps_of([1.0, 1.0, 1.0, 9.0, 9.0, 9.0]) == ()


def test_steps_below_what_matters_are_not_told() -> None:
    values = [100.0] * 30 + [100.5] * 30
    assert steps_of(values) == ()
    assert len(steps_of(values, share=0.001)) == 1


def test_the_levels_of_a_step_are_the_medians_of_all_values_on_either_side() -> None:
    level = np.array([1.1, 1.0] * 6 + [1.1])
    steps = steps_of(np.concatenate([level, 2 * level, level]))
    assert [(step.at, step.before, step.after) for step in steps] == [(13, 1.1, 2.2), (26, 2.2, 1.1)]

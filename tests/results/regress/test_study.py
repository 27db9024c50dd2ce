"""The figures that the detection promises, on seeded noise; `hil bench regressions` prints them all."""

from __future__ import annotations

import pytest

from benchmarks._regression_study import SHAPES, rates

PAIRS = 200
INDEPENDENT = ("normal", "one-sided", "with outliers", "warming")


@pytest.mark.parametrize("shape", SHAPES)
def test_at_most_one_in_a_hundred_identical_pairs_is_a_false_alarm(shape: str) -> None:
    assert rates(pairs=PAIRS, shape=shape, sigma=0.01).seen <= 0.01
    assert rates(pairs=PAIRS, shape=shape, sigma=0.01, between=0.003).confirmed <= 0.01


@pytest.mark.parametrize("shape", INDEPENDENT)
def test_three_percent_at_one_percent_noise_is_found_in_ninety_five_of_a_hundred(shape: str) -> None:
    assert rates(pairs=PAIRS, shape=shape, sigma=0.01, planted=0.03).seen >= 0.95


def test_repetitions_that_are_alike_tell_less_and_a_larger_change_is_still_found() -> None:
    assert rates(pairs=PAIRS, shape="sticky 0.5", sigma=0.01, planted=0.05).seen >= 0.95
    half_again = rates(pairs=PAIRS, shape="sticky 0.9", sigma=0.01, planted=0.5)
    assert half_again.seen + half_again.refused >= 0.99
    assert half_again.seen >= 0.5


def test_noise_of_five_percent_makes_no_more_false_alarms() -> None:
    for shape in ("normal", "one-sided", "with outliers", "sticky 0.7"):
        assert rates(pairs=PAIRS, shape=shape, sigma=0.05).seen <= 0.01
    assert rates(pairs=PAIRS, shape="sticky 0.9", sigma=0.05).confirmed <= 0.01


def test_a_re_run_refutes_what_a_whole_run_s_bad_luck_made() -> None:
    unlucky = rates(pairs=PAIRS, shape="normal", sigma=0.01, between=0.02)
    assert unlucky.seen > 0.1
    assert unlucky.confirmed < 0.75 * unlucky.seen

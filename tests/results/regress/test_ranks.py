"""Rank tests and corrections against figures that can be checked by hand or by another program."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.errors import InputError
from esp_hil.results.regress.ranks import adjusted, shift


def test_the_probability_of_two_short_series_that_do_not_overlap_is_exact() -> None:
    found = shift([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert found.probability == pytest.approx(2 / 20)  # one of (6 choose 3) orders, on either side
    assert found.ratio == pytest.approx(5 / 2)


def test_a_series_against_itself_has_ratio_one_inside_its_interval() -> None:
    values = np.random.default_rng(1).normal(10, 0.1, 50)
    found = shift(values, values)
    assert found.ratio == 1
    assert found.low < 1 < found.high
    assert found.probability > 0.9


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        found = shift(rng.normal(10, 0.2, 40), 1.05 * rng.normal(10, 0.2, 40))
        covered += found.low <= 1.05 <= found.high
    assert covered >= 0.94 * 400


def test_the_order_of_repetitions_does_not_matter_and_the_direction_does() -> None:
    a, b = [1.0, 1.2, 1.1, 1.3, 1.05], [1.5, 1.4, 1.6, 1.45, 1.7]
    assert shift(a, b) == shift(a[::-1], b[::-1])
    assert shift(b, a).ratio == pytest.approx(1 / shift(a, b).ratio)


@pytest.mark.parametrize("base", [[], [0.0, 1.0], [-1.0]])
def test_values_that_have_no_ratio_are_refused(base: list[float]) -> None:
    with pytest.raises(InputError, match="no ratio"):
        shift(base, [1.0])


def test_holm_multiplies_the_smallest_by_the_count_and_never_falls() -> None:
    assert adjusted([0.01, 0.04, 0.03], "holm") == pytest.approx((0.03, 0.06, 0.06))
    assert adjusted([0.5, 0.9], "holm") == (1.0, 1.0)


def test_benjamini_and_hochberg_s_own_example_finds_four() -> None:
    given = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    given += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert sum(p <= 0.05 for p in adjusted(given, "bh")) == 4
    assert sum(p <= 0.05 for p in adjusted(given, "holm")) == 3


def test_no_correction_and_no_probabilities_stay_as_they_are() -> None:
    assert adjusted([0.2, 0.1], "none") == (0.2, 0.1)
    assert adjusted([], "holm") == ()


def test_latencies_below_a_millisecond_are_values_like_any_other() -> None:
    base, new = [0.0012, 0.0011, 0.0013], [0.0024, 0.0022, 0.0026]
    assert shift(base, new).ratio == pytest.approx(2)

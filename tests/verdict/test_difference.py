"""Error figures, intervals and top-1, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from esp_hil.errors import InputError
from esp_hil.tensors import Affine
from esp_hil.verdict.difference import Accuracy, accuracy, agreement, compare_floats, top1


def test_float_figures_are_those_worked_out_by_hand() -> None:
    diff = compare_floats(np.array([[3.0, 5.0]], np.float32), np.array([[3.0, 4.0]], np.float32))
    assert (diff.rmse, diff.mae, diff.max_abs) == (math.sqrt(0.5), 0.5, 1.0)
    assert diff.nsr == 1 / 25
    assert diff.snr_db == pytest.approx(10 * math.log10(25))
    assert diff.cosine == pytest.approx(29 / (math.sqrt(34) * 5))
    assert (diff.worst_index, diff.worst_got, diff.worst_expected) == ((0, 1), 5.0, 4.0)


def test_nan_beside_nan_and_equal_infinities_are_equal() -> None:
    array = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    diff = compare_floats(array, array.copy())
    assert (diff.different, diff.broken, diff.rmse, diff.cosine) == (0, 0, 0.0, 1.0)


def test_infinity_of_the_other_sign_is_broken_and_leaves_the_other_figures_alone() -> None:
    diff = compare_floats(np.array([[np.inf, 2.0]]), np.array([[-np.inf, 1.0]]))
    assert (diff.broken, diff.different, diff.max_abs, diff.worst_index) == (1, 2, 1.0, (0, 0))
    assert not diff.within(1000)


def test_silence_has_defined_cosine_and_noise_ratio() -> None:
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    assert compare_floats(zero, zero).cosine == 1.0
    assert compare_floats(one, zero).cosine == 0.0
    assert compare_floats(one, zero).nsr == math.inf
    assert compare_floats(one, zero).snr_db == -math.inf


def test_wilsons_interval_is_the_published_one() -> None:
    # 81 of 263: (0.2553, 0.3662) in Newcombe 1998 (Statistics in Medicine 17:857), table I.
    low, high = Accuracy(correct=81, total=263).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilsons_interval_stays_inside_zero_and_one() -> None:
    assert Accuracy(correct=0, total=10).interval[0] == 0.0
    assert Accuracy(correct=10, total=10).interval[1] == 1.0
    assert Accuracy(correct=10, total=10).interval[0] == pytest.approx(0.7225, abs=1e-4)


def test_top1_takes_the_first_of_equal_scores_and_never_nan() -> None:
    assert top1(np.array([[1, 7, 7], [-5, -5, -9]], np.int8)).tolist() == [1, 0]
    assert top1(np.array([[1.0, np.nan, 0.5]])).tolist() == [0]
    assert top1(np.zeros((2, 1, 1, 4), np.int8)).shape == (2,)


def test_accuracy_and_agreement_count() -> None:
    a, b = np.eye(4, dtype=np.int8), np.eye(4, dtype=np.int8)[[0, 1, 2, 2]]
    assert accuracy(a, np.array([0, 1, 0, 3])).correct == 3
    assert agreement(a, b) == Accuracy(correct=3, total=4)
    with pytest.raises(InputError):
        agreement(a, b[:2])


def test_exponents_scale_by_powers_of_two() -> None:
    assert Affine.of_exponent(-3).real(np.array([-128, 127], np.int8)).tolist() == [-16.0, 15.875]

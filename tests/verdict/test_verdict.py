"""The verdict: what differs, by how much, and whose fault it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.verdict.verdict import (
    HISTOGRAM_REACH_LSB,
    Affine,
    FloatDiff,
    IntegerDiff,
    Verdict,
    compare_answers,
    compare_integers,
    judge,
)

Array = NDArray[Any]

SCORES = np.array([[10, -3, 5], [0, 7, 1], [2, 2, 9], [-8, -1, -2]], dtype=np.int8)
FLOATS = (SCORES * 0.25).astype(np.float32)


def verdict(
    device: Array = SCORES,
    exact: Array = SCORES,
    quantized: Array | None = SCORES,
    float_: Array | None = FLOATS,
    **options: Any,
) -> Verdict:
    """Judge one output called prob with exponent -2."""
    return judge(
        {"prob": device},
        {"prob": exact},
        None if quantized is None else {"prob": quantized},
        None if float_ is None else {"prob": float_},
        **{"labels": None, "exponents": {"prob": -2}} | options,
    )


def changed(place: tuple[int, ...], by: int) -> Array:
    """SCORES with one element moved."""
    copy = SCORES.copy()
    copy[place] += by
    return copy


def test_equal_answers_are_ok_and_the_words_say_bit_exact() -> None:
    found = verdict()
    assert found.ok
    assert found.bit_exact
    assert found.honest
    assert found.summary.startswith("port: bit-exact over 4 inputs; quantizer: honest; ")


def test_one_lsb_in_one_answer_makes_the_port_wrong_and_says_where() -> None:
    found = verdict(device=changed((2, 1), -1))
    assert not found.ok
    diff = found.outputs[0].device_vs_exact
    assert isinstance(diff, IntegerDiff)
    assert (diff.different, diff.max_lsb, diff.worst_index, diff.worst_got, diff.worst_expected) == (
        1,
        1,
        (2, 1),
        1,
        2,
    )
    assert (diff.first_input, diff.inputs_different, diff.histogram_lsb) == (2, 1, {-1: 1, 0: 11})
    assert "port: WRONG over 4 inputs: output prob: 1 of 12 values differ, by up to 1 LSB" in found.summary


def test_a_tolerance_lets_it_pass_and_the_words_say_the_reason() -> None:
    found = verdict(device=changed((2, 1), -1), tolerance_lsb=1, tolerance_reason="float table on the chip")
    assert found.ok
    assert not found.bit_exact
    assert "within the allowed 1 LSB, float table on the chip" in found.summary
    assert not verdict(device=changed((2, 1), -2), tolerance_lsb=1).ok


def test_a_dishonest_quantizer_is_not_the_ports_fault() -> None:
    found = verdict(quantized=changed((0, 0), 4))
    assert found.ok
    assert found.honest is False
    assert (
        "quantizer: believed other values, output prob: 1 of 12 values differ, by up to 4 LSB"
        in found.summary
    )


def test_missing_references_are_said_aloud() -> None:
    found = verdict(quantized=None, float_=None)
    assert found.ok
    assert found.honest is None
    assert "quantizer: not checked, there is no quantized reference" in found.summary
    assert "price of quantization: unknown, there is no float reference" in found.summary


def test_quantization_that_turns_a_class_costs_percentage_points() -> None:
    found = verdict(
        float_=np.where(np.arange(4)[:, None] == 3, [[0.0, -1.0, -1.0]], FLOATS).astype(np.float32),
        labels=np.array([0, 1, 2, 0]),
    )
    assert {name: share.correct for name, share in found.accuracies.items()} == {
        "float": 4,
        "quantized": 3,
        "exact": 3,
        "device": 3,
    }
    assert found.agreements["device/exact"].correct == 4
    assert found.agreements["quantized/float"].correct == 3
    assert found.summary.endswith("quantization costs 25.00 pp top-1 (100.00 -> 75.00 %)")


def test_without_a_quantized_reference_the_loss_of_a_wrong_port_is_not_blamed_on_quantization() -> None:
    off = verdict(device=changed((0, 0), 1), quantized=None, labels=np.array([0, 1, 2, 1]))
    assert "quantization and port costs 0.00 pp" in off.summary
    assert "; quantization costs 0.00 pp" in verdict(quantized=None, labels=np.array([0, 1, 2, 1])).summary


def test_a_model_that_does_not_classify_pays_in_error_figures() -> None:
    image = np.arange(2 * 3 * 4, dtype=np.int8).reshape(2, 3, 4)
    found = judge(
        {"mask": image},
        {"mask": image},
        {"mask": image},
        {"mask": image.astype(np.float32) + 0.5},
        labels=None,
        exponents={"mask": 0},
    )
    assert not found.agreements
    assert "quantization costs RMSE 0.5, MAE 0.5, max 0.5" in found.summary


def test_zero_point_and_scale_give_the_real_values() -> None:
    found = verdict(
        float_=((SCORES.astype(np.float32) + 128) * 0.5),
        exponents={"prob": Affine(scale=0.5, zero_point=-128)},
    )
    price = found.outputs[0].quantized_vs_float
    assert price is not None
    assert price.equal
    assert price.snr_db == float("inf")


def test_the_table_has_a_row_for_each_comparison_and_the_text_is_aligned() -> None:
    found = verdict(device=changed((1, 1), 3), labels=np.array([0, 1, 2, 1]))
    rows = found.table()
    assert len(rows) == 1 + 4 + 4 + 4
    assert {len(row) for row in rows} == {4}
    assert rows[1][-1] == "WRONG"
    lines = found.text().splitlines()
    assert lines[0] == found.summary
    assert lines[1].index("comparison") == lines[2].index("device vs exact (port)")


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (SCORES[:3], "output prob, device vs exact: shape [3, 3] got, [4, 3] expected"),
        (SCORES.reshape(4, 1, 3), "shape [4, 1, 3] got"),
        (SCORES[:, :1], "shape [4, 1] got"),
        (SCORES.astype(np.int16), "dtype int16 got, int8 expected"),
        (SCORES.astype(np.float32), "dtype float32 got, int8 expected"),
    ],
)
def test_answers_of_other_shape_or_dtype_are_refused_and_never_broadcast(device: Array, words: str) -> None:
    with pytest.raises(InputError) as caught:
        verdict(device=device)
    assert words in str(caught.value)


def test_a_missing_output_is_refused() -> None:
    with pytest.raises(InputError, match=r"outputs are \['a'\] in device, \['b'\] in the exact reference"):
        judge({"a": SCORES}, {"b": SCORES}, None, None, labels=None, exponents={})


def test_outputs_with_different_numbers_of_inputs_are_refused() -> None:
    answers = {"a": SCORES, "b": SCORES[:2]}
    with pytest.raises(InputError, match="different numbers of inputs"):
        judge(answers, answers, None, None, labels=None, exponents={})


def test_class_scores_of_an_output_that_is_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"no output logits with class scores, there are \['prob'\]"):
        verdict(classes="logits")


def test_a_missing_exponent_is_refused_instead_of_guessed() -> None:
    with pytest.raises(InputError, match="output prob: no exponent"):
        verdict(exponents={})


def test_labels_need_class_scores_and_one_label_an_input() -> None:
    with pytest.raises(InputError, match="need 4 integers"):
        verdict(labels=np.array([0, 1]))
    with pytest.raises(InputError, match="need 4 integers"):
        verdict(labels=np.array([0.0, 1.0, 2.0, 1.0]))
    grid = np.zeros((4, 2, 2), dtype=np.int8)
    with pytest.raises(InputError, match="no output is plainly the class scores"):
        judge({"g": grid}, {"g": grid}, None, None, labels=np.arange(4), exponents={})


def test_a_negative_or_nan_tolerance_is_refused() -> None:
    with pytest.raises(InputError, match="must not be negative"):
        verdict(tolerance_lsb=-1)
    with pytest.raises(InputError, match="must not be negative"):
        verdict(tolerance_abs=float("nan"))


def test_a_float_output_is_judged_in_floats_and_nan_on_one_side_is_wrong() -> None:
    bad = FLOATS.copy()
    bad[3, 2] = np.nan
    found = verdict(device=bad, exact=FLOATS, quantized=FLOATS, tolerance_abs=1000.0)
    diff = found.outputs[0].device_vs_exact
    assert isinstance(diff, FloatDiff)
    assert (diff.broken, diff.different, diff.worst_index, diff.first_input) == (1, 1, (3, 2), 3)
    assert not found.ok
    assert "1 of 12 values differ, 1 of them not finite on one side" in found.summary


def test_a_float_output_within_its_own_tolerance_passes() -> None:
    near = FLOATS + np.float32(0.125)
    assert verdict(device=near, exact=FLOATS, quantized=None, tolerance_abs=0.125).ok
    assert not verdict(device=near, exact=FLOATS, quantized=None, tolerance_abs=0.124).ok


@given(
    hnp.arrays(np.int8, (5, 7)),
    hnp.arrays(np.int8, (5, 7)),
)
def test_the_histogram_with_its_overflow_bins_counts_every_element(got: Array, expected: Array) -> None:
    diff = compare_integers(got, expected)
    lsb = got.astype(int) - expected.astype(int)
    assert sum(diff.histogram_lsb.values()) + diff.below + diff.above == diff.count == 35
    assert diff.below == (lsb < -HISTOGRAM_REACH_LSB).sum()
    assert diff.above == (lsb > HISTOGRAM_REACH_LSB).sum()
    assert all(diff.histogram_lsb[value] == (lsb == value).sum() for value in diff.histogram_lsb)
    assert diff.max_lsb == np.abs(lsb).max()
    assert diff.different == (lsb != 0).sum()
    if diff.worst_index is not None:
        assert abs(lsb[diff.worst_index]) == diff.max_lsb
        assert (got[diff.worst_index], expected[diff.worst_index]) == (diff.worst_got, diff.worst_expected)


@given(st.sampled_from([np.int64, np.uint64]))
def test_differences_of_64_bit_integers_do_not_wrap(dtype: type[np.integer[Any]]) -> None:
    limits = np.iinfo(dtype)
    got, expected = np.array([limits.max], dtype), np.array([limits.min], dtype)
    assert compare_integers(got, expected).max_lsb == 2**64 - 1
    assert compare_integers(expected, got).below == 1


def test_integers_and_floats_are_told_apart_by_dtype() -> None:
    assert isinstance(compare_answers(SCORES, SCORES), IntegerDiff)
    assert isinstance(compare_answers(FLOATS, FLOATS), FloatDiff)
    bools = compare_answers(SCORES > 0, SCORES >= 0)
    assert isinstance(bools, IntegerDiff)
    assert bools.max_lsb == 1


def test_one_wrong_output_of_several_makes_the_port_wrong_and_is_named() -> None:
    exact = {"box": SCORES, "prob": SCORES}
    found = judge(
        {"box": SCORES, "prob": changed((1, 0), 2)},
        exact,
        {"box": changed((0, 0), -5), "prob": SCORES},
        None,
        labels=np.array([0, 1, 2, 1]),
        exponents={},
        classes="prob",
    )
    assert not found.ok
    assert "output prob: 1 of 12 values differ" in found.summary
    assert "quantizer: believed other values, output box" in found.summary
    assert found.worst_quantized_lsb == 5
    assert found.accuracies["exact"].correct == 4

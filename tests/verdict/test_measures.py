"""Figures by what an output means, each beside a plain count in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.verdict.measures import (
    MEASURES,
    Meaning,
    Measure,
    Reading,
    classes_of,
    least_cosine,
    mean_iou,
    measure_rows,
    measured,
    names_of,
    r2,
    words_of_price,
    words_of_quality,
)


def figures(
    reading: Reading, device: NDArray[Any], expected: NDArray[Any] | None = None, **more: Any
) -> dict[tuple[str, str], Measure]:
    """Of the device, by what they are against and name."""
    sources: Any = {"device": device, **more}
    found = measured("y", reading, sources, expected)
    return {(one.against, one.name): one for one in found if one.source == "device"}


def test_values_have_their_errors_in_their_unit() -> None:
    right = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    off = right + np.array([[0.5, 0.0], [0.0, -1.5]], np.float32)
    found = figures(Reading(meaning="values", tolerance=0.5, unit="mm"), off, right)
    assert found["expected", "rmse"].value == pytest.approx(math.sqrt((0.25 + 2.25) / 4))
    assert found["expected", "mae"].value == pytest.approx(0.5)
    assert found["expected", "max_abs"].value == pytest.approx(1.5)
    assert found["expected", "within"].value == pytest.approx(0.75)
    assert found["expected", "r2"].value == pytest.approx(1 - 2.5 / 5)
    assert found["expected", "mae"].words == "0.5 mm"
    assert found["expected", "mae"].count == 4


def test_r2_of_a_constant_is_not_defined_unless_it_is_met() -> None:
    constant = np.full((2, 2), 3.0, np.float32)
    assert r2(constant, constant) == 1.0
    assert math.isnan(r2(constant + 1, constant))
    (one,) = [
        m
        for m in measured("y", Reading(meaning="values"), {"device": constant + 1}, constant)
        if m.name == "r2"
    ]
    assert one.words == "not defined"


def test_the_least_cosine_is_that_of_the_worst_input() -> None:
    right = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert least_cosine(found, right) == pytest.approx(math.sqrt(0.5))
    assert least_cosine(found[:1], np.zeros((1, 2))) == 0.0
    assert least_cosine(np.zeros((1, 2)), np.zeros((1, 2))) == 1.0


@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3, 4, 5)), (-1, (2, 4, 5, 3))])
def test_dense_classes_lie_on_the_axis_that_the_layout_says(axis: int, shape: tuple[int, ...]) -> None:
    scores = np.random.default_rng(0).normal(size=shape)
    chosen = classes_of(scores, Reading(meaning="dense", class_axis=axis))
    np.testing.assert_array_equal(chosen, scores.argmax(axis=1 if axis == 0 else 3))


def test_one_channel_of_dense_scores_is_a_mask() -> None:
    shares = np.array([[[[0.2, 0.5], [0.6, 0.49]]]])
    assert classes_of(shares, Reading(meaning="dense")).tolist() == [[[0, 1], [1, 0]]]
    logits = np.array([[[[-1.0, 1.0]]]])
    sharp = Reading(meaning="dense", threshold=0.8, activation="sigmoid")
    assert classes_of(logits, sharp).tolist() == [[[0, 0]]]


def test_iou_is_the_mean_over_the_classes_that_occur() -> None:
    right = np.array([0, 0, 1, 1, 2])
    chosen = np.array([0, 1, 1, 1, 1])
    assert mean_iou(chosen, right) == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)
    assert mean_iou(right, right) == 1.0


def test_pixels_without_a_known_class_do_not_count() -> None:
    scores = np.zeros((1, 2, 1, 4))
    scores[0, 1, 0, :2] = 1
    found = figures(Reading(meaning="dense"), scores, np.array([[[1, 0, -1, 0]]]))
    assert found["expected", "pixels"].value == pytest.approx(2 / 3)
    assert found["expected", "pixels"].count == 3


def test_top1_of_labels_leaves_out_unknown_ones() -> None:
    scores = np.eye(3)
    assert figures(Reading(meaning="scores"), scores, np.array([0, -1, 1]))["expected", "top1"].value == 0.5
    assert figures(Reading(meaning="scores"), scores, np.array([-1, -1, -1])) == {}


@pytest.mark.parametrize("meaning", ["scores", "values", "embedding", "dense"])
def test_a_device_that_answers_as_the_float_model_is_perfect_in_every_figure(meaning: Meaning) -> None:
    values = np.random.default_rng(1).normal(size=(3, 4, 2, 2)).astype(np.float32)
    reading = Reading(meaning=meaning, tolerance=0.1 if meaning == "values" else None)
    found = figures(reading, values, float=values)
    assert {name for _, name in found} == set(names_of(meaning))
    for (_, name), one in found.items():
        assert one.value == pytest.approx(1.0 if MEASURES[name].higher else 0.0), name


def test_raw_outputs_have_no_figures() -> None:
    assert (
        measured("y", Reading(meaning="raw"), {"device": np.ones((1, 2)), "float": np.ones((1, 2))}, None)
        == ()
    )


def test_expected_values_of_another_shape_are_one_line() -> None:
    with pytest.raises(InputError, match="output y") as caught:
        figures(Reading(meaning="values"), np.ones((2, 3)), np.ones((2, 4)))
    assert "\n" not in str(caught.value)


def test_a_gate_is_for_the_device_alone_and_says_what_it_asks() -> None:
    off = np.array([[0.0, 2.0]], np.float32)
    found = measured(
        "y",
        Reading(meaning="values", unit="V"),
        {"device": off, "float": off * 0},
        None,
        {("float", "mae"): 0.5},
    )
    (gated,) = [one for one in found if one.limit is not None]
    assert (gated.source, gated.name, gated.ok, gated.asked) == ("device", "mae", False, "at most 0.5 V")
    (row,) = [row for row in measure_rows(found) if row[1].startswith("MAE")]
    assert row[3] == "MISSED, asked for at most 0.5 V"


def test_a_sentence_tells_price_and_quality_by_meaning() -> None:
    right = np.array([[1.0, 2.0]], np.float32)
    found = measured(
        "angle", Reading(meaning="values", unit="deg"), {"device": right + 1, "float": right}, right
    )
    assert words_of_price(found, "device").startswith("angle: RMSE 1 deg, R2 -3, lowest cosine")
    assert words_of_quality(found)[0].startswith("device against expected: angle: RMSE 1 deg")

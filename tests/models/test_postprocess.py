from __future__ import annotations

import numpy as np
import pytest

from esp_hil.errors import InputError
from esp_hil.models.postprocess import Postprocess


def test_softmax_of_known_scores_and_of_huge_ones() -> None:
    shares = Postprocess(activation="softmax").shares(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]]))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_sigmoid_is_exact_at_its_landmarks_and_never_overflows() -> None:
    shares = Postprocess(activation="sigmoid").shares(np.array([[0.0], [np.log(3.0)], [-1e4], [1e4]]))
    np.testing.assert_allclose(shares[:, 0], [0.5, 0.75, 0.0, 1.0])


def test_the_class_is_that_of_the_largest_score_and_the_first_of_equals() -> None:
    assert Postprocess().classes(np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0]])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("activation", "raw", "expected"),
    [("none", [0.49, 0.5, 0.51], [0, 1, 1]), ("sigmoid", [-0.1, 0.0, 0.1], [0, 1, 1])],
)
def test_a_threshold_is_applied_to_the_share(activation: str, raw: list[float], expected: list[int]) -> None:
    post = Postprocess(activation=activation, threshold=0.5)  # type: ignore[arg-type]
    assert post.classes(np.array(raw)[:, None]).tolist() == expected


def test_a_threshold_for_several_values_is_refused() -> None:
    with pytest.raises(InputError, match="a threshold for 3 values"):
        Postprocess(threshold=0.5).classes(np.zeros((2, 3)))


def test_logits_are_shown_as_the_shares_that_they_stand_for() -> None:
    logits = np.array([[2.0, -1.0, 0.5]])
    shown = Postprocess().shown_shares(logits)
    assert shown.sum() == pytest.approx(1)
    assert (shown >= 0).all()
    assert shown.argmax() == 0
    already = np.array([[0.25, 0.75]])
    assert np.array_equal(Postprocess().shown_shares(already), already)
    assert 0 < Postprocess().shown_shares(np.array([[-3.0]]))[0, 0] < 0.5

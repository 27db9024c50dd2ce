from __future__ import annotations

import numpy as np
import pytest

from esp_hil.goldens.references import ReferenceOutput
from esp_hil.goldens.scores import bars, scores_of
from esp_hil.models.postprocess import Postprocess
from esp_hil.tensors import Affine


def test_shares_are_those_of_the_declared_softmax_over_the_real_values() -> None:
    answer = ReferenceOutput(values=np.array([[0, 4, 8]], np.int8), exponent=-2)
    scores = scores_of(answer, 0, ("a", "b", "c"), Postprocess(activation="softmax"))
    expected = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    assert [score.raw for score in scores] == [0, 4, 8]
    assert [score.real for score in scores] == [0.0, 1.0, 2.0]
    assert [score.share for score in scores] == pytest.approx(expected)
    assert [score.chosen for score in scores] == [False, False, True]


@pytest.mark.parametrize(("raw", "chosen"), [(-1, [True, False]), (0, [False, True]), (127, [False, True])])
def test_a_single_output_has_two_classes_and_a_threshold(raw: int, chosen: list[bool]) -> None:
    meaning = Affine(scale=1 / 256, zero_point=-128)
    answer = ReferenceOutput(values=np.array([[raw]], np.int8), exponent=None, affine=meaning)
    scores = scores_of(answer, 0, ("not a cat", "cat"), Postprocess(threshold=0.5))
    assert [score.chosen for score in scores] == chosen
    assert scores[0].share + scores[1].share == 1
    assert scores[1].share == (raw + 128) / 256


def test_bars_are_as_long_as_the_share_and_mark_the_choice() -> None:
    answer = ReferenceOutput(values=np.array([[0.25, 0.75]], np.float32), exponent=None)
    lines = bars(scores_of(answer, 0, ("left", "right"), Postprocess())).splitlines()
    assert [line.split("%")[1].strip() for line in lines[1:]] == ["#" * 6, "#" * 18]
    assert [line[0] for line in lines[1:]] == [" ", ">"]

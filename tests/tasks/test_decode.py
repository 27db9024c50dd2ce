"""The edges of decoding: thresholds that are just met, truncation, overlap, order."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.tasks import Detection, decode
from esp_hil.tasks.decode import Head, Stage, logit, overlap, suppress
from esp_hil.tasks.network import NetworkTensor
from esp_hil.tasks.preprocess import InputArea
from esp_hil.tasks.task import square

WHOLE = InputArea(inverse_x=np.float32(1), inverse_y=np.float32(1), crop=(0, 0, 224, 224))
STAGE = Stage(score="score", box="box", stride=8, offset=4)


def head(score: int, box: list[int], *, exponents: tuple[int, int] = (-4, -4)) -> Head:
    """One cell of one class."""
    return Head(
        score=np.array(score, np.int8).reshape(1, 1, 1, 1),
        box=np.array(box, np.int8).reshape(1, 1, 1, -1),
        score_tensor=NetworkTensor(name="score", dtype="int8", shape=(1, 1, 1, 1), exponent=exponents[0]),
        box_tensor=NetworkTensor(name="box", dtype="int8", shape=(1, 1, 1, len(box)), exponent=exponents[1]),
        stage=STAGE,
    )


def box(x1: int, y1: int, x2: int, y2: int, score: float = 0.5) -> Detection:
    return Detection(box=(x1, y1, x2, y2), score=score)


def test_a_score_on_the_threshold_counts_for_espdet_only() -> None:
    """logit(0.5) is 0."""
    on, below = head(0, [16] * 4), head(-1, [16] * 4)
    assert len(decode.espdet(on, 0.5, WHOLE, "half_up")) == 1
    assert decode.espdet(below, 0.5, WHOLE, "half_up") == []
    assert decode.yolo11(head(0, [0] * 64), 0.5, WHOLE, "half_up") == []
    assert len(decode.yolo11(head(1, [0] * 64), 0.5, WHOLE, "half_up")) == 1


def test_the_threshold_is_rounded_like_the_scores() -> None:
    """logit(0.6) is 6.49 sixteenths: 6 on every chip."""
    assert float(logit(0.6)) * 16 == pytest.approx(6.49, abs=0.01)
    assert len(decode.espdet(head(6, [0] * 4), 0.6, WHOLE, "half_up")) == 1
    assert decode.espdet(head(5, [0] * 4), 0.6, WHOLE, "half_up") == []


def test_coordinates_are_cut_towards_zero_before_boxes_are_compared() -> None:
    """Centre 4, distances of 5 / 16 and 17 / 16 strides of 8: 4 - 2.5 and 4 - 8.5."""
    (found,) = decode.espdet(head(20, [5, 17, 5, 17]), 0.6, WHOLE, "half_up")
    assert found.box == (1, -4, 6, 12)


def test_the_score_of_pico_is_the_root_of_the_output() -> None:
    (found,) = decode.pico(head(64, [0] * 32, exponents=(-7, -3)), 0.5, WHOLE, "half_up")
    assert found.score == pytest.approx(0.5**0.5)
    # a flat distribution over 0..7 strides has its mean at 3.5
    assert found.box == (-24, -24, 32, 32)
    assert decode.pico(head(32, [0] * 32, exponents=(-7, -3)), 0.5, WHOLE, "half_up") == []


def test_one_of_two_equal_softmax_shares_is_no_face() -> None:
    """The larger share is the score whatever it belongs to: only a tie has no more than 0.5."""

    def face(first: int, second: int) -> Detection | None:
        outputs = {
            "score": np.array([first, second], np.int8).reshape(1, 1, 1, 2),
            "box": np.zeros((1, 1, 1, 4), np.int8),
            "landmark": np.zeros((1, 1, 1, 10), np.int8),
        }
        tensors = {
            name: NetworkTensor(name=name, dtype="int8", shape=values.shape, exponent=-4)
            for name, values in outputs.items()
        }
        return decode.mnp(outputs, tensors, 0.5, WHOLE, 48)

    assert face(7, 7) is None
    face_, background = face(0, 16), face(16, 0)
    assert face_ is not None
    assert background is not None
    assert face_.score == background.score == pytest.approx(1 / (1 + np.exp(-1)))


def test_both_corners_belong_to_a_box() -> None:
    assert overlap((0, 0, 9, 9), (0, 0, 9, 9)) == 1
    assert overlap((0, 0, 9, 9), (9, 9, 18, 18)) == 1 / 199
    assert overlap((0, 0, 9, 9), (10, 0, 19, 9)) == 0
    assert overlap((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(1 / 3)


def test_suppression_keeps_what_overlaps_exactly_as_much_as_allowed() -> None:
    one, other = box(0, 0, 9, 9), box(0, 0, 9, 4)
    assert suppress([one, other], 0.5, 10) == [one, other]
    assert suppress([one, other], 0.49, 10) == [one]


def test_a_box_that_went_no_longer_hides_others() -> None:
    chain = [box(0, 0, 9, 9), box(4, 0, 13, 9), box(8, 0, 17, 9)]
    assert suppress(chain, 0.4, 10) == [chain[0], chain[2]]


def test_classes_do_not_save_a_box_and_only_the_best_stay() -> None:
    cat, dog = box(0, 0, 9, 9), Detection(box=(0, 0, 9, 9), score=0.4, index=1)
    assert suppress([cat, dog], 0.7, 10) == [cat]
    far = [box(20 * i, 0, 20 * i + 9, 9) for i in range(12)]
    assert suppress(far, 0.7, 10) == far[:10]


def test_of_equal_scores_the_first_found_comes_first() -> None:
    first, second, best = box(0, 0, 1, 1), box(5, 5, 6, 6), box(9, 9, 10, 10, 0.9)
    assert decode.ranked([first, second, best]) == [best, first, second]


def test_the_second_stage_looks_at_a_square_inside_the_picture() -> None:
    assert square(box(10, 20, 30, 60), 100, 100) == (0, 20, 40, 60)
    assert square(box(80, 80, 120, 100), 100, 100) == (80, 70, 99, 99)
    assert square(box(-9, 5, 20, 30), 100, 100) == (0, 3, 20, 32)


def test_a_face_of_the_first_stage_is_where_its_anchor_was_moved_to() -> None:
    """Anchor 32 around (4, 4) is -12..20, moved by 16 and 8 in x and by -16 and 0 in y; x is shrunk twofold."""
    stage = Stage(score="score", box="box", stride=8, offset=4, anchors=(16, 32))
    two = Head(
        score=np.array([-20, 16], np.int8).reshape(1, 1, 1, 2),
        box=np.array([9, 9, 9, 9, 8, -8, 4, 0], np.int8).reshape(1, 1, 1, 8),
        score_tensor=NetworkTensor(name="score", dtype="int8", shape=(1, 1, 1, 2), exponent=-4),
        box_tensor=NetworkTensor(name="box", dtype="int8", shape=(1, 1, 1, 8), exponent=-4),
        stage=stage,
    )
    wide = InputArea(inverse_x=np.float32(2), inverse_y=np.float32(1), crop=(0, 0, 448, 224))
    (found,) = decode.msr(two, 0.5, wide, "half_up")
    assert found.box == (8, -28, 56, 20)
    assert found.score == pytest.approx(1 / (1 + np.exp(-1)))
    assert found.index == 0


def test_a_face_of_the_second_stage_lies_in_the_part_that_was_looked_at() -> None:
    outputs = {
        "score": np.array([16, 0], np.int8).reshape(1, 1, 1, 2),
        "box": np.array([4, -4, 8, 0], np.int8).reshape(1, 1, 1, 4),
        "landmark": np.arange(10, dtype=np.int8).reshape(1, 1, 1, 10),
    }
    tensors = {
        name: NetworkTensor(name=name, dtype="int8", shape=values.shape, exponent=-4)
        for name, values in outputs.items()
    }
    part = InputArea(inverse_x=np.float32(2), inverse_y=np.float32(1), crop=(10, 20, 106, 68))
    found = decode.mnp(outputs, tensors, 0.5, part, 48)
    assert found is not None
    assert found.box == (12 * 2 + 10, -12 + 20, (24 + 48) * 2 + 10, 48 + 20)
    assert found.landmarks == tuple((6 * i + 10, 3 * (i + 1) + 20) for i in range(0, 10, 2))

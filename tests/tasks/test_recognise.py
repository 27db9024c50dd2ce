"""Faces as points on a sphere: alignment, length, and who it is."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.errors import InputError
from esp_hil.tasks import Detection, cosine, query
from esp_hil.tasks.recognise import STANDARD_FACE, align, largest, normalised, root, similarity

STANDARD = np.array(STANDARD_FACE, np.float32)


def unit(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return normalised(np.array(values, np.float32))


def test_the_largest_face_is_the_one_that_is_recognised() -> None:
    """Not the smallest, which a binding for MicroPython picks."""
    small, large = Detection(box=(0, 0, 10, 10), score=0.9), Detection(box=(0, 0, 40, 20), score=0.6)
    assert largest([small, large]) is large
    assert largest([large, small]) is large
    assert largest([]) is None


@pytest.mark.parametrize(("scale", "angle"), [(0.5, 0.1), (1.7, -0.4), (3.0, 0.02)])
def test_a_turned_and_scaled_face_is_found_back(scale: float, angle: float) -> None:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (STANDARD @ (scale * turn).T + [40, 30]).astype(np.float32)
    matrix = similarity(STANDARD, landmarks)
    assert matrix[:, :2] == pytest.approx(scale * turn, abs=2e-3)
    assert STANDARD @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(landmarks, abs=0.1)


def test_what_lies_beyond_the_picture_is_black() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    landmarks = [(x, y) for x, y in ((-9, 12), (-8, 33), (0, 22), (8, 12), (7, 33))]
    aligned, _ = align(white, landmarks, (112, 112))
    assert aligned[:, :20].max() == 0
    assert aligned[60, 100].min() == 255


def test_a_face_without_landmarks_cannot_be_recognised() -> None:
    with pytest.raises(InputError, match="0 landmarks"):
        align(np.zeros((9, 9, 3), np.uint8), [], (112, 112))


def test_landmarks_that_fall_together_give_no_transform() -> None:
    assert not similarity(STANDARD, np.full((5, 2), 7, np.float32)).any()


def test_an_embedding_has_length_one_and_a_direction() -> None:
    assert np.linalg.norm(unit(3, 4, 12)) == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="without a direction"):
        unit(0, 0)


def test_a_square_root_that_would_hang_a_chip_is_refused() -> None:
    assert root(2.0) == pytest.approx(2**0.5, abs=1e-5)
    with pytest.raises(InputError, match="is not a number"):
        root(-1.0)


def test_a_query_gives_ids_of_those_who_are_similar_enough() -> None:
    known = [(2, unit(1, 0, 0)), (7, unit(1, 1, 0)), (9, unit(0, 0, 1))]
    found = query(unit(1, 0.1, 0), known, threshold=0.5, top=5)
    assert [number for number, _ in found] == [2, 7]
    assert query(unit(1, 0.1, 0), known, threshold=0.5) == found[:1]
    assert query(unit(-1, 0, 0), known, threshold=0.5) == []


def test_exactly_the_threshold_is_not_enough() -> None:
    same = unit(0, 1)
    assert cosine(same, same) == 1.0
    assert query(same, [(1, same)], threshold=1.0) == []

"""Each threshold on results, just held and just broken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from esp_hil.tasks import Detection, Embedding, Label, Results, TaskTolerances
from esp_hil.tasks.decode import overlap
from esp_hil.tasks.match import match

THRESHOLDS = TaskTolerances(iou=0.9, landmark_px=2, score=0.02, cosine=0.99, same_person=0.5)
POINTS = ((10, 20), (12, 60), (30, 40), (50, 20), (48, 60))
FACE = Detection(box=(0, 0, 99, 99), score=0.9, name="face", landmarks=POINTS)


def results(*found: Detection, labels: tuple[Label, ...] = (), embedding: Embedding | None = None) -> Results:
    return Results(task="t", width=200, height=200, detections=found, labels=labels, embedding=embedding)


def problems(got: Results, wanted: Results) -> tuple[str, ...]:
    return match(got, wanted, THRESHOLDS).problems


def test_the_same_results_match() -> None:
    assert match(results(FACE), results(FACE), THRESHOLDS).ok
    assert match(results(), results(), THRESHOLDS).ok


@pytest.mark.parametrize(("shift", "ok"), [(5, True), (6, False)])
def test_a_box_may_overlap_a_little_less(shift: int, ok: bool) -> None:
    moved = replace(FACE, box=(shift, 0, 99 + shift, 99))
    assert overlap(moved.box, FACE.box) == pytest.approx((100 - shift) / (100 + shift))
    assert match(results(moved), results(FACE), THRESHOLDS).ok is ok


@pytest.mark.parametrize(("shift", "ok"), [(2, True), (3, False)])
def test_one_landmark_may_lie_two_pixels_away(shift: int, ok: bool) -> None:
    moved = replace(FACE, landmarks=(*POINTS[:4], (48, 60 + shift)))
    assert match(results(moved), results(FACE), THRESHOLDS).ok is ok


def test_landmarks_that_are_missing_are_not_near() -> None:
    assert "landmarks up to inf px" in problems(results(replace(FACE, landmarks=())), results(FACE))[0]


@pytest.mark.parametrize(("score", "ok"), [(0.881, True), (0.879, False)])
def test_a_score_may_differ_a_little(score: float, ok: bool) -> None:
    assert match(results(replace(FACE, score=score)), results(FACE), THRESHOLDS).ok is ok


def test_another_class_is_another_object() -> None:
    other = replace(FACE, index=1, name="cat")
    assert len(problems(results(other), results(FACE))) == 2


def test_missing_and_unexpected_objects_are_named() -> None:
    far = replace(FACE, box=(150, 150, 199, 199))
    assert problems(results(FACE), results(FACE, far)) == ("missing: face 0.900 at (150, 150, 199, 199)",)
    assert problems(results(FACE, far), results(FACE)) == (
        "not expected: face 0.900 at (150, 150, 199, 199)",
    )


def test_each_object_has_one_partner_and_the_best_one() -> None:
    near = replace(FACE, box=(3, 0, 102, 99))
    found = match(results(near, FACE), results(FACE, near), THRESHOLDS)
    assert [pair.iou for pair in found.pairs] == [1.0, 1.0]


def test_the_best_class_must_agree_unless_two_share_the_best_score() -> None:
    cat, lynx = Label(index=1, name="cat", score=0.4), Label(index=2, name="lynx", score=0.4)
    low = Label(index=3, name="dog", score=0.1)
    assert match(results(labels=(lynx, cat)), results(labels=(cat, lynx)), THRESHOLDS).ok
    assert "best class dog" in problems(results(labels=(low,)), results(labels=(cat, lynx)))[0]
    weaker = replace(cat, score=0.3)
    assert "score 0.300" in problems(results(labels=(weaker,)), results(labels=(cat,)))[0]
    assert problems(results(), results(labels=(cat,))) == ("one names classes, the other none",)


def test_embeddings_are_compared_by_their_angle() -> None:
    def at(angle: float) -> Results:
        values = np.array([np.cos(angle), np.sin(angle)], np.float32)
        return results(FACE, embedding=Embedding(face=FACE, values=values))

    assert match(at(0.14), at(0), THRESHOLDS).ok
    assert "cosine" in problems(at(0.15), at(0))[0]
    assert problems(results(FACE), at(0)) == ("one has an embedding, the other has none",)

"""Results compared as results: boxes by overlap, landmarks by pixels, scores, classes, embeddings by cosine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from esp_hil.tasks.decode import overlap
from esp_hil.tasks.recognise import cosine
from esp_hil.tasks.results import Detection, Label, Results
from esp_hil.tasks.spec import TaskTolerances

_TIE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One object in both results.

    Attributes:
        got: what was answered.
        wanted: what was expected.
        iou: of the boxes, 0..1.
        landmark_px: largest distance of two landmarks; 0 without landmarks; infinite if only one has them.
        score: absolute difference of the scores.
    """

    got: Detection
    wanted: Detection
    iou: float
    landmark_px: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a comparison found.

    Attributes:
        pairs: objects that are in both.
        missing: expected and not answered.
        extra: answered and not expected.
        cosine: of the embeddings; None without.
        problems: one sentence for each threshold that does not hold; () if all do.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[Detection, ...]
    extra: tuple[Detection, ...]
    cosine: float | None
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the results are the same within the thresholds."""
        return not self.problems


def match(got: Results, wanted: Results, thresholds: TaskTolerances) -> Match:
    """Compare an answer with what is expected.

    Objects of one class are paired by the largest overlap first; each belongs to one pair at most.
    """
    pairs, missing, extra = _pairs(got.detections, wanted.detections)
    similarity = _similarity(got, wanted)
    problems = [*_of_pairs(pairs, thresholds)]
    problems += [f"missing: {_words(one)}" for one in missing]
    problems += [f"not expected: {_words(one)}" for one in extra]
    problems += _of_labels(got.labels, wanted.labels, thresholds)
    if (got.embedding is None) != (wanted.embedding is None):
        problems.append("one has an embedding, the other has none")
    if similarity is not None and similarity < thresholds.cosine:
        problems.append(f"cosine of the embeddings {similarity:.4f}, at least {thresholds.cosine} expected")
    return Match(
        pairs=tuple(pairs),
        missing=tuple(missing),
        extra=tuple(extra),
        cosine=similarity,
        problems=tuple(problems),
    )


def _pairs(
    got: Sequence[Detection], wanted: Sequence[Detection]
) -> tuple[list[Pair], list[Detection], list[Detection]]:
    """Pairs, expected ones without a partner, answered ones without."""
    overlaps = [
        (overlap(mine.box, theirs.box), i, j)
        for i, mine in enumerate(got)
        for j, theirs in enumerate(wanted)
        if mine.index == theirs.index
    ]
    pairs: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for iou, i, j in sorted(overlaps, key=lambda row: (-row[0], row[1], row[2])):
        if iou > 0 and i not in pairs and j not in taken:
            pairs[i] = (j, iou)
            taken.add(j)
    made = [_pair(got[i], wanted[j], iou) for i, (j, iou) in sorted(pairs.items())]
    missing = [one for j, one in enumerate(wanted) if j not in taken]
    extra = [one for i, one in enumerate(got) if i not in pairs]
    return made, missing, extra


def _pair(got: Detection, wanted: Detection, iou: float) -> Pair:
    distances = [math.dist(a, b) for a, b in zip(got.landmarks, wanted.landmarks, strict=False)]
    same = len(got.landmarks) == len(wanted.landmarks)
    return Pair(
        got=got,
        wanted=wanted,
        iou=iou,
        landmark_px=max(distances, default=0.0) if same else math.inf,
        score=abs(got.score - wanted.score),
    )


def _of_pairs(pairs: Sequence[Pair], thresholds: TaskTolerances) -> Iterator[str]:
    for pair in pairs:
        name = _words(pair.wanted)
        if pair.iou < thresholds.iou:
            yield f"{name}: box {pair.got.box}, overlap {pair.iou:.3f} below {thresholds.iou}"
        if pair.landmark_px > thresholds.landmark_px:
            yield f"{name}: landmarks up to {pair.landmark_px:.1f} px away, {thresholds.landmark_px:g} allowed"
        if pair.score > thresholds.score:
            yield f"{name}: score {pair.got.score:.3f}, {thresholds.score} allowed"


def _of_labels(got: Sequence[Label], wanted: Sequence[Label], thresholds: TaskTolerances) -> list[str]:
    """The best class must be one of those that share the best score, with about that score."""
    if not got and not wanted:
        return []
    if not got or not wanted:
        return ["one names classes, the other none"]
    best = {label.index: label for label in wanted if label.score >= wanted[0].score - _TIE}
    first = got[0]
    if first.index not in best:
        return [
            f"best class {first.name} ({first.score:.3f}), {wanted[0].name} ({wanted[0].score:.3f}) expected"
        ]
    if abs(first.score - wanted[0].score) > thresholds.score:
        return [f"{first.name}: score {first.score:.3f}, {wanted[0].score:.3f} expected"]
    return []


def _similarity(got: Results, wanted: Results) -> float | None:
    if got.embedding is None or wanted.embedding is None:
        return None
    return cosine(got.embedding.values, wanted.embedding.values)


def _words(one: Detection) -> str:
    return f"{one.name or one.index} {one.score:.3f} at {one.box}"

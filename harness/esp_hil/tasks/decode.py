"""Outputs of detectors -> boxes, as ESP-DL 3.3 does it (vision/detect/dl_detect_*_postprocessor.cpp).

All arithmetic is float32 like ESP-DL's. A chip whose compiler fuses multiplication and addition may round the
last bit another way; a coordinate that lies on a whole pixel then differs by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.targets import Rounding
from esp_hil.tasks.network import NetworkTensor
from esp_hil.tasks.preprocess import InputArea, quantize
from esp_hil.tasks.results import Box, Detection

Floats = NDArray[np.float32]
Integers = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One scale of a detector.

    Attributes:
        score: name of the output with the scores.
        box: name of the output with the boxes.
        stride: pixels of the input from one cell to the next.
        offset: of the first cell's centre.
        anchors: side lengths of the square anchors; () for detectors without.
    """

    score: str
    box: str
    stride: int
    offset: int
    anchors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The output of one stage: integers with what they stand for."""

    score: Integers
    box: Integers
    score_tensor: NetworkTensor
    box_tensor: NetworkTensor
    stage: Stage


def heads(
    stages: Sequence[Stage], outputs: Mapping[str, Integers], tensors: Mapping[str, NetworkTensor]
) -> tuple[Head, ...]:
    """The outputs of a network, stage by stage."""
    return tuple(
        Head(
            score=outputs[stage.score],
            box=outputs[stage.box],
            score_tensor=tensors[stage.score],
            box_tensor=tensors[stage.box],
            stage=stage,
        )
        for stage in stages
    )


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + e^-x), the exponential in float32 and the rest in float64 (dl_math.hpp)."""
    return (1.0 / (1.0 + np.exp(-values).astype(np.float64))).astype(np.float32)


def logit(share: float) -> np.float32:
    """The inverse of `sigmoid`, for thresholds."""
    inner = np.float32(1.0 / float(np.float32(share)) - 1)
    return np.float32(-np.log(inner))


def integral(logits: Floats) -> Floats:
    """Mean of 0, 1, 2, ... weighted by the softmax over the last axis: a distance as a distribution (DFL)."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True)).astype(np.float32)
    shares = shares / _in_order(shares)[..., np.newaxis]
    return _in_order(shares * np.arange(logits.shape[-1], dtype=np.float32))


def _in_order(terms: Floats) -> Floats:
    """Sum over the last axis one after the other, as a loop does; numpy's own sum pairs them."""
    total = np.zeros(terms.shape[:-1], np.float32)
    for index in range(terms.shape[-1]):
        total = total + terms[..., index]
    return total


def msr(head: Head, threshold: float, placement: InputArea, rounding: Rounding) -> list[Detection]:
    """First stage of the face detector: offsets of the four sides in units of the anchor."""
    rows, scores, where = _above(head, logit(threshold), rounding, strict=True)
    y, x, last = where
    classes = head.score.shape[3] // len(head.stage.anchors)
    anchor = np.array(head.stage.anchors)[last // classes]
    shifts = head.box_tensor.real(head.box.reshape(-1, 4)[rows])
    centres = _centres(x, y, head.stage)
    sides = []
    for side in range(4):
        centre = centres[side % 2] - (anchor >> 1) + (anchor if side > 1 else 0)
        inverse = placement.inverse_y if side % 2 else placement.inverse_x
        sides.append((centre.astype(np.float32) + anchor.astype(np.float32) * shifts[:, side]) * inverse)
    return _detections(sides, sigmoid(scores), last % classes)


def espdet(head: Head, threshold: float, placement: InputArea, rounding: Rounding) -> list[Detection]:
    """ESPDet: distances of the four sides in strides; a score on the threshold counts."""
    rows, scores, (y, x, index) = _above(head, logit(threshold), rounding, strict=False)
    cells = rows // head.score.shape[3]
    distances = head.box_tensor.real(head.box.reshape(-1, 4)[cells])
    return _detections(_sides(head, distances, x, y, placement), sigmoid(scores), index)


def yolo11(head: Head, threshold: float, placement: InputArea, rounding: Rounding) -> list[Detection]:
    """YOLO11: each distance a distribution over 0..15 strides."""
    rows, scores, (y, x, index) = _above(head, logit(threshold), rounding, strict=True)
    distances = _distances(head, rows // head.score.shape[3])
    return _detections(_sides(head, distances, x, y, placement), sigmoid(scores), index)


def pico(head: Head, threshold: float, placement: InputArea, rounding: Rounding) -> list[Detection]:
    """PicoDet: each distance a distribution over 0..7 strides; the score is the root of the output."""
    limit = np.float32(threshold) * np.float32(threshold)
    rows, scores, (y, x, index) = _above(head, limit, rounding, strict=True)
    distances = _distances(head, rows // head.score.shape[3])
    return _detections(_sides(head, distances, x, y, placement), np.sqrt(scores), index)


def _above(
    head: Head, limit: np.float32, rounding: Rounding, *, strict: bool
) -> tuple[NDArray[np.intp], Floats, tuple[NDArray[np.intp], ...]]:
    """Positions of the scores above the limit: flat, as values, and as (y, x, channel); row by row.

    The limit is quantized like the scores, and the integers are compared.
    """
    tensor = head.score_tensor
    integer = quantize(np.array([limit], np.float32), tensor.exponent, tensor.dtype, rounding)[0]
    hit = head.score > integer if strict else head.score >= integer
    rows = np.flatnonzero(hit)
    return rows, tensor.real(head.score.reshape(-1)[rows]), np.unravel_index(rows, head.score.shape[1:])


def _distances(head: Head, cells: NDArray[np.intp]) -> Floats:
    """(count, 4) distances in strides from distributions."""
    bins = head.box.shape[3] // 4
    return integral(head.box_tensor.real(head.box.reshape(-1, 4, bins)[cells]))


def _centres(
    x: NDArray[np.intp], y: NDArray[np.intp], stage: Stage
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return x * stage.stride + stage.offset, y * stage.stride + stage.offset


def _sides(
    head: Head, distances: Floats, x: NDArray[np.intp], y: NDArray[np.intp], placement: InputArea
) -> list[Floats]:
    """Left, top, right, bottom in pixels of the picture, the letterbox taken away."""
    centres = _centres(x, y, head.stage)
    stride = np.float32(head.stage.stride)
    top, _, left, _ = placement.border
    sides = []
    for side in range(4):
        reach = distances[:, side] * stride
        centre = centres[side % 2].astype(np.float32)
        edge = (centre - reach if side < 2 else centre + reach) - np.float32(top if side % 2 else left)
        sides.append(edge * (placement.inverse_y if side % 2 else placement.inverse_x))
    return sides


def _detections(sides: Sequence[Floats], scores: Floats, index: NDArray[np.intp]) -> list[Detection]:
    corners = np.stack([np.trunc(side).astype(np.int64) for side in sides], axis=-1)
    return [
        Detection(box=_box(corner), score=float(score), index=int(number))
        for corner, score, number in zip(corners, scores, index, strict=True)
    ]


def _box(corner: NDArray[np.int64]) -> Box:
    x1, y1, x2, y2 = (int(value) for value in corner)
    return x1, y1, x2, y2


def mnp(
    outputs: Mapping[str, Integers],
    tensors: Mapping[str, NetworkTensor],
    threshold: float,
    placement: InputArea,
    anchor: int,
) -> Detection | None:
    """Second stage of the face detector: one box with five landmarks for the part that was looked at.

    ESP-DL takes the larger of the two softmax shares for the score, whichever class it belongs to. Of two
    shares one is at least one half, so that the default threshold of 0.5 drops only ties.
    """
    values = {name: tensors[name].real(outputs[name].reshape(-1)) for name in ("score", "box", "landmark")}
    total = _in_order(np.exp(values["score"] - values["score"].max()).astype(np.float32)[np.newaxis])
    score = np.float32(1.0 / float(total[0]))
    if not score > np.float32(threshold):
        return None
    side = np.float32(anchor)
    box = values["box"].copy()
    scaled = side * box
    scaled[2:] = scaled[2:] + side
    x1, y1, x2, y2 = _in_picture(scaled, placement)
    points = _in_picture(side * values["landmark"], placement)
    return Detection(
        box=(x1, y1, x2, y2),
        score=float(score),
        landmarks=tuple(zip(points[::2], points[1::2], strict=True)),
    )


def _in_picture(values: Floats, placement: InputArea) -> list[int]:
    """Alternating x and y of the network's input -> whole pixels of the picture."""
    inverse = np.array([placement.inverse_x, placement.inverse_y], np.float32)
    corner = np.array(placement.crop[:2], np.float32)
    pairs = values.reshape(-1, 2) * inverse + corner
    return [int(value) for value in np.trunc(pairs).reshape(-1)]


def ranked(found: Sequence[Detection]) -> list[Detection]:
    """By falling score; of equal scores the one that was found first."""
    return sorted(found, key=lambda one: -one.score)


def suppress(found: Sequence[Detection], threshold: float, top: int) -> list[Detection]:
    """Non-maximum suppression of ranked boxes, all classes together (dl_detect_postprocessor.cpp).

    Args:
        found: by falling score.
        threshold: a box whose intersection over union with a better one is larger goes.
        top: at most so many stay.
    """
    left, kept = list(found), list[Detection]()
    while left and len(kept) < top:
        best, left = left[0], left[1:]
        kept.append(best)
        limit = np.float32(threshold)
        left = [one for one in left if not np.float32(overlap(best.box, one.box)) > limit]
    return kept


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes whose corners both belong to them; 0..1."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def inside(found: Detection, width: int, height: int) -> Detection:
    """The detection with its box and landmarks moved into the picture."""
    x1, y1, x2, y2 = found.box
    box = _hold(x1, width), _hold(y1, height), _hold(x2, width), _hold(y2, height)
    points = tuple((_hold(x, width), _hold(y, height)) for x, y in found.landmarks)
    return replace(found, box=box, landmarks=points)


def _hold(value: int, size: int) -> int:
    return min(max(value, 0), size - 1)

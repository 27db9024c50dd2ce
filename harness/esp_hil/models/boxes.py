"""Boxes of a detector: overlap, suppression, and how well two sets of them agree.

A box is a row (x1, y1, x2, y2, score, class), float64, in whatever unit the pipeline chooses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tensors import Array

Boxes = NDArray[np.float64]
COLUMNS = 6


def as_boxes(rows: object) -> Boxes:
    """Rows of boxes as (K, 6); none as (0, 6).

    Raises:
        InputError: they are no such rows, or hold what is not finite.
    """
    try:
        found = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        found = np.zeros((0,))
        rows = None
    if rows is not None and found.size == 0:
        return np.zeros((0, COLUMNS))
    if found.ndim != 2 or found.shape[1] != COLUMNS or not np.isfinite(found).all():
        raise InputError(
            f"boxes of shape {found.shape}", hint="rows of x1, y1, x2, y2, score, class; finite; [] for none"
        )
    return found


def overlap(a: Array, b: Array) -> NDArray[np.float64]:
    """Intersection over union of each box of (N, 4+) with each of (M, 4+): (N, M); of empty boxes 0."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    sides = np.clip(np.minimum(a[:, None, 2:4], b[None, :, 2:4]) - corner, 0, None)
    both = sides[..., 0] * sides[..., 1]
    union = _areas(a)[:, None] + _areas(b)[None, :] - both
    shares: NDArray[np.float64] = np.where(union > 0, both / np.where(union > 0, union, 1), 0.0)
    return shares


def _areas(boxes: Array) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None)
    areas: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return areas


def suppress(boxes: Array, iou: float) -> Boxes:
    """Greedy non-maximum suppression within each class: (K, 6), the best score first.

    Args:
        boxes: (K, 6).
        iou: a box that overlaps a better one of its class by more is left out.
    """
    ranked = as_boxes(boxes)
    ranked = ranked[np.argsort(-ranked[:, 4], kind="stable")]
    kept: list[int] = []
    for index in range(len(ranked)):
        better = ranked[[k for k in kept if ranked[k, 5] == ranked[index, 5]]]
        if not len(better) or overlap(better, ranked[index : index + 1]).max() <= iou:
            kept.append(index)
    return ranked[kept]


def paired(found: Boxes, right: Boxes, iou: float) -> list[float]:
    """Overlaps of the pairs of a class that meet: each found box, the best score first, takes its best free partner."""
    shares = overlap(found, right)
    shares[found[:, 5][:, None] != right[:, 5][None, :]] = 0
    pairs: list[float] = []
    for row in np.argsort(-found[:, 4], kind="stable"):
        if shares.shape[1] and shares[row].max() >= iou:
            partner = int(shares[row].argmax())
            pairs.append(float(shares[row, partner]))
            shares[:, partner] = 0
    return pairs

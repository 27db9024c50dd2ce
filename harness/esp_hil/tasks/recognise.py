"""Faces -> embeddings, as ESP-DL 3.3 does it (vision/recognition, dl_math_matrix.cpp), and who it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tasks.pixels import Pixels
from esp_hil.tasks.results import Detection, Point

# left eye, left corner of the mouth, nose, right eye, right corner of the mouth, in a face of 112x112 pixels
STANDARD_FACE = (
    (38.2946, 51.6963),
    (41.5493, 92.3655),
    (56.0252, 71.7366),
    (73.5318, 51.5014),
    (70.7299, 92.2041),
)
STANDARD_SIDE = 112
_SHIFT = 10
_HALF = 1 << (_SHIFT - 1)
_NEWTON_END = 1e-5
_NEWTON_STEPS = 1000

Floats = NDArray[np.float32]


def largest(found: Sequence[Detection]) -> Detection | None:
    """The face that is recognised: the largest box, of equal ones the first; None if there is none."""
    return max(found, key=lambda face: face.area, default=None)


def root(value: float) -> float:
    """The square root as ESP-DL's Newton iteration in float32 leaves it (dl_math.hpp, sqrt_newton).

    Raises:
        InputError: the iteration does not end, or not in a number, as below zero.
    """
    x = np.float32(value)
    if x == 0:
        return 0.0
    result = x
    for _ in range(_NEWTON_STEPS if x > 0 else 0):
        last = result
        # the factor 0.5 is a double there, the product is narrowed again
        result = np.float32(float(last + x / last) * 0.5)
        if not abs(float(result) - float(last)) > float(np.float32(_NEWTON_END)):
            return float(result)
    raise InputError(
        f"ESP-DL's square root of {float(x):g} is not a number", hint="a chip would hang on these landmarks"
    )


def similarity(source: NDArray[np.float32], destination: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rotation, scale and shift that carries points onto others with the least squared distance.

    Umeyama's method by the singular values of a 2x2 matrix, in float64 with ESP-DL's own square root.

    Args:
        source: float32 (n, 2).
        destination: float32 (n, 2).

    Returns:
        float32 (2, 3). All zero where ESP-DL gives up: all points of one side fall together, or the matrix is
        diagonal.
    """
    means = source.astype(np.float64).mean(axis=0), destination.astype(np.float64).mean(axis=0)
    count = len(source)
    moved = [
        (points - mean).astype(np.float32) for points, mean in zip((source, destination), means, strict=True)
    ]
    # single products are float32 there, their sums float64
    products = moved[1][:, :, np.newaxis] * moved[0][:, np.newaxis, :] / np.float32(count)
    matrix = products.astype(np.float64).sum(axis=0)
    found = _singular(matrix)
    if found is None:
        return np.zeros((2, 3), np.float32)
    u, values, v = found
    determinant = float(np.linalg.det(matrix))
    signs = np.array([1.0, -1.0 if determinant < 0 else 1.0])
    turn_signs = signs
    if abs(determinant) < 1e-8 and np.linalg.det(u) * np.linalg.det(v) <= 0:
        turn_signs = np.array([1.0, -1.0])
    turn = ((u * turn_signs) @ v).astype(np.float32).astype(np.float64)
    squares = (moved[0] * moved[0]).astype(np.float64).mean(axis=0)
    spread = squares - moved[0].astype(np.float64).mean(axis=0) ** 2
    scale = float(values @ signs) / float(spread.sum())
    shift = means[1] - scale * (turn @ means[0])
    return np.hstack([turn * scale, shift[:, np.newaxis]]).astype(np.float32)


def _singular(
    matrix: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """U, singular values, V with rows as right vectors; None where ESP-DL's division would fail."""
    outer, inner = matrix @ matrix.T, matrix.T @ matrix
    trace = outer[0, 0] + outer[1, 1]
    gap = root(trace * trace - 4 * (outer[0, 0] * outer[1, 1] - outer[0, 1] * outer[1, 0]))
    squares = (trace + gap) / 2, (trace - gap) / 2
    u, v = np.empty((2, 2)), np.empty((2, 2))
    for column, square in enumerate(squares):
        if square == outer[1, 1] or square == inner[1, 1]:
            return None
        u[:, column] = _unit(outer[1, 0] / (square - outer[1, 1]))
        v[column] = _unit(inner[1, 0] / (square - inner[1, 1]))
    if u[0, 1] * u[1, 0] < 0:
        u[:, 0] = -u[:, 0]
    if v[0, 1] * v[1, 0] < 0:
        v[0] = -v[0]
    values = np.array([root(square) for square in squares])
    if (values[0] * u[0, 0] * v[0, 0] + values[1] * u[0, 1] * v[1, 0]) * matrix[0, 0] < 0:
        u = -u
    return u, values, v


def _unit(second: float) -> NDArray[np.float64]:
    """(1, second) at length one."""
    length = root(1.0 + second * second)
    return np.array([1.0 / length, second / length])


def align(rgb: Pixels, landmarks: Sequence[Point], size: tuple[int, int]) -> tuple[Pixels, Floats]:
    """Turn, scale and shift a face so that its landmarks lie where the network expects them.

    Args:
        rgb: the picture, uint8 (height, width, 3).
        landmarks: five, as `Detection.landmarks` orders them.
        size: (width, height) of the network's input.

    Returns:
        uint8 (size[1], size[0], 3), black beyond the picture, and the transform from the input to the picture,
        float32 (2, 3).

    Raises:
        InputError: other than five landmarks.
    """
    if len(landmarks) != len(STANDARD_FACE):
        raise InputError(f"{len(landmarks)} landmarks", hint="recognition needs a face with five")
    scale = np.array([np.float32(side) / STANDARD_SIDE for side in size], np.float32)
    standard = np.array(STANDARD_FACE, np.float32) * scale
    matrix = similarity(standard, np.array(landmarks, np.float32))
    return _warp(rgb, matrix, size), matrix


def _warp(rgb: Pixels, matrix: Floats, size: tuple[int, int]) -> Pixels:
    """Nearest pixels by 10-bit fixed point (dl_image_process.cpp, gen_xy_map)."""
    unit = np.float32(1 << _SHIFT)
    columns, rows = (np.arange(side, dtype=np.float32) for side in size)
    height, width, _ = rgb.shape
    x, y = (
        (
            np.rint(across * columns * unit).astype(np.int64)
            + np.rint((down * rows + shift) * unit).astype(np.int64)[:, np.newaxis]
            + _HALF
        )
        >> _SHIFT
        for across, down, shift in matrix
    )
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    made = np.zeros((size[1], size[0], 3), np.uint8)
    made[seen] = rgb[y[seen], x[seen]]
    return made


def normalised(values: Floats) -> Floats:
    """A vector of length one, in the order of ESP-DL's sums: float32 (length,).

    Raises:
        InputError: all values are zero, or the length is not finite.
    """
    squares = np.float32(0)
    for value in values:
        squares = squares + value * value
    length = root(float(squares))
    if not length or not math.isfinite(length):
        raise InputError(
            "an embedding without a direction", hint="all values of the network's output are zero"
        )
    return (values / np.float32(length)).astype(np.float32)


def cosine(first: Floats, second: Floats) -> float:
    """Similarity of two embeddings of length one, -1..1: the sum of products in order, float32."""
    total = np.float32(0)
    for product in first * second:
        total = total + product
    return float(total)


def query(
    embedding: Floats, known: Iterable[tuple[int, Floats]], *, threshold: float, top: int = 1
) -> list[tuple[int, float]]:
    """Who it may be: (id, similarity) of those above the threshold, the most similar first.

    ESP-DL 3.3 answers with the position among the valid entries instead of the id (dl_recognition_database.cpp,
    query_feat): after a deletion the two differ. Here it is the id.
    """
    rows = [(number, cosine(embedding, values)) for number, values in known]
    above = [row for row in rows if np.float32(row[1]) > np.float32(threshold)]
    return sorted(above, key=lambda row: -row[1])[:top]

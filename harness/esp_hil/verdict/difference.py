"""How far two sets of answers are apart: integers in LSB, floats by error figures, classes by top-1.

Answers that cannot be compared at all (other shape, other dtype) are an `InputError`, never broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tensors import Array

HISTOGRAM_REACH_LSB = 16
"""Differences of up to this many LSB get a bin of their own; the rest goes to the two overflow bins."""

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerDiff:
    """How two integer arrays of shape (inputs, ...) differ; a difference is got - expected, in LSB.

    Attributes:
        inputs: length of axis 0.
        count: number of elements compared.
        different: number of elements that are not equal.
        max_lsb: the largest absolute difference, 0 if none.
        worst_index: index of the first element with that difference, axis 0 included; None if all are equal.
        worst_got: what was got there; None if all are equal.
        worst_expected: what was expected there; None if all are equal.
        histogram_lsb: number of elements by difference, for -HISTOGRAM_REACH_LSB..HISTOGRAM_REACH_LSB, empty
            bins left out. With `below` and `above` it sums to `count`.
        below: elements whose difference is less than -HISTOGRAM_REACH_LSB.
        above: elements whose difference is more than HISTOGRAM_REACH_LSB.
        inputs_different: number of inputs with at least one different element.
        first_input: the first such input; None if all are equal.
    """

    inputs: int
    count: int
    different: int
    max_lsb: int
    worst_index: tuple[int, ...] | None
    worst_got: int | None
    worst_expected: int | None
    histogram_lsb: Mapping[int, int]
    below: int
    above: int
    inputs_different: int
    first_input: int | None

    @property
    def equal(self) -> bool:
        """Whether every element is the same."""
        return self.different == 0

    def within(self, tolerance_lsb: int) -> bool:
        """Whether no element is further off than `tolerance_lsb`."""
        return self.max_lsb <= tolerance_lsb

    @property
    def summary(self) -> str:
        """One clause: how much differs, by how much, where."""
        if self.equal:
            return f"all {self.count} values equal"
        return (
            f"{self.different} of {self.count} values differ, by up to {self.max_lsb} LSB "
            f"(at {self.worst_index}: {self.worst_got} instead of {self.worst_expected}), "
            f"first in input {self.first_input}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatDiff:
    """How two float arrays of shape (inputs, ...) differ.

    NaN beside NaN and an infinity beside the same infinity are equal. An element that is not finite on one
    side only, or differently, counts as different and in `broken`; the error figures are over the elements
    that are finite on both sides.

    Attributes:
        inputs: length of axis 0.
        count: number of elements compared.
        different: number of elements that are not equal.
        broken: number of elements that are different because at least one side is not finite.
        rmse: root of the mean squared error.
        mae: mean absolute error.
        max_abs: largest absolute error.
        cosine: cosine of the angle between both arrays as vectors; 1 if both are all zero, 0 if only one is.
        nsr: noise-to-signal ratio, sum((got - expected)^2) / sum(expected^2): what esp-ppq
            prints as its SNR error; 0 if both sums are zero, infinite if only the signal is.
        worst_index: index of the worst element (a broken one first), axis 0 included; None if all are equal.
        worst_got: what was got there; None if all are equal.
        worst_expected: what was expected there; None if all are equal.
        inputs_different: number of inputs with at least one different element.
        first_input: the first such input; None if all are equal.
    """

    inputs: int
    count: int
    different: int
    broken: int
    rmse: float
    mae: float
    max_abs: float
    cosine: float
    nsr: float
    worst_index: tuple[int, ...] | None
    worst_got: float | None
    worst_expected: float | None
    inputs_different: int
    first_input: int | None

    @property
    def equal(self) -> bool:
        """Whether every element is the same."""
        return self.different == 0

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio, 10 * log10(1 / nsr); infinite if there is no noise."""
        if self.nsr == 0:
            return math.inf
        return -math.inf if math.isinf(self.nsr) else -10 * math.log10(self.nsr)

    def within(self, tolerance_abs: float) -> bool:
        """Whether no element is further off than `tolerance_abs`, nor not finite on one side only."""
        return self.broken == 0 and self.max_abs <= tolerance_abs

    @property
    def summary(self) -> str:
        """One clause: how much differs, by how much, where."""
        if self.equal:
            return f"all {self.count} values equal"
        broken = f", {self.broken} of them not finite on one side" if self.broken else ""
        return (
            f"{self.different} of {self.count} values differ{broken}, by up to {self.max_abs:.4g} "
            f"(at {self.worst_index}: {self.worst_got:.6g} instead of {self.worst_expected:.6g}), "
            f"first in input {self.first_input}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How many of a number of inputs came out right (or, for an agreement, alike)."""

    correct: int
    total: int

    @property
    def share(self) -> float:
        """The part that is correct, in 0..1."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of the share (Wilson 1927, JASA 22:209), in 0..1."""
        n, p, z2 = self.total, self.share, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        # At the ends the formula is exactly 0 or 1; floating point is not.
        low = 0.0 if self.correct == 0 else centre - half
        high = 1.0 if self.correct == n else centre + half
        return low, high

    @property
    def summary(self) -> str:
        """As `99.20 % (992 of 1000; 95 % interval 98.43..99.59 %)`."""
        low, high = self.interval
        return (
            f"{100 * self.share:.2f} % ({self.correct} of {self.total}; "
            f"95 % interval {100 * low:.2f}..{100 * high:.2f} %)"
        )


def compare_integers(got: Array, expected: Array) -> IntegerDiff:
    """Compare two integer arrays of shape (inputs, ...) element by element.

    Raises:
        InputError: they differ in shape or dtype, are empty or have no axis 0, or are not integers.
    """
    _comparable(got, expected)
    if got.dtype.kind not in "iu":
        raise InputError(
            f"answers of type {got.dtype} are not integers", hint="use compare_floats", step="compare"
        )
    unequal = got != expected
    places = np.flatnonzero(unequal)
    if places.size == 0:
        return IntegerDiff(
            inputs=len(got), count=got.size, different=0, max_lsb=0,
            worst_index=None, worst_got=None, worst_expected=None,
            histogram_lsb={0: got.size}, below=0, above=0, inputs_different=0, first_input=None,
        )  # fmt: skip
    # Differences of 64-bit integers need 65 bits: Python's own integers then.
    wide = object if got.dtype.itemsize == 8 else np.int64
    lsb = got.reshape(-1)[places].astype(wide) - expected.reshape(-1)[places].astype(wide)
    worst = int(places[int(np.argmax(np.abs(lsb)))])
    near = lsb[np.abs(lsb) <= HISTOGRAM_REACH_LSB].astype(np.int64)
    bins = {0: got.size - places.size} if places.size < got.size else {}
    bins.update({int(value): int(n) for value, n in zip(*np.unique(near, return_counts=True), strict=True)})
    inputs = _inputs_with(unequal)
    return IntegerDiff(
        inputs=len(got),
        count=got.size,
        different=int(places.size),
        max_lsb=int(np.abs(lsb).max()),
        worst_index=_index(worst, got.shape),
        worst_got=int(got.reshape(-1)[worst]),
        worst_expected=int(expected.reshape(-1)[worst]),
        histogram_lsb=dict(sorted(bins.items())),
        below=int((lsb < -HISTOGRAM_REACH_LSB).sum()),
        above=int((lsb > HISTOGRAM_REACH_LSB).sum()),
        inputs_different=int(inputs.size),
        first_input=int(inputs[0]),
    )


def compare_floats(got: Array, expected: Array) -> FloatDiff:
    """Compare two float arrays of shape (inputs, ...); sums are in float64.

    Raises:
        InputError: they differ in shape, are empty or have no axis 0, or are not floats.
    """
    _comparable(got, expected, same_dtype=False)
    for array in (got, expected):
        if array.dtype.kind != "f":
            raise InputError(
                f"answers of type {array.dtype} are not floats", hint="use compare_integers", step="compare"
            )
    a, b = got.astype(np.float64), expected.astype(np.float64)
    unequal = (a != b) & ~(np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    broken = unequal & ~finite
    error = np.where(finite, a, 0.0) - np.where(finite, b, 0.0)
    ranked = np.where(broken, np.inf, np.abs(error))
    worst = int(np.argmax(ranked)) if unequal.any() else None
    noise, n = float(np.sum(error * error)), max(1, int(finite.sum()))
    inputs = _inputs_with(unequal)
    return FloatDiff(
        inputs=len(a),
        count=a.size,
        different=int(unequal.sum()),
        broken=int(broken.sum()),
        rmse=math.sqrt(noise / n),
        mae=float(np.abs(error).sum()) / n,
        max_abs=float(np.abs(error).max()),
        cosine=_cosine(a[finite], b[finite]),
        nsr=_nsr(noise, float(np.sum(b[finite] ** 2))),
        worst_index=None if worst is None else _index(worst, a.shape),
        worst_got=None if worst is None else float(a.reshape(-1)[worst]),
        worst_expected=None if worst is None else float(b.reshape(-1)[worst]),
        inputs_different=int(inputs.size),
        first_input=int(inputs[0]) if inputs.size else None,
    )


def compare_answers(got: Array, expected: Array) -> IntegerDiff | FloatDiff:
    """Compare as integers or as floats, whichever both are.

    Raises:
        InputError: as `compare_integers` and `compare_floats`; also if only one of them is float.
    """
    _comparable(got, expected)
    if got.dtype.kind == "b":
        return compare_integers(got.view(np.uint8), expected.view(np.uint8))
    return compare_floats(got, expected) if got.dtype.kind == "f" else compare_integers(got, expected)


def top1(scores: Array) -> NDArray[np.int64]:
    """Class of each input: (inputs, ...) scores -> (inputs,) index of the largest of the flattened rest.

    Of equal scores, which integers often have, the first wins; NaN never wins unless all are NaN.
    """
    flat = scores.reshape(len(scores), -1)
    if flat.dtype.kind == "f":
        flat = np.where(np.isnan(flat), -np.inf, flat)
    classes: NDArray[np.int64] = np.argmax(flat, axis=1).astype(np.int64)
    return classes


Decide = Callable[[Array], NDArray[np.int64]]
"""(inputs, ...) scores -> (inputs,) classes: `top1`, or a threshold over real values."""


def accuracy(scores: Array, labels: Array, decide: Decide = top1) -> Accuracy:
    """Share of (inputs, ...) scores whose class is the label, of (inputs,) integer labels.

    Raises:
        InputError: there are not as many labels as inputs, or labels are no integers.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(scores),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels are {labels.dtype}{list(labels.shape)}, need {len(scores)} integers",
            step="compare",
        )
    return Accuracy(correct=int((decide(scores) == labels).sum()), total=len(scores))


def agreement(a: Array, b: Array, decide: Decide = top1) -> Accuracy:
    """Share of inputs for which (inputs, ...) scores a and b name the same class."""
    if len(a) != len(b):
        raise InputError(f"{len(a)} inputs against {len(b)}", step="compare")
    return Accuracy(correct=int((decide(a) == decide(b)).sum()), total=len(a))


def _comparable(got: Array, expected: Array, *, same_dtype: bool = True) -> None:
    if got.shape != expected.shape:
        raise InputError(f"shape {list(got.shape)} got, {list(expected.shape)} expected", step="compare")
    if same_dtype and got.dtype != expected.dtype:
        raise InputError(f"dtype {got.dtype} got, {expected.dtype} expected", step="compare")
    if got.ndim == 0 or got.size == 0:
        raise InputError(f"nothing to compare in shape {list(got.shape)}", step="compare")


def _index(place: int, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(place, shape))


def _inputs_with(unequal: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(unequal.reshape(len(unequal), -1).any(axis=1)).astype(np.int64)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if 0.0 in norms:
        return 1.0 if norms == (0.0, 0.0) else 0.0
    return float(np.clip(np.dot(a / norms[0], b / norms[1]), -1.0, 1.0))


def _nsr(noise: float, signal: float) -> float:
    if signal == 0:
        return 0.0 if noise == 0 else math.inf
    return noise / signal

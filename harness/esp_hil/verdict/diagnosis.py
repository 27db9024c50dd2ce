"""Why a layer's answer is wrong: each known fault is tried, to see which of them gives the device's integers.

The hypothesis that gives every one of them is the diagnosis. Where none does, the one that mends the most is
named as a guess, with what the differences look like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.accumulators import SummingLayer
from esp_hil.verdict.hypotheses import Hypothesis, Kind, of_layer, of_tensor

GUESS_SHARE = 0.5
"""Least part of the wrong elements, less those it breaks, that a guess must explain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is wrong with a tensor.

    Attributes:
        kind: what sort of fault; "unknown" if nothing fits.
        summary: one clause.
        explained: part of the wrong elements for which the hypothesis gives the device's value, 0..1.
        certain: it gives every element, the right ones too.
    """

    kind: Kind
    summary: str
    explained: float
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Symptom:
    """A wrong tensor and what is known around it.

    Attributes:
        got: the device's values, device layout.
        expected: the exact reference's, same shape and dtype.
        rounding: of the family, "half_up" or "half_even".
        layer: the Conv or Gemm that makes it, with its right input; None for other operators.
        earlier: what was right for inputs that the device saw before, the last one first.
        variants: the node computed again with something changed; each gives a hypothesis, or None where the
            change makes no sense.
    """

    got: NDArray[Any]
    expected: NDArray[Any]
    rounding: str
    layer: SummingLayer | None = None
    earlier: tuple[NDArray[Any], ...] = ()
    variants: Sequence[Callable[[], Hypothesis | None]] = ()


def diagnose(symptom: Symptom) -> Diagnosis:
    """Find the fault that explains a wrong tensor; got and expected must differ somewhere."""
    got, expected = symptom.got, symptom.expected
    wrong = got != expected
    best_share, best = 0.0, None
    for hypothesis in _hypotheses(symptom):
        same = hypothesis.values == got
        if bool(same.all()):
            return Diagnosis(kind=hypothesis.kind, summary=hypothesis.summary, explained=1.0, certain=True)
        share = (int((same & wrong).sum()) - int((~same & ~wrong).sum())) / int(wrong.sum())
        if share > best_share:
            best_share, best = share, hypothesis
    kind, looks = _looks(got, expected)
    if best is not None and best_share >= GUESS_SHARE:
        words = f"perhaps {best.summary}, which explains {best_share:.0%} of the wrong values; {looks}"
        return Diagnosis(kind=best.kind, summary=words, explained=best_share, certain=False)
    words = f"no known fault gives these values; {looks}"
    return Diagnosis(kind=kind, summary=words, explained=0.0, certain=False)


def _hypotheses(symptom: Symptom) -> Iterator[Hypothesis]:
    got, expected = symptom.got, symptom.expected
    layer = symptom.layer if got.dtype.kind == "i" else None
    # what a layer is known to do wrong is more specific than what any tensor can suffer: "its values are
    # too large" comes last
    general = list(of_tensor(got, expected, symptom.earlier))
    yield from (hypothesis for hypothesis in general if hypothesis.kind != "shift")
    if layer is not None:
        yield from of_layer(layer, got, expected, symptom.rounding)
    for variant in symptom.variants:
        hypothesis = variant()
        if hypothesis is not None:
            yield hypothesis
    yield from (hypothesis for hypothesis in general if hypothesis.kind == "shift")


def _looks(got: NDArray[Any], expected: NDArray[Any]) -> tuple[Kind, str]:
    """What the differences look like, where no hypothesis fits, and which fault that suggests."""
    places = np.argwhere(got != expected)
    if got.dtype.kind != "i":
        return "unknown", f"{len(places)} floating-point values differ"
    lsb = np.abs(got.astype(np.int64) - expected.astype(np.int64)).max()
    if lsb == 1:
        return "rounding", "all differences are 1 LSB, as another rounding makes them"
    if got.ndim > 1 and len(np.unique(places[:, -1])) == 1 and got.shape[-1] > 1:
        return "parameter", f"only channel {places[0, -1]} differs, as one filter or bias makes it"
    if got.ndim == 4 and _at_border(places, got.shape):
        return "padding", "only values at the border differ, as padding makes them"
    limits = np.iinfo(got.dtype)
    ends = expected[got != expected]
    if bool(((ends == limits.min) | (ends == limits.max)).all()):
        return "wrap-around", "only values that must saturate differ"
    return "unknown", f"differences reach {lsb} LSB in {len(np.unique(places[:, -1]))} channels"


def _at_border(places: NDArray[np.int64], shape: tuple[int, ...]) -> bool:
    rows, columns = places[:, 1], places[:, 2]
    if min(shape[1:3]) < 4:
        return False
    inside = (rows > 0) & (rows < shape[1] - 1) & (columns > 0) & (columns < shape[2] - 1)
    return not bool(inside.any())

"""How good answers are, by what an output means: figures of real values against other real values.

Two things can be asked of an output: is it the float model's answer (`float`), and is it right (`expected`)? The
measures are the same; what is expected of `scores` and `dense` are class numbers.

    scores     top1                        share of inputs with the right class
    values     rmse mae max_abs r2 within  in the output's unit; R2 over all elements; share within the tolerance
    embedding  cosine                      the least over the inputs
    dense      pixels iou                  share of pixels with the right class; mean IoU over the classes that occur
    boxes      recall precision iou        what a pipeline finds: share of the right boxes, of the found ones, mean IoU
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tensors import Array

Meaning = Literal["scores", "values", "embedding", "dense", "raw", "boxes"]
Source = Literal["float", "quantized", "exact", "device"]
Against = Literal["float", "expected", "exact"]
Activation = Literal["none", "softmax", "sigmoid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureKind:
    """One kind of figure.

    Attributes:
        meanings: of the outputs that have it.
        higher: whether more is better.
        share: whether it is a share, 0..1.
        title: for people.
    """

    meanings: tuple[Meaning, ...]
    higher: bool
    share: bool
    title: str


MEASURES: Mapping[str, MeasureKind] = {
    "top1": MeasureKind(meanings=("scores",), higher=True, share=True, title="top-1"),
    "rmse": MeasureKind(meanings=("values",), higher=False, share=False, title="RMSE"),
    "mae": MeasureKind(meanings=("values",), higher=False, share=False, title="MAE"),
    "max_abs": MeasureKind(meanings=("values",), higher=False, share=False, title="largest error"),
    "r2": MeasureKind(meanings=("values",), higher=True, share=False, title="R2"),
    "within": MeasureKind(meanings=("values",), higher=True, share=True, title="within tolerance"),
    "cosine": MeasureKind(
        meanings=("scores", "values", "embedding", "dense"), higher=True, share=False, title="lowest cosine"
    ),
    "pixels": MeasureKind(meanings=("dense",), higher=True, share=True, title="pixels right"),
    "recall": MeasureKind(meanings=("boxes",), higher=True, share=True, title="recall"),
    "precision": MeasureKind(meanings=("boxes",), higher=True, share=True, title="precision"),
    "iou": MeasureKind(meanings=("dense", "boxes"), higher=True, share=True, title="mean IoU"),
}


def names_of(meaning: Meaning) -> tuple[str, ...]:
    """The measures of a meaning."""
    return tuple(name for name, kind in MEASURES.items() if meaning in kind.meanings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the real values of an output are read; see `esp_hil.models.outputs.OutputSpec`."""

    meaning: Meaning
    threshold: float | None = None
    activation: Activation = "none"
    tolerance: float | None = None
    unit: str = ""
    class_axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure of one output.

    Attributes:
        output: its name.
        meaning: what the output means.
        source: whose answers: "device", "exact", "quantized" or "float".
        against: "float" or "expected"; "exact" of boxes where there is neither.
        name: a key of MEASURES.
        value: the figure; NaN where it is not defined (R2 of a constant).
        count: of what it is taken over: inputs, elements or pixels.
        unit: of the figure, "" for a plain number.
        limit: of the gate that model.toml sets; None: there is none.
    """

    output: str
    meaning: Meaning
    source: Source
    against: Against
    name: str
    value: float
    count: int
    unit: str = ""
    limit: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it keeps its gate, if it has one; a figure that is not defined does not."""
        if self.limit is None:
            return True
        return self.value >= self.limit if MEASURES[self.name].higher else self.value <= self.limit

    @property
    def asked(self) -> str:
        """What its gate asks, in words; "" without one."""
        if self.limit is None:
            return ""
        shown = (
            f"{100 * self.limit:g} %" if MEASURES[self.name].share else f"{self.limit:g} {self.unit}".rstrip()
        )
        return f"{'at least' if MEASURES[self.name].higher else 'at most'} {shown}"

    @property
    def title(self) -> str:
        """As `RMSE, device vs float`."""
        return f"{MEASURES[self.name].title}, {self.source} vs {self.against}"

    @property
    def words(self) -> str:
        """The figure as people read it."""
        kind = MEASURES[self.name]
        if math.isnan(self.value):
            return "not defined"
        if kind.share:
            return f"{100 * self.value:.2f} %"
        return f"{self.value:.4g} {self.unit}".rstrip() if self.name != "cosine" else f"{self.value:.6f}"


def measured(
    output: str,
    reading: Reading,
    sources: Mapping[Source, Array],
    expected: Array | None,
    limits: Mapping[tuple[Against, str], float] | None = None,
) -> tuple[Measure, ...]:
    """All figures of one output.

    Args:
        output: its name.
        reading: what it means.
        sources: real values (N, *item) in the float model's layout, by whose they are.
        expected: what is right: of `scores` class numbers (N,), of `dense` (N, *pixels), integers, -1 for "not
            known"; else real values (N, *item); None: not known.
        limits: gates of the device's figures, by what they are against and name.

    Raises:
        InputError: shapes do not belong together.
    """
    found: list[Measure] = []
    for source, values in sources.items():
        if "float" in sources and source != "float":
            found += _against(output, reading, source, ("float", sources["float"]), values)
        if expected is not None:
            found += _against(output, reading, source, ("expected", expected), values)
    asked = limits or {}
    return tuple(
        replace(one, limit=asked.get((one.against, one.name))) if one.source == "device" else one
        for one in found
    )


def _against(
    output: str, reading: Reading, source: Source, right: tuple[Against, Array], values: Array
) -> list[Measure]:
    against, wanted = right
    figures = _figures(output, reading, against, values, wanted)
    return [
        Measure(
            output=output,
            meaning=reading.meaning,
            source=source,
            against=against,
            name=name,
            value=float(value),
            count=int(count),
            unit=reading.unit if name in {"rmse", "mae", "max_abs"} else "",
        )
        for name, (value, count) in figures.items()
    ]


Figures = dict[str, tuple[float, int]]


def _figures(output: str, reading: Reading, against: Against, values: Array, right: Array) -> Figures:
    if reading.meaning == "raw":
        return {}
    if reading.meaning in {"scores", "dense"}:
        wanted = right.astype(np.int64) if against == "expected" else classes_of(right, reading)
        figures = _of_classes(output, reading, classes_of(values, reading), wanted)
        if against == "float":
            figures["cosine"] = (least_cosine(values, right), len(values))
        return figures
    _same_shape(output, values, right)
    return _of_values(reading, values, right)


def _of_values(reading: Reading, values: Array, right: Array) -> Figures:
    cosine = (least_cosine(values, right), len(values))
    if reading.meaning == "embedding":
        return {"cosine": cosine}
    error = values.astype(np.float64) - right.astype(np.float64)
    far = np.abs(error)
    figures: Figures = {
        "rmse": (math.sqrt(float(np.mean(error**2))), error.size),
        "mae": (float(np.mean(far)), error.size),
        "max_abs": (float(np.max(far)), error.size),
        "r2": (r2(values, right), error.size),
        "cosine": cosine,
    }
    if reading.tolerance is not None:
        figures["within"] = (float(np.mean(far <= reading.tolerance)), error.size)
    return figures


def _of_classes(output: str, reading: Reading, chosen: Array, wanted: Array) -> Figures:
    _same_shape(output, chosen, wanted)
    known = wanted >= 0
    count = int(known.sum())
    if not count:
        return {}
    share = float((chosen[known] == wanted[known]).mean())
    if reading.meaning == "scores":
        return {"top1": (share, count)}
    return {"pixels": (share, count), "iou": (mean_iou(chosen[known], wanted[known]), count)}


def classes_of(values: Array, reading: Reading) -> NDArray[np.int64]:
    """The class of each input of `scores` (N,), or of each pixel of `dense` (N, *pixels), from real values.

    Without a threshold the largest wins, of equal ones the first; with one, a single value is class 1 from there on.

    Raises:
        InputError: a threshold, and more than one value.
    """
    dense = reading.meaning == "dense"
    axis = (reading.class_axis + 1 if reading.class_axis >= 0 else values.ndim - 1) if dense else 1
    stacked = values if dense else values.reshape(len(values), -1)
    if stacked.ndim <= axis:
        raise InputError(f"values of shape {values.shape} have no axis of classes", step="compare")
    if reading.threshold is None and not (dense and stacked.shape[axis] == 1):
        finite = np.where(np.isnan(stacked), -np.inf, stacked) if stacked.dtype.kind == "f" else stacked
        largest: NDArray[np.int64] = np.argmax(finite, axis=axis).astype(np.int64)
        return largest
    if stacked.shape[axis] != 1:
        raise InputError(
            f"a threshold for {stacked.shape[axis]} values",
            hint="it is for outputs with one value",
            step="compare",
        )
    share = np.squeeze(stacked.astype(np.float64), axis)
    if reading.activation == "sigmoid":
        share = (1 + np.tanh(share / 2)) / 2
    return (share >= (0.5 if reading.threshold is None else reading.threshold)).astype(np.int64)


def r2(values: Array, right: Array) -> float:
    """Coefficient of determination over all elements, 1 - SSE / SST; NaN if `right` is constant and is missed."""
    a, b = values.astype(np.float64), right.astype(np.float64)
    noise, spread = float(np.sum((a - b) ** 2)), float(np.sum((b - b.mean()) ** 2))
    if spread == 0:
        return 1.0 if noise == 0 else math.nan
    return 1 - noise / spread


def least_cosine(values: Array, right: Array) -> float:
    """Cosine of the angle between both as vectors, the least over the inputs; of two zero vectors 1, of one 0."""
    a = values.reshape(len(values), -1).astype(np.float64)
    b = right.reshape(len(right), -1).astype(np.float64)
    norms_a, norms_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    both = norms_a * norms_b
    cosines = np.where(both > 0, np.sum(a * b, axis=1) / np.where(both > 0, both, 1), norms_a == norms_b)
    return float(np.clip(cosines, -1, 1).min())


def mean_iou(chosen: Array, wanted: Array) -> float:
    """Intersection over union of each class that occurs on either side, their mean."""
    classes: Sequence[int] = np.union1d(chosen, wanted).tolist()
    shares = []
    for number in classes:
        mine, right = chosen == number, wanted == number
        shares.append(float((mine & right).sum()) / float((mine | right).sum()))
    return float(np.mean(shares))


def _same_shape(output: str, values: Array, right: Array) -> None:
    if values.shape != right.shape:
        raise InputError(
            f"output {output}: {list(values.shape)} answered, {list(right.shape)} expected",
            hint="expected answers are (N, ...) in the float model's layout; classes have no axis of scores",
            step="compare",
        )


def measure_rows(measures: Sequence[Measure]) -> list[tuple[str, str, str, str]]:
    """Rows of the verdict's table: output, title, figure, what its gate says; not the top-1 of the only scores."""
    scored = {one.output for one in measures if one.name == "top1"}
    rows = []
    for one in measures:
        if one.name == "top1" and len(scored) == 1:
            continue
        verdict = "-" if one.limit is None else one.asked if one.ok else f"MISSED, asked for {one.asked}"
        rows.append((one.output, one.title, f"{one.words} over {one.count}", verdict))
    return rows


_TELLING: Mapping[Meaning, tuple[str, ...]] = {
    "scores": ("top1",),
    "values": ("rmse", "r2", "cosine"),
    "embedding": ("cosine",),
    "dense": ("iou", "pixels"),
    "raw": (),
    "boxes": ("recall", "precision", "iou"),
}
"""The figures that a sentence has room for."""

FIRST_FIGURE: Mapping[Meaning, str] = {meaning: names[0] for meaning, names in _TELLING.items() if names}
"""The one that a table has room for."""


def words_of_price(measures: Sequence[Measure], source: Source) -> str:
    """What an output loses against the float model: of each output its telling figures; "" if nothing is known."""
    return _words([one for one in measures if one.source == source and one.against == "float"])


def words_of_quality(measures: Sequence[Measure]) -> list[str]:
    """What the device's answers are worth against the expected ones, of outputs that are no scores; none if unknown."""
    found = [
        one
        for one in measures
        if (one.source, one.against) == ("device", "expected") and one.meaning != "scores"
    ]
    return [f"device against expected: {_words(found)}"] if found else []


def _words(measures: Sequence[Measure]) -> str:
    said = []
    for output in dict.fromkeys(one.output for one in measures):
        told = [
            f"{MEASURES[one.name].title} {one.words}"
            for one in measures
            if one.output == output and one.name in _TELLING[one.meaning]
        ]
        if told:
            said.append(f"{output}: {', '.join(told)}")
    return "; ".join(said)

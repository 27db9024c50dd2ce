"""The verdict on one run: is the port right, was the quantizer honest, what does quantization cost?

Four sets of answers meet here: the device's, the exact reference's (what the chip must answer, integer for
integer), the quantizer's own (what it believed) and the float model's. A pair of neighbours means one thing:

    device vs exact        the port: must be bit-exact
    exact vs quantized     the quantizer's honesty: did it predict what the chip computes?
    quantized vs float     the price of quantization

A wrong answer is a value (`Verdict`), never an exception; answers that cannot be compared are an
`InputError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tensors import Affine, Arrays
from esp_hil.verdict.difference import (
    HISTOGRAM_REACH_LSB,
    Accuracy,
    Decide,
    FloatDiff,
    IntegerDiff,
    accuracy,
    agreement,
    compare_answers,
    compare_floats,
    compare_integers,
    top1,
)
from esp_hil.verdict.headroom import LaneHeadroom, headroom_rows
from esp_hil.verdict.measures import Measure, measure_rows, words_of_price, words_of_quality

__all__ = [
    "HISTOGRAM_REACH_LSB",
    "Accuracy",
    "Affine",
    "FloatDiff",
    "IntegerDiff",
    "LaneHeadroom",
    "OutputVerdict",
    "Verdict",
    "accuracy",
    "agreement",
    "compare_answers",
    "compare_floats",
    "compare_integers",
    "judge",
    "top1",
]


PAIRS = (("device", "exact"), ("exact", "quantized"), ("quantized", "float"), ("device", "float"))
"""The pairs whose top-1 agreement is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputVerdict:
    """The comparisons of one output of the model.

    Attributes:
        name: the output's name.
        device_vs_exact: the port, in integers (in floats if the output is float).
        exact_vs_quantized: the quantizer's honesty; None without a quantized reference.
        quantized_vs_float: the price of quantization, in real values; None without either reference.
        device_vs_float: the whole loss, in real values; None without a float reference.
    """

    name: str
    device_vs_exact: IntegerDiff | FloatDiff
    exact_vs_quantized: IntegerDiff | FloatDiff | None
    quantized_vs_float: FloatDiff | None
    device_vs_float: FloatDiff | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `judge` found for one run over `inputs` inputs.

    Attributes:
        inputs: number of inputs.
        outputs: one row an output of the model.
        accuracies: top-1 accuracy over the labels by source ("float", "quantized", "exact", "device"), those
            there are; empty without labels.
        agreements: share of inputs with the same top-1 class by pair ("device/exact", "exact/quantized",
            "quantized/float", "device/float"), those there are; empty if no output holds class scores.
        tolerance_lsb: how far device and exact may be apart in an integer output.
        tolerance_abs: how far device and exact may be apart in a float output.
        tolerance_reason: why the model allows a tolerance other than 0, or "".
        headroom: 20-bit accumulators, layer by layer; () on chips that have none.
        doubts: layers of which nobody knows what the chip computes, for these inputs: where the exact reference is
            not certain, and a device that differs may be right.
        measures: figures of each output by what it means, against the float model and against what is expected.
    """

    inputs: int
    outputs: tuple[OutputVerdict, ...]
    accuracies: Mapping[str, Accuracy]
    agreements: Mapping[str, Accuracy]
    tolerance_lsb: int
    tolerance_abs: float
    tolerance_reason: str
    headroom: tuple[LaneHeadroom, ...] = ()
    doubts: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the port is right: every output of the device within tolerance of the exact reference."""
        return all(self._passes(output.device_vs_exact) for output in self.outputs)

    @property
    def bit_exact(self) -> bool:
        """Whether the device gave exactly the exact reference's answers."""
        return all(output.device_vs_exact.equal for output in self.outputs)

    @property
    def honest(self) -> bool | None:
        """Whether the quantizer predicted the exact answers; None without a quantized reference."""
        diffs = [o.exact_vs_quantized for o in self.outputs if o.exact_vs_quantized is not None]
        return all(diff.equal for diff in diffs) if diffs else None

    @property
    def worst_quantized_lsb(self) -> int:
        """Largest difference of exact and quantized in an integer output; 0 if there is none."""
        diffs = [o.exact_vs_quantized for o in self.outputs]
        return max((diff.max_lsb for diff in diffs if isinstance(diff, IntegerDiff)), default=0)

    @property
    def summary(self) -> str:
        """One sentence that says where the loss comes from."""
        said = [self._words_of_port(), self._words_of_quantizer(), self._words_of_price()]
        said += words_of_quality(self.measures)
        if self.doubts:
            said.append(f"not certain: the exact reference in {len(self.doubts)} layers")
        return "; ".join(said)

    @property
    def missed(self) -> tuple[Measure, ...]:
        """The figures that do not keep their gate."""
        return tuple(one for one in self.measures if not one.ok)

    def table(self) -> tuple[tuple[str, ...], ...]:
        """Rows of text, the heading first: output, comparison, what differs, verdict."""
        rows = [("output", "comparison", "difference", "verdict")]
        for o in self.outputs:
            fine = "ok" if self._passes(o.device_vs_exact) else "WRONG"
            rows.append((o.name, "device vs exact (port)", o.device_vs_exact.summary, fine))
            if o.exact_vs_quantized is not None:
                fine = "honest" if o.exact_vs_quantized.equal else "differs"
                rows.append((o.name, "exact vs quantized (quantizer)", o.exact_vs_quantized.summary, fine))
            for label, diff in (
                ("quantized vs float (price)", o.quantized_vs_float),
                ("device vs float (whole loss)", o.device_vs_float),
            ):
                if diff is not None:
                    rows.append((o.name, label, _words_of_loss(diff), "-"))
        rows += [
            ("", f"top-1 agreement {pair}", share.summary, "-") for pair, share in self.agreements.items()
        ]
        rows += [
            ("", f"top-1 accuracy {name}", share.summary, "-") for name, share in self.accuracies.items()
        ]
        rows += measure_rows(self.measures)
        rows += [("", "exact reference", doubt, "not certain") for doubt in self.doubts]
        return (*rows, *headroom_rows(self.headroom))

    def text(self) -> str:
        """The sentence and, under it, the table in aligned columns."""
        rows = self.table()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join((self.summary, *lines))

    def _passes(self, diff: IntegerDiff | FloatDiff) -> bool:
        if isinstance(diff, IntegerDiff):
            return diff.within(self.tolerance_lsb)
        return diff.within(self.tolerance_abs)

    def _words_of_port(self) -> str:
        over = f"over {self.inputs} input{'s' if self.inputs != 1 else ''}"
        if self.bit_exact:
            return f"port: bit-exact {over}"
        worst = next(
            (o for o in self.outputs if not self._passes(o.device_vs_exact)),
            next(o for o in self.outputs if not o.device_vs_exact.equal),
        )
        said = f"output {worst.name}: {worst.device_vs_exact.summary}"
        if not self.ok:
            return f"port: WRONG {over}: {said}"
        is_integer = isinstance(worst.device_vs_exact, IntegerDiff)
        allowed = f"{self.tolerance_lsb} LSB" if is_integer else f"{self.tolerance_abs:g}"
        reason = f", {self.tolerance_reason}" if self.tolerance_reason else ""
        return f"port: within the allowed {allowed}{reason} {over}: {said}"

    def _words_of_quantizer(self) -> str:
        if self.honest is None:
            return "quantizer: not checked, there is no quantized reference"
        if self.honest:
            return "quantizer: honest"
        off, diff = next(
            (o.name, o.exact_vs_quantized)
            for o in self.outputs
            if o.exact_vs_quantized is not None and not o.exact_vs_quantized.equal
        )
        return f"quantizer: believed other values, output {off}: {diff.summary}"

    def _words_of_price(self) -> str:
        """The price from quantized vs float or, without a quantized reference, the device's whole loss."""
        source = "quantized" if "quantized/float" in self.agreements else "device"
        name = "quantization" if source == "quantized" or self.bit_exact else "quantization and port"
        if "float" in self.accuracies and (source in self.accuracies):
            before, after = self.accuracies["float"].share, self.accuracies[source].share
            change = 100 * (before - after)
            verb = "costs" if change >= 0 else "gains"
            return f"{name} {verb} {abs(change):.2f} pp top-1 ({100 * before:.2f} -> {100 * after:.2f} %)"
        if f"{source}/float" in self.agreements:
            same = self.agreements[f"{source}/float"]
            return f"{name} keeps the float model's top-1 on {same.correct} of {same.total} inputs"
        return self._words_of_price_without_classes()

    def _words_of_price_without_classes(self) -> str:
        priced = [o.quantized_vs_float for o in self.outputs if o.quantized_vs_float is not None]
        whole = [o.device_vs_float for o in self.outputs if o.device_vs_float is not None]
        diffs = priced or whole
        name = "quantization" if priced or self.bit_exact else "quantization and port"
        if not diffs:
            return "price of quantization: unknown, there is no float reference"
        by_meaning = words_of_price(self.measures, "quantized" if priced else "device")
        if by_meaning:
            return f"{name} costs {by_meaning}"
        worst = min(diffs, key=lambda diff: diff.cosine)
        return f"{name} costs {_words_of_loss(worst)}"


def judge(
    device: Arrays,
    exact: Arrays,
    quantized: Arrays | None,
    float_: Arrays | None,
    *,
    labels: NDArray[Any] | None,
    exponents: Mapping[str, int | Affine],
    tolerance_lsb: int = 0,
    tolerance_abs: float = 0.0,
    tolerance_reason: str = "",
    classes: str | None = None,
    decide: Decide | None = None,
    headroom: tuple[LaneHeadroom, ...] = (),
    doubts: tuple[str, ...] = (),
    measures: tuple[Measure, ...] = (),
) -> Verdict:
    """Compare the answers of one run over N inputs, pair by pair.

    Args:
        device: output name -> (N, ...) answers of the device, as it gives them: integers, or floats for a
            float output.
        exact: the exact reference's, same names, shapes and dtypes.
        quantized: what the quantizer believed, same names, shapes and dtypes; None if there is none.
        float_: the float model's, same names and shapes (so in the device's layout), floats; None if there is
            none.
        labels: (N,) integer classes, or None.
        exponents: output name -> exponent (a value is integer * 2^exponent) or `Affine`, for every integer
            output; needed only with `float_`.
        tolerance_lsb: how far device and exact may be apart in integer outputs.
        tolerance_abs: the same for float outputs.
        tolerance_reason: why a tolerance other than 0 is right for this model.
        classes: the output that holds class scores. By default the only output, if it is a vector for each
            input.
        decide: the class of each input from the real values of that output; None: the largest score.
        headroom: what the exact reference found in 20-bit accumulators.
        doubts: where the exact reference is not certain, in words.
        measures: figures by meaning, see `esp_hil.verdict.measures.measured`.

    Raises:
        InputError: names, shapes or dtypes disagree; a needed exponent is missing; labels without class
            scores; a negative tolerance.
    """
    if tolerance_lsb < 0 or not tolerance_abs >= 0:
        raise InputError(f"tolerance {tolerance_lsb} LSB, {tolerance_abs:g}: must not be negative")
    given = {"float": float_, "quantized": quantized, "exact": exact, "device": device}
    sources = {name: answers for name, answers in given.items() if answers is not None}
    for name, answers in sources.items():
        if set(answers) != set(exact) or not answers:
            raise InputError(
                f"outputs are {sorted(answers)} in {name}, {sorted(exact)} in the exact reference",
                step="compare",
            )
    outputs = tuple(_judge_output(name, sources, exponents) for name in device)
    scores = _class_scores(device, classes, needed=labels is not None)
    accuracies: dict[str, Accuracy] = {}
    agreements: dict[str, Accuracy] = {}
    if scores is not None:
        chosen = decide or top1
        given_scores = {
            name: answers[scores] if decide is None else _real(scores, answers[scores], exponents)
            for name, answers in sources.items()
        }
        if labels is not None:
            accuracies = {name: accuracy(array, labels, chosen) for name, array in given_scores.items()}
        agreements = {
            f"{a}/{b}": agreement(given_scores[a], given_scores[b], chosen)
            for a, b in PAIRS
            if a in sources and b in sources
        }
    return Verdict(
        inputs=_inputs(device),
        outputs=outputs,
        accuracies=accuracies,
        agreements=agreements,
        tolerance_lsb=tolerance_lsb,
        tolerance_abs=tolerance_abs,
        tolerance_reason=tolerance_reason,
        headroom=headroom,
        doubts=doubts,
        measures=measures,
    )


def _judge_output(
    name: str, sources: Mapping[str, Arrays], exponents: Mapping[str, int | Affine]
) -> OutputVerdict:
    """Compare one output in every pair of sources there is."""

    def price(source: str) -> FloatDiff | None:
        if source not in sources or "float" not in sources:
            return None
        with _naming(name, source, "float"):
            return compare_floats(_real(name, sources[source][name], exponents), sources["float"][name])

    with _naming(name, "device", "exact"):
        port = compare_answers(sources["device"][name], sources["exact"][name])
    honesty = None
    if "quantized" in sources:
        with _naming(name, "exact", "quantized"):
            honesty = compare_answers(sources["exact"][name], sources["quantized"][name])
    return OutputVerdict(
        name=name,
        device_vs_exact=port,
        exact_vs_quantized=honesty,
        quantized_vs_float=price("quantized"),
        device_vs_float=price("device"),
    )


def _real(name: str, answers: NDArray[Any], exponents: Mapping[str, int | Affine]) -> NDArray[Any]:
    """Real values of an output's answers."""
    if answers.dtype.kind == "f":
        return answers
    if name not in exponents:
        raise InputError(f"output {name}: no exponent to turn its integers into values", step="compare")
    meaning = exponents[name]
    return (Affine.of_exponent(meaning) if isinstance(meaning, int) else meaning).real(answers)


@contextmanager
def _naming(output: str, a: str, b: str) -> Iterator[None]:
    """Name the output and the pair in an error that passes through."""
    try:
        yield
    except InputError as error:
        said = f"output {output}, {a} vs {b}: {error.message}"
        raise InputError(said, hint=error.hint, step="compare") from None


def _inputs(device: Arrays) -> int:
    """Number of inputs N, which all outputs share."""
    lengths = {name: len(answers) for name, answers in device.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"outputs hold different numbers of inputs: {lengths}", step="compare")
    return next(iter(lengths.values()))


def _class_scores(device: Arrays, classes: str | None, *, needed: bool) -> str | None:
    """Name of the output whose largest element is the class, None if the model does not classify."""
    if classes is not None:
        if classes not in device:
            raise InputError(
                f"no output {classes} with class scores, there are {sorted(device)}", step="compare"
            )
        return classes
    name = next(iter(device))
    vector = len(device) == 1 and max(device[name].shape[1:], default=1) == device[name][0].size > 1
    if needed and not vector:
        raise InputError(
            "labels were given, but no output is plainly the class scores",
            hint="name it with classes=",
            step="compare",
        )
    return name if vector else None


def _words_of_loss(diff: FloatDiff) -> str:
    broken = f"{diff.broken} values not finite on one side, " if diff.broken else ""
    return (
        f"{broken}RMSE {diff.rmse:.4g}, MAE {diff.mae:.4g}, max {diff.max_abs:.4g}, cosine {diff.cosine:.6f}"
    )

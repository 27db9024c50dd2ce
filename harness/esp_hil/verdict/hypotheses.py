"""The faults that a layer is known to have on a wrong port, each as the integers that it would give.

Generators, cheap ones first, so that the search can stop at the first that fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.accumulators import ROUNDINGS, SummingLayer, Sums, finished, saturated_sums

Kind = Literal[
    "rounding",
    "shift",
    "saturation",
    "wrap-around",
    "layout",
    "stale",
    "padding",
    "parameter",
    "bias",
    "activation",
    "known fault",
    "unknown",
]

SHIFTS = (1, -1, 2, -2, 3, -3, 4, -4, 8, -8)
ACCUMULATOR_BITS = range(31, 7, -1)
_SAMPLE_PRODUCTS = 4_000_000
_ALL_PRODUCTS = 100_000_000
_PROBES = 16
"""Wrong positions that a flipped bit must explain before all are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hypothesis:
    """A way to be wrong.

    Attributes:
        kind: what sort of fault.
        summary: what the device then does, in one clause.
        values: what it would answer, in the tensor's shape.
    """

    kind: Kind
    summary: str
    values: NDArray[Any]


Make = Callable[[Kind, str, Sums], Hypothesis]
"""A hypothesis from a layer's results (positions, N)."""


def of_tensor(
    got: NDArray[Any], expected: NDArray[Any], earlier: tuple[NDArray[Any], ...] = ()
) -> Iterator[Hypothesis]:
    """What can be wrong with any tensor: not written, left over, in another order of axes, scaled by 2^n.

    Args:
        got: the device's integers.
        expected: the right ones, same shape.
        earlier: what was right for other inputs, the last one first.
    """
    constant = got.reshape(-1)[0]
    if bool((got == constant).all()):
        yield Hypothesis(
            kind="stale",
            summary=f"it is {constant} everywhere: perhaps nothing was ever written there",
            values=np.full_like(expected, constant),
        )
    for age, values in enumerate(earlier, start=1):
        yield Hypothesis(
            kind="stale", summary=f"it holds the answer to the input {_times(age)} before", values=values
        )
    for words, values in reorderings(expected):
        yield Hypothesis(kind="layout", summary=words, values=values)
    if expected.dtype.kind == "i":
        yield from _scaled(expected)


def _times(age: int) -> str:
    return "just" if age == 1 else f"{age} runs"


def _scaled(expected: NDArray[Any]) -> Iterator[Hypothesis]:
    limits = np.iinfo(expected.dtype)
    for shift in SHIFTS:
        scaled = np.floor(np.ldexp(expected.astype(np.float64), -shift) + 0.5)
        values = np.clip(scaled, limits.min, limits.max).astype(expected.dtype)
        yield Hypothesis(kind="shift", summary=f"its values are too {_size(shift)}", values=values)


def _size(shift: int) -> str:
    """`large by 2^1` for a shift by -1."""
    return f"{'small' if shift > 0 else 'large'} by a factor of 2^{abs(shift)}"


def reorderings(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The same bytes under another order of axes, where that makes a difference."""
    shape = values.shape
    if len(shape) == 4:
        one, height, width, channels = shape
        yield "the bytes are in NCHW order where NHWC is right", values.transpose(0, 3, 1, 2).reshape(shape)
        wrong_way = values.reshape(one, channels, height, width).transpose(0, 2, 3, 1)
        yield "NHWC bytes were reordered as if they were NCHW", np.ascontiguousarray(wrong_way)
        yield "rows and columns are swapped", values.transpose(0, 2, 1, 3).reshape(shape)
    elif len(shape) == 3:
        yield "the last two axes are swapped", values.transpose(0, 2, 1).reshape(shape)


def of_layer(
    layer: SummingLayer, got: NDArray[Any], expected: NDArray[Any], rounding: str
) -> Iterator[Hypothesis]:
    """What can be wrong in a Conv or Gemm.

    Args:
        layer: with the right input.
        got: the device's integers.
        expected: the right ones, same shape.
        rounding: the right one, of ROUNDINGS.
    """
    sums = layer.sums()

    def make(kind: Kind, words: str, values: Sums) -> Hypothesis:
        return Hypothesis(
            kind=kind, summary=words, values=values.astype(expected.dtype).reshape(expected.shape)
        )

    plain = finished(layer, sums, rounding)
    yield make("saturation", "its accumulator does not saturate at 20 bits", plain)
    for other in ROUNDINGS:
        if other != rounding:
            words = f"it rounds {_ROUNDING_WORDS[other]}, not {_ROUNDING_WORDS[rounding]}"
            yield make("rounding", words, finished(layer, sums, other))
    for shift in SHIFTS:
        words = f"it shifts its sums by {shift:+d}: an exponent is off"
        yield make("shift", words, finished(layer, sums, rounding, extra_shift=shift))
    yield make(
        "wrap-around",
        "results wrap around instead of saturating",
        finished(layer, sums, rounding, saturate=False),
    )
    yield from _biases_and_activations(layer, sums, rounding, make)
    yield from _paddings(layer, rounding, make)
    yield from _layouts_of_input(layer, rounding, make)
    yield from _accumulators(layer, sums, got, expected, rounding)
    yield from _flipped_bits(layer, sums, got, expected, rounding)


_ROUNDING_WORDS = {
    "half_up": "half up",
    "half_even": "half to even",
    "floor": "down",
    "toward_zero": "toward zero",
    "half_away": "half away from zero",
}


def _biases_and_activations(
    layer: SummingLayer, sums: Sums, rounding: str, make: Make
) -> Iterator[Hypothesis]:
    products = sums - layer.bias
    if layer.bias.any():
        yield make("bias", "it adds no bias", finished(layer, products, rounding))
        for shift in SHIFTS:
            scaled = products + np.floor(np.ldexp(layer.bias, -shift))
            words = f"its bias is {_size(shift)}"
            yield make("bias", words, finished(layer, scaled, rounding))
    other = replace(layer, relu=not layer.relu)
    words = "it applies no ReLU" if layer.relu else "it applies a ReLU that is not there"
    yield make("activation", words, finished(other, sums, rounding))


def _paddings(layer: SummingLayer, rounding: str, make: Make) -> Iterator[Hypothesis]:
    if layer.x.shape[0] == 1 and layer.x.shape[1] == 1:
        return
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if down or right:
                moved = layer.moved(down, right)
                way = " and ".join(
                    part for part in (_way(down, "down", "up"), _way(right, "right", "left")) if part
                )
                yield make(
                    "padding",
                    f"its windows lie one pixel further {way}: padding is off by one",
                    finished(moved, moved.sums(), rounding),
                )


def _way(step: int, ahead: str, back: str) -> str:
    return ahead if step > 0 else back if step < 0 else ""


def _layouts_of_input(layer: SummingLayer, rounding: str, make: Make) -> Iterator[Hypothesis]:
    for words, values in reorderings(layer.x[np.newaxis]):
        other = layer.with_input(values)
        yield make("layout", f"of its input, {words}", finished(other, other.sums(), rounding))


def _accumulators(
    layer: SummingLayer, sums: Sums, got: NDArray[Any], expected: NDArray[Any], rounding: str
) -> Iterator[Hypothesis]:
    """Accumulators that saturate at fewer bits after each product: tried on a sample, then on all."""
    columns = sums.shape[1]
    wrong = np.flatnonzero(got != expected)
    taps = layer.weights[0].size
    sample = wrong[:: max(1, math.ceil(len(wrong) * taps / _SAMPLE_PRODUCTS))]
    everything = layer.macs <= _ALL_PRODUCTS
    for bits in ACCUMULATOR_BITS:
        few = _saturated(layer, sample, columns, bits, rounding)
        if not np.array_equal(few, got.reshape(-1)[sample].astype(np.float64)):
            continue
        values = expected.reshape(-1).copy()
        elements = np.arange(values.size) if everything else wrong
        for start in range(0, len(elements), max(1, _SAMPLE_PRODUCTS // taps)):
            some = elements[start : start + max(1, _SAMPLE_PRODUCTS // taps)]
            values[some] = _saturated(layer, some, columns, bits, rounding).astype(expected.dtype)
        yield Hypothesis(
            kind="saturation",
            summary=f"its accumulator saturates at {bits} bits",
            values=values.reshape(expected.shape),
        )


def _saturated(
    layer: SummingLayer, elements: NDArray[np.int64], columns: int, bits: int, rounding: str
) -> Sums:
    """Results of some output elements (flat, of all positions and channels) with saturating sums."""
    positions, channels = elements // columns, elements % columns
    total = saturated_sums(layer.products(positions, channels), layer.bias[channels], bits)
    chosen = replace(layer, shifts=layer.shifts[channels])
    return finished(chosen, total, rounding)


def _flipped_bits(
    layer: SummingLayer, sums: Sums, got: NDArray[Any], expected: NDArray[Any], rounding: str
) -> Iterator[Hypothesis]:
    """One bit of one weight, or of one bias: only one output channel is wrong then."""
    got2, expected2 = (array.reshape(sums.shape) for array in (got, expected))
    channels = np.flatnonzero((got2 != expected2).any(axis=0))
    if len(channels) != 1:
        return
    channel = int(channels[0])
    wanted = got2[:, channel].astype(np.float64)
    one = replace(layer, bias=layer.bias[channel : channel + 1], shifts=layer.shifts[channel : channel + 1])
    seen = layer.patches()
    seen = seen[:, :, channel] if layer.depthwise else seen.reshape(len(seen), -1)
    weights = layer.weights[channel].reshape(-1)
    width = 8 if layer.high < 256 else 16
    steps = _flips(weights, width)
    probes = np.flatnonzero(got2[:, channel] != expected2[:, channel])[:_PROBES]
    found = []
    for bit in range(width):
        moved = sums[probes, channel, np.newaxis] + seen[probes] * steps[bit]
        fits = (finished(one, moved, rounding) == wanted[probes, np.newaxis]).all(axis=0)
        for tap in np.flatnonzero(fits):
            values = finished(
                one, (sums[:, channel] + seen[:, tap] * steps[bit, tap])[:, np.newaxis], rounding
            )
            if np.array_equal(values[:, 0], wanted):
                found.append(f"bit {bit} of weight {_place(layer, channel, int(tap))} is flipped")
    for bit, step in enumerate(_flips(layer.bias[channel : channel + 1], 32)[:, 0]):
        values = finished(one, (sums[:, channel] + step)[:, np.newaxis], rounding)
        if np.array_equal(values[:, 0], wanted):
            found.append(f"bit {bit} of the bias of output channel {channel} is flipped")
    words = found[0] if len(found) == 1 else f"a weight or the bias of output channel {channel} is another"
    if found:
        values = expected2.copy()
        values[:, channel] = got2[:, channel]
        yield Hypothesis(kind="parameter", summary=words, values=values.reshape(expected.shape))


def _flips(numbers: Sums, width: int) -> Sums:
    """How much each number changes when a bit of it flips: (bits, numbers)."""
    integers = numbers.astype(np.int64)
    steps = []
    for bit in range(width):
        size = (1 << bit) if bit < width - 1 else -(1 << bit)
        steps.append(np.where((integers >> bit) & 1, -size, size))
    return np.stack(steps).astype(np.float64)


def _place(layer: SummingLayer, channel: int, tap: int) -> str:
    """The index of a weight in ONNX's order: output channel, input channel, row, column."""
    row, column, inner = np.unravel_index(tap, layer.weights.shape[1:])
    return f"[{channel}, {int(inner)}, {int(row)}, {int(column)}]"

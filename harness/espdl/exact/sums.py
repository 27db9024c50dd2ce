"""Sums of products by ONNX Conv and Gemm that provably do not round.

ESP-DL sums int8 products in int32 and int16 products in int64. Here the factors are floats that hold integers:

- "float32": one kernel, with scale, bias and half-up's 1/2 folded into weights and bias, while the sum of |w| max|x| + |bias| + 1/2
  stays within 2**24 units of the last place;
- "float32-split": several kernels, each over part of the taps (and over the high or low bytes of int16 factors) and each within
  2**24; their results are added in float64, which holds 2**53.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.espdl.exact.arithmetic import clipped, rounded, rounded_and_clipped
from harness.espdl.exact.lowering import Lowering
from harness.espdl.exact.proof import FLOAT32_LIMIT, FLOAT64_LIMIT, Bounds

Integers = NDArray[np.int64]
Kernel = Callable[[str, NDArray[np.float32], NDArray[np.float32] | None], str]
"""Emits one Conv or Gemm: ONNX value of x, weights (N, taps...), bias (N,) or None -> ONNX value of the sums."""

_BIAS_CEILING = 2**51


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """A layer's sums of products and what becomes of them.

    Attributes:
        weights: (N, C, ...) integers; N output channels.
        bias: (N,) integers in units of the products.
        shifts: (N,) right shifts of the accumulator, `e_out - e_filter - e_in` (dl_base.hpp:260).
        inputs: bounds of the input's integers, padding included.
        outputs: bounds that the result saturates to, ReLU included.
    """

    weights: Integers
    bias: Integers
    shifts: Integers
    inputs: Bounds
    outputs: Bounds

    @property
    def bound(self) -> int:
        """Largest magnitude of any partial sum, in units of the last place, rounding offset included."""
        outputs = self.weights.shape[0]
        taps = np.abs(self.weights).reshape(outputs, -1).sum(axis=1) * self.inputs.magnitude
        half = np.where(self.shifts > 0, np.int64(1) << np.maximum(self.shifts - 1, 0), 0)
        return int((taps + np.abs(self.bias) + half).max(initial=0))


@dataclass(frozen=True, slots=True)
class Path:
    """Which arithmetic was taken, for the layer's proof."""

    name: str
    bound: int
    limit: int


def emit(
    lowering: Lowering, products: Products, x: str, kernel: Kernel, *, broadcast: tuple[int, ...]
) -> tuple[str, Path]:
    """Emit the sums, rounded, shifted and saturated.

    Args:
        lowering: where to append nodes.
        products: what to sum.
        x: float32 value that holds the input's integers.
        kernel: emits the Conv or Gemm.
        broadcast: shape to which (N,) must be reshaped to broadcast along the sums.

    Returns:
        The ONNX value (float32 that holds integers) and the path taken.
    """
    if products.bound <= FLOAT32_LIMIT:
        return _folded(lowering, products, x, kernel), Path("float32", products.bound, FLOAT32_LIMIT)
    return _split(lowering, products, x, kernel, broadcast)


def _folded(lowering: Lowering, products: Products, x: str, kernel: Kernel) -> str:
    scales = np.ldexp(1.0, -products.shifts)
    shape = (-1, *[1] * (products.weights.ndim - 1))
    weights = (products.weights * scales.reshape(shape)).astype(np.float32)
    half_up = lowering.rounding == "half_up"
    halves = np.where(products.shifts > 0, 0.5, 0.0) if half_up else 0.0
    bias = (products.bias * scales + halves).astype(np.float32)
    sums = kernel(x, weights, bias)
    within = clipped(lowering, sums, products.outputs)
    if not (products.shifts > 0).any():
        return within
    return rounded(lowering, within, half_added=True)


def _split(
    lowering: Lowering, products: Products, x: str, kernel: Kernel, broadcast: tuple[int, ...]
) -> tuple[str, Path]:
    onnx = lowering.onnx
    total = ""
    worst = 0
    for x_part, x_factor, x_bounds in _byte_parts(lowering, x, products.inputs):
        for w_part, w_factor in _weight_parts(products.weights):
            for taps, bound in _chunks(w_part, x_bounds):
                worst = max(worst, bound)
                value = onnx.op(
                    "Cast", [kernel(x_part, taps.astype(np.float32), None)], to=11, hint=f"{x}:part"
                )
                if x_factor * w_factor != 1:
                    factor = onnx.constant(np.float64(x_factor * w_factor), "factor")
                    value = onnx.op("Mul", [value, factor], hint=f"{x}:part")
                total = onnx.op("Add", [total, value], hint=f"{x}:sum") if total else value
    assert products.bound - int(np.abs(products.bias).max(initial=0)) < FLOAT64_LIMIT // 4
    bias = np.clip(
        products.bias, -_BIAS_CEILING, _BIAS_CEILING
    )  # beyond it every output saturates either way
    scales = np.ldexp(1.0, -products.shifts)
    total = onnx.op("Add", [total, onnx.constant(bias.astype(np.float64).reshape(broadcast), "bias")])
    total = onnx.op("Mul", [total, onnx.constant(scales.reshape(broadcast), "scale")])
    value = rounded_and_clipped(lowering, total, products.outputs, dtype="float64")
    return onnx.op("Cast", [value], to=1), Path("float32-split", worst, FLOAT32_LIMIT)


def _byte_parts(lowering: Lowering, x: str, bounds: Bounds) -> list[tuple[str, int, Bounds]]:
    """x as high * 256 + low, each a byte, if it needs more than one byte."""
    if bounds.magnitude <= 256:
        return [(x, 1, bounds)]
    onnx = lowering.onnx
    inverse = onnx.constant(np.float32(1 / 256), "1/256")
    high = onnx.op("Floor", [onnx.op("Mul", [x, inverse])], hint=f"{x}:high")
    back = onnx.op("Mul", [high, onnx.constant(np.float32(256), "256")])
    low = onnx.op("Sub", [x, back], hint=f"{x}:low")
    return [(high, 256, Bounds(bounds.low >> 8, bounds.high >> 8)), (low, 1, Bounds(0, 255))]


def _weight_parts(weights: Integers) -> list[tuple[Integers, int]]:
    if np.abs(weights).max(initial=0) <= 256:
        return [(weights, 1)]
    return [(weights >> 8, 256), (weights & 255, 1)]


def _chunks(weights: Integers, inputs: Bounds) -> Iterator[tuple[Integers, int]]:
    """Weights cut into summands, over disjoint taps, each of whose sums stays within 2**24."""
    outputs = weights.shape[0]
    flat = weights.reshape(outputs, -1)
    costs = np.abs(flat) * inputs.magnitude
    start = 0
    while start < flat.shape[1]:
        running = np.cumsum(costs[:, start:], axis=1).max(axis=0)
        count = max(1, int(np.searchsorted(running, FLOAT32_LIMIT, side="right")))
        part = np.zeros_like(flat)
        part[:, start : start + count] = flat[:, start : start + count]
        yield part.reshape(weights.shape), int(running[count - 1])
        start += count


def as_integers(values: NDArray[Any]) -> Integers:
    """int64 copy."""
    return values.astype(np.int64)

"""Sums of int8 products by onnxruntime's integer kernels: QLinearConv and QGemm on NHWC.

A tensor of int8 integers q is held as uint8 q + 128 (`OFFSET`). The kernels sum in int32, which wraps as
ESP-DL's does, then turn the sum into a float32, multiply by a scale, round half to even, add a zero point and
saturate. That equals ESP-DL's answer if the float32 holds the sum, that is while |sum| <= 2**24, and

- half-even (esp32p4): with scale 2**-shift and zero point 128, at once;
- half-up: with 128 * 2**shift added to the bias, zero point 0 and scale 2**-shift (1 + 2**-23). What does not
  saturate is then a positive number below 256 * 2**shift, and the factor pushes it up by one or two units in
  the last place: a tie goes up, and nothing else crosses a tie while two such units are less than 1, that is
  for shifts up to 14.

A sum beyond 2**24 is still right where the rounding to float32 cannot reach a tie, which is checked over all
values that it can have.

That the kernels do sum in 32 bits depends on the processor and on whether filters are signed: see `probe`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.kernels import ConvKernel, GemmKernel, Integers
from esp_hil.exact.lowering import Lowering
from esp_hil.exact.onnx_graph import MICROSOFT
from esp_hil.exact.probe import ZERO_POINT, held
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, Bounds
from esp_hil.formats.espdl.model import EspdlModel

_MAX_HALF_UP_SHIFT = 14
_INT32 = DTYPE_BOUNDS["int32"]
_WORTHWHILE_PRODUCTS = 200_000
_NUDGE = 1 + 2.0**-23


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantization:
    """How the kernel turns sums into outputs.

    Attributes:
        bias: (N,) int32.
        scales: (N,) float32, or (1,) for all.
        zero_point: of the output.
    """

    bias: NDArray[np.int32]
    scales: NDArray[np.float32]
    zero_point: int


def requantization(
    lowering: Lowering, taps: Integers, bias: Integers, shifts: Integers
) -> Requantization | None:
    """How to requantize sums of at most `taps` plus `bias`.

    None if the kernel is not proved exact for them.
    """
    half_up = lowering.rounding == "half_up" and bool((shifts > 0).any())
    if half_up and (len(set(shifts.tolist())) != 1 or int(shifts[0]) > _MAX_HALF_UP_SHIFT):
        return None
    offset = (ZERO_POINT << int(shifts[0])) if half_up else 0
    start = bias + offset
    if int(np.abs(start).max(initial=0)) > _INT32.high + 1 or int(taps.max(initial=0)) > _INT32.high:
        return None
    for most, first, shift in zip(taps.tolist(), start.tolist(), shifts.tolist(), strict=True):
        if not _float32_is_enough(most, first, 0 if half_up else shift):
            return None
    scales = np.ldexp(_NUDGE if half_up else 1.0, -shifts).astype(np.float32)
    if len(set(shifts.tolist())) == 1:
        scales = scales[:1]
    return Requantization(bias=start.astype(np.int32), scales=scales, zero_point=0 if half_up else ZERO_POINT)


def _float32_is_enough(taps: int, start: int, shift: int) -> bool:
    """Whether no sum in start +- taps, wrapped to int32, changes its answer when rounded to float32.

    Shift 0 asks for sums that float32 holds.
    """
    low, high = start - taps, start + taps
    if max(abs(low), abs(high)) <= FLOAT32_LIMIT:
        return True
    if shift < 1:
        return False
    # rounding moves a 32-bit sum by up to 128; a tie is an odd multiple of half a step, and wrapping moves by
    # whole steps
    half = 1 << (shift - 1)
    first_tie = -(-(low - 128 - half) // (1 << shift)) * (1 << shift) + half
    return shift < 32 and first_tie > high + 128


def conv(
    lowering: Lowering, kernel: ConvKernel, x: str, weights: NDArray[np.int8], requantize: Requantization
) -> str:
    """QLinearConv over uint8 NHWC (NWC as one row); gives uint8 in the same layout."""
    onnx = lowering.onnx
    flat = len(kernel.kernel) == 1
    if flat:
        x = onnx.op("Unsqueeze", [x, onnx.constant(np.array([1]), "axis")])
        weights = weights[:, :, None, :]
    kind = lowering.filters_held.depthwise if kernel.depthwise else lowering.filters_held.dense
    inputs = [x, *_inputs(lowering, held(weights, kind), requantize, kernel.names)]
    row = ([1], [0]) if flat else ([], [])
    rank = len(kernel.kernel)
    pads = kernel.pads
    value = onnx.op(
        "QLinearConv",
        inputs,
        hint=f"{kernel.names[2]}:u8",
        domain=MICROSOFT,
        channels_last=1,
        kernel_shape=[*row[0], *kernel.kernel],
        strides=[*row[0], *kernel.strides],
        dilations=[*row[0], *kernel.dilations],
        pads=[*row[1], *pads[:rank], *row[1], *pads[rank:]],
        group=weights.shape[0] if kernel.depthwise else 1,
    )
    if flat:
        value = onnx.op("Squeeze", [value, onnx.constant(np.array([1]), "axis")])
    return value


def gemm(
    lowering: Lowering, kernel: GemmKernel, x: str, weights: NDArray[np.int8], requantize: Requantization
) -> str:
    """QGemm over uint8 rows; weights (N, K)."""
    onnx = lowering.onnx
    one, zero = onnx.constant(np.float32(1), "one"), onnx.constant(np.uint8(ZERO_POINT), "zero_point")
    values, nothing = held(np.ascontiguousarray(weights.T), lowering.filters_held.dense)
    matrix = onnx.constant(values, kernel.names[0])
    scales, none = _scales(lowering, requantize, nothing)
    bias = onnx.constant(requantize.bias, kernel.names[1])
    out = onnx.constant(np.uint8(requantize.zero_point), "zero_point")
    return onnx.op(
        "QGemm",
        [x, one, zero, matrix, scales, none, bias, one, out],
        hint=f"{kernel.names[2]}:u8",
        domain=MICROSOFT,
    )


def _inputs(
    lowering: Lowering,
    weights: tuple[NDArray[Any], np.generic],
    requantize: Requantization,
    names: tuple[str, str, str],
) -> list[str]:
    """Everything of a QLinearConv behind its input."""
    onnx = lowering.onnx
    one, zero = onnx.constant(np.float32(1), "one"), onnx.constant(np.uint8(ZERO_POINT), "zero_point")
    scales, none = _scales(lowering, requantize, weights[1])
    out = onnx.constant(np.uint8(requantize.zero_point), "zero_point")
    bias = onnx.constant(requantize.bias, names[1])
    return [one, zero, onnx.constant(weights[0], names[0]), scales, none, one, out, bias]


def _scales(lowering: Lowering, requantize: Requantization, nothing: np.generic) -> tuple[str, str]:
    """Weight scales and zero points: a scalar, or one per channel; `nothing` is what stands for 0."""
    scales = requantize.scales
    shaped = scales[0] if scales.size == 1 else scales
    zeros = np.full(np.shape(shaped), nothing)
    return lowering.onnx.constant(shaped, "scale"), lowering.onnx.constant(zeros, "zeros")


def saturated(lowering: Lowering, value: str, bounds: Bounds, hint: str) -> str:
    """A uint8 value cut to bounds of its integers; nothing to do for the whole int8 range."""
    if bounds == DTYPE_BOUNDS["int8"]:
        return value
    low, high = (lowering.onnx.constant(np.uint8(n + ZERO_POINT), "limit") for n in (bounds.low, bounds.high))
    return lowering.onnx.op("Clip", [value, low, high], hint=f"{hint}:u8")


def worthwhile(model: EspdlModel) -> bool:
    """Whether a model multiplies enough for the integer kernels' larger cost per call to pay."""
    graph, products = model.graph, 0
    for node in graph.nodes:
        if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.inputs) > 1 and node.outputs:
            weights = graph.initializers.get(node.inputs[1])
            value = graph.values.get(node.outputs[0])
            if weights is not None and value is not None:
                products += weights.data.size * math.prod(value.shape[:-1])
    return products >= _WORTHWHILE_PRODUCTS

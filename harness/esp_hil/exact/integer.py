"""Sums of int8 products by onnxruntime's integer kernels: QLinearConv and QGemm on NHWC.

A tensor of int8 integers q is held as uint8, q + 128 (`OFFSET`) or, where it has no negative ones, q (`POSITIVE`).
The kernels sum in int32, which wraps as ESP-DL's does, then turn the sum into a float32, multiply by a scale, round
half to even, add a zero point and saturate. That equals ESP-DL's answer

- half-even (esp32p4): with scale 2**-shift and the output's zero point, at once;
- half-up: with scale 2**-shift (1 + 2**-23) and zero point 0. Outputs as q + 128 have 128 * 2**shift added to the
  bias. What does not saturate is then a positive number below 256 * 2**shift, and the factor pushes it up by one or
  two units in the last place: a tie goes up, and nothing else crosses a tie while two such units are less than 1,
  that is for shifts up to 14, or 15 where outputs stay below 128. What is negative saturates to 0 either way;

as long as the float32 holds the sum, that is while |sum| <= 2**24. Conversion to float32 never turns the order of two
sums round, so sums that saturate need not be held: those below 256 * 2**shift, or 2**24 for shifts up to 16, are all
that matter. A sum beyond is still right where the rounding to float32 cannot reach a tie, which is checked over
all values that it can have.

That the kernels do sum in 32 bits depends on the processor and on whether filters are signed: see `probe`. Where
processors add two products in 16 bits first, that is as good as 32 bits as long as no two products of a layer can
leave 16 bits together: always for `POSITIVE` inputs (127 * 128 * 2 < 2**15), and for others with small weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.kernels import ConvKernel, GemmKernel
from esp_hil.exact.lowering import OFFSET, POSITIVE, Form, Lowering
from esp_hil.exact.onnx_graph import MICROSOFT
from esp_hil.exact.probe import WeightType, held
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, Bounds
from esp_hil.formats.espdl.model import EspdlModel

if TYPE_CHECKING:
    from esp_hil.exact.sums import Products

_MAX_HALF_UP_SHIFT = {OFFSET: 14, POSITIVE: 15}
_OUTPUT_BITS = 8
_FLOAT32_BITS = FLOAT32_LIMIT.bit_length() - 1
_INT32 = DTYPE_BOUNDS["int32"]
_INT16 = DTYPE_BOUNDS["int16"]
_WORTHWHILE_PRODUCTS = 20_000
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


def requantization(lowering: Lowering, products: Products, form: Form) -> Requantization | None:
    """How to requantize the sums of a layer whose output is held in that form.

    None if the kernel is not proved exact for them.
    """
    shifts = products.shifts
    half_up = lowering.rounding == "half_up" and bool((shifts > 0).any())
    if half_up and (len(set(shifts.tolist())) != 1 or int(shifts[0]) > _MAX_HALF_UP_SHIFT[form]):
        return None
    start = products.bias + (form.zero << int(shifts[0]) if half_up else 0)
    if max(int(np.abs(start).max(initial=0)) - 1, int(products.taps.max(initial=0))) > _INT32.high:
        return None
    lows, highs = (ends - products.bias + start for ends in products.ends)
    for low, high, shift in zip(lows.tolist(), highs.tolist(), shifts.tolist(), strict=True):
        if not _float32_is_enough(low, high, shift, ties=not half_up):
            return None
    scales = np.ldexp(_NUDGE if half_up else 1.0, -shifts).astype(np.float32)
    if len(set(shifts.tolist())) == 1:
        scales = scales[:1]
    return Requantization(bias=start.astype(np.int32), scales=scales, zero_point=0 if half_up else form.zero)


def _float32_is_enough(low: int, high: int, shift: int, *, ties: bool) -> bool:
    """Whether no sum from low to high, wrapped to int32, changes its answer when rounded to float32.

    `ties`: a sum that float32 does not hold will do where no tie is near; else it must not be.
    """
    if max(abs(low), abs(high)) <= FLOAT32_LIMIT or shift + _OUTPUT_BITS <= _FLOAT32_BITS:
        return True
    if shift < 1 or not ties:
        return False
    # rounding moves a 32-bit sum by up to 128; a tie is an odd multiple of half a step, and wrapping moves by
    # whole steps
    half = 1 << (shift - 1)
    first_tie = -(-(low - 128 - half) // (1 << shift)) * (1 << shift) + half
    return shift < 32 and first_tie > high + 128


def _kind(lowering: Lowering, weights: NDArray[np.int8], inputs: Form) -> WeightType:
    """How to hold the filter of a layer that is not depthwise.

    Args:
        lowering: knows what this machine's kernels want.
        weights: (N, ...).
        inputs: form of the layer's input.
    """
    kinds, most = lowering.filters_held, 255 if inputs.zero else DTYPE_BOUNDS["int8"].high
    if kinds.dense == kinds.narrow:
        return kinds.dense
    flat = np.sort(weights.reshape(len(weights), -1).astype(np.int64), axis=1)
    high, low = np.maximum(flat[:, -2:], 0).sum(axis=1), np.minimum(flat[:, :2], 0).sum(axis=1)
    fits = most * int(high.max(initial=0)) <= _INT16.high and most * int(low.min(initial=0)) >= _INT16.low
    return kinds.narrow if fits else kinds.dense


def conv(
    lowering: Lowering,
    kernel: ConvKernel,
    x: tuple[str, Form],
    weights: NDArray[np.int8],
    requantize: Requantization,
) -> str:
    """QLinearConv over uint8 NHWC (NWC as one row); gives uint8 in the same layout.

    X is the ONNX value and its form.
    """
    onnx, (value, form) = lowering.onnx, x
    flat = len(kernel.kernel) == 1 and not kernel.is_matrix  # 1-D kernels are slow where there is a window
    if flat:
        value = onnx.op("Unsqueeze", [value, onnx.constant(np.array([1]), "axis")])
        weights = weights[:, :, None, :]
    kind = lowering.filters_held.depthwise if kernel.depthwise else _kind(lowering, weights, form)
    inputs = [value, *_inputs(lowering, held(weights, kind), requantize, kernel.names, form)]
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
    lowering: Lowering,
    kernel: GemmKernel,
    x: tuple[str, Form],
    weights: NDArray[np.int8],
    requantize: Requantization,
) -> str:
    """QGemm over uint8 rows, an ONNX value and its form; weights (N, K)."""
    onnx, (rows, form) = lowering.onnx, x
    one, zero = onnx.constant(np.float32(1), "one"), onnx.constant(np.uint8(form.zero), "zero_point")
    values, nothing = held(np.ascontiguousarray(weights.T), _kind(lowering, weights, form))
    matrix = onnx.constant(values, kernel.names[0])
    scales, none = _scales(lowering, requantize, nothing)
    bias = onnx.constant(requantize.bias, kernel.names[1])
    out = onnx.constant(np.uint8(requantize.zero_point), "zero_point")
    return onnx.op(
        "QGemm",
        [rows, one, zero, matrix, scales, none, bias, one, out],
        hint=f"{kernel.names[2]}:u8",
        domain=MICROSOFT,
    )


def _inputs(
    lowering: Lowering,
    weights: tuple[NDArray[Any], np.generic],
    requantize: Requantization,
    names: tuple[str, str, str],
    form: Form,
) -> list[str]:
    """Everything of a QLinearConv behind its input, which has that form."""
    onnx = lowering.onnx
    one, zero = onnx.constant(np.float32(1), "one"), onnx.constant(np.uint8(form.zero), "zero_point")
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


def saturated(lowering: Lowering, value: str, bounds: Bounds, form: Form, hint: str) -> str:
    """A uint8 value cut to bounds of its integers; nothing to do for the whole range of the form."""
    if bounds == DTYPE_BOUNDS["int8"] and form.zero:
        return value
    low, high = (lowering.onnx.constant(np.uint8(n + form.zero), "limit") for n in (bounds.low, bounds.high))
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

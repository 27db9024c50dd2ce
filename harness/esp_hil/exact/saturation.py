"""esp32s3's 20-bit accumulators.

The SIMD kernels for int8 keep 16 output channels in QACC, 16 lanes of 20 bits that saturate after every
product; the bias is loaded there first, cut to 20 bits (dl_tensor_base.cpp:466). Channels beyond the last
whole group of 16 use the 40-bit ACCX (depthwise kernels use QACC for all).

Whether a lane can saturate is known from the weights: no partial sum exceeds the bias plus all products of
one sign. Where it can, the graph carries a guard, and only inputs that a guard cannot clear need the slow
graph in which every addition saturates, in the kernel's order: filter rows, columns, input channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from esp_hil.exact.kernels import Integers, Kernel
from esp_hil.exact.lowering import OFFSET, Lowering
from esp_hil.exact.onnx_graph import OnnxGraph, element_type
from esp_hil.exact.probe import held
from esp_hil.exact.proof import LANE_BOUNDS, Bounds

LANES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The lanes of a layer that can saturate.

    Attributes:
        kernel: of the layer.
        weights: (n, C, ...) of these lanes.
        bias: (n,) as the lanes hold it.
        channels: (n,) their numbers in the layer.
    """

    kernel: Kernel
    weights: Integers
    bias: Integers
    channels: Integers


def lanes_of(outputs: int, *, depthwise: bool) -> NDArray[np.bool_]:
    """(N,) which output channels are summed in QACC."""
    return np.arange(outputs) < (outputs if depthwise else outputs // LANES * LANES)


def packed_bias(bias: Integers, lanes: NDArray[np.bool_]) -> Integers:
    """The bias as its lane holds it: the low 20 bits, signed."""
    cut = ((bias - LANE_BOUNDS.low) & 0xFFFFF) + LANE_BOUNDS.low
    packed: Integers = np.where(lanes, cut, bias)
    return packed


def extremes(weights: Integers, bias: Integers, inputs: Bounds) -> tuple[Integers, Integers]:
    """(N,) smallest and largest value that a partial sum can have; `inputs` must contain 0."""
    flat = weights.reshape(weights.shape[0], -1)
    low, high = min(inputs.low, 0), max(inputs.high, 0)
    ups = np.maximum(flat * low, flat * high).sum(axis=1)
    downs = np.minimum(flat * low, flat * high).sum(axis=1)
    return bias + downs, bias + ups


def risky_lanes(
    weights: Integers, bias: Integers, inputs: Bounds, lanes: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N,) which lanes some input can make saturate."""
    low, high = extremes(weights, bias, inputs)
    return lanes & ((low < LANE_BOUNDS.low) | (high > LANE_BOUNDS.high))


def guard(lowering: Lowering, name: str, lanes: Lanes) -> str:
    """A scalar bool: whether a partial sum of these risky lanes could leave 20 bits for this input.

    First by Cauchy and Schwarz, |sum x w| <= |x| |w|, which costs little; only where that does not clear the
    input, by the sums of all positive and of all negative products.

    Args:
        lowering: where to append nodes.
        name: the layer's input.
        lanes: those that can saturate.
    """
    onnx, kernel = lowering.onnx, lanes.kernel
    if kernel.depthwise:
        return _signed_sums_exceed(lowering, name, lanes)
    flat = lanes.weights.reshape(lanes.weights.shape[0], -1).astype(np.float64)
    norms = np.sqrt((flat**2).sum(axis=1))
    allowed = float(((LANE_BOUNDS.high - np.abs(lanes.bias)) / np.maximum(norms, 1)).min())
    rounding = 1 - flat.shape[1] * 2.0**-22  # of a float32 sum of that many squares, twice over
    limit = np.float32(max(allowed, 0) ** 2 * rounding)
    peak = onnx.op("ReduceMax", [kernel.energy(name)], keepdims=0)
    suspect = onnx.op("Greater", [peak, onnx.constant(limit, "limit")])
    kind = helper.make_tensor_value_info
    with lowering.body() as exact:
        exceeded = _signed_sums_exceed(lowering, name, lanes)
        then = exact.subgraph("signed_sums", inputs=[], outputs=[kind(exceeded, element_type("bool"), [])])
    with lowering.body() as clear:
        never = clear.op("Identity", [clear.constant(np.bool_(False), "no")])
        other = clear.subgraph("cleared", inputs=[], outputs=[kind(never, element_type("bool"), [])])
    return onnx.op("If", [suspect], hint="may_saturate", then_branch=then, else_branch=other)


def _signed_sums_exceed(lowering: Lowering, name: str, lanes: Lanes) -> str:
    """Whether the bias plus all positive products, or plus all negative ones, leaves 20 bits anywhere."""
    plus, minus = np.maximum(lanes.weights, 0), np.minimum(lanes.weights, 0)
    by_integers = lowering.has(name, OFFSET) and lanes.kernel.is_matrix
    sums = _integer_signed_sums if by_integers else _float_signed_sums
    onnx, found = lowering.onnx, []
    for first, second, reduce, compare, limit in (
        (plus, minus, "ReduceMax", "Greater", LANE_BOUNDS.high),
        (minus, plus, "ReduceMin", "Less", LANE_BOUNDS.low),
    ):
        total = sums(lowering, name, lanes, (first, second))
        extreme = onnx.op(reduce, [total], keepdims=0)
        dtype = np.int32 if by_integers else np.float32
        found.append(onnx.op(compare, [extreme, onnx.constant(dtype(limit), "limit")]))
    return onnx.op("Or", found)


def _float_signed_sums(
    lowering: Lowering, name: str, lanes: Lanes, weights: tuple[Integers, Integers]
) -> str:
    """max(x, 0) times the first weights plus min(x, 0) times the second plus the bias, in float32."""
    onnx, kernel = lowering.onnx, lanes.kernel
    x, zero = kernel.input(name), onnx.constant(np.float32(0), "zero")
    shape = [-1 if axis == kernel.axis else 1 for axis in range(kernel.rank)]
    total = onnx.constant(lanes.bias.astype(np.float32).reshape(shape), "bias")
    signs = [("Max", weights[0])]
    if lowering.bounds(name).low < 0:
        signs.append(("Min", weights[1]))
    for keep, part in signs:
        one_sign = onnx.op(keep, [x, zero])
        sums = kernel.sums(one_sign, part.astype(np.float32), None, lanes.channels)
        total = onnx.op("Add", [sums, total])
    return total


def _integer_signed_sums(
    lowering: Lowering, name: str, lanes: Lanes, weights: tuple[Integers, Integers]
) -> str:
    """The same in int32, over rows of uint8."""
    onnx = lowering.onnx
    depth = lanes.weights.shape[1]
    rows = onnx.op("Reshape", [lowering.read(name, OFFSET), onnx.constant(np.array([-1, depth]), "rows")])
    zero = onnx.constant(np.uint8(128), "zero_point")
    total = onnx.constant(lanes.bias.astype(np.int32), "bias")
    signs = [("Max", weights[0])]
    if lowering.bounds(name).low < 0:
        signs.append(("Min", weights[1]))
    for keep, part in signs:
        one_sign = onnx.op(keep, [rows, zero])
        matrix = np.ascontiguousarray(part.reshape(-1, depth).T.astype(np.int8))
        values, nothing = held(matrix, lowering.kernels.dense)
        factors = [one_sign, onnx.constant(values, "w"), zero, onnx.constant(nothing, "w_zero")]
        sums = onnx.op("MatMulInteger", factors)
        total = onnx.op("Add", [sums, total])
    return total


def saturating_sums(lowering: Lowering, x: str, lanes: Lanes) -> tuple[str, str]:
    """The sums with saturation after every product.

    Returns:
        The sums in the kernel's layout and how often a lane saturated (int64 scalar).
    """
    onnx, kernel = lowering.onnx, lanes.kernel
    patches = kernel.patches(x, lanes.channels)
    taps = onnx.constant(kernel.taps(lanes.weights).astype(np.float32), "taps")
    row = onnx.op("Gather", [patches, onnx.constant(np.int64(0), "first")], axis=0)
    start = onnx.op("Mul", [row, onnx.constant(np.float32(0), "zero")])
    start = onnx.op("Add", [start, onnx.constant(lanes.bias.astype(np.float32), "bias")])
    body = OnnxGraph(onnx)
    held, factor, tap = (body.fresh(name) for name in ("held", "x", "w"))
    hits = body.fresh("hits")
    total = body.op("Add", [held, body.op("Mul", [factor, tap])])
    low, high = (body.constant(np.float32(limit), "limit") for limit in (LANE_BOUNDS.low, LANE_BOUNDS.high))
    cut = body.op("Clip", [total, low, high])
    missed = body.op("Cast", [body.op("Not", [body.op("Equal", [cut, total])])], to=element_type("float32"))
    more = body.op("Add", [hits, body.op("ReduceSum", [missed], keepdims=0)])
    real = element_type("float32")
    graph = body.subgraph(
        "saturating",
        inputs=[helper.make_tensor_value_info(name, real, None) for name in (held, hits, factor, tap)],
        outputs=[helper.make_tensor_value_info(name, real, None) for name in (cut, more)],
    )
    none = onnx.constant(np.float32(0), "none")
    sums, count = onnx.ops(
        "Scan", [start, none, patches, taps], hints=["saturated", "hits"], body=graph, num_scan_inputs=2
    )
    return kernel.placed(sums, lanes.channels.size), onnx.op("Cast", [count], to=element_type("int64"))

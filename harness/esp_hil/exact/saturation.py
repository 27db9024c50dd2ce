"""The chips' accumulators, which saturate.

The SIMD kernels sum most output channels in the lanes of QACC, one product after the other, and the channels beyond
the last whole vector (16 of int8, 8 of int16) one by one in ACCX (esp32s3) or XACC (esp32p4), to which they add the
products of a vector of neighbouring input channels at once. Depthwise kernels use lanes for all channels. The bias
is loaded first, cut to the width. After every addition the sum saturates:

=========  ============  ===========================
chip       lanes         ACCX, XACC
=========  ============  ===========================
esp32s3    20 bits int8  40 bits
           40 bits int16
esp32p4    32 bits int8  40 bits
           64 bits int16
=========  ============  ===========================

40 bits hold any sum of int8 products, and 64 bits any sum of int16 products. (dl_tensor_base.cpp:466 packs the
bias for esp32s3; isa/tie728 and isa/esp32p4 hold the kernels. ESP-DL's portable kernels have no such limits; those
compiled for a PC with esp32s3's numerics have its 20 bits.)

Whether a sum can saturate is known from the weights: no partial sum exceeds the bias plus all products of one sign,
with saturation or without. A channel whose final sums all round to one output is settled: it is that constant.
Where another can saturate, the graph carries a guard, and only inputs that a guard cannot clear need the slow graph
in which every addition saturates, in the kernel's order: filter rows, columns, input channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from esp_hil.exact.filters import Kernels
from esp_hil.exact.kernels import Integers, Kernel
from esp_hil.exact.lowering import Lowering
from esp_hil.exact.onnx_graph import OnnxGraph, element_type
from esp_hil.exact.probe import held
from esp_hil.exact.proof import FLOAT32_LIMIT, Bounds
from esp_hil.targets import Family

_WIDTHS = {"int8": 16, "int16": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accumulators:
    """In what the channels of a layer are summed.

    Attributes:
        bits: width of the accumulators of `limited`.
        limited: (N,) the channels whose sums that width may not hold; those of the others always fit.
        together: (N,) how many products of neighbouring input channels are added before a sum saturates.
    """

    bits: int
    limited: NDArray[np.bool_]
    together: Integers

    @property
    def bounds(self) -> Bounds:
        """What such an accumulator holds."""
        return Bounds(-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)

    def of(self, channels: Integers) -> Accumulators:
        """Those of some channels."""
        return replace(self, limited=self.limited[channels], together=self.together[channels])

    def packed(self, bias: Integers) -> Integers:
        """(N,) the bias as the accumulators hold it: the low bits, signed."""
        low = self.bounds.low
        cut: Integers = np.where(self.limited, ((bias - low) & (2**self.bits - 1)) + low, bias)
        return cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The channels of a layer that can saturate.

    Attributes:
        kernel: of the layer.
        weights: (n, C, ...) of these channels.
        bias: (n,) as their accumulators hold it.
        accumulators: of these channels.
        channels: (n,) their numbers in the layer.
    """

    kernel: Kernel
    weights: Integers
    bias: Integers
    accumulators: Accumulators
    channels: Integers

    def of(self, which: Integers) -> Lanes:
        """Those of some of these channels."""
        return replace(
            self,
            weights=self.weights[which],
            bias=self.bias[which],
            accumulators=self.accumulators.of(which),
            channels=self.channels[which],
        )


def accumulators_of(
    family: Family, kernels: Kernels, dtype: str, outputs: int, *, depthwise: bool
) -> Accumulators | None:
    """The accumulators of a layer's output channels; None if none of them saturates."""
    width = _WIDTHS[dtype]
    in_lanes = np.arange(outputs) < (outputs if depthwise else outputs // width * width)
    if family == "esp32s3" and dtype == "int8":
        return Accumulators(bits=20, limited=in_lanes, together=np.ones(outputs, np.int64))
    if family == "c" or kernels == "portable":
        return None
    if dtype == "int8":
        return Accumulators(bits=32, limited=in_lanes, together=np.ones(outputs, np.int64))
    limited = np.ones(outputs, bool) if family == "esp32s3" else ~in_lanes
    return Accumulators(bits=40, limited=limited, together=np.where(in_lanes, 1, width))


def extremes(weights: Integers, bias: Integers, inputs: Bounds) -> tuple[Integers, Integers]:
    """(N,) smallest and largest value that a partial sum can have; `inputs` must contain 0."""
    flat = weights.reshape(weights.shape[0], -1)
    low, high = min(inputs.low, 0), max(inputs.high, 0)
    ups = np.maximum(flat * low, flat * high).sum(axis=1)
    downs = np.minimum(flat * low, flat * high).sum(axis=1)
    return bias + downs, bias + ups


def guard(lowering: Lowering, name: str, lanes: Lanes) -> str:
    """A scalar bool: whether a partial sum of these risky channels could leave its accumulator for this input.

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
    allowed = float(((lanes.accumulators.bounds.high - np.abs(lanes.bias)) / np.maximum(norms, 1)).min())
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
    """Whether the bias plus all positive products, or plus all negative ones, leaves the accumulator anywhere.

    Sums of one sign that float32 cannot hold are off by less than a 2**-22 part for each product.
    """
    plus, minus = np.maximum(lanes.weights, 0), np.minimum(lanes.weights, 0)
    by_integers = lowering.has_bytes(name) and lanes.kernel.is_matrix and lanes.accumulators.bits == 20
    bounds = lanes.accumulators.bounds
    margin = 1.0 if bounds.magnitude <= FLOAT32_LIMIT else 1 - (plus[0].size + 1) * 2.0**-22
    sums = _integer_signed_sums if by_integers else _float_signed_sums
    onnx, found = lowering.onnx, []
    for first, second, reduce, compare, limit in (
        (plus, minus, "ReduceMax", "Greater", bounds.high * margin),
        (minus, plus, "ReduceMin", "Less", bounds.low * margin),
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
    form = lowering.bytes_form(name)
    rows = onnx.op("Reshape", [lowering.read(name, form), onnx.constant(np.array([-1, depth]), "rows")])
    zero = onnx.constant(np.uint8(form.zero), "zero_point")
    total = onnx.constant(lanes.bias.astype(np.int32), "bias")
    signs = [("Max", weights[0])]
    if lowering.bounds(name).low < 0:
        signs.append(("Min", weights[1]))
    for keep, part in signs:
        one_sign = onnx.op(keep, [rows, zero]) if form.zero else rows
        matrix = np.ascontiguousarray(part.reshape(-1, depth).T.astype(np.int8))
        values, nothing = held(matrix, lowering.filters_held.dense)
        factors = [one_sign, onnx.constant(values, "w"), zero, onnx.constant(nothing, "w_zero")]
        sums = onnx.op("MatMulInteger", factors)
        total = onnx.op("Add", [sums, total])
    return total


def saturating_sums(lowering: Lowering, x: str, lanes: Lanes) -> tuple[str, str]:
    """The sums with saturation after every addition, for channels that add as many products `together`.

    Returns:
        The sums in the kernel's layout, in `carrier(lanes)`, and how often one saturated (int64 scalar).
    """
    onnx, kernel, together = lowering.onnx, lanes.kernel, int(lanes.accumulators.together[0])
    real = carrier(lanes)
    patches, taps = kernel.patches(x, lanes.channels), kernel.taps(lanes.weights)
    if together > 1:
        depth = lanes.weights.shape[1]
        patches, taps = _vectors(lowering, patches, depth, together), _tap_vectors(taps, depth, together)
    factors = onnx.constant(taps.astype(real), "taps")
    if real != "float32":
        patches = onnx.op("Cast", [patches], to=element_type(real))
    first = onnx.op("Gather", [patches, onnx.constant(np.int64(0), "first")], axis=0)
    if together > 1:
        first = onnx.op("Slice", [first, *(onnx.constant(np.array([n]), "cut") for n in (0, 1, 1))])
    start = onnx.op("Mul", [first, onnx.constant(np.asarray(0, real), "zero")])
    start = onnx.op("Add", [start, onnx.constant(lanes.bias.astype(real), "bias")])
    product = "MatMul" if together > 1 else "Mul"
    sums, count = cut_sums(
        onnx, start, (patches, factors), product=product, bounds=lanes.accumulators.bounds, real=real
    )
    return kernel.placed(sums, lanes.channels.size), count


def cut_sums(
    onnx: OnnxGraph, start: str, factors: tuple[str, str], *, product: str, bounds: Bounds, real: str
) -> tuple[str, str]:
    """Sums of products, saturated after every addition.

    Args:
        onnx: where it is computed.
        start: what the sums begin with.
        factors: of the products; the additions stand in front, in their order.
        product: the operator that multiplies one step of both: Mul or MatMul.
        bounds: of the accumulators.
        real: dtype of all of these.

    Returns:
        The sums, and how often one was cut (int64 scalar).
    """
    body = OnnxGraph(onnx)
    sum_, first, second, hits = (body.fresh(name) for name in ("held", "x", "w", "hits"))
    total = body.op("Add", [sum_, body.op(product, [first, second])])
    low, high = (body.constant(np.asarray(limit, real), "limit") for limit in (bounds.low, bounds.high))
    cut = body.op("Clip", [total, low, high])
    missed = body.op("Cast", [body.op("Not", [body.op("Equal", [cut, total])])], to=element_type("float32"))
    more = body.op("Add", [hits, body.op("ReduceSum", [missed], keepdims=0)])
    kinds = {sum_: real, hits: "float32", first: real, second: real, cut: real, more: "float32"}
    values = {
        name: helper.make_tensor_value_info(name, element_type(kind), None) for name, kind in kinds.items()
    }
    graph = body.subgraph(
        "saturating",
        inputs=[values[name] for name in (sum_, hits, first, second)],
        outputs=[values[name] for name in (cut, more)],
    )
    none = onnx.constant(np.float32(0), "none")
    sums, count = onnx.ops(
        "Scan", [start, none, *factors], hints=["saturated", "hits"], body=graph, num_scan_inputs=2
    )
    return sums, onnx.op("Cast", [count], to=element_type("int64"))


def carrier(lanes: Lanes) -> str:
    """The float type that holds what the accumulators hold."""
    return "float32" if lanes.accumulators.bits <= 24 else "float64"


def _vectors(lowering: Lowering, patches: str, depth: int, together: int) -> str:
    """(K, P, 1) as (K', P, together): neighbouring input channels of a filter position, zeros behind the last."""
    onnx, whole = lowering.onnx, -(-depth // together) * together
    columns = onnx.op(
        "Transpose", [onnx.op("Squeeze", [patches, onnx.constant(np.array([2]), "axis")])], perm=[1, 0]
    )
    split = onnx.op("Shape", [columns])
    count = onnx.op("Slice", [split, *(onnx.constant(np.array([n]), "cut") for n in (0, 1, 0))])
    size = onnx.op("Concat", [count, onnx.constant(np.array([-1, depth]), "shape")], axis=0)
    value = onnx.op("Reshape", [columns, size])
    pads = onnx.constant(np.array([0, 0, 0, 0, 0, whole - depth]), "pads")
    value = onnx.op("Pad", [value, pads])
    size = onnx.op("Concat", [count, onnx.constant(np.array([-1, together]), "shape")], axis=0)
    return onnx.op("Transpose", [onnx.op("Reshape", [value, size])], perm=[1, 0, 2])


def _tap_vectors(taps: Integers, depth: int, together: int) -> Integers:
    """(K, n) as (K', together, n)."""
    count = taps.shape[1]
    split = taps.reshape(-1, depth, count)
    padded = np.pad(split, ((0, 0), (0, -depth % together), (0, 0)))
    vectors: Integers = padded.reshape(-1, together, count)
    return vectors

"""PRelu: negatives times a slope, shifted right without rounding; others copied (dl_base_prelu.cpp).

The slope is chosen by the last axis, and others are not rescaled when the exponents differ: so ESP-DL's portable
kernels answer. The SIMD kernels of esp32s3 and esp32p4 differ from them in int8: both signs are rescaled, rounded
and saturated (isa/tie728/dl_tie728_s8_prelu.S, isa/esp32p4/dl_esp32p4_prelu.S).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import integer
from esp_hil.exact.arithmetic import clipped
from esp_hil.exact.kernels import ConvKernel
from esp_hil.exact.lowering import DEVICE_FLOAT, OFFSET, Lowering, quantized_dtype
from esp_hil.exact.onnx_graph import MICROSOFT, element_type
from esp_hil.exact.operators.table import Table, lower_table, stored_table
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT, Bounds
from esp_hil.exact.registry import operator
from esp_hil.exact.sums import Products
from esp_hil.formats.espdl.model import Node
from esp_hil.targets import rounding_of

_BLOCK_BYTES = 16
_LARGEST_RISE = 6
_BUFFERS = {"int8": DTYPE_BOUNDS["int16"], "int16": DTYPE_BOUNDS["int32"]}


@operator("PRelu", batches=True)
def lower_prelu(lowering: Lowering, node: Node) -> None:
    """A table for int8 with one slope; else x < 0 ? (x * slope) >> shift : x."""
    dtype = quantized_dtype(node)
    table = stored_table(lowering, node) if dtype == "int8" else None
    if table is not None:
        lower_table(lowering, node, table)
        return
    slopes = _slopes(lowering, node, dtype)
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    if dtype == "int8" and lowering.simd:
        _lower_simd(lowering, node, slopes)
        return
    value = lowering.read(x)
    negative = onnx.op("Less", [value, onnx.constant(np.float32(0), "zero")], hint=f"{y}:negative")
    if dtype == "float32":
        scaled = onnx.op("Mul", [value, onnx.constant(slopes, node.inputs[1])])
        lowering.write(y, onnx.op("Where", [negative, scaled, value], hint=f"{y}:prelu"))
        lowering.prove(node, "float")
        return
    shift = lowering.exponent(y) - lowering.exponent(x) - lowering.exponent(node.inputs[1])
    bound = lowering.bounds(x).magnitude * int(np.abs(slopes).max(initial=0)) << max(-shift, 0)
    if bound > _BUFFERS[dtype].high:
        raise UnsupportedOperator(f"PRelu {node.name!r}: products up to {bound} overflow ESP-DL's buffer")
    small = bound <= FLOAT32_LIMIT
    carrier = "float32" if small else "float64"
    factors = onnx.constant((slopes * 2.0**-shift).astype(carrier), f"{node.inputs[1]}:scaled")
    limits = DTYPE_BOUNDS[dtype]
    if small and np.abs(slopes).max(initial=0) * 2.0**-shift <= 1:  # x keeps its sign or nothing saturates
        value = onnx.op("Floor", [onnx.op("PRelu", [value, factors])], hint=f"{y}:prelu")
        value = clipped(lowering, value, limits) if (slopes < 0).any() else value
        lowering.write(y, value, DEVICE_FLOAT, bounds=limits)
        lowering.prove(node, carrier, bound=bound, limit=FLOAT32_LIMIT, note=_note(lowering, node))
        return
    wide = value if small else onnx.op("Cast", [value], to=element_type("float64"))
    products = onnx.op("Floor", [onnx.op("Mul", [wide, factors])])
    scaled = clipped(
        lowering, products if small else onnx.op("Cast", [products], to=element_type("float32")), limits
    )
    lowering.write(y, onnx.op("Where", [negative, scaled, value], hint=f"{y}:prelu"), bounds=limits)
    limit = FLOAT32_LIMIT if small else FLOAT64_LIMIT
    lowering.prove(node, carrier, bound=bound, limit=limit, note=_note(lowering, node))


def _lower_simd(lowering: Lowering, node: Node, slopes: Table) -> None:
    """Negative x: round(x * slope >> shift); else round(x >> change of exponent): the chips' own kernels.

    esp32s3 rounds half up. On esp32p4 positives follow the rounding mode, which is half to even; that its
    instruction for negatives (esp.vprelu.s8) follows it as well is an assumption.
    """
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    limits = DTYPE_BOUNDS["int8"]
    rise = lowering.exponent(y) - lowering.exponent(x)
    shift = rise - lowering.exponent(node.inputs[1])
    if rise < -_LARGEST_RISE or shift < 0:
        raise UnsupportedOperator(
            f"PRelu {node.name!r}: exponents {lowering.exponent(x)} and {lowering.exponent(y)} are too far apart",
            hint="the SIMD kernels keep the factor in int8 and shift right only",
        )
    most = lowering.bounds(x).low * slopes.astype(np.int64)
    doubtful = lowering.family == "esp32p4" and bool((abs(most) >> shift).max(initial=0) >= limits.high)
    if not doubtful and _lower_by_integers(lowering, node, slopes, shift, rise):
        return
    value = lowering.read(x)
    if rise:
        value = onnx.op("Mul", [value, onnx.constant(np.float32(2.0**-rise), f"{y}:rise")])
    factors = onnx.constant((slopes * 2.0 ** (rise - shift)).astype(np.float32), f"{node.inputs[1]}:simd")
    scaled = onnx.op("PRelu", [value, factors])
    if doubtful:
        negative = onnx.op("Less", [value, onnx.constant(np.float32(0), "zero")], hint=f"{y}:negative")
        _doubt_overflow(lowering, node, scaled, negative)
    if rounding_of(lowering.family) == "half_even":
        rounded = onnx.op("Round", [scaled])
    else:
        rounded = onnx.op("Floor", [onnx.op("Add", [scaled, onnx.constant(np.float32(0.5), "half")])])
    lowering.write(y, clipped(lowering, rounded, limits), bounds=limits)
    bound = lowering.bounds(x).magnitude * int(max(np.abs(slopes).max(initial=0), 1))
    lowering.prove(node, "float32", bound=bound, limit=FLOAT32_LIMIT, note="as the SIMD kernels round")


def _lower_by_integers(lowering: Lowering, node: Node, slopes: Table, shift: int, rise: int) -> bool:
    """Negatives and others apart, each by a depthwise 1x1 QLinearConv, and their sum; whether that was done.

    Args:
        lowering: where to append nodes.
        node: the PRelu.
        slopes: (C,) or one.
        shift: of products with slopes.
        rise: shift of what is not negative.
    """
    x, y = node.inputs[0], node.outputs[0]
    if len(lowering.shape(x)) != 4 or not (lowering.integer and lowering.has_bytes(x)):
        return False
    inputs = lowering.bounds(x)
    signs = (
        _Sign(factors=slopes, shift=shift, inputs=Bounds(min(inputs.low, 0), 0)),
        _Sign(factors=np.ones(1, np.int8), shift=rise, inputs=Bounds(0, max(inputs.high, 0))),
    )
    parts = [_scaled(lowering, node, sign) for sign in signs]
    onnx = lowering.onnx
    zero, one = onnx.constant(np.uint8(OFFSET.zero), "zero_point"), onnx.constant(np.float32(1), "one")
    operands = [operand for part in parts if part is not None for operand in (part, one, zero)]
    if len(operands) != 6:
        return False
    total = onnx.op("QLinearAdd", [*operands, one, zero], hint=f"{y}:u8", domain=MICROSOFT)
    lowering.write(y, total, OFFSET, bounds=DTYPE_BOUNDS["int8"])
    bound = inputs.magnitude * int(np.abs(slopes.astype(np.int64)).max(initial=1))
    lowering.prove(node, "integer", bound=bound, limit=FLOAT32_LIMIT, note="as the SIMD kernels round")
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """Inputs of one sign: what they are multiplied with, (C,) or one; by how much shifted; their bounds."""

    factors: Table
    shift: int
    inputs: Bounds


def _scaled(lowering: Lowering, node: Node, sign: _Sign) -> str | None:
    """Inputs of one sign times their factors, shifted right and rounded, others as 0, in uint8 q + 128.

    None if that is not proved exact.
    """
    x, y = node.inputs[0], node.outputs[0]
    channels, inputs = lowering.shape(x)[-1], sign.inputs
    weights = np.broadcast_to(sign.factors.reshape(-1), (channels,)).astype(np.int8).reshape(-1, 1, 1, 1)
    products = Products(
        weights=weights.astype(np.int64),
        bias=np.zeros(channels, np.int64),
        shifts=np.full(channels, sign.shift, np.int64),
        inputs=inputs,
        outputs=DTYPE_BOUNDS["int8"],
        wraps=False,
    )
    requantize = integer.requantization(lowering, products, OFFSET)
    if requantize is None:
        return None
    limits = [lowering.onnx.constant(np.uint8(n + OFFSET.zero), "limit") for n in (inputs.low, inputs.high)]
    value = lowering.onnx.op("Clip", [lowering.read(x, OFFSET), *limits], hint=f"{y}:one_sign")
    if sign.shift == 0 and (weights == 1).all():
        return value
    kernel = ConvKernel(
        lowering=lowering,
        names=(node.inputs[1], f"{y}:bias", y),
        size=lowering.shape(x)[1:-1],
        kernel=(1, 1),
        strides=(1, 1),
        dilations=(1, 1),
        pads=(0, 0, 0, 0),
        depthwise=True,
    )
    return integer.conv(lowering, kernel, (value, OFFSET), weights, requantize)


def _doubt_overflow(lowering: Lowering, node: Node, scaled: str, negative: str) -> None:
    """Count negative inputs whose product does not fit int8: whether esp.vprelu.s8 saturates there is not known."""
    onnx, limits = lowering.onnx, DTYPE_BOUNDS["int8"]
    rounded = onnx.op("Round", [scaled])
    same = onnx.op("Equal", [clipped(lowering, rounded, limits), rounded])
    beyond = onnx.op("And", [onnx.op("Not", [same]), negative])
    count = onnx.op(
        "ReduceSum",
        [onnx.op("Cast", [beyond], to=element_type("int64"))],
        hint=f"{node.outputs[0]}:doubts",
        keepdims=0,
    )
    lowering.doubt(
        node, "a product leaves int8; whether esp32p4 saturates it or cuts its bits is not known", count
    )


def _note(lowering: Lowering, node: Node) -> str:
    same = lowering.exponent(node.inputs[0]) == lowering.exponent(node.outputs[0])
    return "" if same else "exponents differ: others than negatives are not rescaled"


def _slopes(lowering: Lowering, node: Node, dtype: str) -> Table:
    """One slope per element of the last axis.

    int16 with another number of slopes: the first for all (get_output_shape, dl_module_prelu.hpp:44). int8:
    the zeros that pad the stored block count, as the device reads them.
    """
    shape = lowering.shape(node.inputs[0])
    values = lowering.constant_input(node, 1)
    if values is None or values.ndim != 3 or len(shape) != 4:
        raise UnsupportedOperator(
            f"PRelu {node.name!r}: input {shape}, slopes {None if values is None else values.shape}",
            hint="ESP-DL asserts 4 dimensions and slopes of shape (C, 1, 1)",
        )
    flat, channels = values.reshape(-1), shape[-1]
    if dtype == "float32":
        if flat.size not in (1, channels):
            raise UnsupportedOperator(f"Do not support alpha shape: {values.shape} (PRelu {node.name!r})")
        return flat
    if dtype == "int16" and flat.size != channels:
        return np.full(channels, flat[0])
    padding = -flat.nbytes % _BLOCK_BYTES // flat.itemsize
    padded = np.concatenate([flat, np.zeros(padding, flat.dtype)])
    if padded.size < channels:
        raise UnsupportedOperator(
            f"PRelu {node.name!r}: {flat.size} slopes for {channels} elements on the last axis",
            hint="ESP-DL reads past the slopes; let the graph be NHWC and give one slope per channel",
        )
    return padded[:channels]

"""QuantizeLinear, DequantizeLinear, RequantizeLinear: `TensorBase::assign` (dl_tensor_base.cpp:227)."""

from __future__ import annotations

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import clipped, rounded_and_clipped, scale_of
from esp_hil.exact.lowering import CHANNEL_FIRST, DEVICE_FLOAT, OFFSET, Lowering
from esp_hil.exact.onnx_graph import MICROSOFT
from esp_hil.exact.proof import DTYPE_BOUNDS
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


@operator("QuantizeLinear", "DequantizeLinear", "RequantizeLinear", batches=True)
def lower_requantize(lowering: Lowering, node: Node) -> None:
    """The scale and zero point inputs are not read; type and exponent of input and output say all."""
    assign(lowering, node, node.inputs[0], node.outputs[0])


def assign(lowering: Lowering, node: Node, x: str, y: str, *, shape: tuple[int, ...] | None = None) -> None:
    """Y = x in y's type and exponent; in another shape of as many elements, if one is given."""
    source, target = lowering.dtype(x), lowering.dtype(y)
    shift = (0 if lowering.is_float(x) else lowering.exponent(x)) - (
        0 if lowering.is_float(y) else lowering.exponent(y)
    )
    if shape is None and source == target and (shift == 0 or lowering.is_float(x)):
        lowering.alias(y, x)
        lowering.prove(node, "move")
        return
    for dtype in (source, target):
        if dtype not in ("int8", "int16", "float32"):
            raise UnsupportedOperator(f"{node.op_type} {node.name!r}: from {source} to {target}")
    if shape is None and target == "int8" and -7 <= shift <= 8 and lowering.prefers_bytes(x):
        _offset_rescaled(lowering, x, y, shift)
        lowering.prove(node, "integer", note="a power of two times an integer, rounded once")
        return
    form = CHANNEL_FIRST if shape is None and lowering.held_channel_first(x) else DEVICE_FLOAT
    value = _scaled(lowering, lowering.read(x, form), shift, y)
    if shape is not None:
        wanted = lowering.onnx.constant(np.array([-1, *shape[1:]] if shape else [], np.int64), "shape")
        value = lowering.onnx.op("Reshape", [value, wanted], hint=f"{y}:shape")
    if target == "float32":
        lowering.write(y, value, form)
        lowering.prove(node, "float32", note="a power of two times an integer")
        return
    limits = DTYPE_BOUNDS[target]
    if source != "float32" and shift >= 0:
        value = clipped(lowering, value, limits)
    else:
        value = rounded_and_clipped(lowering, value, limits)
    lowering.write(y, value, form, bounds=limits)
    lowering.prove(node, "float32", note="a power of two times an integer, rounded once")


def _offset_rescaled(lowering: Lowering, x: str, y: str, shift: int) -> None:
    """From uint8 q + 128 to the same by QLinearMul with 1, which rounds half to even after adding the zero point.

    Half-up to the right: q + 128 is not negative, so a factor just above 2**shift makes ties go up. It moves
    no other value by as much as one input step, and stays visible after a zero point below 128 was added.
    """
    onnx = lowering.onnx
    one, real_one = onnx.constant(np.uint8(1), "1"), onnx.constant(np.float32(1), "one")
    none = onnx.constant(np.uint8(0), "0")
    nudged = lowering.rounding == "half_up" and shift < 0
    zero = 0 if nudged else 128
    back = 128 - (128 >> -shift) if nudged else 128
    factor = np.float32(2.0**shift * (1 + 2.0**-12 if nudged else 1))
    value = onnx.op(
        "QLinearMul",
        [
            lowering.read(x, OFFSET),
            onnx.constant(factor, "scale"),
            onnx.constant(np.uint8(zero), "zero_point"),
            one,
            real_one,
            none,
            real_one,
            onnx.constant(np.uint8(back), "zero_point"),
        ],
        hint=f"{y}:u8",
        domain=MICROSOFT,
    )
    lowering.write(y, value, OFFSET, bounds=DTYPE_BOUNDS["int8"])


def _scaled(lowering: Lowering, value: str, shift: int, y: str) -> str:
    if shift == 0:
        return value
    factor = lowering.onnx.constant(np.float32(scale_of(shift)), "scale")
    return lowering.onnx.op("Mul", [value, factor], hint=f"{y}:scaled")

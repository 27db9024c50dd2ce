"""QuantizeLinear, DequantizeLinear, RequantizeLinear: `TensorBase::assign` (dl_tensor_base.cpp:227)."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedOperator
from harness.espdl.exact.arithmetic import clipped, rounded_and_clipped, scale_of
from harness.espdl.exact.lowering import CHANNEL_FIRST, DEVICE_FLOAT, Form, Lowering
from harness.espdl.exact.proof import DTYPE_BOUNDS
from harness.espdl.exact.registry import operator
from harness.espdl.model import Node


@operator("QuantizeLinear", "DequantizeLinear", "RequantizeLinear", batches=True)
def lower_requantize(lowering: Lowering, node: Node) -> None:
    """The scale and zero point inputs are not read; type and exponent of input and output say all."""
    assign(lowering, node, node.inputs[0], node.outputs[0])


def assign(lowering: Lowering, node: Node, x: str, y: str) -> None:
    """Y = x in y's type and exponent."""
    source, target = lowering.dtype(x), lowering.dtype(y)
    shift = (0 if lowering.is_float(x) else lowering.exponent(x)) - (
        0 if lowering.is_float(y) else lowering.exponent(y)
    )
    if source == target and (shift == 0 or lowering.is_float(x)):
        lowering.alias(y, x)
        lowering.prove(node, "move")
        return
    for dtype in (source, target):
        if dtype not in ("int8", "int16", "float32"):
            raise UnsupportedOperator(f"{node.op_type} {node.name!r}: from {source} to {target}")
    form = CHANNEL_FIRST if lowering.held_channel_first(x) else DEVICE_FLOAT
    value = _scaled(lowering, lowering.read(x, form), shift, y)
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


def _scaled(lowering: Lowering, value: str, shift: int, y: str) -> str:
    if shift == 0:
        return value
    factor = lowering.onnx.constant(np.float32(scale_of(shift)), "scale")
    return lowering.onnx.op("Mul", [value, factor], hint=f"{y}:scaled")


Forms = Form

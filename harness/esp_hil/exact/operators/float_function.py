"""Functions of one number on float tensors, in the float32 and double steps of ESP-DL's own expressions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from esp_hil.exact.lowering import CHANNEL_FIRST, DEVICE_FLOAT, Lowering, attribute_float
from esp_hil.exact.onnx_graph import element_type
from esp_hil.formats.espdl.model import Node


def unary_double(lowering: Lowering, op_type: str, value: str) -> str:
    """A function evaluated in float64 and rounded once to float32, as a good libm's float function is."""
    wide = lowering.onnx.op("Cast", [value], to=element_type("float64"))
    return lowering.onnx.op(
        "Cast", [lowering.onnx.op(op_type, [wide])], to=element_type("float32"), hint=f"{value}:{op_type}"
    )


def sigmoid(lowering: Lowering, value: str) -> str:
    """1 / (1 + expf(-x)), the sum and quotient in double."""
    onnx = lowering.onnx
    power = unary_double(lowering, "Exp", onnx.op("Neg", [value]))
    one = onnx.constant(np.float64(1), "one")
    total = onnx.op("Add", [onnx.op("Cast", [power], to=element_type("float64")), one])
    return onnx.op(
        "Cast", [onnx.op("Div", [one, total])], to=element_type("float32"), hint=f"{value}:sigmoid"
    )


def tanh(lowering: Lowering, value: str) -> str:
    """2 sigmoid(2x) - 1."""
    onnx = lowering.onnx
    two, one = onnx.constant(np.float32(2), "two"), onnx.constant(np.float32(1), "one")
    doubled = onnx.op("Mul", [sigmoid(lowering, onnx.op("Mul", [value, two])), two])
    return onnx.op("Sub", [doubled, one], hint=f"{value}:tanh")


def _where_negative(lowering: Lowering, value: str, negative: str, other: str) -> str:
    below = lowering.onnx.op("Less", [value, lowering.onnx.constant(np.float32(0), "zero")])
    return lowering.onnx.op("Where", [below, negative, other])


def _elu(lowering: Lowering, node: Node, value: str) -> str:
    onnx = lowering.onnx
    alpha = onnx.constant(np.float32(attribute_float(node, "alpha", 1.0)), "alpha")
    less = onnx.op("Sub", [unary_double(lowering, "Exp", value), onnx.constant(np.float32(1), "one")])
    return _where_negative(lowering, value, onnx.op("Mul", [alpha, less]), value)


def _unit(lowering: Lowering, value: str, dtype: str) -> str:
    zero, one = (lowering.onnx.constant(np.asarray(limit, dtype), "limit") for limit in (0, 1))
    return lowering.onnx.op("Clip", [value, zero, one])


def _hard_sigmoid(lowering: Lowering, node: Node, value: str) -> str:
    onnx = lowering.onnx
    alpha = onnx.constant(np.float32(attribute_float(node, "alpha", 0.2)), "alpha")
    beta = onnx.constant(np.float32(attribute_float(node, "beta", 0.5)), "beta")
    return _unit(lowering, onnx.op("Add", [onnx.op("Mul", [value, alpha]), beta]), "float32")


def _hard_swish(lowering: Lowering, _node: Node, value: str) -> str:
    onnx = lowering.onnx
    wide = onnx.op("Cast", [value], to=element_type("float64"))
    sixth, half = onnx.constant(np.float64(0.166667), "sixth"), onnx.constant(np.float64(0.5), "half")
    gate = _unit(lowering, onnx.op("Add", [onnx.op("Mul", [wide, sixth]), half]), "float64")
    return onnx.op("Cast", [onnx.op("Mul", [gate, wide])], to=element_type("float32"))


def _leaky_relu(lowering: Lowering, node: Node, value: str) -> str:
    alpha = lowering.onnx.constant(np.float32(attribute_float(node, "alpha", 0.01)), "alpha")
    return _where_negative(lowering, value, lowering.onnx.op("Mul", [value, alpha]), value)


def _clip(lowering: Lowering, node: Node, value: str) -> str:
    """A missing min is FLT_MIN, the smallest positive float, as in dl_module_clip.hpp:57."""
    low, high = (lowering.constant_input(node, index) for index in (1, 2))
    floor = np.finfo(np.float32).tiny if low is None else low.reshape(-1)[0]
    ceiling = np.finfo(np.float32).max if high is None else high.reshape(-1)[0]
    limits = [lowering.onnx.constant(np.float32(limit), "limit") for limit in (floor, ceiling)]
    return lowering.onnx.op("Clip", [value, *limits])


_FUNCTIONS: dict[str, Callable[[Lowering, Node, str], str]] = {
    "Sigmoid": lambda lowering, _node, value: sigmoid(lowering, value),
    "Tanh": lambda lowering, _node, value: tanh(lowering, value),
    "Swish": lambda lowering, _node, value: lowering.onnx.op("Mul", [sigmoid(lowering, value), value]),
    "Exp": lambda lowering, _node, value: unary_double(lowering, "Exp", value),
    "Log": lambda lowering, _node, value: unary_double(lowering, "Log", value),
    "Sqrt": lambda lowering, _node, value: lowering.onnx.op("Sqrt", [value]),
    "Neg": lambda lowering, _node, value: lowering.onnx.op("Neg", [value]),
    "Relu": lambda lowering, _node, value: lowering.onnx.op("Relu", [value]),
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Clip": _clip,
}


def lower_float(lowering: Lowering, node: Node) -> None:
    """Emit the node's function on a float tensor."""
    x, y = node.inputs[0], node.outputs[0]
    form = CHANNEL_FIRST if lowering.held_channel_first(x) else DEVICE_FLOAT
    lowering.write(y, _FUNCTIONS[node.op_type](lowering, node, lowering.read(x, form)), form)
    lowering.prove(
        node, "float", note="the device computes in floating point; expf and logf may differ in the last bit"
    )

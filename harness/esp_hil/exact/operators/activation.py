"""Activations and other functions of one number: Relu, Clip, Sigmoid, Elu, HardSwish, Exp, Log, LUT ...

int8 nodes carry a table that esp-ppq computed; where they do not, and always for int16, ESP-DL evaluates a
float32 function of the dequantized input and rounds (dl_module_sigmoid.hpp and its sisters). That function is
tabulated here. Float tensors go through `float_function`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import dl_rescale, dl_scale, quantize_array
from esp_hil.exact.lowering import Lowering, attribute_float, quantized_dtype
from esp_hil.exact.operators.float_function import lower_float
from esp_hil.exact.operators.quantize import assign
from esp_hil.exact.operators.table import Table, lower_table, stored_table
from esp_hil.exact.proof import DTYPE_BOUNDS
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node

F32 = np.float32


def expf(values: Table) -> Table:
    """expf, rounded once from float64."""
    with np.errstate(over="ignore"):
        return np.exp(values.astype(np.float64)).astype(np.float32)


def sigmoid(values: Table) -> Table:
    """dl::math::sigmoid: 1 / (1 + expf(-x)), the sum and quotient in double."""
    return (1.0 / (1.0 + expf(-values).astype(np.float64))).astype(np.float32)


def tanh(values: Table) -> Table:
    """dl::math::tanh: 2 sigmoid(2x) - 1 in float."""
    return F32(2) * sigmoid(F32(2) * values) - F32(1)


def _elu(real: Table, scale: np.float32, node: Node) -> Table:
    alpha = F32(attribute_float(node, "alpha", 1.0))
    return np.where(real >= 0, real * scale, alpha * (expf(real) - F32(1)) * scale)


def _hard_sigmoid(real: Table, scale: np.float32, node: Node) -> Table:
    alpha, beta = F32(attribute_float(node, "alpha", 0.2)), F32(attribute_float(node, "beta", 0.5))
    return np.asarray(np.clip(alpha * real + beta, F32(0), F32(1)) * scale)


def _hard_swish(real: Table, scale: np.float32, _node: Node) -> Table:
    wide = real.astype(np.float64)
    return (np.clip(0.166667 * wide + 0.5, 0, 1) * wide).astype(np.float32) * scale


def _leaky_relu(real: Table, scale: np.float32, node: Node) -> Table:
    alpha = F32(attribute_float(node, "alpha", 0.01))
    return np.where(real >= 0, real * scale, real * scale * alpha)


def _relu(real: Table, scale: np.float32, _node: Node) -> Table:
    return np.where(real >= 0, real * scale, F32(0))


def _logarithm(real: Table, scale: np.float32, _node: Node) -> Table:
    return np.log(real.astype(np.float64)).astype(np.float32) * scale


Function = Callable[[Table, np.float32, Node], Table]
"""Dequantized inputs, output scale, node -> what is rounded.

All float32 in the order of ESP-DL's expression.
"""

_FUNCTIONS: dict[str, Function] = {
    "Sigmoid": lambda real, scale, _node: sigmoid(real) * scale,
    "Tanh": lambda real, scale, _node: tanh(real) * scale,
    "Swish": lambda real, scale, _node: sigmoid(real) * real * scale,
    "Exp": lambda real, scale, _node: expf(real) * scale,
    "Sqrt": lambda real, scale, _node: np.sqrt(real) * scale,
    "Log": _logarithm,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Relu": _relu,
}


@operator("LUT", "Gelu", batches=True)
def lower_lut(lowering: Lowering, node: Node) -> None:
    """A table and nothing else."""
    quantized_dtype(node, floats=False)
    table = stored_table(lowering, node)
    if table is None:
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r} has no table", hint="ESP-DL has it only as a table"
        )
    lower_table(lowering, node, table)


@operator(*_FUNCTIONS, batches=True)
def lower_function(lowering: Lowering, node: Node) -> None:
    """int8: the file's table if it has one. Else the float function of each of the 256 or 65,536 inputs."""
    dtype = quantized_dtype(node)
    if dtype == "float32":
        lower_float(lowering, node)
        return
    table = stored_table(lowering, node) if dtype == "int8" else None
    lower_table(lowering, node, _tabulated(lowering, node, dtype) if table is None else table)


def _inputs(dtype: str) -> Table:
    limits = DTYPE_BOUNDS[dtype]
    return np.arange(limits.low, limits.high + 1)


def _tabulated(lowering: Lowering, node: Node, dtype: str) -> Table:
    x, y = node.inputs[0], node.outputs[0]
    real = _inputs(dtype).astype(np.float32) * dl_scale(lowering.exponent(x))
    with np.errstate(all="ignore"):
        values = _FUNCTIONS[node.op_type](real, dl_rescale(lowering.exponent(y)), node)
    return quantize_array(values, dtype, lowering.rounding)


@operator("Neg", batches=True)
def lower_neg(lowering: Lowering, node: Node) -> None:
    """-q, and the largest value for the smallest.

    Neither table nor exponents are read (dl_module_neg.hpp).
    """
    dtype = quantized_dtype(node)
    if dtype == "float32":
        lower_float(lowering, node)
        return
    lower_table(lowering, node, np.minimum(-_inputs(dtype), DTYPE_BOUNDS[dtype].high).astype(dtype))


@operator("Clip", batches=True)
def lower_clip(lowering: Lowering, node: Node) -> None:
    """Clipped integers times a power of two, rounded.

    A copy if min and max are left out (dl_module_clip.hpp).
    """
    dtype = quantized_dtype(node)
    table = stored_table(lowering, node) if dtype == "int8" else None
    if table is not None:
        lower_table(lowering, node, table)
        return
    x, y = node.inputs[0], node.outputs[0]
    if len(node.inputs) not in (2, 3):
        assign(lowering, node, x, y)
        return
    if dtype == "float32":
        lower_float(lowering, node)
        return
    low, high = (lowering.constant_input(node, index) for index in (1, 2))
    values = _inputs(dtype)
    values = np.minimum(values, values[-1] if high is None else int(high.reshape(-1)[0]))
    if low is not None:
        values = np.where(_inputs(dtype) < int(low.reshape(-1)[0]), int(low.reshape(-1)[0]), values)
    rescale = dl_scale(lowering.exponent(x)) * dl_rescale(lowering.exponent(y))
    lower_table(lowering, node, quantize_array(values.astype(np.float32) * rescale, dtype, lowering.rounding))

"""Reductions over any axes (dl_module_reduce_base.hpp): integer sums, then float32 or a rounding shift.

Where ESP-DL adds or multiplies floats the order counts: from the first element to the last, the outermost
reduced axis first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import clipped, dl_rescale, dl_scale, rounded, rounded_and_clipped
from esp_hil.exact.lowering import Lowering, attribute_int, quantized_dtype
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.operators.float_function import unary_double
from esp_hil.exact.operators.iterate import newton_sqrt, sequential_product, sequential_sum
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


@dataclass(frozen=True, slots=True)
class Rows:
    """The input with its reduced axes flattened into the last one.

    Attributes:
        value: ONNX value of shape (kept..., count), float32.
        count: how many elements go into each result.
        bound: largest magnitude of an element.
    """

    value: str
    count: int
    bound: int


def reduced_axes(lowering: Lowering, node: Node) -> tuple[int, ...]:
    """Reduced axes, ascending.

    Raises:
        UnsupportedOperator: a pattern of axes for which ESP-DL computes nothing.
    """
    rank = len(lowering.shape(node.inputs[0]))
    given = lowering.constant_input(node, 1)
    if given is not None and given.size:
        axes = sorted({int(axis) % rank for axis in given.reshape(-1)})
    elif attribute_int(node, "noop_with_empty_axes", 0):
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: noop_with_empty_axes", hint="ESP-DL reduces anyway"
        )
    else:
        axes = list(range(rank))
    flags = [axis in axes for axis in range(rank)]
    runs = 1 + sum(first != second for first, second in pairwise(flags))
    if runs > 4:
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: axes {axes} of {rank}: ESP-DL computes nothing"
        )
    return tuple(axes)


def _keeps_batch(lowering: Lowering, node: Node) -> bool:
    return lowering.batch_axis_kept(node) and 0 not in reduced_axes(lowering, node)


def _rows(lowering: Lowering, node: Node) -> Rows:
    onnx, x = lowering.onnx, node.inputs[0]
    shape, axes = lowering.shape(x), reduced_axes(lowering, node)
    value = lowering.read(x)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    perm = [*kept, *axes]
    if perm != list(range(len(shape))):
        value = onnx.op("Transpose", [value], hint=f"{x}:rows", perm=perm)
    count = math.prod(shape[axis] for axis in axes)
    if len(axes) != 1:
        target = [-1 if axis == 0 else shape[axis] for axis in kept] + [count]
        value = onnx.op("Reshape", [value, onnx.constant(np.array(target), "rows")], hint=f"{x}:rows")
    bound = 0 if lowering.is_float(x) else lowering.bounds(x).magnitude
    return Rows(value, count, bound)


def _finish(lowering: Lowering, node: Node, value: str) -> None:
    """Write (kept..., 1) in the output's shape."""
    onnx, y = lowering.onnx, node.outputs[0]
    axes = reduced_axes(lowering, node)
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(lowering.shape(node.inputs[0])))
    if not attribute_int(node, "keepdims", 1):
        shape = tuple(size for axis, size in enumerate(shape) if axis not in axes) or (1,)
    target = [-1 if axis == 0 and 0 not in axes else size for axis, size in enumerate(shape)]
    lowering.set_shape(y, shape)
    value = onnx.op("Reshape", [value, onnx.constant(np.array(target), "shape")], hint=f"{y}:shape")
    lowering.write(y, value)


def _integer_sum(lowering: Lowering, node: Node, power: int) -> tuple[str, int, str]:
    """Exact sum of x, |x| or x**2: value, bound and dtype; `power` 0 stands for |x|."""
    onnx, rows = lowering.onnx, _rows(lowering, node)
    bound = rows.count * (rows.bound**2 if power == 2 else rows.bound)
    value, dtype = rows.value, "float32"
    if bound > FLOAT32_LIMIT:
        value, dtype = onnx.op("Cast", [value], to=element_type("float64")), "float64"
    if power == 2:
        value = onnx.op("Mul", [value, value])
    elif power == 0:
        value = onnx.op("Abs", [value])
    axis = onnx.constant(np.array([-1]), "axis")
    return onnx.op("ReduceSum", [value, axis], hint=f"{node.outputs[0]}:sum"), bound, dtype


def _prove_sum(lowering: Lowering, node: Node, bound: int, dtype: str) -> None:
    limit = FLOAT32_LIMIT if dtype == "float32" else FLOAT64_LIMIT
    lowering.prove(node, dtype, bound=bound, limit=limit)


_POWERS = {
    "ReduceSum": 1,
    "ReduceL1": 0,
    "ReduceSumSquare": 2,
    "ReduceMean": 1,
    "ReduceL2": 2,
    "ReduceLogSum": 1,
}


@operator("ReduceSum", "ReduceL1", "ReduceSumSquare", batches=_keeps_batch)
def lower_sum(lowering: Lowering, node: Node) -> None:
    """Sum of x, |x| or x**2, shifted right with rounding."""
    dtype = quantized_dtype(node)
    if dtype == "float32":
        _lower_float(lowering, node)
        return
    onnx, power = lowering.onnx, _POWERS[node.op_type]
    value, bound, carrier = _integer_sum(lowering, node, power)
    exponent = lowering.exponent(node.inputs[0]) * max(power, 1)
    factor = onnx.constant(
        np.asarray(2.0 ** (exponent - lowering.exponent(node.outputs[0])), carrier), "scale"
    )
    value = rounded_and_clipped(lowering, onnx.op("Mul", [value, factor]), DTYPE_BOUNDS[dtype], dtype=carrier)
    _finish(lowering, node, onnx.op("Cast", [value], to=element_type("float32")))
    _prove_sum(lowering, node, bound, carrier)


@operator("ReduceMean", "ReduceL2", "ReduceLogSum", batches=_keeps_batch)
def lower_mean(lowering: Lowering, node: Node) -> None:
    """The integer sum, rounded to float32; then / count, Newton's square root, or logf in float32."""
    dtype = quantized_dtype(node)
    if dtype == "float32":
        _lower_float(lowering, node)
        return
    onnx, power = lowering.onnx, _POWERS[node.op_type]
    value, bound, carrier = _integer_sum(lowering, node, power)
    scale = dl_scale(lowering.exponent(node.inputs[0]) * power)
    value = onnx.op(
        "Mul", [onnx.op("Cast", [value], to=element_type("float32")), onnx.constant(scale, "scale")]
    )
    value = _AFTER_SUM[node.op_type](lowering, node, value)
    _rescale_and_finish(lowering, node, value, dtype)
    _prove_sum(lowering, node, bound, carrier)


def _mean(lowering: Lowering, node: Node, value: str) -> str:
    count = _rows_count(lowering, node)
    return lowering.onnx.op("Div", [value, lowering.onnx.constant(np.float32(count), "count")])


def _rows_count(lowering: Lowering, node: Node) -> int:
    shape = lowering.shape(node.inputs[0])
    return math.prod(shape[axis] for axis in reduced_axes(lowering, node))


_AFTER_SUM: dict[str, Callable[[Lowering, Node, str], str]] = {
    "ReduceMean": _mean,
    "ReduceL2": lambda lowering, _node, value: newton_sqrt(lowering, value),
    "ReduceLogSum": lambda lowering, _node, value: unary_double(lowering, "Log", value),
}


def _rescale_and_finish(lowering: Lowering, node: Node, value: str, dtype: str) -> None:
    """round(value * output scale), saturated; not-a-number becomes the lowest value."""
    onnx, limits = lowering.onnx, DTYPE_BOUNDS[dtype]
    value = onnx.op("Mul", [value, onnx.constant(dl_rescale(lowering.exponent(node.outputs[0])), "rescale")])
    if node.op_type.startswith("ReduceLog"):
        lowest = onnx.constant(np.float32(limits.low), "lowest")
        value = onnx.op("Where", [onnx.op("IsNaN", [value]), lowest, value])
    _finish(lowering, node, rounded_and_clipped(lowering, value, limits))


@operator("ReduceLogSumExp", batches=_keeps_batch)
def lower_log_sum_exp(lowering: Lowering, node: Node) -> None:
    """Logf of the float32 sum of expf, added in order."""
    dtype = quantized_dtype(node)
    onnx, rows = lowering.onnx, _rows(lowering, node)
    real = rows.value
    if dtype != "float32":
        real = onnx.op("Mul", [real, onnx.constant(dl_scale(lowering.exponent(node.inputs[0])), "scale")])
    total = sequential_sum(lowering, unary_double(lowering, "Exp", real), -1, rows.count)
    value = unary_double(lowering, "Log", total)
    if dtype == "float32":
        _finish(lowering, node, value)
    else:
        _rescale_and_finish(lowering, node, value, dtype)
    lowering.prove(node, "float", note="expf and logf may differ in the last bit on the device")


@operator("ReduceMax", "ReduceMin", batches=_keeps_batch)
def lower_extreme(lowering: Lowering, node: Node) -> None:
    """The largest or smallest integer; no rescaling, whatever the exponents."""
    quantized_dtype(node)
    rows = _rows(lowering, node)
    _finish(
        lowering,
        node,
        lowering.onnx.op(node.op_type, [rows.value, lowering.onnx.constant(np.array([-1]), "axis")]),
    )
    lowering.prove(node, "move")


@operator("ReduceProd", batches=_keeps_batch)
def lower_prod(lowering: Lowering, node: Node) -> None:
    """Product of dequantized elements, in order: float32 for int8, float64 for int16.

    Source: dl_module_reduce_prod.hpp.
    """
    dtype = quantized_dtype(node)
    onnx, rows = lowering.onnx, _rows(lowering, node)
    carrier = "float64" if dtype == "int16" else "float32"
    real = rows.value
    if dtype != "float32":
        real = onnx.op("Mul", [real, onnx.constant(dl_scale(lowering.exponent(node.inputs[0])), "scale")])
    if carrier == "float64":
        real = onnx.op("Cast", [real], to=element_type("float64"))
    value = sequential_product(lowering, real, carrier)
    lowering.prove(node, "float", note=f"a {carrier} product in the device's order")
    if dtype == "float32":
        _finish(lowering, node, value)
        return
    factor = onnx.constant(np.asarray(dl_rescale(lowering.exponent(node.outputs[0])), carrier), "rescale")
    value = onnx.op("Mul", [value, factor])
    if carrier == "float64" and lowering.rounding == "half_even":
        value = clipped(lowering, _near_half_even(lowering, value), DTYPE_BOUNDS[dtype], dtype=carrier)
    else:
        value = clipped(lowering, rounded(lowering, value, dtype=carrier), DTYPE_BOUNDS[dtype], dtype=carrier)
    _finish(lowering, node, onnx.op("Cast", [value], to=element_type("float32")))


def _near_half_even(lowering: Lowering, value: str) -> str:
    """`round_half_even(double)` (dl_tool.cpp:51): half away from zero, back to even within 1e-6 of a tie."""
    onnx = lowering.onnx
    sign = onnx.op("Sign", [value])
    apart = onnx.op("Add", [onnx.op("Abs", [value]), onnx.constant(np.float64(0.5), "half")])
    whole = onnx.op("Floor", [apart])
    near = onnx.op("Less", [onnx.op("Sub", [apart, whole]), onnx.constant(np.float64(1e-6), "epsilon")])
    odd = onnx.op("Mod", [whole, onnx.constant(np.float64(2), "two")], fmod=1)
    back = onnx.op("Mul", [onnx.op("Cast", [near], to=element_type("float64")), odd])
    return onnx.op("Mul", [sign, onnx.op("Sub", [whole, back])])


def _lower_float(lowering: Lowering, node: Node) -> None:
    """Float tensors: sums in order."""
    onnx, rows = lowering.onnx, _rows(lowering, node)
    value, power = rows.value, _POWERS[node.op_type]
    if power == 2:
        value = onnx.op("Mul", [value, value])
    elif power == 0:
        value = onnx.op("Abs", [value])
    value = sequential_sum(lowering, value, -1, rows.count)
    if node.op_type in _AFTER_SUM:
        value = _AFTER_SUM[node.op_type](lowering, node, value)
    _finish(lowering, node, value)
    lowering.prove(node, "float", note="added in the device's order")

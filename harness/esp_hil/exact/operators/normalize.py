"""LayerNormalization, LpNormalization and RMSNormalization, in the float32 steps of ESP-DL's modules."""

from __future__ import annotations

import math

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import dl_rescale, dl_scale, rounded_and_clipped
from esp_hil.exact.lowering import Lowering, attribute_float, attribute_int, quantized_dtype
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.operators.iterate import newton_sqrt, sequential_sum
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node

F32 = np.float32


def _axis(lowering: Lowering, node: Node) -> int:
    return attribute_int(node, "axis", -1) % max(len(lowering.shape(node.inputs[0])), 1)


def _keeps_batch(lowering: Lowering, node: Node) -> bool:
    return lowering.batch_axis_kept(node) and _axis(lowering, node) != 0


def _rows(lowering: Lowering, node: Node, axis: int) -> tuple[str, int]:
    """The input as (outer, inner) float32 and the inner size."""
    inner = math.prod(lowering.shape(node.inputs[0])[axis:])
    target = lowering.onnx.constant(np.array([-1, inner]), "rows")
    return lowering.onnx.op(
        "Reshape", [lowering.read(node.inputs[0]), target], hint=f"{node.inputs[0]}:rows"
    ), inner


def _shaped(lowering: Lowering, value: str, name: str) -> str:
    shape = lowering.shape(name)
    return lowering.onnx.op("Reshape", [value, lowering.onnx.constant(np.array([-1, *shape[1:]]), "shape")])


def _write(lowering: Lowering, name: str, value: str, dtype: str) -> None:
    """round(value * output scale), saturated; float tensors as they are."""
    if dtype != "float32":
        factor = lowering.onnx.constant(dl_rescale(lowering.exponent(name)), "rescale")
        value = lowering.onnx.op("Mul", [value, factor])
        value = rounded_and_clipped(lowering, value, DTYPE_BOUNDS[dtype])
    bounds = DTYPE_BOUNDS.get(dtype)
    lowering.write(name, _shaped(lowering, value, name), bounds=bounds)


@operator("LayerNormalization", batches=_keeps_batch)
def lower_layer_normalization(lowering: Lowering, node: Node) -> None:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias.

    The variance is added in order (dl_module_layer_normalization.hpp).
    """
    onnx, dtype = lowering.onnx, quantized_dtype(node)
    axis = _axis(lowering, node)
    rows, inner = _rows(lowering, node, axis)
    scale = F32(1) if dtype == "float32" else dl_scale(lowering.exponent(node.inputs[0]))
    mean = _mean(lowering, rows, inner, dtype)
    apart = onnx.op("Sub", [rows, mean])
    variance = sequential_sum(lowering, onnx.op("Mul", [apart, apart]), 1, inner)
    real_mean = onnx.op("Mul", [mean, onnx.constant(scale, "scale")])
    variance = onnx.op("Mul", [variance, onnx.constant(scale * scale, "scale2")])
    variance = onnx.op("Div", [variance, onnx.constant(F32(inner), "inner")])
    epsilon = onnx.constant(F32(attribute_float(node, "epsilon", 1e-5)), "epsilon")
    deviation = newton_sqrt(lowering, onnx.op("Add", [variance, epsilon]))
    inverse = onnx.op("Div", [onnx.constant(F32(1), "one"), deviation], hint=f"{node.outputs[0]}:inverse")
    real = onnx.op("Mul", [rows, onnx.constant(scale, "scale")])
    value = onnx.op("Mul", [onnx.op("Sub", [real, real_mean]), inverse])
    value = onnx.op("Mul", [value, _parameter(lowering, node, 1, dtype, F32(1))])
    value = onnx.op("Add", [value, _parameter(lowering, node, 2, dtype, F32(0))])
    _write(lowering, node.outputs[0], value, dtype)
    for index, extra in enumerate(node.outputs[1:3]):
        if extra:
            shape = lowering.shape(node.inputs[0])
            lowering.set_shape(extra, (*shape[:axis], *[1] * (len(shape) - axis)))
            _write(lowering, extra, (real_mean, inverse)[index], dtype)
    lowering.prove(node, "float", note="float32 steps in the device's order; Newton's square root")


def _mean(lowering: Lowering, rows: str, inner: int, dtype: str) -> str:
    """Quantized: the exact sum divided in double, then float32. Float: added in order, divided in float32."""
    onnx = lowering.onnx
    if dtype == "float32":
        return onnx.op("Div", [sequential_sum(lowering, rows, 1, inner), onnx.constant(F32(inner), "inner")])
    total = onnx.op(
        "ReduceSum",
        [onnx.op("Cast", [rows], to=element_type("float64")), onnx.constant(np.array([1]), "axis")],
    )
    return onnx.op(
        "Cast",
        [onnx.op("Div", [total, onnx.constant(np.float64(inner), "inner")])],
        to=element_type("float32"),
    )


def _parameter(lowering: Lowering, node: Node, index: int, dtype: str, default: np.float32) -> str:
    """Scale or bias per element of the row, dequantized."""
    onnx = lowering.onnx
    if index >= len(node.inputs) or not node.inputs[index]:
        return onnx.constant(default, "default")
    name = node.inputs[index]
    value = onnx.op("Reshape", [lowering.read(name), onnx.constant(np.array([-1]), "flat")])
    if dtype == "float32" or lowering.is_float(name):
        return value
    return onnx.op("Mul", [value, onnx.constant(dl_scale(lowering.exponent(name)), "scale")])


def _square_sum(lowering: Lowering, node: Node, value: str, count: int, axis: int) -> str:
    """Exact sum of squares of integers along an axis, rounded once to float32."""
    bound = count * lowering.bounds(node.inputs[0]).magnitude ** 2
    small = bound <= FLOAT32_LIMIT
    onnx = lowering.onnx
    wide = value if small else onnx.op("Cast", [value], to=element_type("float64"))
    axes = onnx.constant(np.array([axis]), "axis")
    total = onnx.op("ReduceSum", [onnx.op("Mul", [wide, wide]), axes])
    limit = FLOAT32_LIMIT if small else FLOAT64_LIMIT
    note = "an exact sum of squares, then float32 steps as on the device"
    lowering.prove(node, "float32" if small else "float64", bound=bound, limit=limit, note=note)
    return total if small else onnx.op("Cast", [total], to=element_type("float32"))


@operator("LpNormalization", batches=_keeps_batch)
def lower_lp_normalization(lowering: Lowering, node: Node) -> None:
    """X / sum|x| (p = 1) or x / sqrt(sum x**2) along an axis.

    Zeros where the norm is 0 (dl_module_lp_normalization.hpp).
    """
    onnx, dtype = lowering.onnx, quantized_dtype(node)
    x, y = node.inputs[0], node.outputs[0]
    axis = _axis(lowering, node)
    count = lowering.shape(x)[axis]
    value = lowering.read(x)
    one = onnx.constant(F32(1), "one")
    if attribute_int(node, "p", 2) == 1:
        norm = sequential_sum(lowering, onnx.op("Abs", [value]), axis, count)
        lowering.prove(node, "float", note="float32 steps as on the device")
    else:
        if dtype == "float32":
            square = sequential_sum(lowering, onnx.op("Mul", [value, value]), axis, count)
            lowering.prove(node, "float", note="squares are added in order; ESP-DL adds them in fours")
        else:
            square = _square_sum(lowering, node, value, count, axis)
        norm = onnx.op("Sqrt", [square])
    zero = onnx.constant(F32(0), "zero")
    none = onnx.op("Equal", [norm, zero])
    inverse = onnx.op("Div", [one, onnx.op("Where", [none, one, norm])])
    inverse = onnx.op("Where", [none, zero, inverse])
    result = onnx.op("Mul", [value, inverse], hint=f"{y}:normalized")
    if dtype != "float32":
        result = onnx.op("Mul", [result, onnx.constant(dl_rescale(lowering.exponent(y)), "rescale")])
        result = rounded_and_clipped(lowering, result, DTYPE_BOUNDS[dtype])
    lowering.write(y, result, bounds=DTYPE_BOUNDS.get(dtype))


@operator("RMSNormalization", batches=_keeps_batch)
def lower_rms_normalization(lowering: Lowering, node: Node) -> None:
    """X / sqrt(mean(x**2) + epsilon) * scale.

    The scale is a float tensor even for int8 and int16 (dl_module_rms_normalization.hpp).
    """
    onnx, dtype = lowering.onnx, quantized_dtype(node)
    if len(node.inputs) < 2 or not lowering.is_float(node.inputs[1]):
        raise UnsupportedOperator(
            f"RMSNormalization {node.name!r}: the scale is not a float tensor",
            hint="ESP-DL reads it as float32",
        )
    rows, inner = _rows(lowering, node, _axis(lowering, node))
    if dtype == "float32":
        square = sequential_sum(lowering, onnx.op("Mul", [rows, rows]), 1, inner)
        lowering.prove(node, "float", note="added in the device's order")
        factor = F32(1)
    else:
        real = dl_scale(lowering.exponent(node.inputs[0]))
        square = onnx.op(
            "Mul", [_square_sum(lowering, node, rows, inner, 1), onnx.constant(real * real, "scale2")]
        )
        factor = real * dl_rescale(lowering.exponent(node.outputs[0]))
    mean = onnx.op("Div", [square, onnx.constant(F32(inner), "inner")])
    epsilon = onnx.constant(F32(attribute_float(node, "epsilon", 1e-5)), "epsilon")
    root = onnx.op("Sqrt", [onnx.op("Add", [mean, epsilon])])
    inverse = onnx.op("Div", [onnx.constant(F32(1), "one"), root])
    inverse = onnx.op("Mul", [inverse, onnx.constant(factor, "factor")])
    value = onnx.op("Mul", [rows, inverse])
    value = onnx.op("Mul", [value, _parameter(lowering, node, 1, "float32", F32(1))])
    if dtype != "float32":
        value = rounded_and_clipped(lowering, value, DTYPE_BOUNDS[dtype])
    lowering.write(node.outputs[0], _shaped(lowering, value, node.outputs[0]), bounds=DTYPE_BOUNDS.get(dtype))

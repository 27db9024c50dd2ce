"""Softmax and LogSoftmax: float32 answers, summed one after the other as ESP-DL does.

Source: dl_module_softmax.hpp.
"""

from __future__ import annotations

import numpy as np

from esp_hil.exact.arithmetic import dl_scale
from esp_hil.exact.lowering import Lowering, attribute_int, quantized_dtype
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.operators.activation import expf
from esp_hil.exact.operators.iterate import sequential_sum
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


def _axis(lowering: Lowering, node: Node) -> int:
    rank = len(lowering.shape(node.inputs[0]))
    return attribute_int(node, "axis", -1) % max(rank, 1)


def _keeps_batch(lowering: Lowering, node: Node) -> bool:
    return lowering.batch_axis_kept(node) and _axis(lowering, node) != 0


@operator("Softmax", "LogSoftmax", batches=_keeps_batch)
def lower_softmax(lowering: Lowering, node: Node) -> None:
    """exp(x) / sum(exp(x)).

    Int8 takes exp from a table without subtracting the maximum, int16 and float subtract it.
    """
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    dtype = quantized_dtype(node)
    axis = _axis(lowering, node)
    length = lowering.shape(x)[axis]
    scaled = lowering.read(x)
    if dtype != "float32":
        scale = onnx.constant(dl_scale(lowering.exponent(x)), "scale")
        scaled = onnx.op("Mul", [scaled, scale], hint=f"{y}:real")
    if dtype == "int8":
        table = expf(np.arange(-128, 128).astype(np.float32) * dl_scale(lowering.exponent(x)))
        offset = onnx.op("Add", [lowering.read(x), onnx.constant(np.float32(128), "offset")])
        index = onnx.op("Cast", [offset], to=element_type("int32"))
        powers = onnx.op("Gather", [onnx.constant(table, f"{y}:exp"), index], hint=f"{y}:powers")
    else:
        largest = onnx.op("ReduceMax", [scaled, onnx.constant(np.array([axis]), "axis")], hint=f"{y}:max")
        scaled = onnx.op("Sub", [scaled, largest], hint=f"{y}:shifted")
        wide = onnx.op("Cast", [scaled], to=element_type("float64"))
        powers = onnx.op("Cast", [onnx.op("Exp", [wide])], to=element_type("float32"), hint=f"{y}:powers")
    total = sequential_sum(lowering, powers, axis, length)
    if node.op_type == "Softmax":
        value = onnx.op("Div", [powers, total], hint=f"{y}:softmax")
    else:
        logarithm = onnx.op(
            "Cast",
            [onnx.op("Log", [onnx.op("Cast", [total], to=element_type("float64"))])],
            to=element_type("float32"),
        )
        value = onnx.op("Sub", [scaled, logarithm], hint=f"{y}:logsoftmax")
    lowering.write(y, value)
    lowering.prove(node, "float", note="the device computes in float32; expf may differ in the last bit")

"""Operators that only move numbers: Transpose, Reshape, Flatten, Squeeze, Unsqueeze, Identity, Concat ..."""

from __future__ import annotations

import numpy as np

from esp_hil.errors import FormatError, UnsupportedOperator
from esp_hil.exact.lowering import Form, Lowering, attribute_ints, channel_first_perm, size_of
from esp_hil.exact.operators.quantize import assign
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


def device_form(lowering: Lowering, name: str) -> Form:
    """A form in the device's order that the tensor is in already, else its float32."""
    if lowering.prefers_bytes(name):
        return lowering.bytes_form(name)
    for dtype in ("float32", lowering.dtype(name)):
        if lowering.has(name, Form(dtype)):
            return Form(dtype)
    return Form("float32")


def _moved(lowering: Lowering, node: Node, value: str, form: Form) -> None:
    x, y = node.inputs[0], node.outputs[0]
    lowering.write(y, value, form, bounds=None if lowering.is_float(x) else lowering.bounds(x))
    lowering.prove(node, "move")


def reshape(lowering: Lowering, node: Node) -> None:
    """Same numbers in the same order, in the shape that the file gives the output."""
    x, y = node.inputs[0], node.outputs[0]
    shape = lowering.shape(y)
    if size_of(shape) != size_of(lowering.shape(x)):
        raise FormatError(f"{node.op_type} {node.name!r}: from shape {lowering.shape(x)} to {shape}")
    form = device_form(lowering, x)
    target = lowering.onnx.constant(np.array([-1, *shape[1:]] if shape else [], np.int64), "shape")
    _moved(
        lowering, node, lowering.onnx.op("Reshape", [lowering.read(x, form), target], hint=f"{y}:shape"), form
    )


def _assigning_reshape(lowering: Lowering, node: Node) -> None:
    """`output->assign(input)` unless the planner put the output where the input is.

    It shares the memory only where the bytes are the same size; from int8 to float32 it converts.
    """
    x, y = node.inputs[0], node.outputs[0]
    if lowering.dtype(x) == lowering.dtype(y):
        reshape(lowering, node)
        return
    if size_of(lowering.shape(x)) != size_of(lowering.shape(y)):
        raise FormatError(
            f"{node.op_type} {node.name!r}: from shape {lowering.shape(x)} to {lowering.shape(y)}"
        )
    _refuse_shared_memory(lowering, node)
    assign(lowering, node, x, y, shape=lowering.shape(y))


operator("Reshape", "Flatten", "Squeeze", "Unsqueeze", batches=Lowering.batch_axis_kept)(_assigning_reshape)


def _refuse_shared_memory(lowering: Lowering, node: Node) -> None:
    """From a type to one that is no wider, the planner puts the output on the input, and nothing is converted."""
    x, y = node.inputs[0], node.outputs[0]
    ends = {value.name for value in lowering.graph.outputs}
    wider = np.dtype(lowering.dtype(y)).itemsize > np.dtype(lowering.dtype(x)).itemsize
    if not wider and x not in lowering.graph.initializers and x not in ends:
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: from {lowering.dtype(x)} to {lowering.dtype(y)} in the memory of its "
            "input, where ESP-DL converts nothing",
            hint="export again so that QuantizeLinear or RequantizeLinear converts",
        )


@operator("Identity", batches=True)
def lower_identity(lowering: Lowering, node: Node) -> None:
    """The same tensor, or `output->assign(input)` where types differ."""
    if lowering.dtype(node.inputs[0]) != lowering.dtype(node.outputs[0]):
        _refuse_shared_memory(lowering, node)
        assign(lowering, node, node.inputs[0], node.outputs[0])
        return
    lowering.alias(node.outputs[0], node.inputs[0])
    lowering.prove(node, "move")


def _transpose_keeps_batch(lowering: Lowering, node: Node) -> bool:
    perm = attribute_ints(node, "perm", ())
    return lowering.batch_axis_kept(node) and bool(perm) and perm[0] == 0


@operator("Transpose", batches=_transpose_keeps_batch)
def lower_transpose(lowering: Lowering, node: Node) -> None:
    """Axes permuted; negative entries count from the end, as ESP-DL reads them."""
    x, y = node.inputs[0], node.outputs[0]
    rank = len(lowering.shape(x))
    perm = [axis % rank for axis in attribute_ints(node, "perm", ())]
    if sorted(perm) != list(range(rank)):
        raise FormatError(f"Transpose {node.name!r}: perm {perm} for {rank} dimensions")
    first = Form("float32", channel_first=True)
    if perm == channel_first_perm(rank) and lowering.has(x, first):
        _moved(lowering, node, lowering.read(x, first), Form("float32"))
        return
    form = device_form(lowering, x)
    _moved(
        lowering,
        node,
        lowering.onnx.op("Transpose", [lowering.read(x, form)], hint=f"{y}:perm", perm=perm),
        form,
    )

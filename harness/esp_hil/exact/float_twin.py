"""The float network that an `.espdl` came from, as far as the file tells.

Same graph, dequantized weights, no rounding: what the exact reference's speed is compared with. NCHW, float32
inputs and outputs, activations as ONNX operators of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import shapes
from esp_hil.exact.filters import filter_oihw
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    Form,
    Lowering,
    attribute_float,
    attribute_int,
    attribute_ints,
    attribute_text,
    channel_first_perm,
)
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.operators.arith import common_form
from esp_hil.exact.operators.layout import reshape
from esp_hil.exact.registry import operator_of
from esp_hil.formats.espdl.model import EspdlModel, Node

_UNARY = frozenset(
    {
        "Relu",
        "Sigmoid",
        "Tanh",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Exp",
        "Log",
        "Sqrt",
        "Neg",
    }
)
_MOVES = frozenset(
    {
        "Transpose",
        "Slice",
        "Split",
        "Gather",
        "Pad",
        "DepthToSpace",
        "SpaceToDepth",
        "InsertZeros",
        "Identity",
        "Concat",
        "ReduceMax",
        "ReduceMin",
    }
)
_RESHAPES = frozenset(
    {
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
    }
)
_SAME = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "RequantizeLinear",
    }
)


def float_twin(model: EspdlModel) -> onnx.ModelProto:
    """The float model, with static shapes.

    Raises:
        UnsupportedOperator: an operator for which no float model is derived.
    """
    graph = model.graph
    twin = Lowering(graph, "esp32p4", batched=False, kernels="chip")
    inputs = []
    for info in graph.inputs:
        form = CHANNEL_FIRST if len(info.shape) > 2 else DEVICE_FLOAT
        twin.declare_input(info.name, form)
        inputs.append(
            helper.make_tensor_value_info(info.name, element_type("float32"), _shape(info.shape, form))
        )
    for node in graph.nodes:
        shapes.infer(twin, node)
        _emit(twin, node)
    outputs = []
    for info in graph.outputs:
        form = CHANNEL_FIRST if twin.held_channel_first(info.name) else DEVICE_FLOAT
        value = twin.read(info.name, form)
        name = twin.onnx.op("Identity", [value], hint=info.name)
        outputs.append(helper.make_tensor_value_info(name, element_type("float32"), None))
    return twin.onnx.model(name=graph.name, inputs=inputs, outputs=outputs, metadata={})


def _shape(shape: tuple[int, ...], form: Form) -> list[int]:
    return [shape[axis] for axis in channel_first_perm(len(shape))] if form.channel_first else list(shape)


def _emit(twin: Lowering, node: Node) -> None:
    kind = attribute_text(node, "original_op_type", node.op_type) if node.op_type == "LUT" else node.op_type
    emit = _EMITTERS.get(kind)
    if emit is not None:
        emit(twin, node)
    elif kind in _UNARY:
        _unary(twin, node, kind)
    elif kind in _RESHAPES:
        reshape(twin, node)
    elif kind in _SAME:
        twin.alias(node.outputs[0], node.inputs[0])
    elif kind in _MOVES:
        operator_of(node).lower(twin, node)
    else:
        raise UnsupportedOperator(
            f"no float model is derived for {kind}", hint="give the float ONNX model with --float"
        )


def _form(twin: Lowering, name: str) -> Form:
    return CHANNEL_FIRST if twin.held_channel_first(name) else DEVICE_FLOAT


def _unary(twin: Lowering, node: Node, kind: str) -> None:
    form = _form(twin, node.inputs[0])
    named: dict[str, Any] = {
        key: attribute_float(node, key, 0) for key in ("alpha", "beta") if key in node.attributes
    }
    twin.write(node.outputs[0], twin.onnx.op(kind, [twin.read(node.inputs[0], form)], **named), form)


def _swish(twin: Lowering, node: Node) -> None:
    form = _form(twin, node.inputs[0])
    x = twin.read(node.inputs[0], form)
    twin.write(node.outputs[0], twin.onnx.op("Mul", [x, twin.onnx.op("Sigmoid", [x])]), form)


def _clip(twin: Lowering, node: Node) -> None:
    form = _form(twin, node.inputs[0])
    limits = [twin.onnx.constant(np.float32(limit), "limit") for limit in (0, 6)]
    twin.write(node.outputs[0], twin.onnx.op("Clip", [twin.read(node.inputs[0], form), *limits]), form)


def _prelu(twin: Lowering, node: Node) -> None:
    slopes = twin.constant(node.inputs[1])
    assert slopes is not None
    x = node.inputs[0]
    rank = len(twin.shape(x))
    form = _form(twin, x)
    shape = (-1, *[1] * (rank - 2)) if form.channel_first else (-1,)
    real = slopes.astype(np.float32).reshape(shape) * np.float32(2.0 ** twin.exponent(node.inputs[1]))
    twin.write(
        node.outputs[0], twin.onnx.op("PRelu", [twin.read(x, form), twin.onnx.constant(real, "slope")]), form
    )


def _binary(twin: Lowering, node: Node) -> None:
    names = list(node.inputs[:2])
    form = common_form(twin, names)
    twin.write(node.outputs[0], twin.onnx.op(node.op_type, [twin.read(name, form) for name in names]), form)


def _activated(twin: Lowering, node: Node, value: str) -> str:
    return twin.onnx.op("Relu", [value]) if attribute_text(node, "activation", "") == "Relu" else value


def _parameters(twin: Lowering, node: Node, *, depthwise: bool) -> list[str]:
    """Dequantized filter (N, C, ...) and bias."""
    tensor = twin.constant_tensor(node.inputs[1])
    if tensor is None:
        raise UnsupportedOperator(f"{node.op_type} {node.name!r}: the filter is not a constant")
    weights = filter_oihw(tensor, depthwise=depthwise, kernels="chip").astype(np.float64)
    scales = np.exp2(np.broadcast_to(np.array(tensor.exponents, float), (weights.shape[0],)))
    real = (weights * scales.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.float32)
    bias = twin.constant_input(node, 2)
    if bias is None:
        bias = np.zeros(weights.shape[0])
    total = (bias.reshape(-1) * scales * 2.0 ** twin.exponent(node.inputs[0])).astype(np.float32)
    if node.op_type == "Gemm":
        real = np.ascontiguousarray(real.reshape(real.shape[0], -1).T)
    return [twin.onnx.constant(real, node.inputs[1]), twin.onnx.constant(total, f"{node.outputs[0]}:bias")]


def _conv(twin: Lowering, node: Node) -> None:
    group = attribute_int(node, "group", 1)
    parameters = _parameters(twin, node, depthwise=group != 1)
    value = twin.onnx.op(
        "Conv",
        [twin.read(node.inputs[0], CHANNEL_FIRST), *parameters],
        strides=list(attribute_ints(node, "strides", ())),
        dilations=list(attribute_ints(node, "dilations", ())),
        pads=list(attribute_ints(node, "pads", ())) or None,
        group=group,
    )
    twin.write(node.outputs[0], _activated(twin, node, value), CHANNEL_FIRST)


def _gemm(twin: Lowering, node: Node) -> None:
    matrix, bias = _parameters(twin, node, depthwise=False)
    x = twin.read(node.inputs[0])
    if len(twin.shape(node.inputs[0])) == 2:
        value = twin.onnx.op("Gemm", [x, matrix, bias])
    else:
        value = twin.onnx.op("Add", [twin.onnx.op("MatMul", [x, matrix]), bias])
    twin.write(node.outputs[0], _activated(twin, node, value))


def _pool(twin: Lowering, node: Node) -> None:
    attributes: dict[str, Any] = {}
    if node.op_type != "GlobalAveragePool":
        names = ("kernel_shape", "strides", "pads")
        attributes = {name: list(attribute_ints(node, name, ())) or None for name in names}
    value = twin.onnx.op(node.op_type, [twin.read(node.inputs[0], CHANNEL_FIRST)], **attributes)
    twin.write(node.outputs[0], value, CHANNEL_FIRST)


def _resize(twin: Lowering, node: Node) -> None:
    before, after = twin.shape(node.inputs[0]), twin.shape(node.outputs[0])
    scales = np.array([1, 1, *(b / a for a, b in zip(before[1:-1], after[1:-1], strict=True))], np.float32)
    mode = attribute_text(node, "mode", "nearest")
    value = twin.onnx.op(
        "Resize",
        [twin.read(node.inputs[0], CHANNEL_FIRST), "", twin.onnx.constant(scales, "scales")],
        mode=mode,
        coordinate_transformation_mode="asymmetric" if mode == "nearest" else "half_pixel",
        nearest_mode="floor" if mode == "nearest" else None,
    )
    twin.write(node.outputs[0], value, CHANNEL_FIRST)


def _softmax(twin: Lowering, node: Node) -> None:
    value = twin.onnx.op(node.op_type, [twin.read(node.inputs[0])], axis=attribute_int(node, "axis", -1))
    twin.write(node.outputs[0], value)


def _streaming(twin: Lowering, node: Node) -> None:
    """The frames from before are zeros: a Pad in front."""
    x, y = node.inputs[0], node.outputs[0]
    shape = twin.shape(x)
    axis, kept = attribute_int(node, "frame_axis", 1) % len(shape), attribute_int(node, "window_size", 1) - 1
    twin.set_shape(y, (*shape[:axis], shape[axis] + kept, *shape[axis + 1 :]))
    pads = np.zeros(2 * len(shape), np.int64)
    pads[axis] = kept
    twin.write(y, twin.onnx.op("Pad", [twin.read(x), twin.onnx.constant(pads, "pads")]))


_EMITTERS: dict[str, Callable[[Lowering, Node], None]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _pool,
    "Resize": _resize,
    "Clip": _clip,
    "Swish": _swish,
    "PRelu": _prelu,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "StreamingCache": _streaming,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _binary),
}

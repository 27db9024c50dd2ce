"""An ONNX network of convolutions and fully connected layers as a float `.tflite` file.

Only what the catalogue's networks need; any other operator, attribute or padding is refused by name. NCHW
becomes NHWC: filters OIHW -> OHWI, and a fully connected layer after a Flatten gets its columns reordered
from CHW to HWC, so that no Transpose is left in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.tflite.writer import FloatWriter

_HINT = "convert the model with TensorFlow or litert-torch and give the .tflite file"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """One ONNX node with its attributes as Python values."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]

    def refuse(self, why: str) -> UnsupportedOperator:
        return UnsupportedOperator(f"{self.op_type} {self.name or self.output}: {why}", hint=_HINT)

    def only(self, **allowed: Any) -> None:  # noqa: ANN401 - values of any attribute type
        """Refuse an attribute that is not among `allowed` or has another value than allowed (None: any)."""
        for key, value in self.attributes.items():
            if key not in allowed or (allowed[key] is not None and value != allowed[key]):
                raise self.refuse(f"attribute {key} = {value!r} is not converted")


@dataclass(slots=True, kw_only=True)
class _State:
    """What is known while the nodes are walked.

    Attributes:
        constants: initializers by name.
        tensors: number of the tensor of each value that has been made.
        images: (C, H, W) of a value that was flattened from NHWC, by name.
        users: nodes that read a value, by name.
        outputs: names of the graph's outputs.
        done: outputs of Relu nodes that were fused into the node before.
    """

    writer: FloatWriter
    constants: Mapping[str, NDArray[Any]]
    users: Mapping[str, list[_Node]]
    outputs: frozenset[str]
    tensors: dict[str, int] = field(default_factory=dict)
    images: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def fusable_relu(self, node: _Node) -> str | None:
        """Output of the Relu that alone reads this node's result, which an operator can apply itself."""
        users = self.users.get(node.output, [])
        if len(users) == 1 and users[0].op_type == "Relu" and node.output not in self.outputs:
            return users[0].output
        return None

    def make(self, node: _Node, shape: tuple[int, ...]) -> tuple[int, bool]:
        """Number of the result tensor, and whether a Relu was fused into it."""
        relu = self.fusable_relu(node)
        name = node.output if relu is None else relu
        self.tensors[name] = made = self.writer.activation(name, shape)
        if relu is not None:
            self.done.add(relu)
        return made, relu is not None

    def constant(self, node: _Node, index: int) -> NDArray[np.float32]:
        name = node.inputs[index]
        if name not in self.constants:
            raise node.refuse(f"input {name} is not a constant")
        return np.asarray(self.constants[name], np.float32)


def float_tflite(onnx_path: Path) -> bytes:
    """Convert an ONNX file; the batch axis becomes 1.

    Raises:
        UnsupportedOperator: an operator, attribute or padding that is not converted, by name.
        QuantizeError: ai-edge-litert is not installed.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(onnx_path).graph
    nodes = [
        _Node(
            name=node.name,
            op_type=node.op_type,
            inputs=tuple(node.input),
            output=node.output[0],
            attributes={a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
        for node in graph.node
    ]
    users: dict[str, list[_Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    state = _State(
        writer=FloatWriter(),
        constants={tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer},
        users=users,
        outputs=frozenset(output.name for output in graph.output),
    )
    inputs = [value for value in graph.input if value.name not in state.constants]
    for value in inputs:
        shape = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        state.tensors[value.name] = state.writer.activation(value.name, _device_shape(shape))
    for node in nodes:
        if node.output in state.done:
            continue
        if node.op_type not in _CONVERTERS:
            raise node.refuse("the operator is not converted")
        _CONVERTERS[node.op_type](state, node)
    for output in graph.output:
        if state.images.get(output.name, (1, 1, 1))[0] > 1:
            raise UnsupportedOperator(
                f"output {output.name} is flattened: its order would change", hint=_HINT
            )
    return state.writer.finish(
        [state.tensors[value.name] for value in inputs],
        [state.tensors[output.name] for output in graph.output],
    )


def _device_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    rest = (shape[2], shape[3], shape[1]) if len(shape) == 4 else shape[1:]
    return (1, *rest)


def _is_same(node: _Node, extents: tuple[int, ...]) -> bool:
    """Whether the pads are TensorFlow's SAME; refuses what is neither SAME nor VALID.

    SAME pads ceil(extent / stride) * stride ... with the odd one at the end (TensorFlow's documentation of
    tf.nn.convolution).
    """
    kernel = tuple(node.attributes["kernel_shape"])
    strides = tuple(node.attributes.get("strides", (1, 1)))
    pads = tuple(node.attributes.get("pads", (0, 0, 0, 0)))
    if not any(pads):
        return False
    begin, end = [], []
    for extent, width, stride in zip(extents, kernel, strides, strict=True):
        total = max((-(-extent // stride) - 1) * stride + width - extent, 0)
        begin.append(total // 2)
        end.append(total - total // 2)
    if pads != (*begin, *end):
        raise node.refuse(f"pads {list(pads)} are neither SAME nor VALID")
    return True


def _window(state: _State, node: _Node, extents: tuple[int, ...]) -> tuple[bool, dict[str, int], list[int]]:
    """(same padding, strides and padding as option fields, output height and width)."""
    same = _is_same(node, extents)
    kernel = node.attributes["kernel_shape"]
    strides = node.attributes.get("strides", (1, 1))
    made = [
        -(-extent // stride) if same else (extent - width) // stride + 1
        for extent, width, stride in zip(extents, kernel, strides, strict=True)
    ]
    fields = {"padding": state.writer.padding(same=same), "strideH": strides[0], "strideW": strides[1]}
    return same, fields, made


def _conv(state: _State, node: _Node) -> None:
    node.only(kernel_shape=None, strides=None, pads=None, group=1, dilations=[1, 1], auto_pad=b"NOTSET")
    given = state.tensors[node.inputs[0]]
    weights = state.constant(node, 1)
    bias = state.constant(node, 2) if len(node.inputs) > 2 else np.zeros(len(weights), np.float32)
    height, width = state.writer.shape(given)[1:3]
    _, fields, made = _window(state, node, (height, width))
    output, relu = state.make(node, (1, *made, len(weights)))
    filters = state.writer.constant(f"{node.output}/filter", weights.transpose(0, 2, 3, 1))
    state.writer.operator(
        "CONV_2D",
        [given, filters, state.writer.constant(f"{node.output}/bias", bias)],
        output,
        "Conv2DOptions",
        **fields,
        dilationHFactor=1,
        dilationWFactor=1,
        fusedActivationFunction=state.writer.fused(relu=relu),
    )


def _max_pool(state: _State, node: _Node) -> None:
    node.only(
        kernel_shape=None,
        strides=None,
        pads=None,
        dilations=[1, 1],
        ceil_mode=0,
        storage_order=0,
        auto_pad=b"NOTSET",
    )
    given = state.tensors[node.inputs[0]]
    height, width, channels = state.writer.shape(given)[1:]
    _, fields, made = _window(state, node, (height, width))
    output, relu = state.make(node, (1, *made, channels))
    kernel = node.attributes["kernel_shape"]
    state.writer.operator(
        "MAX_POOL_2D",
        [given],
        output,
        "Pool2DOptions",
        **fields,
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        fusedActivationFunction=state.writer.fused(relu=relu),
    )


def _flatten(state: _State, node: _Node) -> None:
    node.only(axis=1)
    given = state.tensors[node.inputs[0]]
    shape = state.writer.shape(given)
    count = int(np.prod(shape[1:]))
    if len(shape) == 4:
        state.images[node.output] = (shape[3], shape[1], shape[2])
    state.tensors[node.output] = output = state.writer.activation(node.output, (1, count))
    wanted = state.writer.constant(f"{node.output}/shape", np.array([1, count], np.int32))
    state.writer.operator("RESHAPE", [given, wanted], output, "ReshapeOptions", newShape=[1, count])


def _gemm(state: _State, node: _Node) -> None:
    node.only(alpha=1.0, beta=1.0, transA=0, transB=None)
    given = state.tensors[node.inputs[0]]
    weights = state.constant(node, 1)  # (O, I) where transB is set
    weights = weights if node.attributes.get("transB", 0) else weights.T
    if node.inputs[0] in state.images:
        channels, height, width = state.images[node.inputs[0]]
        cube = weights.reshape(-1, channels, height, width)
        weights = cube.transpose(0, 2, 3, 1).reshape(len(weights), -1)
    bias = state.constant(node, 2) if len(node.inputs) > 2 else np.zeros(len(weights), np.float32)
    output, relu = state.make(node, (1, len(weights)))
    matrix = state.writer.constant(f"{node.output}/weights", weights)
    state.writer.operator(
        "FULLY_CONNECTED",
        [given, matrix, state.writer.constant(f"{node.output}/bias", bias)],
        output,
        "FullyConnectedOptions",
        fusedActivationFunction=state.writer.fused(relu=relu),
    )


def _elementwise(name: str, options: str | None = None, **values: int | float) -> _Converter:
    def convert(state: _State, node: _Node) -> None:
        given = state.tensors[node.inputs[0]]
        shape = state.writer.shape(given)
        last = len(shape) - 1
        if name == "SOFTMAX" and (len(shape) != 2 or node.attributes.get("axis", -1) not in {-1, last}):
            raise node.refuse("only over the last of two axes")
        if node.inputs[0] in state.images:
            state.images[node.output] = state.images[node.inputs[0]]
        state.tensors[node.output] = output = state.writer.activation(node.output, shape)
        state.writer.operator(name, [given], output, options, **values)

    return convert


_Converter = Callable[[_State, _Node], None]
_CONVERTERS: dict[str, _Converter] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Relu": _elementwise("RELU"),
    "Sigmoid": _elementwise("LOGISTIC"),
    "Softmax": _elementwise("SOFTMAX", "SoftmaxOptions", beta=1.0),
}

"""The work of each layer of a device file: multiply-accumulates, and bytes that have to be moved.

Both come from the graph alone, so they are the same whatever runs it. Bytes are the least possible: every
parameter and every activation once, each in its stored type.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esp_hil.formats.espdl.attributes import integer, text
from esp_hil.formats.espdl.model import EspdlModel, Graph, Node, TensorData
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.formats.espdl.shapes import propagate
from esp_hil.formats.tflite.model import Operator, TfliteModel
from esp_hil.models.device_file import DeviceFile

Shape = tuple[int, ...]

_GATES = {"LSTM": 4, "GRU": 3}

_VIEWS = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
"""Operators of TFLM that move nothing if planned well; the bytes of ESP-DL's are told by its own table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """What one layer has to do.

    Attributes:
        name: of the node in the file.
        operator: its type, in the file's own words.
        macs: multiply-accumulates; 0 for a layer that only moves or looks up.
        parameter_bytes: weights and biases, read once.
        activation_bytes: inputs read and outputs written, once each; 0 for a layer that only renames.
        bits: width of its inputs' integers (8 or 16), 32 for floats.
    """

    name: str
    operator: str
    macs: int
    parameter_bytes: int
    activation_bytes: int
    bits: int

    @property
    def bytes(self) -> int:
        """All bytes that it has to move."""
        return self.parameter_bytes + self.activation_bytes


def work_of(file: DeviceFile) -> tuple[LayerWork, ...]:
    """The work of each layer, in execution order.

    Raises:
        UnsupportedOperator: a shape cannot be told, so neither can the work.
    """
    if isinstance(file.content, EspdlModel):
        return _of_espdl(file.content.graph)
    return tuple(_of_tflite(file.content, operator) for operator in file.content.operators)


def total_macs(layers: Sequence[LayerWork]) -> int:
    """Multiply-accumulates of one inference."""
    return sum(layer.macs for layer in layers)


def total_bytes(layers: Sequence[LayerWork]) -> int:
    """Bytes of one inference, if no layer finds anything of the one before it in a cache."""
    return sum(layer.bytes for layer in layers)


# .espdl


def _of_espdl(graph: Graph) -> tuple[LayerWork, ...]:
    shapes = propagate(graph)
    return tuple(_of_node(graph, node, shapes) for node in graph.nodes)


def _of_node(graph: Graph, node: Node, shapes: Mapping[str, Shape]) -> LayerWork:
    constants = [graph.initializers[name] for name in node.inputs if name in graph.initializers]
    operator = REGISTERED.get(node.op_type)
    renames = operator is not None and operator.in_place == "unchanged"
    values = [name for name in (*node.inputs, *node.outputs) if name and name not in graph.initializers]
    return LayerWork(
        name=node.name,
        operator=node.op_type,
        macs=_macs(graph, node, shapes),
        parameter_bytes=0 if renames else sum(map(_tensor_bytes, constants)),
        activation_bytes=0 if renames else sum(_value_bytes(graph, name, shapes) for name in values),
        bits=_bits(graph, node),
    )


def _tensor_bytes(tensor: TensorData) -> int:
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize


def _value_bytes(graph: Graph, name: str, shapes: Mapping[str, Shape]) -> int:
    return math.prod(shapes.get(name, ())) * _item_bytes(graph, name)


def _item_bytes(graph: Graph, name: str) -> int:
    value = graph.values.get(name)
    return np.dtype(value.dtype).itemsize if value else 1


def _bits(graph: Graph, node: Node) -> int:
    """Width of the data input; ESP-DL computes in the type of its activations."""
    name = node.input(0)
    constant = graph.initializers.get(name)
    dtype = constant.dtype if constant else None
    return 8 * (np.dtype(dtype).itemsize if dtype else _item_bytes(graph, name))


def _macs(graph: Graph, node: Node, shapes: Mapping[str, Shape]) -> int:
    """MACs by the operator's own definition; a filter's shape is HWCN, of a depthwise one HWNC."""
    made = math.prod(shapes.get(node.output(0), ()))
    if node.op_type == "Conv":
        *window, channels, _ = shapes[node.input(1)]
        each = math.prod(window) * (channels if integer(node, "group", 1) == 1 else 1)
        return made * each
    if node.op_type == "Gemm":
        return made * shapes[node.input(1)][2]
    if node.op_type == "MatMul":
        return made * shapes[node.input(0)][-1]
    if node.op_type in _GATES:
        return _recurrent_macs(node, shapes)
    return 0


def _recurrent_macs(node: Node, shapes: Mapping[str, Shape]) -> int:
    """Each gate multiplies the input and the state by a matrix, in every step and direction."""
    steps, batch, features = shapes[node.input(0)]
    hidden = integer(node, "hidden_size")
    directions = 2 if text(node, "direction", "forward") == "bidirectional" else 1
    return steps * batch * directions * _GATES[node.op_type] * hidden * (features + hidden)


# .tflite


def _of_tflite(model: TfliteModel, operator: Operator) -> LayerWork:
    inputs = [model.tensors[number] for number in operator.inputs if number >= 0]
    outputs = [model.tensors[number] for number in operator.outputs]
    renames = operator.name in _VIEWS
    return LayerWork(
        name=f"{operator.index}:{operator.name}",
        operator=operator.name,
        macs=model.macs_of(operator) or _other_macs(model, operator),
        parameter_bytes=0 if renames else sum(tensor.size_bytes for tensor in inputs if tensor.constant),
        activation_bytes=0
        if renames
        else sum(tensor.size_bytes for tensor in (*inputs, *outputs) if not tensor.constant),
        bits=inputs[0].bits if inputs else 8,
    )


def _other_macs(model: TfliteModel, operator: Operator) -> int:
    """Of operators whose second operand is no plain filter: by the shapes that TFLM's own kernels loop over."""
    shapes = [model.tensors[number].shape if number >= 0 else () for number in operator.inputs]
    made = model.tensors[operator.outputs[0]] if operator.outputs else None
    if made is None or len(shapes) < 2 or not shapes[0]:
        return 0
    if operator.name == "BATCH_MATMUL":
        return made.count * (shapes[0][-2] if operator.options.get("adj_x") else shapes[0][-1])
    if operator.name == "TRANSPOSE_CONV" and len(shapes) > 2 and len(shapes[1]) == 4:  # shape, OHWI, input
        outputs, height, width, _ = shapes[1]
        return math.prod(shapes[2]) * outputs * height * width
    if operator.name == "SVDF" and len(shapes) > 2 and len(shapes[2]) == 2:  # input, (F, I), (F, T)
        return shapes[0][0] * (math.prod(shapes[1]) + math.prod(shapes[2]))
    if operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" and len(shapes[0]) == 3:
        return math.prod(shapes[0][:2]) * sum(math.prod(shape) for shape in shapes[1:9])
    return 0

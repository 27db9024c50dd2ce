"""Ways to damage what a file says while the file stays sound: such files get past the reader's checks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from esp_hil.formats.espdl import Attribute, Graph, Node, TensorData, ValueInfo
from esp_hil.formats.espdl.operators import REGISTERED

_NUMBERS = (0, 1, 2, 3, 4, 7, 16, 255, -1, -2, -128, 1 << 20, 1 << 31, -(1 << 31), (1 << 62))
_DTYPES = ("int8", "int16", "int32", "int64", "float32", "uint8", "bool")
_LAYOUTS = ("", "NHWC", "HWCN", "(N/16)HWC16", "(N/16)HWC16_UNALIGNED", "N16HWC16", "(N/8)HWC8", "?")
_TEXTS = ("S8", "S16", "F32", "W8A16", "Relu", "Linear", "", "t", "nearest", "linear", "reflect", "native_kn")
_EXPONENTS = (0, 1, -1, -7, -8, -31, 31, 40, -40, 127, -127)

_T = TypeVar("_T", ValueInfo, TensorData)


def damaged(chance: random.Random, graph: Graph) -> Graph:
    """The graph with one to three changes."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        graph = chance.choice(_CHANGES)(chance, graph)
    return graph


def change_operator(chance: random.Random, graph: Graph) -> Graph:
    """Another operator at the same place."""
    return _with_node(chance, graph, lambda node: replace(node, op_type=chance.choice(sorted(REGISTERED))))


def change_attribute(chance: random.Random, graph: Graph) -> Graph:
    """Another value, length or type of an attribute, or none."""

    def change(node: Node) -> Node:
        attributes = dict(node.attributes)
        if not attributes:
            return node
        name = chance.choice(sorted(attributes))
        if chance.random() < 0.2:
            del attributes[name]
        else:
            attributes[name] = _other(chance, attributes[name])
        return replace(node, attributes=attributes)

    return _with_node(chance, graph, change)


def change_wires(chance: random.Random, graph: Graph) -> Graph:
    """Drop, repeat, shuffle or exchange the inputs of a node, or name a further output."""

    def change(node: Node) -> Node:
        inputs = list(node.inputs)
        kind = chance.randrange(5)
        if kind == 0 and inputs:
            inputs.pop(chance.randrange(len(inputs)))
        elif kind == 1 and inputs:
            inputs[chance.randrange(len(inputs))] = chance.choice(["", *graph.values, *graph.initializers])
        elif kind == 2:
            chance.shuffle(inputs)
        elif kind == 3:
            inputs.append(chance.choice(["", *graph.initializers, "x"]))
        else:
            return replace(node, outputs=(*node.outputs, chance.choice(["", *graph.values])))
        return replace(node, inputs=tuple(inputs))

    return _with_node(chance, graph, change)


def change_value(chance: random.Random, graph: Graph) -> Graph:
    """Another shape, type or exponent of a value, everywhere it is described."""
    name = chance.choice(sorted(graph.values))
    changed = _redescribed(chance, graph.values[name])
    values = {**graph.values, name: changed}
    return replace(
        graph,
        values=values,
        inputs=tuple(values[item.name] for item in graph.inputs),
        outputs=tuple(values[item.name] for item in graph.outputs),
        test_inputs={},
        test_outputs={},
    )


def change_initializer(chance: random.Random, graph: Graph) -> Graph:
    """Another shape, type, exponents, layout or content of a constant; the data always fill the shape."""
    if not graph.initializers:
        return graph
    name = chance.choice(sorted(graph.initializers))
    old = graph.initializers[name]
    if chance.random() < 0.3:
        numbers = [chance.choice(_NUMBERS) for _ in range(min(old.data.size, 64))]
        data = np.resize(np.array(numbers, np.int64), old.data.size).astype(old.dtype)
        return _with_tensor(graph, replace(old, data=data))
    new = replace(_redescribed(chance, old), layout=chance.choice((old.layout, *_LAYOUTS)))
    count = int(np.prod([max(dim, 0) for dim in new.shape], dtype=np.int64))
    data = np.resize(old.data, min(count, 1 << 16)).astype(new.dtype)
    return _with_tensor(graph, replace(new, data=data))


_CHANGES: tuple[Callable[[random.Random, Graph], Graph], ...] = (
    change_operator,
    change_attribute,
    change_attribute,
    change_wires,
    change_value,
    change_initializer,
    change_initializer,
)


def _with_node(chance: random.Random, graph: Graph, change: Callable[[Node], Node]) -> Graph:
    at = chance.randrange(len(graph.nodes))
    nodes = (*graph.nodes[:at], change(graph.nodes[at]), *graph.nodes[at + 1 :])
    return replace(graph, nodes=nodes)


def _with_tensor(graph: Graph, tensor: TensorData) -> Graph:
    tensors: Mapping[str, TensorData] = {**graph.initializers, tensor.name: tensor}
    return replace(graph, initializers=tensors)


def _redescribed(chance: random.Random, item: _T) -> _T:
    kind = chance.randrange(5)
    shape = list(item.shape)
    if kind == 0 and shape:
        shape[chance.randrange(len(shape))] = chance.choice((1, 2, 3, 5, 16, 17, 4096))
    elif kind == 1:
        shape.insert(chance.randrange(len(shape) + 1), chance.choice((1, 2)))
    elif kind == 2 and shape:
        shape.pop(chance.randrange(len(shape)))
    elif kind == 3:
        return replace(item, dtype=chance.choice(_DTYPES))
    else:
        count = chance.choice((1, 1, 1, 0, 2, shape[-1] if shape else 1))
        return replace(item, exponents=tuple(chance.choice(_EXPONENTS) for _ in range(min(count, 64))))
    return replace(item, shape=tuple(shape))


def _other(chance: random.Random, value: Attribute) -> Attribute:
    if chance.random() < 0.1:
        return chance.choice((0, 1.0, "", (1,), (1, 1), b"\xff"))
    if isinstance(value, int):
        return chance.choice(_NUMBERS)
    if isinstance(value, float):
        return chance.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    if isinstance(value, str):
        return chance.choice(_TEXTS)
    return _other_list(chance, value) if isinstance(value, tuple) else value


def _other_list(chance: random.Random, value: tuple[object, ...]) -> tuple[int, ...]:
    numbers = [item for item in value if isinstance(item, int)]
    kind = chance.random()
    if kind < 0.3:
        return tuple(numbers[:-1])
    if numbers and kind < 0.85:
        numbers[chance.randrange(len(numbers))] = chance.choice(_NUMBERS)
    else:
        numbers.append(chance.choice(_NUMBERS))
    return tuple(numbers)

"""What must hold between the parts of a graph, whatever its operators are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Set

from esp_hil.formats.espdl.model import Graph, Node


def check_graph(graph: Graph) -> str | None:
    """The first thing that is wrong with the graph, None if nothing is.

    Nodes have names of their own (ESP-DL finds attributes by node name); a value is made once, before it is
    used, and is described (dtype, shape, exponent); graph outputs are made; test tensors are of a graph input
    or output, with its dtype and shape.
    """
    return next(_problems(graph), None)


def _problems(graph: Graph) -> Iterator[str]:
    yield from _name_problems(graph)
    yield from _order_problems(graph)
    yield from _test_problems(graph)


def _name_problems(graph: Graph) -> Iterator[str]:
    seen: set[str] = set()
    for node in graph.nodes:
        if node.name in seen:
            yield f"two nodes are named {node.name!r}"
        seen.add(node.name)
    for name in graph.initializers.keys() & graph.values.keys():
        yield f"{name!r} is both an initializer and a value"


def _order_problems(graph: Graph) -> Iterator[str]:
    if not graph.inputs or not graph.outputs:
        yield "the graph has no input or no output"
    made = {value.name for value in graph.inputs} | set(graph.initializers)
    for node in graph.nodes:
        yield from _node_problems(graph, node, made)
        made.update(node.outputs)
    for value in graph.outputs:
        if value.name not in made:
            yield f"nothing makes graph output {value.name!r}"


def _node_problems(graph: Graph, node: Node, made: Set[str]) -> Iterator[str]:
    for name in node.inputs:
        if name and name not in made:
            yield f"node {node.name!r} uses {name!r} before anything makes it"
    outputs = [name for name in node.outputs if name]
    if not outputs:
        yield f"node {node.name!r} has no output"
    for position, name in enumerate(outputs):
        if name in made or name in outputs[:position]:
            yield f"{name!r} is made twice, the second time by node {node.name!r}"
        if name not in graph.values:
            yield f"output {name!r} of node {node.name!r} has no description of its type and shape"


def _test_problems(graph: Graph) -> Iterator[str]:
    for tensors, values in ((graph.test_inputs, graph.inputs), (graph.test_outputs, graph.outputs)):
        described = {value.name: value for value in values}
        for tensor in tensors.values():
            value = described.get(tensor.name)
            if value is None:
                yield f"test tensor {tensor.name!r} is of no graph input or output"
            elif (value.dtype, math.prod(value.shape)) != (tensor.dtype, math.prod(tensor.shape)):
                yield f"test tensor {tensor.name!r} does not have the type or size of the graph's"

"""The operators of a `.tflite` file as a graph that can be searched."""

from __future__ import annotations

from esp_hil.exact.tflite import labels
from esp_hil.formats.espdl.model import Graph, Node, ValueInfo
from esp_hil.formats.tflite.model import TfliteModel


def graph_of(model: TfliteModel) -> Graph:
    """Operators as nodes, named by number and type; tensors by the names that the exact reference gives them.

    Constants are left out of the nodes' inputs: they are not tensors that a device can be asked for.
    """
    names = labels(model)
    nodes = tuple(
        Node(
            name=f"{operator.index}:{operator.name}",
            op_type=operator.name,
            inputs=tuple(
                names[n] if n >= 0 and not model.tensors[n].constant else "" for n in operator.inputs
            ),
            outputs=tuple(names[n] for n in operator.outputs),
            attributes={},
        )
        for operator in model.operators
    )
    values = {
        name: ValueInfo(name=name, dtype=tensor.dtype, shape=tensor.shape, exponents=())
        for name, tensor in zip(names, model.tensors, strict=True)
        if not tensor.constant
    }
    return Graph(
        name=model.name,
        nodes=nodes,
        inputs=tuple(values[names[n]] for n in model.inputs),
        outputs=tuple(values[names[n]] for n in model.outputs),
        values=values,
        initializers={},
        test_inputs={},
        test_outputs={},
    )

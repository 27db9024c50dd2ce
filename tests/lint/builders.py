"""Graphs for the tests of the rules: each builder varies what one rule looks at."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from esp_hil.formats.espdl import Attribute, EspdlModel, Graph, Node, TensorData, ValueInfo, read_espdl
from esp_hil.lint import Subject
from esp_hil.targets import target
from tests.formats.espdl.examples import conv_graph
from tests.formats.espdl.writer import edl, graph, node, tensor, value

CONV: dict[str, Attribute] = {
    "strides": (1, 1),
    "dilations": (1, 1),
    "pads": (0, 0, 0, 0),
    "kernel_shape": (1, 1),
    "group": 1,
}


def on_file(
    written: Graph, *, chip: str = "", metadata: dict[str, str] | None = None, **more: Any
) -> Subject:
    """The graph, written to a file and read back, as `hil lint` sees it."""
    model = read_espdl(edl(written, metadata=metadata))
    return Subject(graph=model.graph, model=model, target=target(chip) if chip else None, **more)


def in_memory(written: Graph, **more: Any) -> Subject:
    """The graph as it is: for what the reader would refuse, and for ONNX."""
    return Subject(graph=written, **more)


def with_attributes(made: Node, **attributes: Attribute) -> Node:
    """The node with exactly these attributes."""
    return replace(made, attributes=attributes)


def one(made: Node, *values: ValueInfo, initializers: tuple[TensorData, ...] = ()) -> Graph:
    """A graph of one node; `values` replace x (1,4,4,2) and y of the same shape."""
    described = {item.name: item for item in (value("x", (1, 4, 4, 2)), value("y", (1, 4, 4, 2)), *values)}
    extra = [name for name in made.inputs if name in described and name != "x"]
    return graph([made], list(described.values()), inputs=["x", *extra], initializers=initializers)


def conv(
    group: int,
    channels: tuple[int, int],
    *,
    exponents: tuple[int, int, int] = (-5, -7, -4),
    onnx: bool = False,
) -> Graph:
    """A 1x1 Conv with so many input and output channels; exponents of input, filter and output."""
    given, made = channels
    shape = (made, given // group, 1, 1) if onnx else (1, 1, given, made if group == 1 else 1)
    weights = tensor("w", np.ones(shape, np.int8), exponents=(exponents[1],), layout="" if onnx else "NHWC")
    values = (value("x", (1, 4, 4, given), exponents[0]), value("y", (1, 4, 4, made), exponents[2]))
    attributes = {**CONV, "group": group}
    return one(
        replace(node("Conv", ("x", "w"), ("y",)), attributes={**attributes, "quant_type": "S8"}),
        *values,
        initializers=(weights,),
    )


def biased(dtype: str, exponent: int) -> Graph:
    """A Conv of input exponent -5 and filter exponent -7 with this bias."""
    base = conv(1, (2, 4))
    bias = tensor("b", np.zeros(4, dtype), exponents=(exponent,))
    made = replace(base.nodes[0], inputs=("x", "w", "b"))
    return replace(base, nodes=(made,), initializers={**base.initializers, "b": bias})


def add(second: int, *, source: str) -> Graph:
    """Add of x (exponent -3), or of a Mul of it unless `source` is "input", and of a Mul of this exponent."""
    values = (
        value("x", (1, 4), -3),
        value("a", (1, 4), -3),
        value("b", (1, 4), second),
        value("y", (1, 4), -3),
    )
    left = "x" if source == "input" else "a"
    nodes = [
        node("Mul", ("x", "x"), ("a",)),
        node("Mul", ("x", "x"), ("b",)),
        node("Add", (left, "b"), ("y",)),
    ]
    return graph(nodes, values)


def slicing(exponent: int, *, source: str = "input") -> Graph:
    """ReduceMax of x (exponent -3), or of a Mul of it, to a value of this exponent."""
    values = (value("x", (1, 4), -3), value("a", (1, 4), -3), value("y", (1, 1), exponent))
    if source == "input":
        return graph([node("ReduceMax", ("x",), ("y",), keepdims=1)], (values[0], values[2]))
    return graph([node("Mul", ("x", "x"), ("a",)), node("ReduceMax", ("a",), ("y",), keepdims=1)], values)


def table(entries: int, *, exponent: int = -3, kind: str = "S8", name: str = "t") -> Graph:
    """A Tanh by a table of so many entries."""
    made = node("Tanh", ("x",), ("y",), lut="t", quant_type=kind)
    dtype = np.int8 if kind == "S8" else np.int16
    values = tensor(name, np.zeros(entries, dtype), exponents=(exponent,))
    described = (value("x", (1, 4), -3, np.dtype(dtype).name), value("y", (1, 4), -3, np.dtype(dtype).name))
    return one(made, *described, initializers=(values,))


def pool(op_type: str = "AveragePool", **attributes: Attribute) -> Graph:
    """A 3x3 pool with padding 1."""
    shape: dict[str, Attribute] = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    made = replace(node(op_type, ("x",), ("y",)), attributes={"quant_type": "S8", **shape, **attributes})
    return one(made)


def prelu(shape: tuple[int, ...], slopes: int, *, exponents: tuple[int, int] = (-5, -5)) -> Graph:
    """PRelu with so many slopes."""
    slope = tensor("s", np.ones((slopes, 1, 1), np.int8), exponents=(-7,))
    values = (value("x", shape, exponents[0]), value("y", shape, exponents[1]))
    return one(node("PRelu", ("x", "s"), ("y",)), *values, initializers=(slope,))


def gru(**attributes: Attribute) -> Graph:
    """A GRU with everything that ESP-DL needs."""
    inputs = ("x", "w", "r", "b", "", "h0")
    made = replace(
        node("GRU", inputs, ("y", "h")), attributes={"quant_type": "S8", "hidden_size": 2, **attributes}
    )
    described = (
        value("x", (3, 1, 2)),
        value("y", (3, 1, 1, 2)),
        value("h", (1, 1, 2)),
        value("h0", (1, 1, 2)),
    )
    constants = tuple(tensor(name, np.zeros(2, np.int8)) for name in ("w", "r", "b"))
    return one(made, *described, initializers=constants)


def packed_gemm(weight: int, *, inputs: int = 64, alternate: bool = False) -> Graph:
    """A Gemm of 16 output channels for esp32s3, weights alike, or of alternating sign along the inputs."""
    weights = np.full((1, 1, inputs, 16), weight, np.int8)
    if alternate:
        weights[:, :, ::2] *= -1
    kernel = tensor("w", weights, exponents=(-7,), layout="(N/16)HWC16")
    values = (value("x", (1, inputs), -5), value("y", (1, 16), 0))
    return one(node("Gemm", ("x", "w"), ("y",)), *values, initializers=(kernel,))


def split(*, sizes: bool) -> Graph:
    """A Split in two, by sizes or by count."""
    given = ("x", "n") if sizes else ("x",)
    made = node("Split", given, ("y", "z"), axis=3, num_outputs=2)
    parts = (value("y", (1, 4, 4, 1)), value("z", (1, 4, 4, 1)))
    constants = (tensor("n", np.array([1, 1], np.int64)),) if sizes else ()
    return one(made, *parts, initializers=constants)


def float_relu(kind: str) -> Graph:
    """An int8 Neg and a Relu of this quant_type."""
    nodes = [node("Neg", ("x",), ("a",)), node("Relu", ("a",), ("y",), quant_type=kind)]
    return graph(nodes, (value("x", (1, 4)), value("a", (1, 4)), value("y", (1, 4))))


def named(model: EspdlModel, **changes: Any) -> EspdlModel:
    """The model with other fields."""
    return replace(model, **changes)


def of_size(size_bytes: int, **more: Any) -> Subject:
    """A small model that claims this size."""
    subject = on_file(conv_graph(), **more)
    assert subject.model is not None
    return replace(subject, model=named(subject.model, size_bytes=size_bytes))


def wide(elements: int) -> Graph:
    """A value of so many bytes."""
    shape = (1, elements)
    return graph([node("Neg", ("x",), ("y",))], (value("x", shape), value("y", shape)))


def onnx(
    *nodes: Node, shape: tuple[int, ...] = (1, 2, 4, 4), initializers: tuple[TensorData, ...] = ()
) -> Subject:
    """An ONNX graph of these nodes, x to y."""
    plain = [
        replace(made, attributes={k: v for k, v in made.attributes.items() if k != "quant_type"})
        for made in nodes
    ]
    values = (value("x", shape, dtype="float32"), value("y", shape, dtype="float32"))
    return in_memory(graph(plain, values, initializers=initializers), stage="onnx")

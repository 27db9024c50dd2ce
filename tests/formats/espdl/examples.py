"""Small graphs that several tests read."""

from __future__ import annotations

import numpy as np

from esp_hil.formats.espdl import Graph, TensorData
from tests.formats.espdl.writer import graph, node, tensor, value


def conv_graph(
    *, layout: str = "NHWC", exponents: tuple[int, ...] = (-7,), channels: int = 4, bias: int = 100
) -> Graph:
    """x (1,6,6,3) -> 3x3 Conv with fused ReLU -> Sigmoid by table -> y."""
    random = np.random.default_rng(1)
    weights = random.integers(-128, 128, (3, 3, 3, channels), np.int8)
    biases = np.full(channels, bias, np.int32)
    table = np.arange(-128, 128).astype(np.int8)
    values = (
        value("x", (1, 6, 6, 3), -7),
        value("h", (1, 4, 4, channels), -4),
        value("y", (1, 4, 4, channels), -7),
    )
    conv = node(
        "Conv",
        ("x", "w", "b"),
        ("h",),
        activation="Relu",
        group=1,
        dilations=(1, 1),
        strides=(1, 1),
        pads=(0, 0, 0, 0),
        kernel_shape=(3, 3),
    )
    bias_exponents = tuple(exponent - 7 for exponent in exponents)
    return graph(
        [conv, node("Sigmoid", ("h",), ("y",), lut="Sigmoid_lut_0")],
        values,
        initializers=(
            tensor("w", weights, exponents=exponents, layout=layout),
            tensor("b", biases, exponents=bias_exponents),
            tensor("Sigmoid_lut_0", table, exponents=(-7,)),
        ),
        test_inputs=(tensor("x", np.ones((1, 6, 6, 3), np.int8), exponents=(-7,)),),
        test_outputs=(tensor("y", np.full((1, 4, 4, channels), 5, np.int8), exponents=(-7,)),),
    )


def tiny_graph() -> Graph:
    """x (1,4) -> Relu -> y; the smallest file that has every part, for tests that visit each byte."""
    return graph(
        [node("Relu", ("x",), ("y",), lut="t")],
        (value("x", (1, 4), -3), value("y", (1, 4), -3)),
        initializers=(tensor("t", np.arange(16, dtype=np.int8), exponents=(-3,)),),
    )


def same_tensor(left: TensorData, right: TensorData) -> bool:
    """Whether both say the same."""
    return (
        (left.name, left.dtype, left.shape, left.layout)
        == (right.name, right.dtype, right.shape, right.layout)
        and left.exponents == right.exponents
        and np.array_equal(left.data, right.data)
    )


def same_graph(left: Graph, right: Graph) -> bool:
    """Whether both say the same."""
    tensors = all(
        mine.keys() == theirs.keys() and all(same_tensor(mine[name], theirs[name]) for name in mine)
        for mine, theirs in (
            (left.initializers, right.initializers),
            (left.test_inputs, right.test_inputs),
            (left.test_outputs, right.test_outputs),
        )
    )
    rest = (left.nodes, left.inputs, left.outputs, dict(left.values)) == (
        right.nodes,
        right.inputs,
        right.outputs,
        dict(right.values),
    )
    return tensors and rest

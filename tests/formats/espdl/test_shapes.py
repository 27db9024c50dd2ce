"""Shapes as ESP-DL computes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl import Attribute, read_espdl
from esp_hil.formats.espdl.shapes import output_shapes, propagate
from tests.formats.espdl.writer import graph, node, tensor, value

Case = tuple[str, list[tuple[int, ...]], dict[str, Attribute], dict[int, list[int]], list[tuple[int, ...]]]

CONV: dict[str, Attribute] = {"strides": (2, 1), "dilations": (1, 2), "pads": (1, 0, 0, 1), "group": 1}
CASES: dict[str, Case] = {
    "conv": ("Conv", [(1, 9, 8, 3), (3, 3, 3, 5)], CONV, {}, [(1, 4, 5, 5)]),
    "depthwise": ("Conv", [(1, 9, 8, 4), (3, 3, 4, 1)], {**CONV, "group": 4}, {}, [(1, 4, 5, 4)]),
    "conv 1d": (
        "Conv",
        [(1, 9, 3), (3, 3, 5)],
        {"strides": (2,), "dilations": (1,), "pads": (1, 0)},
        {},
        [(1, 4, 5)],
    ),
    "pool ignores ceil_mode": (
        "MaxPool",
        [(1, 5, 5, 3)],
        {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1},
        {},
        [(1, 2, 2, 3)],
    ),
    "global pool": ("GlobalAveragePool", [(2, 5, 5, 3)], {}, {}, [(1, 1, 1, 3)]),
    "gemm": ("Gemm", [(7, 4), (1, 1, 4, 9)], {}, {}, [(7, 9)]),
    "matmul": ("MatMul", [(2, 1, 3, 4), (5, 4, 6)], {}, {}, [(2, 5, 3, 6)]),
    "matmul of vectors": ("MatMul", [(4,), (4,)], {}, {}, [(1,)]),
    "broadcast": ("Add", [(1, 3, 1), (2, 1, 4)], {}, {}, [(2, 3, 4)]),
    "concat": ("Concat", [(1, 2, 3), (1, 5, 3)], {"axis": -2}, {}, [(1, 7, 3)]),
    "split by sizes": ("Split", [(1, 6)], {"axis": 1}, {1: [2, 4]}, [(1, 2), (1, 4)]),
    "split takes num_outputs for a size": (
        "Split",
        [(1, 6)],
        {"axis": 1, "num_outputs": 2},
        {},
        [(1, 2), (1, 2), (1, 2)],
    ),
    "slice": ("Slice", [(4, 9)], {}, {1: [1, -6], 2: [99, -1], 3: [0, 1], 4: [1, 2]}, [(3, 3)]),
    "slice backwards": ("Slice", [(4,)], {}, {1: [-1], 2: [-5], 3: [0], 4: [-1]}, [(4,)]),
    "gather": ("Gather", [(4, 5)], {"axis": 1}, {1: [0, 2, 2]}, [(4, 3)]),
    "pad": ("Pad", [(2, 3)], {}, {1: [1, 0, 0, 2]}, [(3, 5)]),
    "flatten": ("Flatten", [(2, 3, 4)], {"axis": 2}, {}, [(6, 4)]),
    "reshape": ("Reshape", [(2, 3, 4)], {}, {1: [0, -1]}, [(2, 12)]),
    "transpose": ("Transpose", [(2, 3, 4)], {"perm": (2, 0, 1)}, {}, [(4, 2, 3)]),
    "squeeze": ("Squeeze", [(1, 3, 1)], {}, {1: [0]}, [(3, 1)]),
    "squeeze all": ("Squeeze", [(1, 3, 1)], {}, {}, [(3,)]),
    "unsqueeze": ("Unsqueeze", [(3,)], {}, {1: [0, 2]}, [(1, 3, 1)]),
    "depth to space": ("DepthToSpace", [(1, 2, 3, 8)], {"blocksize": 2}, {}, [(1, 4, 6, 2)]),
    "space to depth": ("SpaceToDepth", [(1, 4, 6, 2)], {"blocksize": 2}, {}, [(1, 2, 3, 8)]),
    "insert zeros": (
        "InsertZeros",
        [(1, 3, 4, 2)],
        {"stride": (2,), "output_padding": (1, 0)},
        {},
        [(1, 6, 7, 2)],
    ),
    "streaming": ("StreamingCache", [(1, 3, 8)], {"frame_axis": 1, "window_size": 5}, {}, [(1, 7, 8)]),
    "resize to sizes": ("Resize", [(1, 2, 3, 4)], {}, {3: [1, 4, 7, 9]}, [(1, 7, 9, 4)]),
    "reduce": ("ReduceMean", [(2, 3, 4)], {"keepdims": 0}, {1: [1]}, [(2, 4)]),
    "reduce with axes as attribute reduces all": (
        "ReduceMean",
        [(2, 3)],
        {"axes": (1,), "keepdims": 0},
        {},
        [(1,)],
    ),
    "lstm": ("LSTM", [(7, 1, 3), (1,), (1,)], {"hidden_size": 5}, {}, [(7, 1, 1, 5), (1, 1, 5), (1, 1, 5)]),
    "gru both ways": (
        "GRU",
        [(1, 7, 3), (1,), (1,)],
        {"hidden_size": 5, "layout": 1, "direction": "bidirectional"},
        {},
        [(7, 2, 1, 5), (2, 1, 5)],
    ),
    "relu": ("Relu", [(2, 3)], {}, {}, [(2, 3)]),
}


@pytest.mark.parametrize("case", CASES)
def test_output_shape_follows_the_module(case: str) -> None:
    op_type, inputs, attributes, constants, wanted = CASES[case]
    count = max([len(inputs), *(index + 1 for index in constants)])
    names = [
        f"c{index}" if index in constants else (f"x{index}" if index < len(inputs) else "")
        for index in range(count)
    ]
    tensors = [tensor(f"c{index}", np.array(numbers, np.int64)) for index, numbers in constants.items()]
    made = replace(node(op_type, names, ["y"]), attributes=attributes)
    holder = graph([made], [value("x", (1,)), value("y", (1,))], initializers=tensors)
    shapes = inputs + [()] * (count - len(inputs))
    assert output_shapes(holder, made, shapes) == wanted


def test_resize_scales_in_float32_and_cuts_off() -> None:
    scales = tensor("s", np.array([1, 1, 1.7, 2 / 3], np.float32))
    made = node("Resize", ("x", "", "s"), ("y",))
    holder = graph([made], [value("x", (1,)), value("y", (1,))], initializers=[scales])
    assert output_shapes(holder, made, [(1, 10, 3, 4), (), (4,)]) == [(1, 17, 2, 4)]


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (node("Conv", ("x", "w"), ("y",), strides=(1, 1), dilations=(1, 1)), (1, 2, 2, 3)),
        (node("Conv", ("x", "w"), ("y",), dilations=(1, 1)), (1, 5, 5, 3)),
        (node("MaxPool", ("x",), ("y",), kernel_shape=(2, 2), strides=(0, 1)), (1, 5, 5, 3)),
        (node("Transpose", ("x",), ("y",), perm=(0, 0, 1, 2)), (1, 5, 5, 3)),
        (node("Transpose", ("x",), ("y",)), (1, 5, 5, 3)),
        (node("Reshape", ("x", "x"), ("y",)), (1, 5, 5, 3)),
        (node("Concat", ("x", "w"), ("y",), axis=0), (1, 5, 5, 3)),
        (node("Softmax", ("x",), ("y", "z")), (1 << 20, 1 << 20)),
        (node("DepthToSpace", ("x",), ("y",), blocksize=2), (1, 5, 5)),
        (node("Flatten", ("x",), ("y",), axis="1"), (1, 5, 5)),
    ],
)
def test_node_without_a_valid_output_is_a_typed_error(made: object, shape: tuple[int, ...]) -> None:
    from esp_hil.formats.espdl import Node

    assert isinstance(made, Node)
    holder = graph([made], [value("x", shape), value("y", shape)])
    with pytest.raises(UnsupportedOperator, match=made.op_type):
        output_shapes(holder, made, [shape, (3, 3, 3, 5)])


def test_bias_must_have_one_number_per_output_channel() -> None:
    made = node("Gemm", ("x", "w", "b"), ("y",))
    holder = graph([made], [value("x", (1, 4)), value("y", (1, 9))])
    assert output_shapes(holder, made, [(1, 4), (1, 1, 4, 9), (9,)]) == [(1, 9)]
    with pytest.raises(UnsupportedOperator, match="has 9 outputs and 8 biases"):
        output_shapes(holder, made, [(1, 4), (1, 1, 4, 9), (8,)])


def test_missing_input_is_a_typed_error() -> None:
    made = node("Add", ("x", ""), ("y",))
    with pytest.raises(UnsupportedOperator, match="lacks input 1"):
        propagate(graph([made], [value("x", (1, 2)), value("y", (1, 2))]))


def test_more_outputs_than_the_module_makes_is_a_typed_error() -> None:
    made = node("Flatten", ("x",), ("y", "z"))
    with pytest.raises(UnsupportedOperator, match="has 2 outputs, ESP-DL makes 1"):
        propagate(graph([made], [value("x", (1, 2)), value("y", (1, 2)), value("z", (1, 2))]))


def test_shapes_of_the_zoo_are_those_that_esp_dl_ran_with(shared: Path) -> None:
    """Among them a streaming model, whose file still describes the whole sequence."""
    for path in sorted((shared / "vectors" / "zoo").glob("*/*/meta.json")):
        meta = json.loads(path.read_text())
        shapes = propagate(read_espdl(shared / "zoo" / meta["target"] / meta["model"]).graph)
        for name, _, _, shape, _ in meta["nodes"][0]:
            assert shapes[name] == tuple(shape), (path, name)

"""What is done to a graph before esp-ppq reads it: the network computes what it did, in operators that ESP-DL has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from esp_hil.goldens.prepare import prepare

X = np.linspace(-6, 6, 64, dtype=np.float32).reshape(1, 4, 16)


def constant(name: str, value: object, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], opset: int = 18) -> onnx.ModelProto:
    """x (1, 4, 16) -> y."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op_type: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), [output], name=f"/mine/{output}", **attributes)


def run(proto: onnx.ModelProto) -> np.ndarray:
    (answer,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": X})
    return np.asarray(answer)


def operators(proto: onnx.ModelProto) -> list[str]:
    return [item.op_type for item in proto.graph.node]


HALVES = {
    "x first": [node("Mul", "x plus", "product"), node("Mul", "product half", "y")],
    "half first": [node("Mul", "plus half", "product"), node("Mul", "x product", "y")],
    "half of x": [node("Mul", "half x", "halved"), node("Mul", "halved plus", "y")],
}
BEFORE = {
    "divided": [node("Div", "x root2", "scaled")],
    "multiplied": [node("Mul", "roothalf x", "scaled")],
}
CONSTANTS = [
    constant("root2", math.sqrt(2)),
    constant("roothalf", math.sqrt(0.5)),
    constant("one", 1),
    constant("half", [0.5]),
    constant("k", 0.044715),
    constant("rootpi", math.sqrt(2 / math.pi)),
    constant("three", 3),
]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("after", HALVES)
def test_gelu_by_erf_becomes_one_operator_named_as_its_erf(before: str, after: str) -> None:
    nodes = [*BEFORE[before], node("Erf", "scaled", "erf"), node("Add", "one erf", "plus"), *HALVES[after]]
    proto = model(nodes, CONSTANTS)
    wanted = run(proto)
    said = prepare(proto)
    assert operators(proto) == ["Gelu"]
    assert proto.graph.node[0].name == "/mine/erf"
    assert said == ["/mine/erf: GELU is one operator, a table on the chip"]
    proto.opset_import[0].version = 20  # where onnxruntime knows Gelu
    np.testing.assert_allclose(run(proto), wanted, atol=1e-6)


@pytest.mark.parametrize("cube", ["power", "product"])
def test_gelu_by_tanh_becomes_the_same_operator(cube: str) -> None:
    cubes = {
        "power": [node("Pow", "x three", "cubed")],
        "product": [node("Mul", "x x", "square"), node("Mul", "square x", "cubed")],
    }
    nodes = [
        *cubes[cube],
        node("Mul", "cubed k", "small"),
        node("Add", "x small", "sum"),
        node("Mul", "sum rootpi", "scaled"),
        node("Tanh", "scaled", "tanh"),
        node("Add", "tanh one", "plus"),
        *HALVES["half of x"],
    ]
    proto = model(nodes, CONSTANTS)
    wanted = run(proto)
    prepare(proto)
    assert operators(proto) == ["Gelu"]
    proto.opset_import[0].version = 20
    np.testing.assert_allclose(run(proto), wanted, atol=6e-4)


@pytest.mark.parametrize("change", ["another factor", "used twice"])
def test_what_only_looks_like_gelu_keeps_its_values(change: str) -> None:
    nodes = [
        *BEFORE["divided"],
        node("Erf", "scaled", "erf"),
        node("Add", "one erf", "plus"),
        *HALVES["x first"],
    ]
    constants = list(CONSTANTS)
    if change == "another factor":
        constants[0] = constant("root2", 1.7)
    else:
        nodes[-1] = node("Mul", "product plus", "y")
    proto = model(nodes, constants)
    wanted = run(proto)
    prepare(proto)
    assert "Gelu" not in operators(proto)
    assert "Erf" not in operators(proto)
    np.testing.assert_allclose(run(proto), wanted, atol=0.03)


def test_erf_alone_becomes_a_tanh_within_4e_4_under_its_own_name() -> None:
    proto = model([node("Erf", "x", "y")], [])
    wanted = run(proto)
    (said,) = prepare(proto)
    assert said.startswith("/mine/y: Erf")
    assert operators(proto)[-1] == "Tanh"
    assert proto.graph.node[-1].name == "/mine/y"
    np.testing.assert_allclose(run(proto), wanted, atol=4e-4)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("affine", ["scale and bias", "scale"])
def test_layer_normalization_written_out_becomes_one_operator(opset: int, affine: str) -> None:
    def mean(given: str, output: str) -> onnx.NodeProto:
        if opset < 18:
            return node("ReduceMean", given, output, axes=[-1])
        return node("ReduceMean", f"{given} axes", output)

    nodes = [
        mean("x", "mean"),
        node("Sub", "x mean", "centred"),
        node("Pow", "centred two", "square"),
        mean("square", "variance"),
        node("Add", "variance epsilon", "plus"),
        node("Sqrt", "plus", "root"),
        node("Div", "centred root", "normal"),
        node("Mul", "normal scale", "y" if affine == "scale" else "scaled"),
    ]
    if affine != "scale":
        nodes.append(node("Add", "scaled bias", "y"))
    random = np.random.default_rng(1)
    constants = [
        constant("axes", [-1], np.int64),
        constant("two", 2),
        constant("epsilon", 1e-5),
        constant("scale", random.normal(size=16)),
        constant("bias", random.normal(size=16)),
    ]
    proto = model(nodes, constants, opset)
    wanted = run(proto)
    prepare(proto)
    assert operators(proto) == ["LayerNormalization"]
    np.testing.assert_allclose(run(proto), wanted, atol=2e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("bias", [True, False])
def test_recurrent_nodes_get_their_states_of_zero_and_all_outputs(kind: str, bias: bool) -> None:
    gates = {"LSTM": 4, "GRU": 3}[kind]
    random = np.random.default_rng(2)
    constants = [
        constant("w", random.normal(size=(1, gates * 5, 16)) * 0.2),
        constant("r", random.normal(size=(1, gates * 5, 5)) * 0.2),
        constant("b", random.normal(size=(1, gates * 10))),
    ]
    nodes = [node(kind, "x w r b" if bias else "x w r", "y", hidden_size=5)]
    nodes[0].input.append("") if not bias else None
    proto = model(nodes, constants)
    given = X.reshape(4, 1, 16)
    for axis, size in enumerate(given.shape):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    (wanted,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": given})
    prepare(proto)
    states = {"LSTM": 2, "GRU": 1}[kind]
    assert len(proto.graph.node[0].output) == 1 + states
    assert all(proto.graph.node[0].input[place] for place in (3, *range(5, 5 + states)))
    (again,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(["y"], {"x": given})
    np.testing.assert_array_equal(again, wanted)


def test_negative_indices_count_from_the_front() -> None:
    proto = model([node("Gather", "x last", "y", axis=1)], [constant("last", [-1, 0, -3], np.int64)])
    wanted = run(proto)
    assert prepare(proto) == ["/mine/y: its negative indices count from the front"]
    indices = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert indices[proto.graph.node[0].input[1]].tolist() == [3, 0, 1]
    np.testing.assert_array_equal(run(proto), wanted)


def test_a_graph_that_needs_nothing_stays_as_it_is() -> None:
    proto = model([node("Relu", "x", "h"), node("Add", "h one", "y")], CONSTANTS)
    before = proto.SerializeToString()
    assert prepare(proto) == []
    assert proto.SerializeToString() == before

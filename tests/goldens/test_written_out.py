"""What ONNX lets a node leave unsaid: afterwards it is said, and the network computes what it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from esp_hil.formats.espdl.attributes import UNDEFAULTED
from esp_hil.goldens.written_out import write_out

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)


def f(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def i(*values: int) -> Array:
    return np.array(values, np.int64)


def node(op_type: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    names = [name.strip("-") for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), name=f"{op_type} of {outputs}", **attributes)


def model(
    nodes: list[NodeProto], shape: tuple[int, ...], constants: Mapping[str, Array], opset: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(proto: onnx.ModelProto, x: Array) -> Array:
    (answer,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    return np.asarray(answer)


def values(item: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in item.attribute}


X, LONG = (1, 3, 13, 12), (1, 4, 17)
W, W1, WT = {"w": f(8, 3, 3, 3)}, {"w": f(8, 4, 3)}, {"w": f(3, 8, 3, 3)}
LSTM = {"w": f(1, 16, 4), "r": f(1, 16, 4), "b": f(1, 32)}
Case = tuple[list[NodeProto], tuple[int, ...], Mapping[str, Array], dict[str, Any]]
CASES: dict[str, Case] = {
    "conv": ([node("Conv", "x w")], X, W, {"strides": [1, 1], "dilations": [1, 1]}),
    "conv of one axis": ([node("Conv", "x w")], LONG, W1, {"strides": [1], "dilations": [1]}),
    "conv with strides": ([node("Conv", "x w", strides=[2, 1])], X, W, {"strides": [2, 1], "dilations": [1, 1]}),
    "pool moves by one": ([node("MaxPool", "x", kernel_shape=[2, 3])], X, {}, {"strides": [1, 1]}),
    "average": ([node("AveragePool", "x", kernel_shape=[2, 3])], X, {}, {"strides": [1, 1]}),
    "transpose": ([node("Transpose", "x")], (1, 3, 4), {}, {"perm": [2, 1, 0]}),
    "pad": ([node("Pad", "x p")], (1, 4), {"p": i(0, 1, 0, 2)}, {"mode": b"constant"}),
    "resize": ([node("Resize", "x - s")], X, {"s": np.array([1, 1, 2, 2], np.float32)}, {"mode": b"nearest"}),
    "reduction": ([node("ReduceMean", "x")], X, {}, {"keepdims": 1}),
    "same, upper": (
        [node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])], X, W, {"pads": [1, 0, 1, 1], "auto_pad": None}
    ),
    "same, lower": (
        [node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2])], X, W, {"pads": [1, 1, 1, 0]}
    ),
    "same, one axis": ([node("Conv", "x w", auto_pad="SAME_UPPER")], LONG, W1, {"pads": [1, 1]}),
    "valid": ([node("Conv", "x w", auto_pad="VALID")], X, W, {"pads": [0, 0, 0, 0], "auto_pad": None}),
    "same pool": (
        [node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")], X, {},
        {"pads": [1, 0, 1, 0]},
    ),
    "same average": (
        [node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")], X, {},
        {"pads": [1, 1, 1, 0]},
    ),
    "same transposed": (
        [node("ConvTranspose", "x w", strides=[2, 2], auto_pad="SAME_UPPER")], X, WT, {"pads": [0, 0, 1, 1]}
    ),
    "asked for a size": (
        [node("ConvTranspose", "x w", strides=[2, 2], output_shape=[26, 24])], X, WT,
        {"pads": [1, 1, 0, 0], "output_shape": None},
    ),
    "gemm": (
        [node("Gemm", "x w b", alpha=0.5, beta=2.0, transB=1)], (1, 8), {"w": f(4, 8), "b": f(4)},
        {"alpha": None, "beta": None, "transB": 1},
    ),
    "gemm without bias": ([node("Gemm", "x w", alpha=0.5, beta=2.0)], (1, 8), {"w": f(8, 4)}, {"beta": None}),
    "usual activations": (
        [node("LSTM", "x w r b", activations=["Sigmoid", "Tanh", "Tanh"], hidden_size=4)], (5, 1, 4), LSTM,
        {"activations": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_out_is_what_onnx_takes(name: str) -> None:
    nodes, shape, constants, wanted = CASES[name]
    proto = model(nodes, shape, constants, 17)
    x = f(*shape)
    before = run(proto, x)
    assert len(write_out(proto)) >= 1
    found = values(proto.graph.node[0])
    assert {key: found.get(key) for key in wanted} == wanted
    np.testing.assert_allclose(run(proto, x), before, atol=1e-5)
    assert write_out(proto) == [], "once is enough"


@pytest.mark.parametrize(("opset", "attributes"), [(11, {}), (13, {}), (18, {"num_outputs": 3})])
def test_the_sizes_of_parts_are_written_out(opset: int, attributes: dict[str, Any]) -> None:
    whole = 9 if opset < 18 else 8  # only from 18 on may the last part be smaller
    nodes = [node("Split", "x", "a b c", axis=1, **attributes), node("Concat", "c a b", axis=1)]
    proto = model(nodes, (1, whole, 4), {}, opset)
    x = f(1, whole, 4)
    before = run(proto, x)
    assert write_out(proto) == ["Split: the sizes of the parts of 1 node are written out"]
    np.testing.assert_array_equal(run(proto, x), before)
    assert write_out(proto) == []


def test_the_width_of_a_recurrent_layer_is_that_of_its_weights() -> None:
    """onnxruntime does not run it without."""
    proto = model([node("LSTM", "x w r b")], (5, 1, 4), LSTM, 17)
    write_out(proto)
    assert values(proto.graph.node[0]) == {"hidden_size": 4}


def test_padding_of_a_window_with_gaps_counts_the_gaps() -> None:
    """onnxruntime does not run this one either."""
    proto = model([node("Conv", "x w", auto_pad="SAME_UPPER", dilations=[2, 3])], X, W, 17)
    write_out(proto)
    assert values(proto.graph.node[0])["pads"] == [2, 3, 2, 3]
    assert run(proto, f(*X)).shape == (1, 8, 13, 12)


def test_a_slice_of_all_axes_names_them() -> None:
    proto = model([node("Slice", "x", starts=[0, 1], ends=[1, 3])], (1, 4, 4), {}, 9)
    before = run(proto, x := f(1, 4, 4))
    write_out(proto)
    assert values(proto.graph.node[0])["axes"] == [0, 1]
    np.testing.assert_array_equal(run(proto, x), before)


def test_what_was_said_stays_as_it_was() -> None:
    """Exports of torch say everything: their files must come out of the quantizer as before, byte for byte."""
    nodes = [
        node(
            "Conv",
            "x w",
            "a",
            strides=[1, 1],
            dilations=[1, 1],
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            group=1,
        ),
        node("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], ceil_mode=0),
        node("Flatten", "b", "c", axis=1),
        node("Gemm", "c v", alpha=1.0, beta=1.0, transB=1),
    ]
    proto = model(nodes, X, {**W, "v": f(4, 288)}, 17)
    before = proto.SerializeToString()
    assert write_out(proto) == []
    assert proto.SerializeToString() == before


def test_a_constant_that_others_use_too_is_not_changed_for_them() -> None:
    nodes = [node("Gemm", "x w", "a", alpha=0.5), node("Gemm", "x w", "b"), node("Sub", "a b")]
    proto = model(nodes, (1, 8), {"w": f(8, 4)}, 17)
    before = run(proto, x := f(1, 8))
    write_out(proto)
    np.testing.assert_allclose(run(proto, x), before, atol=1e-6)


def test_every_attribute_that_esp_dl_does_not_default_is_written_or_onnx_requires_it() -> None:
    written = {item.op_type for nodes, _, _, _ in CASES.values() for item in nodes} | {"GRU", "LSTM"}
    for op_type, names in UNDEFAULTED.items():
        schema = onnx.defs.get_schema(op_type, 17).attributes
        optional = [name for name in names if not schema[name].required]
        assert not optional or op_type in written, op_type

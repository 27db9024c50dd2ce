from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper, save

from esp_hil.lint import Finding, lint_file

FLOAT, HALF, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BOOL
Shape = tuple[int | str, ...]
Array = NDArray[Any]


def node(op_type: str, inputs: str, output: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(op_type, inputs.split(), [output], name=f"the {op_type}", **attributes)


def errors(
    folder: Path,
    nodes: list[NodeProto],
    inputs: Mapping[str, Shape],
    constants: Mapping[str, Array] | None = None,
    *,
    made: Shape | None = None,
    kind: int = FLOAT,
    opset: int = 17,
) -> list[Finding]:
    """Findings of severity error for a graph with output y."""
    found = [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        found,
        [helper.make_tensor_value_info("y", kind, made)],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    path = folder / "net.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), str(path))
    return [finding for finding in lint_file(path).findings if finding.severity == "error"]


def f(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def i(*values: int) -> Array:
    return np.array(values, np.int64)


X: Mapping[str, Shape] = {"x": (1, 3, 12, 12)}
CONFLICTS: dict[str, tuple[list[NodeProto], Mapping[str, Shape], dict[str, Array], str, list[str]]] = {
    "channels": ([node("Conv", "x w")], {"x": (1, 1, 12, 12)}, {"w": f(16, 3, 3, 3)}, "the Conv", ["16x3x3x3", "1x1x"]),
    "groups": ([node("Conv", "x w", group=2)], {"x": (1, 8, 9, 9)}, {"w": f(4, 3, 1, 1)}, "the Conv", ["6", "has 8"]),
    "bias": ([node("Conv", "x w b")], X, {"w": f(16, 3, 3, 3), "b": f(8)}, "the Conv", ["bias is 8", "16 output"]),
    "1-D weights": ([node("Conv", "x w")], X, {"w": f(16, 3, 3)}, "the Conv", ["16x3x3", "1x3x12x12"]),
    "window": ([node("Conv", "x w")], {"x": (1, 3, 2, 9)}, {"w": f(4, 3, 3, 3)}, "the Conv", ["3x3", "1x3x2x9"]),
    "pool": ([node("MaxPool", "x", kernel_shape=[13, 2])], X, {}, "the MaxPool", ["13x2", "1x3x12x12"]),
    "transposed": ([node("ConvTranspose", "x w")], X, {"w": f(4, 3, 2, 2)}, "the ConvTranspose", ["4 input", "has 3"]),
    "gemm": ([node("Gemm", "x w", transB=1)], {"x": (1, 576)}, {"w": f(4, 1600)}, "the Gemm", ["1600 feat", "has 576"]),
    "gemm of images": ([node("Gemm", "x w", transB=1)], X, {"w": f(4, 432)}, "the Gemm", ["matrices", "1x3x12x12"]),
    "matmul": ([node("MatMul", "x w")], {"x": (1, 7, 5)}, {"w": f(6, 4)}, "the MatMul", ["5 columns", "6 rows"]),
    "reshape": ([node("Reshape", "x s")], X, {"s": i(1, 1600)}, "the Reshape", ["432", "1,600"]),
    "reshape with a rest": ([node("Reshape", "x s")], X, {"s": i(1, 25, -1)}, "the Reshape", ["432", "multiple of 25"]),
    "reshape with a copy": ([node("Reshape", "x s")], X, {"s": i(0, 0, 100)}, "the Reshape", ["432", "300"]),
    "broadcast": ([node("Add", "x w")], X, {"w": f(1, 4, 1, 1)}, "the Add", ["1x3x12x12", "1x4x1x1"]),
    "concat": ([node("Concat", "x w", axis=1)], X, {"w": f(1, 5, 6, 6)}, "the Concat", ["1x3x12x12", "1x5x6x6"]),
    "norm": (
        [node("BatchNormalization", "x s s s s")], X, {"s": f(16)}, "the BatchNormalization", ["16", "3 channels"],
    ),
    "constant node": (
        [node("Constant", "", "s", value=numpy_helper.from_array(i(1, 1600))), node("Reshape", "x s")],
        X, {}, "the Reshape", ["432", "1,600"],
    ),
    "behind another": (
        [node("Relu", "x", "r"), node("Flatten", "r", "v"), node("Gemm", "v w", transB=1)],
        X, {"w": f(10, 1600)}, "the Gemm", ["1600 features", "has 432"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_of_shapes_names_the_node_both_sizes_and_the_input(name: str, tmp_path: Path) -> None:
    nodes, inputs, constants, where, words = CONFLICTS[name]
    found = errors(tmp_path, nodes, inputs, constants)
    (finding,) = [finding for finding in found if finding.rule != "conv-groups"]
    assert (finding.rule, finding.node) == ("onnx-shape", where)
    for word in words:
        assert word in finding.why
    assert "export for this input size" in finding.todo
    assert "'x' 1x" in finding.todo


SOUND: dict[str, tuple[list[NodeProto], Mapping[str, Shape], dict[str, Array]]] = {
    "open batch": ([node("Conv", "x w")], {"x": ("N", 3, 12, 12)}, {"w": f(16, 3, 3, 3)}),
    "open size": (
        [node("Conv", "x w", "c"), node("Flatten", "c")],
        {"x": (1, 3, "H", "W")},
        {"w": f(16, 3, 3, 3)},
    ),
    "open reshape": ([node("Reshape", "x s")], {"x": ("N", 3, 4)}, {"s": i(-1, 12)}),
    "copying reshape": ([node("Reshape", "x s")], X, {"s": i(0, 3, -1)}),
    "empty reshape": ([node("Reshape", "x s")], {"x": (1, 1)}, {"s": np.array([], np.int64)}),
    "depthwise": ([node("Conv", "x w", group=3)], X, {"w": f(3, 1, 3, 3)}),
    "same padding": ([node("Conv", "x w", auto_pad="SAME_UPPER")], {"x": (1, 3, 2, 2)}, {"w": f(4, 3, 5, 5)}),
    "batched matmul": ([node("MatMul", "x w")], {"x": (2, 3, 7, 5)}, {"w": f(5, 4)}),
    "transposed gemm": ([node("Gemm", "x w", transA=1)], {"x": (8, 1)}, {"w": f(8, 4)}),
    "broadcast": ([node("Add", "x w")], X, {"w": f(3, 1, 1)}),
    "slope": ([node("PRelu", "x w")], X, {"w": f(3, 1, 1)}),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_shapes_are_no_error(name: str, tmp_path: Path) -> None:
    found = errors(tmp_path, *SOUND[name])
    assert [finding for finding in found if finding.rule.startswith("onnx-")] == []


def test_a_declared_shape_that_is_not_made_is_an_error(tmp_path: Path) -> None:
    (finding,) = errors(tmp_path, [node("Relu", "x")], {"x": (1, 4)}, made=(1, 5))
    assert (finding.rule, finding.node) == ("onnx-shape", "the Relu")
    assert "it makes 'y' 1x4, the file declares 1x5" in finding.why


def test_mixed_types_are_found_at_their_node(tmp_path: Path) -> None:
    nodes = [node("Add", "x w")]
    found = errors(tmp_path, nodes, {"x": (1, 4)}, {"w": np.ones((1, 4), np.float16)})
    assert [(finding.rule, finding.node) for finding in found] == [
        ("onnx-shape", "the Add"),
        ("onnx-type", "w"),
    ]
    assert "float32" in found[0].todo


@pytest.mark.parametrize("kind", [HALF, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_a_model_in_another_float_type_must_be_exported_in_float32(kind: int, tmp_path: Path) -> None:
    (finding,) = errors(tmp_path, [node("Relu", "x")], {"x": (1, 4)}, kind=kind)
    assert finding.rule == "onnx-type"
    assert "float32" in finding.todo


@pytest.mark.parametrize(
    ("nodes", "where"),
    [
        ([node("Cast", "x", "c", to=BOOL), node("Where", "c x x")], {"the Cast", "the Where"}),
        ([node("Greater", "x w", "g"), node("Where", "g x w")], {"the Where"}),
        ([node("Tile", "x r")], {"the Tile"}),
        ([node("Floor", "x")], {"the Floor"}),
    ],
)
def test_operators_that_compute_on_data_are_errors(
    nodes: list[NodeProto], where: set[str], tmp_path: Path
) -> None:
    found = errors(tmp_path, nodes, {"x": (1, 4)}, {"w": f(1, 4), "r": i(1, 2)})
    assert {finding.rule for finding in found} == {"unsupported-operator"}
    assert {finding.node for finding in found} == where
    assert all("computes on data, not on shapes" in finding.why for finding in found)


def test_shape_arithmetic_with_the_same_operators_is_none(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        helper.make_node("Gather", ["s", "zero"], ["n"], name="the Gather"),
        node("Cast", "n", "c", to=TensorProto.INT64),
        node("Concat", "c rest", "t", axis=0),
        node("Reshape", "x t"),
    ]
    assert errors(tmp_path, nodes, X, {"zero": i(0), "rest": i(-1)}) == []


@pytest.mark.parametrize(
    ("op_type", "inputs"),
    [
        ("QuantizeLinear", "x s z"),
        ("QLinearConv", "x s z x s z s z"),
        ("ConvInteger", "x x"),
        ("MatMulInteger", "x x"),
    ],
)
def test_a_quantized_file_asks_for_the_float_one(op_type: str, inputs: str, tmp_path: Path) -> None:
    found = errors(tmp_path, [node(op_type, inputs)], X, {"s": f(), "z": np.zeros((), np.int8)})
    (finding,) = [finding for finding in found if finding.rule == "quantized-onnx"]
    assert "give the float file" in finding.todo


@pytest.mark.parametrize(
    ("op_type", "severity"), [("Log", "warning"), ("Sqrt", "warning"), ("Softmax", "note")]
)
def test_operators_that_stay_in_float_are_told(op_type: str, severity: str, tmp_path: Path) -> None:
    nodes = [node(op_type, "x", "f"), node("Relu", "f")]
    assert errors(tmp_path, nodes, {"x": (1, 4)}) == []
    found = [
        finding for finding in lint_file(tmp_path / "net.onnx").findings if finding.rule == "float-operator"
    ]
    assert [(finding.severity, finding.node) for finding in found] == [(severity, f"the {op_type}")]


@pytest.mark.parametrize(("name", "where"), [("channels", "Conv_0"), ("reshape_cls", "Reshape_2")])
def test_published_conflicts_are_found(name: str, where: str, shared: Path) -> None:
    report = lint_file(shared / "cases" / "onnx_shape_conflict" / f"{name}.onnx")
    assert [(finding.rule, finding.node) for finding in report.findings] == [("onnx-shape", where)]

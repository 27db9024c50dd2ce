"""`hil new --check` and `hil new` say the same of a float model, before anything is quantized."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from esp_hil.cli import main
from esp_hil.errors import ConfigError
from esp_hil.goldens.new_check import check
from esp_hil.goldens.new_model import Wish, create
from esp_hil.goldens.references import DeviceFileReference, FloatReference
from esp_hil.models import catalogue
from tests.goldens.test_written_out import f, i, node

Array = np.ndarray[Any, Any]
Graph = tuple[list[NodeProto], tuple[int, ...], Mapping[str, Array], int]
X = (1, 3, 14, 12)
W = {"w": f(8, 3, 3, 3)}
GEMM = {"w": f(8, 4), "b": f(4)}
LSTM = {"w": f(1, 16, 3), "r": f(1, 16, 4), "b": f(1, 32)}
GRU = {"w": f(1, 12, 3), "r": f(1, 12, 4)}


def after_conv(*nodes: NodeProto, opset: int = 17, **constants: Array) -> Graph:
    """A Conv as onnx.helper makes it, without any attribute, and nodes from its output c to y."""
    return [node("Conv", "x w", "c"), *nodes], X, {**W, **constants}, opset


def after_gemm(*nodes: NodeProto, opset: int = 17, **constants: Array) -> Graph:
    """A vector of four, and nodes from it, c, to y."""
    return [node("Gemm", "x w b", "c"), *nodes], (1, 8), {**GEMM, **constants}, opset


def over_steps(op_type: str, inputs: str, constants: Mapping[str, Array], **attributes: Any) -> Graph:
    """A recurrent layer over five steps of three."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node(op_type, inputs, "h", **attributes),
        node("Transpose", "h", perm=[2, 0, 1, 3]),
    ]
    return nodes, (1, 5, 3), constants, 17


RUN: dict[str, Graph] = {
    "conv": ([node("Conv", "x w")], X, W, 17),
    "conv of one axis": ([node("Conv", "x w", auto_pad="SAME_UPPER")], (1, 4, 16), {"w": f(8, 4, 3)}, 17),
    "same padding": ([node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2])], X, W, 17),
    "max": after_conv(node("MaxPool", "c", kernel_shape=[2, 2])),
    "average, same": after_conv(node("AveragePool", "c", kernel_shape=[2, 2], auto_pad="SAME_UPPER")),
    "pool alone": ([node("MaxPool", "x", kernel_shape=[2, 2])], X, {}, 17),
    "transposed": (
        [node("ConvTranspose", "x w", auto_pad="SAME_UPPER", strides=[2, 2])],
        X,
        {"w": f(3, 8, 3, 3)},
        17,
    ),
    "pad": after_conv(node("Pad", "c p"), p=i(0, 0, 1, 1, 0, 0, 1, 1)),
    "resize": after_conv(node("Resize", "c - s"), s=np.array([1, 1, 2, 2], np.float32)),
    "gemm with factors": ([node("Gemm", "x w b", alpha=0.5, beta=2.0)], (1, 8), GEMM, 17),
    "reduction": after_conv(node("ReduceMean", "c", axes=[2, 3])),
    "split, by number": after_conv(
        node("Split", "c", "p q", axis=1, num_outputs=2), node("Add", "p q"), opset=18
    ),
    "split": after_conv(node("Split", "c", "p q", axis=1), node("Add", "p q")),
    "slice of old": after_conv(node("Slice", "c", starts=[0, 0], ends=[1, 4]), opset=9),
    "erf": after_conv(node("Erf", "c")),
    "negative index": after_conv(node("Gather", "c i", axis=1), i=i(-1)),
    "lstm without states": over_steps("LSTM", "t w r b", LSTM, hidden_size=4),
    "lstm, usual activations": over_steps(
        "LSTM", "t w r b", LSTM, hidden_size=4, activations=["Sigmoid", "Tanh", "Tanh"]
    ),
    "gru as torch's": over_steps("GRU", "t w r", GRU, hidden_size=4, linear_before_reset=1),
    "softmax": after_gemm(node("Softmax", "c")),
    "folded weights": ([node("Identity", "w", "k"), node("Conv", "x k")], X, W, 17),
}
STOP: dict[str, tuple[Graph, str]] = {
    "det": (([node("Det", "x")], (1, 2, 3, 3), {}, 17), "replace it by operators that ESP-DL has"),
    "softplus": (after_conv(node("Softplus", "c")), "use Relu or Swish"),
    "max of two": (after_conv(node("Max", "c z"), z=f(1)), "use Relu"),
    "log": (after_gemm(node("Sigmoid", "c", "s"), node("Log", "s")), "allow it with --float-operators Log"),
    "three axes": (([node("Conv", "x w")], (1, 3, 6, 6, 6), {"w": f(4, 3, 3, 3, 3)}, 17), "over two axes"),
    "transposed, gaps": (
        ([node("ConvTranspose", "x w", dilations=[2, 2])], X, {"w": f(3, 8, 3, 3)}, 17), "without dilations"
    ),
    "transposed, cut": (
        ([node("ConvTranspose", "x w", pads=[3, 0, 0, 0])], X, {"w": f(3, 8, 3, 3)}, 17), "crop with Slice"
    ),
    "groups": (([node("Conv", "x w", group=2)], (1, 4, 9, 8), {"w": f(4, 2, 3, 3)}, 17), "dense convolutions"),
    "rounded up": (
        after_conv(node("MaxPool", "c", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)), "without ceil_mode"
    ),
    "cubic": (after_conv(node("Resize", "c - s", mode="cubic"), s=np.array([1, 1, 2, 2], np.float32)), "one of those"),
    "pad that cuts": (after_conv(node("Pad", "c p"), p=i(0, 0, -1, -1, 0, 0, -1, -1)), "cut with Slice"),
    "pad of old": (after_conv(node("Pad", "c", pads=[0, 0, 1, 1, 0, 0, 1, 1]), opset=10), "opset 13"),
    "computed weights": (([node("Reshape", "x s", "k"), node("Gemm", "x k")], (1, 8), {"s": i(8, 1)}, 17), "constant"),
    "gru of keras 1": (over_steps("GRU", "t w r", GRU, hidden_size=4), "linear_before_reset = 1"),
    "backwards": (over_steps("LSTM", "t w r b", LSTM, hidden_size=4, direction="reverse"), "bidirectional"),
    "other activations": (
        over_steps("LSTM", "t w r b", LSTM, hidden_size=4, activations=["Relu", "Tanh", "Tanh"]), "activations"
    ),
    "coupled gates": (over_steps("LSTM", "t w r b", LSTM, hidden_size=4, input_forget=1), "separate gates"),
}  # fmt: skip


def saved(graph: Graph, path: Path) -> Path:
    nodes, shape, constants, opset = graph
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


class Quantizing(Exception):
    """`hil new` came to the point where it would quantize."""


@pytest.fixture
def no_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No torch is needed to come as far as this."""

    def stop() -> None:
        raise Quantizing

    monkeypatch.setattr("esp_hil.goldens.new_model.require_quantizer", stop)


@pytest.mark.parametrize("name", RUN)
def test_what_check_lets_pass_comes_to_the_quantizer(name: str, tmp_path: Path, no_quantizer: None) -> None:
    wish = Wish(name="mine", onnx=saved(RUN[name], tmp_path / "net.onnx"))
    for answer in check(wish, ["esp32s3", "esp32p4"]):
        assert answer.runs, answer
        assert not any("write" in change or "explicit pads" in change for change in answer.changes), answer
    with pytest.raises(Quantizing):
        create(wish, tmp_path / "golden", lambda _line: None)


@pytest.mark.parametrize("name", STOP)
def test_what_check_stops_is_refused_with_the_same_words(
    name: str, tmp_path: Path, no_quantizer: None
) -> None:
    graph, todo = STOP[name]
    wish = Wish(name="mine", onnx=saved(graph, tmp_path / "net.onnx"))
    (answer,) = check(wish, ["esp32s3"])
    assert not answer.runs
    assert any(todo in change for change in answer.changes), answer.changes
    with pytest.raises(ConfigError) as caught:
        create(wish, tmp_path / "golden", lambda _line: None)
    assert caught.value.message == f"the model will not run: {answer.why[1]}"
    assert todo in caught.value.hint
    assert not (tmp_path / "golden").exists()


def test_an_operator_that_is_allowed_in_float_is_let_pass_in_both_places(
    tmp_path: Path, no_quantizer: None
) -> None:
    graph, _ = STOP["log"]
    wish = Wish(name="mine", onnx=saved(graph, tmp_path / "net.onnx"), float_operators=("Log",))
    (answer,) = check(wish, ["esp32s3"])
    assert answer.runs
    with pytest.raises(Quantizing):
        create(wish, tmp_path / "golden", lambda _line: None)


def test_of_several_errors_the_first_is_told_and_where_the_others_are(
    tmp_path: Path, no_quantizer: None
) -> None:
    graph = after_conv(node("Softplus", "c", "d"), node("Selu", "d"))
    with pytest.raises(ConfigError, match="; and 1 more") as caught:
        create(Wish(name="mine", onnx=saved(graph, tmp_path / "net.onnx")), tmp_path, lambda _line: None)
    assert "hil new mine --onnx FILE --check lists all" in caught.value.hint


def test_a_missing_attribute_is_named_with_the_value_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lint", str(saved(after_conv(node("Transpose", "c")), tmp_path / "net.onnx"))])
    told = capsys.readouterr().out
    assert "write dilations = [1, 1]" in told
    assert "write perm = [3, 2, 1, 0]" in told


def test_sizes_are_lower_bounds_and_what_is_not_there_has_no_figure(tmp_path: Path) -> None:
    (answer,) = check(Wish(name="mine", onnx=saved(RUN["conv"], tmp_path / "net.onnx")), ["esp32s3"])
    assert "at least 216 bytes of flash" in answer.why[0]
    assert f"{8 * 12 * 10 * 27:,} MACs" in answer.why[0]
    (answer,) = check(Wish(name="mine", onnx=saved(RUN["pool alone"], tmp_path / "net.onnx")), ["esp32s3"])
    assert answer.why[0].startswith("it has no weights; ")
    assert "bytes of flash" not in answer.why[0]
    assert "no MACs" in answer.why[0]


@pytest.mark.quantize
@pytest.mark.parametrize("name", ["same padding", "max", "split", "transposed"])
def test_what_was_left_unsaid_is_quantized_as_onnx_means_it(name: str, tmp_path: Path) -> None:
    for package in ("torch", "esp_ppq"):
        pytest.importorskip(package)
    path = saved(RUN[name], tmp_path / "net.onnx")
    create(Wish(name="mine", onnx=path, families=("esp32s3",)), tmp_path / "golden", lambda _line: None)
    model = catalogue.load("mine", (tmp_path / "golden",))
    golden = model.golden(limit=8)
    exact = DeviceFileReference(model, "w8a8", "esp32s3").run(golden.arrays)["y"].real()
    floats = FloatReference(model).run(golden.arrays)["y"].real()
    moved = np.moveaxis(floats, 1, -1)
    assert exact.shape == moved.shape
    assert np.square(exact - moved).sum() < 0.01 * np.square(moved).sum()

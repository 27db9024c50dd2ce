"""Shapes that are the same with the channels first and last: what is where is found out, not asked."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from esp_hil.goldens.new_model import Wish, create
from esp_hil.goldens.new_ports import ModelPort
from esp_hil.models.outputs import parse_output
from esp_hil.toml_table import TomlTable

needs_quantizer = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "esp_ppq")),
    reason="torch and esp-ppq are not installed: pip install 'esp-hil[quantize]'",
)
SHAPE = (1, 8, 8, 8)


def network(operator: str) -> onnx.ModelProto:
    """One operator from (1, 8, 8, 8) to the same shape."""
    weights = np.random.default_rng(0).normal(size=(8, 8, 3, 3) if operator == "Conv" else (8, 8))
    node = helper.make_node(operator, ["x", "w"], ["y"], name="only")
    if operator == "Conv":
        node.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy")
    graph = helper.make_graph([node], "net", [x], [y], [numpy_helper.from_array(weights.astype("f4"), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@needs_quantizer
@pytest.mark.parametrize(("operator", "layout"), [("Conv", "NHWC"), ("MatMul", "NCHW")])
def test_hil_new_finds_where_the_channels_are(tmp_path: Path, operator: str, layout: str) -> None:
    """A Conv moves them, a MatMul does not; the exact reference agrees with the quantizer in one order only."""
    onnx.save(network(operator), tmp_path / "net.onnx")
    said: list[str] = []
    wish = Wish(name="net", onnx=tmp_path / "net.onnx", families=("esp32s3",))
    folder = create(wish, tmp_path / "golden", said.append)
    text = (folder / "model.toml").read_text(encoding="utf-8")
    assert text.count(f'device_layout = "{layout}"') == 2
    assert not any("exact is not what the quantizer believed" in line for line in said[-2:])


@pytest.mark.parametrize(
    ("shape", "same"),
    [
        ((8, 8, 8), True),
        (SHAPE, True),
        ((8, 8), True),
        ((3, 8, 8), False),
        ((1, 1, 1), False),
        ((10,), False),
    ],
)
def test_a_shape_tells_unless_all_its_axes_are_as_long(shape: tuple[int, ...], same: bool) -> None:
    port = ModelPort(name="x", shape=shape, dtype="float32")
    assert port.same_when_moved is same
    assert replace(port, device_layout="NHWC").same_when_moved is same


def test_an_output_says_its_layout_in_model_toml() -> None:
    table = {"name": "y", "meaning": "raw", "device_layout": "NHWC"}
    assert parse_output(TomlTable(Path("model.toml"), "outputs[0]", table)).device_layout == "NHWC"

"""Small networks as ONNX files, with weights from a seed: what a clean clone converts, quantizes and runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from esp_hil.models.recipe import Calibration, Recipe

needs_tflm = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("tflite_micro", "ai_edge_litert", "ai_edge_quantizer"))),
    reason="needs tflite-micro, ai-edge-litert and ai-edge-quantizer: pip install 'esp-hil[tflm]'",
)

SIDE, CHANNELS = 8, 2
Head = Literal["Softmax", "Sigmoid", "none"]


class Network:
    """Appends nodes to an ONNX graph with input (N, 2, 8, 8)."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = "input"

    def add(self, op_type: str, weights: Sequence[NDArray[np.float32]] = (), **attributes: Any) -> Network:
        names = []
        for number, array in enumerate(weights):
            names.append(f"w{len(self.nodes)}_{number}")
            self.constants.append(numpy_helper.from_array(array, names[-1]))
        made = f"t{len(self.nodes)}"
        node = helper.make_node(
            op_type, [self.last, *names], [made], name=f"n{len(self.nodes)}", **attributes
        )
        self.nodes.append(node)
        self.last = made
        return self

    def conv(self, out: int, into: int, kernel: int = 3, **attributes: Any) -> Network:
        return self.add(
            "Conv",
            [self.weights(out, into, kernel, kernel), self.weights(out)],
            kernel_shape=[kernel] * 2,
            **attributes,
        )

    def gemm(self, out: int, into: int) -> Network:
        return self.add("Gemm", [self.weights(out, into), self.weights(out)], transB=1)

    def weights(self, *shape: int) -> NDArray[np.float32]:
        fan_in = max(1, int(np.prod(shape[1:])))
        return np.asarray(self.generator.standard_normal(shape) / np.sqrt(fan_in), np.float32)

    def save(self, path: Path) -> Path:
        self.nodes[-1].output[0] = "output"
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", CHANNELS, SIDE, SIDE])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", None])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, path)
        return path


def small(path: Path, *, head: Head = "Softmax", classes: int = 5) -> Path:
    """conv same, relu, max pool, conv valid with stride 2, relu, flatten, fc, head."""
    net = Network().conv(4, CHANNELS, pads=[1, 1, 1, 1]).add("Relu")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).conv(6, 4, kernel=2, strides=[2, 2]).add("Relu")
    net.add("Flatten", axis=1).gemm(classes, 6 * 2 * 2)
    return (net if head == "none" else net.add(head)).save(path)


def images(count: int, seed: int = 1) -> NDArray[np.float32]:
    """float32 (count, 2, 8, 8) in 0..1."""
    return np.random.default_rng(seed).random((count, CHANNELS, SIDE, SIDE), np.float32)


def recipe(io: Literal["integer", "float32"] = "integer", quant_type: Any = "w8a8") -> Recipe:
    """A recipe for TFLM; the calibration images are the caller's."""
    return Recipe(
        name="r",
        title="r",
        runtime="tflm",
        quant_type=quant_type,
        targets=("tflm",),
        calibration=Calibration(split="train", count=1, seed=0, observer="minmax"),
        dispatch={},
        passes={},
        float_operators=(),
        io=io,
    )

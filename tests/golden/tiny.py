"""A model folder small enough for tests: 8x8 gray images, three classes, conv + pool + two-layer head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODEL_TOML = """
title = "tiny"
source = "tests/golden/tiny.py"
task = "classification"
labels = ["a", "b", "c"]
runtime = "espdl"
float = "model.onnx"
output = "output"

[input]
name = "input"
dtype = "uint8"
layout = "NCHW"
shape = [1, 8, 8]
scale = 0.0078125
mean = [1.0]
std = [1.0]

[golden]
inputs = "inputs.npz"
answers = "answers.npz"
origin = "random"

[data]
file = "tiny.npz"
origin = "make it with tests/golden/tiny.py"

[tolerance]
device_vs_exact_lsb = 0
exact_vs_quantized_lsb = 0

[thresholds]
top1_agreement = 0.5
accuracy = 0
cosine = 0.5

[expected]
parameters = 123
macs = 1248
test_top1 = 0.0

[recipes.w8a8]
title = "int8"
quant_type = "w8a8"
targets = ["c", "esp32p4"]

[recipes.w8a8.calibration]
split = "train"
count = 12
seed = 0
observer = "minmax"
"""


def float_model(extra: str | None = None) -> onnx.ModelProto:
    """Conv 1->2, Relu, MaxPool, Flatten, Gemm -> 3; `extra`: an operator type put before the output."""
    generator = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(0, 0.5, shape).astype(np.float32), name)

    last = "output" if extra is None else "scores"
    nodes = [
        helper.make_node(
            "Conv",
            ["input", "w", "b"],
            ["/conv"],
            "/conv/Conv",
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
            strides=[1, 1],
            dilations=[1, 1],
            group=1,
        ),
        helper.make_node("Relu", ["/conv"], ["/relu"], "/relu/Relu"),
        helper.make_node(
            "MaxPool",
            ["/relu"],
            ["/pool"],
            "/pool/MaxPool",
            kernel_shape=[2, 2],
            strides=[2, 2],
            pads=[0] * 4,
            dilations=[1, 1],
            ceil_mode=0,
        ),
        helper.make_node("Flatten", ["/pool"], ["/flat"], "/flat/Flatten", axis=1),
        helper.make_node("Gemm", ["/flat", "fw", "fb"], [last], "/fc/Gemm", transB=1, alpha=1.0, beta=1.0),
    ]
    if extra is not None:
        nodes.append(helper.make_node(extra, [last], ["output"], f"/extra/{extra}"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 3])],
        [weights("w", 2, 1, 3, 3), weights("b", 2), weights("fw", 3, 32), weights("fb", 3)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Random uint8 images (count, 8, 8)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8)


def write_data(path: Path) -> Path:
    """A data set of 30 training and 9 test images, labels 0, 1, 2 in turn."""
    np.savez(
        path,
        x_train=images(30, 1),
        y_train=np.arange(30, dtype=np.uint8) % 3,
        x_test=images(9, 2),
        y_test=np.arange(9, dtype=np.uint8) % 3,
    )
    return path


def write_folder(root: Path, name: str = "tiny", *, toml: str = MODEL_TOML) -> Path:
    """A model folder under `root` as a person starts it: no device files, no manifest. Returns `root`."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(toml, encoding="utf-8")
    onnx.save(float_model(), folder / "model.onnx")
    np.savez(
        folder / "inputs.npz",
        images=images(6, 3),
        labels=np.arange(6, dtype=np.uint8) % 3,
        ids=np.array([f"random[{i}]" for i in range(6)]),
    )
    return root

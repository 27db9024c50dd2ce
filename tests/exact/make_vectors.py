"""Makes the vectors of a clean clone: small models, quantized by esp-ppq, with what its executor answers.

    python -m tests.exact.make_vectors

esp-ppq's executor is known to agree with ESP-DL bit for bit for these operators at int8. Needs the extra
[quantize]. Every case is a folder vectors/<family>_<name> with model.espdl and io.npz (in<k>__NAME,
out<k>__NAME).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent / "vectors"
TARGETS = {"c": "c", "p4": "esp32p4", "s3": "esp32s3"}
RUNS = 2

Float = NDArray[np.float32]


class Builder:
    """A float ONNX graph with input x, and y where a case asks for it."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: dict[str, list[int]] = {}

    def input(self, name: str, *shape: int) -> str:
        self.inputs[name] = [1, *shape]
        return name

    def weights(self, *shape: int, scale: float = 0.3) -> str:
        return self.constant((self.random.normal(size=shape) * scale).astype(np.float32))

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, op_type: str, *inputs: str, **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        given: dict[str, Any] = dict(attributes)
        self.nodes.append(
            helper.make_node(op_type, list(inputs), [output], name=f"n{len(self.nodes)}", **given)
        )
        return output

    def conv(
        self,
        x: str,
        inputs: int,
        outputs: int,
        *,
        size: int = 3,
        stride: int = 1,
        group: int = 1,
        relu: bool = False,
    ) -> str:
        w, b = self.weights(outputs, inputs // group, size, size), self.weights(outputs)
        y = self.op(
            "Conv",
            x,
            w,
            b,
            kernel_shape=[size] * 2,
            strides=[stride] * 2,
            pads=[size // 2] * 4,
            dilations=[1, 1],
            group=group,
        )
        return self.op("Relu", y) if relu else y

    def model(self, output: str) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in self.inputs.items()]
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "case", values, [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


Case = Callable[[Builder], str]


def unary(op_type: str, **attributes: object) -> Case:
    return lambda b: b.op(op_type, b.input("x", 5, 7), **attributes)


def binary(op_type: str) -> Case:
    return lambda b: b.op(op_type, b.input("x", 4, 6, 5), b.input("y", 4, 6, 5))


def reduction(op_type: str, *axes: int) -> Case:
    return lambda b: b.op(op_type, b.input("x", 4, 6, 5), b.constant(np.array(axes)), keepdims=1)


def on_conv(then: Callable[[Builder, str], str], channels: int = 8) -> Case:
    return lambda b: then(b, b.conv(b.input("x", 3, 9, 7), 3, channels))


CASES: dict[str, Case] = {
    "conv3x3": lambda b: b.conv(b.input("x", 5, 9, 7), 5, 16),
    "conv_tail": lambda b: b.conv(b.input("x", 5, 9, 7), 5, 19, relu=True),
    "conv_stride": lambda b: b.conv(b.input("x", 4, 9, 7), 4, 33, stride=2),
    "depthwise": lambda b: b.conv(b.input("x", 16, 9, 7), 16, 16, group=16),
    "depthwise_tail": lambda b: b.conv(b.input("x", 21, 9, 7), 21, 21, group=21, relu=True),
    "pointwise": lambda b: b.conv(b.input("x", 20, 6, 5), 20, 9, size=1),
    "gemm": lambda b: b.op(
        "Gemm", b.input("x", 40), b.weights(40, 18), b.weights(18), alpha=1.0, beta=1.0, transA=0, transB=0
    ),
    "matmul": lambda b: b.op("MatMul", b.input("x", 6, 24), b.weights(24, 20)),
    "maxpool": on_conv(lambda b, x: b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)),
    "avgpool": on_conv(
        lambda b, x: b.op(
            "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1
        )
    ),
    "gap": on_conv(lambda b, x: b.op("GlobalAveragePool", x)),
    "relu6": on_conv(lambda b, x: b.op("Clip", x, b.constant(np.float32(0)), b.constant(np.float32(6)))),
    "residual": on_conv(lambda b, x: b.op("Add", x, b.conv(x, 8, 8, size=1))),
    "gate": on_conv(lambda b, x: b.op("Mul", x, b.op("Sigmoid", b.op("GlobalAveragePool", x)))),
    "nearest": on_conv(
        lambda b, x: b.op(
            "Resize",
            x,
            "",
            b.constant(np.array([1, 1, 2, 2], np.float32)),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ),
    "linear": on_conv(
        lambda b, x: b.op(
            "Resize",
            x,
            "",
            b.constant(np.array([1, 1, 2, 2], np.float32)),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
    ),
    "concat": on_conv(lambda b, x: b.op("Concat", x, b.op("Tanh", x), axis=1)),
    "flatten": on_conv(
        lambda b, x: b.op(
            "Gemm", b.op("Flatten", x, axis=1), b.weights(504, 7, scale=0.05), b.weights(7), transB=0
        )
    ),
    "softmax": unary("Softmax", axis=-1),
    "sigmoid": unary("Sigmoid"),
    "hardswish": unary("HardSwish"),
    "elu": unary("Elu", alpha=1.0),
    "add": binary("Add"),
    "sub": binary("Sub"),
    "mul": binary("Mul"),
    "div": binary("Div"),
    "mean": reduction("ReduceMean", 2, 3),
    "sum": reduction("ReduceSum", 1),
    "l2": reduction("ReduceL2", 3),
    "transpose": lambda b: b.op("Transpose", b.input("x", 4, 6, 5), perm=[0, 2, 3, 1]),
    "slice": lambda b: b.op(
        "Slice", b.input("x", 4, 6, 5), *(b.constant(np.array(v)) for v in ([1, 0], [6, 5], [2, 3], [2, 1]))
    ),
    "layernorm": lambda b: b.op(
        "LayerNormalization", b.input("x", 4, 12), b.weights(12, scale=1.0), b.weights(12), axis=-1
    ),
}
ONLY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("softmax", "elu", "sum", "l2", "transpose", "slice", "layernorm", "concat", "flatten", "maxpool"),
        ("c",),
    ),
    "conv_stride": ("p4",),
    "residual": ("c", "p4"),
}


def main() -> int:
    """Remake all vectors."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        jobs = [job for family in TARGETS for job in _jobs(scratch, family)]
        (scratch / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        worker = [sys.executable, "-m", "tests.exact.ppq_worker", str(scratch / "jobs.json")]
        subprocess.run(worker, env=environment, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(FOLDER, ignore_errors=True)
        for job in jobs:
            refused = Path(job["answers"]).with_suffix(".refused")
            if refused.exists():
                print(f"{job['name']}: {refused.read_text()}", file=sys.stderr)
                return 1
            target = FOLDER / job["name"]
            target.mkdir(parents=True)
            shutil.copy(job["espdl"], target / "model.espdl")
            shutil.copy(job["answers"], target / "io.npz")
    return 0


def _jobs(scratch: Path, family: str) -> list[dict[str, str]]:
    jobs = []
    for number, (name, case) in enumerate(CASES.items()):
        if family not in ONLY.get(name, tuple(TARGETS)):
            continue
        builder = Builder(number)
        model = builder.model(case(builder))
        stem = f"{family}_{name}"
        onnx.save(model, scratch / f"{stem}.onnx")
        floats: dict[str, Float] = {
            key: (builder.random.normal(size=(RUNS, *shape[1:])) * 1.5).astype(np.float32)
            for key, shape in builder.inputs.items()
        }
        np.savez(scratch / f"{stem}.floats.npz", **floats)  # type: ignore[arg-type]
        jobs.append(
            {
                "name": stem,
                "onnx": str(scratch / f"{stem}.onnx"),
                "floats": str(scratch / f"{stem}.floats.npz"),
                "target": TARGETS[family],
                "quant_type": "w8a8",
                "espdl": str(scratch / f"{stem}.espdl"),
                "answers": str(scratch / f"{stem}.npz"),
            }
        )
    return jobs


if __name__ == "__main__":
    sys.exit(main())

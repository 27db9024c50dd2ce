"""Random float ONNX graphs of operators for which esp-ppq's executor agrees with ESP-DL at int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, HEIGHT, WIDTH = 6, 9, 7


class RandomGraph:
    """Grows a graph operator by operator; the current tensor is (1, channels, height, width)."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape = (CHANNELS, HEIGHT, WIDTH)
        self.current = "x"
        self.count = 0

    def model(self) -> onnx.ModelProto:
        """Two to six operators, a Conv first: esp-ppq is wrong about passive operators on a graph input."""
        self.conv()
        steps = [
            self.conv,
            self.depthwise,
            self.activation,
            self.pool,
            self.residual,
            self.gate,
            self.both,
            self.resize,
        ]
        for _ in range(int(self.random.integers(1, 6))):
            steps[int(self.random.integers(len(steps)))]()
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, HEIGHT, WIDTH])]
        outputs = [helper.make_tensor_value_info(self.current, TensorProto.FLOAT, [1, *self.shape])]
        graph = helper.make_graph(self.nodes, "random", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def add(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        self.count += 1
        output = f"t{self.count}"
        given: dict[str, Any] = dict(attributes)
        name = f"n{self.count}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **given))
        return output

    def constant(self, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def weights(self, *shape: int) -> str:
        """Of a random magnitude, and some channels far smaller than others."""
        scale = 2.0 ** self.random.integers(-4, 2) * 2.0 ** self.random.integers(
            -3, 1, (shape[0], *[1] * (len(shape) - 1))
        )
        return self.constant((self.random.normal(size=shape) * scale).astype(np.float32))

    def conv(self) -> None:
        channels, height, width = self.shape
        outputs = int(self.random.choice([5, 8, 16, 17, 32]))
        size = int(self.random.choice([1, 3]))
        stride = int(self.random.choice([1, 1, 2])) if min(height, width) > 4 else 1
        w, b = self.weights(outputs, channels, size, size), self.weights(outputs)
        pad = size // 2
        self.current = self.add(
            "Conv",
            [self.current, w, b],
            kernel_shape=[size] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[1, 1],
            group=1,
        )
        self.shape = (outputs, (height - 1) // stride + 1, (width - 1) // stride + 1)
        if self.random.random() < 0.5:
            self.current = self.add("Relu", [self.current])

    def depthwise(self) -> None:
        channels = self.shape[0]
        w, b = self.weights(channels, 1, 3, 3), self.weights(channels)
        self.current = self.add(
            "Conv",
            [self.current, w, b],
            kernel_shape=[3, 3],
            strides=[1, 1],
            pads=[1] * 4,
            dilations=[1, 1],
            group=channels,
        )

    def activation(self) -> None:
        kind = str(self.random.choice(["Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu", "Clip"]))
        if kind == "Clip":
            low, high = self.constant(np.array(0, np.float32)), self.constant(np.array(6, np.float32))
            self.current = self.add("Clip", [self.current, low, high])
        else:
            self.current = self.add(kind, [self.current])

    def pool(self) -> None:
        channels, height, width = self.shape
        if min(height, width) < 4:
            return
        kind = str(self.random.choice(["MaxPool", "AveragePool"]))
        self.current = self.add(kind, [self.current], kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
        self.shape = (channels, height // 2, width // 2)

    def residual(self) -> None:
        before, shape = self.current, self.shape
        w, b = self.weights(shape[0], shape[0], 1, 1), self.weights(shape[0])
        branch = self.add(
            "Conv",
            [before, w, b],
            kernel_shape=[1, 1],
            strides=[1, 1],
            pads=[0] * 4,
            dilations=[1, 1],
            group=1,
        )
        self.current = self.add(str(self.random.choice(["Add", "Sub"])), [before, branch])

    def gate(self) -> None:
        squeezed = self.add("GlobalAveragePool", [self.current])
        self.current = self.add("Mul", [self.current, self.add("Sigmoid", [squeezed])])

    def both(self) -> None:
        other = self.add("Tanh", [self.current])
        self.current = self.add("Concat", [self.current, other], axis=1)
        self.shape = (2 * self.shape[0], *self.shape[1:])

    def resize(self) -> None:
        channels, height, width = self.shape
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        mode = str(self.random.choice(["nearest", "linear"]))
        how = "asymmetric" if mode == "nearest" else "half_pixel"
        self.current = self.add(
            "Resize",
            [self.current, "", scales],
            mode=mode,
            coordinate_transformation_mode=how,
            nearest_mode="floor",
        )
        self.shape = (channels, 2 * height, 2 * width)

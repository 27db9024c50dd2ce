"""Random float ONNX graphs of operators that esp-ppq's executor computes as ESP-DL does, but for known differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, HEIGHT, WIDTH = 6, 9, 7


class RandomGraph:
    """Grows a graph operator by operator; the current tensor is (1, channels, height, width)."""

    def __init__(self, seed: int, *, resizes: bool = True) -> None:
        self.random = np.random.default_rng(seed)
        self.resizes = resizes
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape = (CHANNELS, HEIGHT, WIDTH)
        self.current = "x"
        self.count = 0

    def model(self) -> onnx.ModelProto:
        """Two to eight operators, a Conv first: esp-ppq is wrong about passive operators on a graph input.

        Resize only where that was asked for: ESP-DL has none for int16.
        """
        self.conv()
        steps = [
            self.conv,
            self.depthwise,
            self.activation,
            self.pool,
            self.residual,
            self.gate,
            self.both,
            *([self.resize] if self.resizes else []),
            self.transposed,
            self.crop,
            self.border,
            self.parts,
            self.blocks,
            self.scale,
        ]
        for _ in range(int(self.random.integers(1, 8))):
            steps[int(self.random.integers(len(steps)))]()
        output_shape = [1, *self.shape]
        if self.random.random() < 0.25:
            output_shape = self.head()
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, HEIGHT, WIDTH])]
        outputs = [helper.make_tensor_value_info(self.current, TensorProto.FLOAT, output_shape)]
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
        """A function of each value; not Neg, which esp-ppq rescales and ESP-DL does not."""
        kind = str(
            self.random.choice(["Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu", "Clip", "HardSigmoid"])
        )
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
        kernel = [int(size) for size in self.random.choice([2, 3], 2)]
        strides = [int(size) for size in self.random.choice([1, 2], 2)]
        heads = [min(int(self.random.integers(0, size)), size // 2) if size == 3 else 0 for size in kernel]
        more = {"count_include_pad": 1} if kind == "AveragePool" else {}
        self.current = self.add(
            kind, [self.current], kernel_shape=kernel, strides=strides, pads=[*heads, *heads], **more
        )
        rows, columns = (
            (size + 2 * head - window) // stride + 1
            for size, head, window, stride in zip((height, width), heads, kernel, strides, strict=True)
        )
        self.shape = (channels, rows, columns)

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

    def integers(self, *values: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def transposed(self) -> None:
        channels, height, width = self.shape
        outputs = int(self.random.choice([4, 9, 16]))
        w, b = self.weights(channels, outputs, 3, 3), self.weights(outputs)
        self.current = self.add(
            "ConvTranspose",
            [self.current, w, b],
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1] * 4,
            output_padding=[1, 1],
            dilations=[1, 1],
            group=1,
        )
        self.shape = (outputs, 2 * height, 2 * width)

    def crop(self) -> None:
        channels, height, width = self.shape
        top, left = int(self.random.integers(0, height)), int(self.random.integers(0, width))
        limits = [
            self.integers(top, left),
            self.integers(height, width),
            self.integers(2, 3),
            self.integers(1, 2),
        ]
        self.current = self.add("Slice", [self.current, *limits])
        self.shape = (channels, height - top, -(-(width - left) // 2))

    def border(self) -> None:
        channels, height, width = self.shape
        mode = str(self.random.choice(["constant", "edge", "reflect"]))
        if min(height, width) < 3:
            mode = "edge"
        top, left, bottom, right = (int(count) for count in self.random.integers(0, 3, 4))
        self.current = self.add(
            "Pad", [self.current, self.integers(0, 0, top, left, 0, 0, bottom, right)], mode=mode
        )
        self.shape = (channels, height + top + bottom, width + left + right)

    def parts(self) -> None:
        """Split by channels, one part through a function, put together the other way round."""
        channels = self.shape[0]
        if channels < 2:
            return
        first = int(self.random.integers(1, channels))
        self.count += 1
        halves = [f"t{self.count}a", f"t{self.count}b"]
        sizes = self.integers(first, channels - first)
        self.nodes.append(
            helper.make_node("Split", [self.current, sizes], halves, name=f"n{self.count}", axis=1)
        )
        changed = self.add(str(self.random.choice(["Relu", "Sigmoid"])), [halves[0]])
        self.current = self.add("Concat", [halves[1], changed], axis=1)

    def blocks(self) -> None:
        channels, height, width = self.shape
        if channels % 4:
            return
        self.current = self.add("DepthToSpace", [self.current], blocksize=2, mode="CRD")
        self.shape = (channels // 4, 2 * height, 2 * width)

    def scale(self) -> None:
        """Times or by one number; esp-ppq leaves a constant for each channel in NCHW, which fits no chip."""
        values = self.random.uniform(0.3, 3, (1,)) * self.random.choice([-1, 1], (1,))
        self.current = self.add(
            str(self.random.choice(["Mul", "Div"])), [self.current, self.constant(values.astype(np.float32))]
        )

    def head(self) -> list[int]:
        """The mean over positions or all of them, and a Gemm."""
        if self.random.random() < 0.5:
            self.current = self.add("ReduceMean", [self.current], axes=[2, 3], keepdims=1)
            self.shape = (self.shape[0], 1, 1)
        size = int(np.prod(self.shape))
        if size > 2000:
            return [1, *self.shape]
        flat = self.add("Flatten", [self.current], axis=1)
        outputs = int(self.random.choice([3, 10, 17, 32]))
        w, b = self.weights(size, outputs), self.weights(outputs)
        self.current = self.add("Gemm", [flat, w, b])
        return [1, outputs]

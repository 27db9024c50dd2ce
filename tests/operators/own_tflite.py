"""Operator models of our own for TFLM: `.tflite` files of one operator, int8 and int16, and the edges of ESP-NN."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.formats.tflite.graphs import Graph, Graphs

Shape = tuple[int, ...]
SAME, VALID = 0, 1
NONE, RELU, RELU6 = 0, 1, 3


@dataclass(slots=True)
class Maker:
    """Makes models of one width.

    Attributes:
        bits: 8 or 16 of activations; weights have 8.
        random: seeded by the model's name.
    """

    bits: int
    random: np.random.Generator
    file: Graphs = field(default_factory=Graphs)

    @property
    def kind(self) -> str:
        """Type of activations."""
        return f"INT{self.bits}"

    @property
    def scale(self) -> float:
        """Of activations."""
        return 0.05 if self.bits == 8 else 0.05 / 256

    @property
    def zero(self) -> int:
        """Zero point of activations: none at int16."""
        return 3 if self.bits == 8 else 0

    def tensor(
        self, graph: Graph, name: str, shape: Shape, scale: float = 0.0, zero: int | None = None
    ) -> int:
        """An activation."""
        quantized = (scale or self.scale, self.zero if zero is None else zero)
        return graph.tensor(name, shape, self.kind, quantized=quantized)

    def weights(self, graph: Graph, shape: Shape, scale: float = 0.02) -> int:
        """Of the whole range of int8, symmetric."""
        values = self.random.integers(-127, 128, shape).astype(np.int8)
        return graph.tensor("w", shape, "INT8", values, quantized=(scale, 0))

    def bias(self, graph: Graph, count: int, scale: float) -> int:
        """Of the size of some products."""
        wide = ("INT32", np.int32) if self.bits == 8 else ("INT64", np.int64)
        values = self.random.integers(-4000, 4000, count).astype(wide[1])
        return graph.tensor("b", (count,), wide[0], values, quantized=(scale, 0))

    def model(
        self,
        op: str,
        given: Sequence[Shape],
        made: Shape | Sequence[Shape],
        *,
        constants: Sequence[NDArray[Any]] = (),
        first: bool = False,
        scale: float = 0.0,
        zero: int | None = None,
        kind: str = "",
        options: str = "",
        **values: Any,
    ) -> bytes:
        """A file of one operator.

        Args:
            op: its name.
            given: shapes of its activations.
            made: of its outputs.
            constants: int32 inputs behind the activations.
            first: the constants come first.
            scale: of the output; 0: that of the inputs.
            zero: its zero point.
            kind: type of the output; "": as the inputs.
            options: table of its options, with `values`.
        """
        graph = self.file.graph("main")
        inputs = [self.tensor(graph, f"x{i}", shape) for i, shape in enumerate(given)]
        more = [graph.tensor(f"k{i}", v.shape, "INT32", v.astype(np.int32)) for i, v in enumerate(constants)]
        shapes = [made] if made and isinstance(made[0], int) else made
        quantized = (scale or self.scale, self.zero if zero is None else zero)
        meant = None if kind in {"BOOL", "FLOAT32"} else quantized
        outputs = [
            graph.tensor(f"y{i}", shape, kind or self.kind, quantized=meant)  # type: ignore[arg-type]
            for i, shape in enumerate(shapes)
        ]
        graph.operator(op, [*more, *inputs] if first else [*inputs, *more], outputs, options, **values)
        graph.ends(inputs, outputs)
        return self.file.image()

    def window(
        self,
        inputs: int,
        outputs: int,
        *,
        size: Shape = (6, 6),
        kernel: Shape = (3, 3),
        stride: int = 1,
        padding: int = SAME,
        depthwise: bool = False,
        activation: int = NONE,
        multiplier: int = 1,
    ) -> bytes:
        """CONV_2D or DEPTHWISE_CONV_2D."""
        graph = self.file.graph("main")
        extents = [
            -(-n // stride) if padding == SAME else (n - k) // stride + 1
            for n, k in zip(size, kernel, strict=True)
        ]
        x = self.tensor(graph, "x", (1, *size, inputs))
        shape = (1, *kernel, outputs) if depthwise else (outputs, *kernel, inputs)
        w, b = self.weights(graph, shape), self.bias(graph, outputs, self.scale * 0.02)
        taps = kernel[0] * kernel[1] * (1 if depthwise else inputs)
        y = self.tensor(graph, "y", (1, *extents, outputs), self.scale * 0.7 * taps**0.5)
        common = {
            "strideW": stride,
            "strideH": stride,
            "padding": padding,
            "fusedActivationFunction": activation,
        }
        common |= {"dilationWFactor": 1, "dilationHFactor": 1}
        if depthwise:
            graph.operator(
                "DEPTHWISE_CONV_2D",
                [x, w, b],
                [y],
                "DepthwiseConv2DOptions",
                depthMultiplier=multiplier,
                **common,
            )
        else:
            graph.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", **common)
        graph.ends([x], [y])
        return self.file.image()

    def dense(self, inputs: int, outputs: int, rows: int = 1, activation: int = NONE) -> bytes:
        """FULLY_CONNECTED."""
        graph = self.file.graph("main")
        x = self.tensor(graph, "x", (rows, inputs))
        w, b = self.weights(graph, (outputs, inputs)), self.bias(graph, outputs, self.scale * 0.02)
        y = self.tensor(graph, "y", (rows, outputs), self.scale * 0.7 * inputs**0.5)
        graph.operator(
            "FULLY_CONNECTED", [x, w, b], [y], "FullyConnectedOptions", fusedActivationFunction=activation
        )
        graph.ends([x], [y])
        return self.file.image()

    def pool(
        self, op: str, size: Shape, *, kernel: int = 2, stride: int = 2, padding: int = VALID, activation: int = NONE,
        channels: int = 8,
    ) -> bytes:  # fmt: skip
        """A pool of windows."""
        extents = [-(-n // stride) if padding == SAME else (n - kernel) // stride + 1 for n in size]
        return self.model(
            op,
            [(1, *size, channels)],
            (1, *extents, channels),
            options="Pool2DOptions",
            strideW=stride,
            strideH=stride,
            filterWidth=kernel,
            filterHeight=kernel,
            padding=padding,
            fusedActivationFunction=activation,
        )


Make = Callable[[Maker], bytes]
X: Shape = (1, 5, 7)


def ints(*values: int) -> NDArray[np.int32]:
    """A constant."""
    return np.array(values, np.int32)


def unary(op: str, scale: float = 0.0, zero: int | None = None, options: str = "", **values: Any) -> Make:
    """Element by element."""
    return lambda m: m.model(op, [(1, 333)], (1, 333), scale=scale, zero=zero, options=options, **values)


def squashing(op: str, of_8: tuple[float, int], of_16: float) -> Make:
    """A function whose output has a scale of its own."""
    more: dict[str, Any] = {"options": "SoftmaxOptions", "beta": 1.0} if op == "SOFTMAX" else {}

    def make(m: Maker) -> bytes:
        scale, zero = of_8 if m.bits == 8 else (of_16, 0)
        return m.model(op, [(1, 333)], (1, 333), scale=scale, zero=zero, **more)

    return make


def binary(
    op: str, one: Shape = X, other: Shape = X, factor: float = 1.0, options: str = "", **values: Any
) -> Make:
    """Two activations."""
    return lambda m: m.model(
        op, [one, other], np.broadcast_shapes(one, other), scale=m.scale * factor, options=options, **values
    )


def compares(op: str) -> Make:
    """Truth values."""
    return lambda m: m.model(op, [X, X], X, kind="BOOL")


PLUS: dict[str, Any] = {"fusedActivationFunction": NONE}
GENERAL: dict[str, tuple[Make, tuple[int, ...]]] = {
    "ADD": (binary("ADD", factor=1.3, options="AddOptions", **PLUS), (8, 16)),
    "SUB": (binary("SUB", factor=1.3, options="SubOptions", **PLUS), (8, 16)),
    "MUL": (binary("MUL", factor=3.1, options="MulOptions", **PLUS), (8, 16)),
    "MAXIMUM": (binary("MAXIMUM"), (8, 16)),
    "MINIMUM": (binary("MINIMUM"), (8, 16)),
    "CONV_2D": (lambda m: m.window(5, 7), (8, 16)),
    "DEPTHWISE_CONV_2D": (lambda m: m.window(5, 5, depthwise=True), (8, 16)),
    "FULLY_CONNECTED": (lambda m: m.dense(33, 17), (8, 16)),
    "MAX_POOL_2D": (lambda m: m.pool("MAX_POOL_2D", (6, 6)), (8, 16)),
    "AVERAGE_POOL_2D": (lambda m: m.pool("AVERAGE_POOL_2D", (6, 6)), (8, 16)),
    "SOFTMAX": (squashing("SOFTMAX", (1 / 256, -128), 1 / 32768), (8, 16)),
    "LOGISTIC": (squashing("LOGISTIC", (1 / 256, -128), 1 / 32768), (8, 16)),
    "TANH": (squashing("TANH", (1 / 128, 0), 1 / 32768), (8, 16)),
    "RELU": (unary("RELU"), (8,)),
    "RELU6": (unary("RELU6"), (8,)),
    "LEAKY_RELU": (unary("LEAKY_RELU", options="LeakyReluOptions", alpha=0.1), (8, 16)),
    "HARD_SWISH": (unary("HARD_SWISH"), (8,)),
    "ELU": (unary("ELU"), (8,)),
    "MEAN": (
        lambda m: m.model(
            "MEAN", [(1, 4, 3, 5)], (1, 5), constants=[ints(1, 2)], options="ReducerOptions", keepDims=False
        ),
        (8, 16),
    ),
    "REDUCE_MAX": (
        lambda m: m.model(
            "REDUCE_MAX",
            [(1, 4, 3, 5)],
            (1, 5),
            constants=[ints(1, 2)],
            options="ReducerOptions",
            keepDims=False,
        ),
        (8,),
    ),
    "CONCATENATION": (
        lambda m: m.model(
            "CONCATENATION", [(1, 5, 7), (1, 5, 4)], (1, 5, 11), options="ConcatenationOptions", axis=2
        ),
        (8, 16),
    ),
    "RESHAPE": (lambda m: m.model("RESHAPE", [(1, 6, 5)], (1, 30), constants=[ints(1, 30)]), (8, 16)),
    "TRANSPOSE": (lambda m: m.model("TRANSPOSE", [(1, 4, 3)], (1, 3, 4), constants=[ints(0, 2, 1)]), (8, 16)),
    "PAD": (
        lambda m: m.model("PAD", [(1, 4, 5)], (1, 7, 8), constants=[ints(0, 0, 1, 2, 3, 0).reshape(3, 2)]),
        (8, 16),
    ),
    "SLICE": (
        lambda m: m.model("SLICE", [(1, 6, 7)], (1, 3, 4), constants=[ints(0, 1, 2), ints(1, 3, 4)]),
        (8, 16),
    ),
    "STRIDED_SLICE": (
        lambda m: m.model(
            "STRIDED_SLICE",
            [(1, 6, 7)],
            (1, 3, 3),
            constants=[ints(0, 0, 1), ints(1, 6, 7), ints(1, 2, 2)],
            options="StridedSliceOptions",
        ),
        (8, 16),
    ),
    "SPLIT": (
        lambda m: m.model(
            "SPLIT",
            [(1, 6, 4)],
            [(1, 3, 4)] * 2,
            constants=[ints(1)],
            first=True,
            options="SplitOptions",
            numSplits=2,
        ),
        (8, 16),
    ),
    "QUANTIZE": (unary("QUANTIZE", scale=0.11, zero=0), (8, 16)),
    "DEQUANTIZE": (lambda m: m.model("DEQUANTIZE", [(1, 99)], (1, 99), kind="FLOAT32"), (8, 16)),
    "RESIZE_NEAREST_NEIGHBOR": (
        lambda m: m.model(
            "RESIZE_NEAREST_NEIGHBOR",
            [(1, 3, 4, 5)],
            (1, 6, 8, 5),
            constants=[ints(6, 8)],
            options="ResizeNearestNeighborOptions",
        ),
        (8, 16),
    ),
    "RESIZE_BILINEAR": (
        lambda m: m.model(
            "RESIZE_BILINEAR",
            [(1, 3, 4, 5)],
            (1, 6, 8, 5),
            constants=[ints(6, 8)],
            options="ResizeBilinearOptions",
            halfPixelCenters=True,
        ),
        (8,),
    ),
    "SQUEEZE": (
        lambda m: m.model("SQUEEZE", [(1, 6, 1, 5)], (1, 6, 5), options="SqueezeOptions", squeezeDims=[2]),
        (8, 16),
    ),
    "SPACE_TO_DEPTH": (
        lambda m: m.model(
            "SPACE_TO_DEPTH", [(1, 4, 6, 3)], (1, 2, 3, 12), options="SpaceToDepthOptions", blockSize=2
        ),
        (8,),
    ),
    "DEPTH_TO_SPACE": (
        lambda m: m.model(
            "DEPTH_TO_SPACE", [(1, 2, 3, 12)], (1, 4, 6, 3), options="DepthToSpaceOptions", blockSize=2
        ),
        (8,),
    ),
    "GREATER": (compares("GREATER"), (8,)),
    "LESS": (compares("LESS"), (8,)),
    "EQUAL": (compares("EQUAL"), (8,)),
}
"""Of each operator a general model, and its widths."""

EDGES: dict[str, tuple[str, Make]] = {
    "conv_aligned": ("channels that fill vectors", lambda m: m.window(16, 16)),
    "conv_pointwise": ("1x1", lambda m: m.window(16, 24, kernel=(1, 1), size=(4, 4))),
    "conv_same_stride2": (
        "SAME padding with a leading pixel",
        lambda m: m.window(16, 16, size=(9, 12), stride=2, kernel=(3, 3)),
    ),
    "conv_valid": ("no padding", lambda m: m.window(4, 6, padding=VALID, activation=RELU6)),
    "depthwise_aligned": ("", lambda m: m.window(16, 16, depthwise=True)),
    "depthwise_tail": ("", lambda m: m.window(12, 12, depthwise=True, stride=2)),
    "depthwise_tiled": (
        "an image beyond 24 KB",
        lambda m: m.window(24, 24, size=(34, 33), kernel=(5, 5), depthwise=True),
    ),
    "depthwise_multiplier": ("", lambda m: m.window(4, 8, depthwise=True, multiplier=2)),
    "dense_aligned": ("", lambda m: m.dense(64, 16, activation=RELU)),
    "dense_rows": ("rows that begin anywhere", lambda m: m.dense(20, 9, rows=3)),
    "avgpool_wide": ("not as high as wide", lambda m: m.pool("AVERAGE_POOL_2D", (4, 10))),
    "avgpool_padded": ("", lambda m: m.pool("AVERAGE_POOL_2D", (5, 5), kernel=3, stride=1, padding=SAME)),
    "maxpool_four": (
        "channels of 8 n + 4, values below the activation's minimum",
        lambda m: m.pool("MAX_POOL_2D", (6, 6), channels=12, activation=RELU),
    ),
    "add_vectors": ("", binary("ADD", (1, 4, 32), (1, 4, 32), 1.3, "AddOptions", **PLUS)),
    "mul_vectors": ("", binary("MUL", (1, 4, 32), (1, 4, 32), 3.1, "MulOptions", **PLUS)),
    "mul_leftover": ("more than vectors", binary("MUL", (1, 4, 37), (1, 4, 37), 3.1, "MulOptions", **PLUS)),
    "mul_small": ("no vector", binary("MUL", (1, 7), (1, 7), 3.1, "MulOptions", **PLUS)),
    "softmax_rows": (
        "rows that begin anywhere",
        lambda m: m.model(
            "SOFTMAX", [(3, 41)], (3, 41), scale=1 / 256, zero=-128, options="SoftmaxOptions", beta=1.0
        ),
    ),
}
"""Name: (what is special, maker), int8: what ESP-NN has kernels for, and layers that it is known to compute wrongly."""


def own_tflite() -> Iterator[tuple[str, bytes, str]]:
    """Name, file and what is special, of every model."""
    for op, (make, widths) in GENERAL.items():
        for bits in widths:
            name = f"tflm_s{bits}_{op.lower()}"
            yield name, make(Maker(bits, np.random.default_rng(zlib.crc32(name.encode())))), ""
    for edge, (said, make) in EDGES.items():
        name = f"tflm_s8_{edge}"
        yield name, make(Maker(8, np.random.default_rng(zlib.crc32(name.encode())))), said

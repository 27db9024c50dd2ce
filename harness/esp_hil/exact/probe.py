"""Which of onnxruntime's integer kernels sum exactly on this machine, and how they want filters to be held.

Processors without VNNI multiply uint8 by int8 with vpmaddubsw, which adds two products in 16 bits and saturates:
wrong answers, without a word. Their kernels for uint8 by uint8 widen first and are exact. A filter of int8 integers
w is then held as uint8 w + 128 with zero point 128. Nothing is believed of a processor's name or flags: full-scale
products go through each kind of kernel, and none is used that has not answered right on this machine.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from esp_hil.exact.onnx_graph import MICROSOFT, OnnxGraph, element_type

ZERO_POINT = 128

WeightType = Literal["int8", "uint8"]


class IntegerKernels(NamedTuple):
    """How filters must be held so that this machine's integer kernels sum exactly.

    Attributes:
        dense: of QLinearConv with one group, QGemm and MatMulInteger.
        depthwise: of depthwise QLinearConv.
        narrow: of QLinearConv with one group and QGemm where no two products leave 16 bits together.
    """

    dense: WeightType
    depthwise: WeightType
    narrow: WeightType


def held(weights: NDArray[np.int8], kind: WeightType) -> tuple[NDArray[Any], np.generic]:
    """int8 weights as a kernel takes them, and their zero point."""
    if kind == "int8":
        return weights, np.int8(0)
    return (weights.astype(np.int16) + ZERO_POINT).astype(np.uint8), np.uint8(ZERO_POINT)


@cache
def available() -> IntegerKernels | None:
    """How this machine's kernels sum exactly, None if some do not in any way; tried once."""
    dense = next((kind for kind in _KINDS if _dense_is_exact(kind)), None)
    depthwise = next((kind for kind in _KINDS if _depthwise_is_exact(kind)), None)
    if dense is None or depthwise is None:
        return None
    narrow = next((kind for kind in _KINDS if _narrow_is_exact(kind)), dense)
    return IntegerKernels(dense, depthwise, narrow)


_KINDS: tuple[WeightType, ...] = ("int8", "uint8")
_SHIFT = 13
_CHANNELS = 67  # more than one vector and a remainder
_OUTPUTS = 35
_SIZE = 6
_EDGES = np.array([-128, -127, 126, 127], np.int8)


def _narrow_is_exact(kind: WeightType) -> bool:
    """The same where two products stay within 16 bits: inputs up to 127, or weights up to 64."""
    return _dense_is_exact(kind, positive=True) and _dense_is_exact(kind, edges=_EDGES // 2)


def _dense_is_exact(kind: WeightType, *, positive: bool = False, edges: NDArray[np.int8] = _EDGES) -> bool:
    """Pointwise and 3x3 Conv, Gemm of one row and of many, and MatMulInteger, on numbers at the edges.

    With `positive`, inputs are at most 127 with zero point 0, else up to 255 with zero point 128.
    """
    random = np.random.default_rng(7)
    zero = 0 if positive else ZERO_POINT
    x = _inputs(random) // np.uint8(2 if positive else 1)
    dense = random.choice(edges, (_OUTPUTS, _CHANNELS))
    dense[:2] = [[edges.max()], [edges.min()]]  # sums of one sign, the first to saturate
    square = random.choice(edges, (5, 3, 3, _CHANNELS))
    rows = x.reshape(-1, _CHANNELS).astype(np.int64) - zero
    sums = rows @ dense.T.astype(np.int64)
    probe = _Probe(kind, zero)
    probe.conv("pointwise", dense[:, :, None, None], group=1)
    probe.conv("square", square.transpose(0, 3, 1, 2), group=1)
    probe.gemm(dense, rows=len(rows))
    answers = probe.run(x)
    patches = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.int64) - zero, (3, 3), axis=(0, 1))
    wide = np.einsum("ijcyx,nyxc->ijn", patches, square.astype(np.int64))
    return (
        np.array_equal(answers["pointwise"].reshape(-1, _OUTPUTS), _requantized(sums))
        and np.array_equal(answers["square"][0], _requantized(wide))
        and np.array_equal(answers["many"], _requantized(sums))
        and np.array_equal(answers["single"], _requantized(sums[:1]))
        and np.array_equal(answers["matmul"], sums)
    )


def _depthwise_is_exact(kind: WeightType) -> bool:
    random = np.random.default_rng(8)
    x = _inputs(random)
    weights = random.choice(np.array([-128, 127], np.int8), (_CHANNELS, 3, 3))
    weights[0] = 127
    probe = _Probe(kind)
    probe.conv("depthwise", weights[:, None], group=_CHANNELS)
    patches = np.lib.stride_tricks.sliding_window_view(
        x[0].astype(np.int64) - ZERO_POINT, (3, 3), axis=(0, 1)
    )
    sums = (patches * weights).sum(axis=(-1, -2))
    return np.array_equal(probe.run(x)["depthwise"][0], _requantized(sums))


def _inputs(random: np.random.Generator) -> NDArray[np.uint8]:
    x = random.choice(np.array([0, 1, 254, 255], np.uint8), (1, _SIZE, _SIZE, _CHANNELS))
    x[0, 0] = 255
    return x


def _requantized(sums: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(sums / 2.0**_SHIFT) + ZERO_POINT, 0, 255), np.uint8)


class _Probe:
    """A graph of kernels over one input x (1, 6, 6, C) of uint8 with that zero point; results by name."""

    def __init__(self, kind: WeightType, zero: int = ZERO_POINT) -> None:
        self.graph, self.kind = OnnxGraph(), kind
        self.graph.fresh("x")
        self.one = self.graph.constant(np.float32(1), "one")
        self.zero = self.graph.constant(np.uint8(zero), "zero")
        self.out = self.graph.constant(np.uint8(ZERO_POINT), "zero")
        self.scale = self.graph.constant(np.float32(2.0**-_SHIFT), "scale")
        self.outputs: dict[str, str] = {}

    def _weights(self, weights: NDArray[np.int8]) -> tuple[str, str]:
        values, nothing = held(np.ascontiguousarray(weights), self.kind)
        return self.graph.constant(values, "w"), self.graph.constant(nothing, "none")

    def conv(self, name: str, weights: NDArray[np.int8], *, group: int) -> None:
        w, none = self._weights(weights)
        bias = self.graph.constant(np.zeros(weights.shape[0], np.int32), "bias")
        inputs = ["x", self.one, self.zero, w, self.scale, none, self.one, self.out, bias]
        sizes = {
            "kernel_shape": list(weights.shape[2:]),
            "strides": [1, 1],
            "dilations": [1, 1],
            "pads": [0] * 4,
        }
        self.graph.ops(
            "QLinearConv", inputs, hints=[name], domain=MICROSOFT, channels_last=1, group=group, **sizes
        )
        self.outputs[name] = "uint8"

    def gemm(self, weights: NDArray[np.int8], *, rows: int) -> None:
        graph = self.graph
        w, none = self._weights(weights.T)
        bias = graph.constant(np.zeros(weights.shape[0], np.int32), "bias")
        flat = graph.op("Reshape", ["x", graph.constant(np.array([rows, -1]), "rows")])
        first = graph.op("Slice", [flat, *(graph.constant(np.array([n]), "cut") for n in (0, 1, 0))])
        for name, value in (("many", flat), ("single", first)):
            inputs = [value, self.one, self.zero, w, self.scale, none, bias, self.one, self.out]
            graph.ops("QGemm", inputs, hints=[name], domain=MICROSOFT)
            self.outputs[name] = "uint8"
        graph.ops("MatMulInteger", [flat, w, self.zero, none], hints=["matmul"])
        self.outputs["matmul"] = "int32"

    def run(self, x: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        from esp_hil.exact.session import open_session

        value = helper.make_tensor_value_info
        model = self.graph.model(
            name="probe",
            inputs=[value("x", element_type("uint8"), list(x.shape))],
            outputs=[value(name, element_type(dtype), None) for name, dtype in self.outputs.items()],
            metadata={},
        )
        names = list(self.outputs)
        return dict(zip(names, open_session(model.SerializeToString(), 1).run(names, {"x": x}), strict=True))

"""The accumulators of a Conv or Gemm, out in the open: what a layer's sums were before they were rounded.

For looking into one layer after the fact. The exact reference never has these sums as a tensor of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.filters import filter_oihw
from esp_hil.exact.lowering import attribute_int, attribute_ints, attribute_text
from esp_hil.formats.espdl.model import Graph, Node, ValueInfo

Sums = NDArray[np.float64]
"""Integers in float64, exact below 2^53."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SummingLayer:
    """A two-dimensional Conv, or a Gemm, with the input that it had.

    Attributes:
        x: (H, W, C) input without padding; a Gemm's is (1, rows, C).
        weights: (N, h, w, C) filter; depthwise C is 1.
        bias: (N,) in units of the products.
        shifts: (N,) right shifts of the accumulator.
        strides: rows, columns.
        dilations: rows, columns.
        pads: top, left, bottom, right.
        depthwise: output channel n reads input channel n only.
        relu: negative results become 0.
        low: what the result saturates to.
        high: likewise.
        shape: of the output on the device.
    """

    x: Sums
    weights: Sums
    bias: Sums
    shifts: NDArray[np.int64]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    depthwise: bool
    relu: bool
    low: int
    high: int
    shape: tuple[int, ...]

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        _, height, width, _ = self.weights.shape
        (top, left, bottom, right), size = self.pads, self.x.shape
        reach = (self.dilations[0] * (height - 1) + 1, self.dilations[1] * (width - 1) + 1)
        return (
            (size[0] + top + bottom - reach[0]) // self.strides[0] + 1,
            (size[1] + left + right - reach[1]) // self.strides[1] + 1,
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        rows, columns = self.positions
        return rows * columns * self.weights.size

    def patches(self) -> Sums:
        """What each position sees: (positions, h * w, C) in the kernels' order of rows, columns, channels."""
        _, height, width, _ = self.weights.shape
        rows, columns = self.positions
        top, left, bottom, right = self.pads
        padded = np.pad(self.x, ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)))
        padded = padded[max(-top, 0) :, max(-left, 0) :]
        taps = []
        for y in range(height):
            for x in range(width):
                part = padded[y * self.dilations[0] :, x * self.dilations[1] :]
                part = part[:: self.strides[0], :: self.strides[1]][:rows, :columns]
                taps.append(part.reshape(rows * columns, -1))
        return np.stack(taps, axis=1)

    def sums(self) -> Sums:
        """Accumulators with the bias: (positions, N)."""
        patches, outputs = self.patches(), self.weights.shape[0]
        taps = self.weights.reshape(outputs, -1, self.weights.shape[3])
        if self.depthwise:
            return np.asarray(np.einsum("ptn,nt->pn", patches, taps[:, :, 0]) + self.bias)
        return np.asarray(patches.reshape(len(patches), -1) @ taps.reshape(outputs, -1).T + self.bias)

    def products(self, positions: NDArray[np.int64], channels: NDArray[np.int64]) -> Sums:
        """The products of some output elements in the order of their sum: (elements, taps)."""
        patches = self.patches()[positions]
        taps = self.weights.reshape(self.weights.shape[0], -1, self.weights.shape[3])[channels]
        if self.depthwise:
            seen = np.take_along_axis(patches, channels[:, np.newaxis, np.newaxis], axis=2)
            return np.asarray((seen * taps)[:, :, 0])
        return np.asarray((patches * taps).reshape(len(positions), -1))

    def moved(self, down: int, right: int) -> SummingLayer:
        """The same with windows that begin so many pixels later; the output keeps its size."""
        top, left, bottom, after = self.pads
        return replace(self, pads=(top - down, left - right, bottom + down, after + right))

    def with_input(self, x: NDArray[Any]) -> SummingLayer:
        """The same layer on another input of the same size, on the device's shape."""
        return replace(self, x=x.astype(np.float64).reshape(self.x.shape))


def layer_of(
    graph: Graph, node: Node, x: NDArray[Any], infos: Mapping[str, ValueInfo]
) -> SummingLayer | None:
    """The layer of a node, None if it is no two-dimensional Conv and no Gemm with a constant matrix.

    Args:
        graph: of the node.
        node: any node.
        x: its first input, (1, H, W, C) or (rows, C), the device's integers.
        infos: activations by name.
    """
    filter_ = graph.initializers.get(node.input(1))
    if node.op_type not in {"Conv", "Gemm"} or filter_ is None or len(filter_.shape) != 4:
        return None
    depthwise = node.op_type == "Conv" and attribute_int(node, "group", 1) != 1
    weights = filter_oihw(filter_, depthwise=depthwise, kernels="chip").transpose(0, 2, 3, 1)
    outputs = weights.shape[0]
    bias = graph.initializers[node.input(2)].data if node.input(2) else np.zeros(outputs)
    given, made = infos[node.inputs[0]], infos[node.outputs[0]]
    shifts = made.exponents[0] - given.exponents[0] - np.asarray(filter_.exponents, np.int64)
    limits = np.iinfo(np.dtype(made.dtype))
    convolves = node.op_type == "Conv"
    strides = attribute_ints(node, "strides", (1, 1)) if convolves else (1, 1)
    dilations = attribute_ints(node, "dilations", (1, 1)) if convolves else (1, 1)
    pads = (attribute_ints(node, "pads", ()) or (0,) * 4) if convolves else (0,) * 4
    return SummingLayer(
        x=x.astype(np.float64).reshape(x.shape[1:] if convolves else (1, -1, x.shape[-1])),
        weights=weights.astype(np.float64),
        bias=bias.astype(np.float64),
        shifts=np.broadcast_to(shifts, (outputs,)).copy(),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        pads=(pads[0], pads[1], pads[2], pads[3]),
        depthwise=depthwise,
        relu=attribute_text(node, "activation", "Linear") == "Relu",
        low=int(limits.min),
        high=int(limits.max),
        shape=made.shape,
    )


ROUNDINGS = ("half_up", "half_even", "floor", "toward_zero", "half_away")


def finished(
    layer: SummingLayer, sums: Sums, rounding: str, *, extra_shift: int = 0, saturate: bool = True
) -> Sums:
    """Accumulators to results: shift, round, ReLU, saturate (or, without, wrap around): (positions, N)."""
    scaled = np.ldexp(sums, -(layer.shifts + extra_shift).astype(np.int32))
    result = _rounded(scaled, rounding)
    if layer.relu:
        result = np.maximum(result, 0)
    if saturate:
        return np.asarray(np.clip(result, layer.low, layer.high))
    span = layer.high - layer.low + 1
    return np.asarray((result - layer.low) % span + layer.low)


def _rounded(values: Sums, rounding: str) -> Sums:
    if rounding == "half_even":
        return np.asarray(np.rint(values))
    if rounding == "floor":
        return np.asarray(np.floor(values))
    if rounding == "toward_zero":
        return np.asarray(np.trunc(values))
    if rounding == "half_away":
        return np.asarray(np.trunc(values + np.copysign(0.5, values)))
    return np.asarray(np.floor(values + 0.5))


def saturated_sums(products: Sums, bias: Sums, bits: int) -> Sums:
    """Sums of (elements, taps) that start from (elements,) and saturate to `bits` after every product."""
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    total = bias
    for tap in range(products.shape[1]):
        total = np.clip(total + products[:, tap], low, high)
    return np.asarray(total)

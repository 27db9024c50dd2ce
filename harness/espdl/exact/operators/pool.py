"""Pooling over NHWC (NWC): MaxPool, AveragePool, GlobalAveragePool.

Averages are a sum of integers times one float32, `scale_in * (1 / area) * scale_out`
(dl_base_avg_pool2d.cpp:29), with `area` always the whole window (dl_base_pool2d.hpp:132), whatever
`count_include_pad` says. `ceil_mode` and `dilations` are not read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import UnsupportedOperator
from harness.espdl.exact.arithmetic import rounded_and_clipped, scale_of
from harness.espdl.exact.lowering import CHANNEL_FIRST, Lowering, attribute_ints, quantized_dtype
from harness.espdl.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT
from harness.espdl.exact.registry import operator
from harness.espdl.model import Node


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, strides and pads (ONNX order: all heads, then all tails) of a pooling node."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]


def window_of(lowering: Lowering, node: Node) -> Window:
    """Attributes of a pooling node; that they are there was checked with the shape."""
    rank = len(lowering.shape(node.inputs[0])) - 2
    pads = attribute_ints(node, "pads", ()) or (0,) * (2 * rank)
    return Window(attribute_ints(node, "kernel_shape", ()), attribute_ints(node, "strides", ()), pads)


@operator("MaxPool", batches=True)
def lower_max_pool(lowering: Lowering, node: Node) -> None:
    """Largest value in the window; padding does not take part."""
    quantized_dtype(node, floats=False)
    window = window_of(lowering, node)
    x, y = node.inputs[0], node.outputs[0]
    value = lowering.onnx.op(
        "MaxPool",
        [lowering.read(x, CHANNEL_FIRST)],
        hint=f"{y}:nchw",
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
        pads=list(window.pads),
    )
    lowering.write(y, value, CHANNEL_FIRST, bounds=lowering.bounds(x))
    lowering.prove(node, "move")


@operator("AveragePool", batches=True)
def lower_average_pool(lowering: Lowering, node: Node) -> None:
    """round(sum * scale)."""
    average(lowering, node, window_of(lowering, node))


@operator("GlobalAveragePool", batches=True)
def lower_global_average_pool(lowering: Lowering, node: Node) -> None:
    """The average over all positions."""
    spatial = lowering.shape(node.inputs[0])[1:-1]
    average(lowering, node, Window(spatial, (1,) * len(spatial), (0,) * (2 * len(spatial))))


def average(lowering: Lowering, node: Node, window: Window) -> None:
    """Sums over windows, then one multiplication in float32 and rounding."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    dtype = quantized_dtype(node)
    area = int(np.prod(window.kernel))
    inverse = np.float32(1) / np.float32(area)
    if dtype == "float32":
        value = onnx.op(
            "Mul", [_sums(lowering, node, window), onnx.constant(inverse, "1/area")], hint=f"{y}:nchw"
        )
        lowering.write(y, value, CHANNEL_FIRST)
        lowering.prove(node, "float")
        return
    scale = np.float32(scale_of(lowering.exponent(x) - lowering.exponent(y))) * inverse
    bound = area * lowering.bounds(x).magnitude
    total = _sums(lowering, node, window) if bound <= FLOAT32_LIMIT else _wide_sums(lowering, node, window)
    value = onnx.op("Mul", [total, onnx.constant(scale, "scale/area")], hint=f"{y}:mean")
    value = rounded_and_clipped(lowering, value, DTYPE_BOUNDS[dtype])
    lowering.write(y, value, CHANNEL_FIRST, bounds=DTYPE_BOUNDS[dtype])
    limit = FLOAT32_LIMIT if bound <= FLOAT32_LIMIT else FLOAT64_LIMIT
    lowering.prove(node, "float32" if limit == FLOAT32_LIMIT else "float64", bound=bound, limit=limit)


def _sums(lowering: Lowering, node: Node, window: Window) -> str:
    """Sums over windows in float32, by a depthwise Conv with ones."""
    value = lowering.read(node.inputs[0], CHANNEL_FIRST)
    return _ones_conv(lowering, node, window, value)


def _ones_conv(lowering: Lowering, node: Node, window: Window, value: str) -> str:
    shape = lowering.shape(node.inputs[0])
    if window.kernel == shape[1:-1] and not any(window.pads):
        axes = list(range(2, len(shape)))
        return lowering.onnx.op(
            "ReduceSum",
            [value, lowering.onnx.constant(np.array(axes), "axes")],
            hint=f"{node.outputs[0]}:sum",
        )
    channels = shape[-1]
    ones = lowering.onnx.constant(np.ones((channels, 1, *window.kernel), np.float32), "ones")
    return lowering.onnx.op(
        "Conv",
        [value, ones],
        hint=f"{node.outputs[0]}:sum",
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
        pads=list(window.pads),
        group=channels,
    )


def _wide_sums(lowering: Lowering, node: Node, window: Window) -> str:
    """Sums beyond 2**24: high and low bytes apart, added in float64, then rounded to float32."""
    onnx = lowering.onnx
    value = lowering.read(node.inputs[0], CHANNEL_FIRST)
    high = onnx.op("Floor", [onnx.op("Mul", [value, onnx.constant(np.float32(1 / 256), "1/256")])])
    low = onnx.op("Sub", [value, onnx.op("Mul", [high, onnx.constant(np.float32(256), "256")])])
    if 256 * int(np.prod(window.kernel)) > FLOAT32_LIMIT:
        raise UnsupportedOperator(f"{node.op_type} {node.name!r}: a window of {window.kernel}")
    parts = [
        onnx.op("Cast", [_ones_conv(lowering, node, window, part)], to=11, hint=f"{node.outputs[0]}:sum64")
        for part in (high, low)
    ]
    total = onnx.op("Add", [onnx.op("Mul", [parts[0], onnx.constant(np.float64(256), "256")]), parts[1]])
    return onnx.op("Cast", [total], to=1)

"""Pooling over NHWC (NWC): MaxPool, AveragePool, GlobalAveragePool.

Averages are a sum of integers times one float32, `scale_in * (1 / area) * scale_out`
(dl_base_avg_pool2d.cpp:29), with `area` always the whole window (dl_base_pool2d.hpp:132), whatever
`count_include_pad` says. `ceil_mode` and `dilations` are not read.

The factor stands first in the multiplication: as the second input onnxruntime's ConvMulFusion would move it
into the Conv that sums, where every summand would be rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import quantize_array, rounded_and_clipped, scale_of
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    Form,
    Lowering,
    attribute_ints,
    quantized_dtype,
)
from esp_hil.exact.onnx_graph import MICROSOFT, element_type
from esp_hil.exact.operators.conv import with_zero
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT, Bounds
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


@dataclass(frozen=True, slots=True)
class PoolWindow:
    """Kernel, strides and pads (ONNX order: all heads, then all tails) of a pooling node."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]


def window_of(lowering: Lowering, node: Node) -> PoolWindow:
    """Attributes of a pooling node; that they are there was checked with the shape."""
    rank = len(lowering.shape(node.inputs[0])) - 2
    pads = attribute_ints(node, "pads", ()) or (0,) * (2 * rank)
    return PoolWindow(attribute_ints(node, "kernel_shape", ()), attribute_ints(node, "strides", ()), pads)


@operator("MaxPool", batches=True)
def lower_max_pool(lowering: Lowering, node: Node) -> None:
    """Largest value in the window; padding does not take part."""
    quantized_dtype(node, floats=False)
    window = window_of(lowering, node)
    x, y = node.inputs[0], node.outputs[0]
    offset = lowering.prefers_bytes(x) and len(window.kernel) == 2
    form = lowering.bytes_form(x) if offset else CHANNEL_FIRST
    value = lowering.onnx.op(
        "NhwcMaxPool" if offset else "MaxPool",
        [lowering.read(x, form)],
        hint=f"{y}:max",
        domain=MICROSOFT if offset else "",
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
        pads=list(window.pads),
    )
    lowering.write(y, value, form, bounds=lowering.bounds(x))
    lowering.prove(node, "move")


@operator("AveragePool", batches=True)
def lower_average_pool(lowering: Lowering, node: Node) -> None:
    """round(sum * scale)."""
    average(lowering, node, window_of(lowering, node))


@operator("GlobalAveragePool", batches=True)
def lower_global_average_pool(lowering: Lowering, node: Node) -> None:
    """The average over all positions."""
    spatial = lowering.shape(node.inputs[0])[1:-1]
    average(lowering, node, PoolWindow(spatial, (1,) * len(spatial), (0,) * (2 * len(spatial))))


def _whole(lowering: Lowering, node: Node, window: PoolWindow) -> bool:
    """Whether the window is all of the input, so that the sums are a reduction."""
    return window.kernel == lowering.shape(node.inputs[0])[1:-1] and not any(window.pads)


def average(lowering: Lowering, node: Node, window: PoolWindow) -> None:
    """Sums over windows, then one multiplication in float32 and rounding."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    dtype = quantized_dtype(node)
    area = int(np.prod(window.kernel))
    inverse = np.float32(1) / np.float32(area)
    form = CHANNEL_FIRST
    if _whole(lowering, node, window) and not lowering.held_channel_first(x):
        form = DEVICE_FLOAT
    if dtype == "float32":
        total = _sums(lowering, node, window, lowering.read(x, form), form)
        lowering.write(y, onnx.op("Mul", [onnx.constant(inverse, "1/area"), total], hint=f"{y}:mean"), form)
        lowering.prove(node, "float")
        return
    scale = np.float32(scale_of(lowering.exponent(x) - lowering.exponent(y))) * inverse
    bound = area * lowering.bounds(x).magnitude
    wide = bound > FLOAT32_LIMIT
    sums = _wide_sums if wide else _sums
    total = sums(lowering, node, window, lowering.read(x, form), form)
    value = onnx.op("Mul", [onnx.constant(scale, "scale/area"), total], hint=f"{y}:mean")
    value = rounded_and_clipped(lowering, value, DTYPE_BOUNDS[dtype])
    inputs = lowering.bounds(x)
    ends = np.array([inputs.low, inputs.high], np.float32) * np.float32(area) * scale
    reach = Bounds(*(int(end) for end in quantize_array(ends, dtype, lowering.rounding)))
    if any(window.pads):
        reach = with_zero(reach)
    lowering.write(y, value, form, bounds=reach)
    limit = FLOAT64_LIMIT if wide else FLOAT32_LIMIT
    lowering.prove(node, "float64" if wide else "float32", bound=bound, limit=limit)


def _sums(lowering: Lowering, node: Node, window: PoolWindow, value: str, form: Form) -> str:
    """Sums over windows in float32, by a reduction or a depthwise Conv with ones."""
    onnx, shape = lowering.onnx, lowering.shape(node.inputs[0])
    hint = f"{node.outputs[0]}:sum"
    if _whole(lowering, node, window):
        first = 2 if form.channel_first else 1
        axes = onnx.constant(np.arange(first, first + len(window.kernel)), "axes")
        return onnx.op("ReduceSum", [value, axes], hint=hint)
    ones = onnx.constant(np.ones((shape[-1], 1, *window.kernel), np.float32), "ones")
    return onnx.op(
        "Conv",
        [value, ones],
        hint=hint,
        kernel_shape=list(window.kernel),
        strides=list(window.strides),
        pads=list(window.pads),
        group=shape[-1],
    )


def _wide_sums(lowering: Lowering, node: Node, window: PoolWindow, value: str, form: Form) -> str:
    """Sums beyond 2**24: high and low bytes apart, added in float64, then rounded to float32."""
    onnx = lowering.onnx
    high = onnx.op("Floor", [onnx.op("Mul", [value, onnx.constant(np.float32(1 / 256), "1/256")])])
    low = onnx.op("Sub", [value, onnx.op("Mul", [high, onnx.constant(np.float32(256), "256")])])
    if 256 * int(np.prod(window.kernel)) > FLOAT32_LIMIT:
        raise UnsupportedOperator(f"{node.op_type} {node.name!r}: a window of {window.kernel}")
    parts = [
        onnx.op(
            "Cast",
            [_sums(lowering, node, window, part, form)],
            to=element_type("float64"),
            hint=f"{node.outputs[0]}:sum64",
        )
        for part in (high, low)
    ]
    total = onnx.op("Add", [onnx.op("Mul", [parts[0], onnx.constant(np.float64(256), "256")]), parts[1]])
    return onnx.op("Cast", [total], to=element_type("float32"))

"""Resize of int8 NHWC (NWC) tensors: nearest and linear, in the float32 steps of dl_base_resize.cpp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import clipped, dl_rescale, dl_scale, rounded, rounded_and_clipped
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    Form,
    Lowering,
    attribute_text,
    quantized_dtype,
)
from esp_hil.exact.proof import DTYPE_BOUNDS, Bounds
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node

F32 = np.float32


@dataclass(frozen=True, slots=True)
class SpatialAxis:
    """One spatial axis: lengths and the float32 scale as ESP-DL computes it."""

    length: int
    output: int
    scale: np.float32


def _axes(lowering: Lowering, node: Node) -> list[SpatialAxis]:
    shape = lowering.shape(node.inputs[0])
    if len(shape) not in (3, 4):
        raise UnsupportedOperator(
            f"Resize {node.name!r}: input {shape}", hint="ESP-DL resizes 3-D and 4-D tensors"
        )
    sizes, scales = lowering.constant_input(node, 3), lowering.constant_input(node, 2)
    axes = []
    for index, length in enumerate(shape[1:-1]):
        if sizes is not None:
            output = int(sizes.reshape(-1)[2 + index])
            scale = F32(output) / F32(length)
        elif scales is not None:
            scale = F32(scales.reshape(-1)[2 + index])
            output = int(F32(length) * scale)
        else:
            raise UnsupportedOperator(f"Resize {node.name!r}: neither scales nor sizes")
        axes.append(SpatialAxis(length, output, scale))
    return axes


@operator("Resize", batches=True)
def lower_resize(lowering: Lowering, node: Node) -> None:
    """Nearest or linear interpolation."""
    if quantized_dtype(node, floats=False) == "int16":
        raise UnsupportedOperator(
            f"Resize {node.name!r}: int16",
            hint="ESP-DL's int16 kernel is empty: its output is whatever was in memory",
        )
    x, y = node.inputs[0], node.outputs[0]
    axes = _axes(lowering, node)
    shape = lowering.shape(x)
    lowering.set_shape(y, (shape[0], *(axis.output for axis in axes), shape[-1]))
    form = CHANNEL_FIRST if lowering.held_channel_first(x) else DEVICE_FLOAT
    same = lowering.exponent(x) == lowering.exponent(y)
    mode = attribute_text(node, "mode", "")
    if mode == "nearest":
        by_bytes = same and lowering.prefers_bytes(x)
        _nearest(lowering, node, axes, lowering.bytes_form(x) if by_bytes else form)
    elif mode == "linear":
        align = attribute_text(node, "coordinate_transformation_mode", "") == "align_corners"
        _linear(lowering, node, axes, form, align_corners=align)
    else:
        raise UnsupportedOperator(
            f"Resize {node.name!r}: mode {mode!r}", hint="ESP-DL has nearest and linear"
        )


def _nearest(lowering: Lowering, node: Node, axes: list[SpatialAxis], form: Form) -> None:
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    value = lowering.read(x, form)
    shift = lowering.exponent(x) - lowering.exponent(y)
    bounds = lowering.bounds(x)
    if shift:
        if shift > _LARGEST_RISE:
            raise UnsupportedOperator(
                f"Resize {node.name!r}: exponent {lowering.exponent(x)} to {lowering.exponent(y)}",
                hint="ESP-DL's nearest keeps the factor in int8: 2^7 would turn the sign",
            )
        value = onnx.op("Mul", [value, onnx.constant(F32(2.0**shift), "scale")])
        value = _in_int8(lowering, value) if shift > 0 else rounded(lowering, value)
        bounds = DTYPE_BOUNDS["int8"]
    doubled = form.channel_first and all(axis.scale == F32(2) for axis in axes)
    if doubled:
        scales = onnx.constant(np.array([1, 1, *[2] * len(axes)], F32), "scales")
        value = onnx.op(
            "Resize",
            [value, "", scales],
            hint=f"{y}:resized",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    else:
        for index, axis in enumerate(axes):
            inverse = F32(1) / axis.scale
            source = np.minimum(
                (np.arange(axis.output).astype(F32) * inverse).astype(np.int64), axis.length - 1
            )
            value = _taken(lowering, value, source, _onnx_axis(index, form))
    lowering.write(y, value, form, bounds=bounds)
    lowering.prove(node, "move")


_LARGEST_RISE = 6


def _in_int8(lowering: Lowering, value: str) -> str:
    """Multiples of a finer scale as int8: SIMD kernels saturate, C keeps the low bits (dl_base_resize.cpp:18)."""
    onnx, limits = lowering.onnx, DTYPE_BOUNDS["int8"]
    if lowering.simd:
        return clipped(lowering, value, limits)
    half, turn = onnx.constant(F32(-limits.low), "half_turn"), onnx.constant(F32(2 * -limits.low), "turn")
    turns = onnx.op("Floor", [onnx.op("Div", [onnx.op("Add", [value, half]), turn])])
    return onnx.op("Sub", [value, onnx.op("Mul", [turns, turn])])


def _onnx_axis(index: int, form: Form) -> int:
    return index + (2 if form.channel_first else 1)


def _taken(lowering: Lowering, value: str, indices: NDArray[np.int64], axis: int) -> str:
    return lowering.onnx.op("Gather", [value, lowering.onnx.constant(indices, "indices")], axis=axis)


def _linear(
    lowering: Lowering, node: Node, axes: list[SpatialAxis], form: Form, *, align_corners: bool
) -> None:
    """Along W, then along H: x0 r0 + x1 r1, every product and sum rounded to float32."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    value = onnx.op("Mul", [lowering.read(x, form), onnx.constant(dl_scale(lowering.exponent(x)), "scale")])
    rank = len(axes) + 2
    for index in reversed(range(len(axes))):
        first, ratio = _coefficients(axes[index], align_corners=align_corners)
        axis = _onnx_axis(index, form)
        along = [1] * rank
        along[axis] = -1
        near = _taken(lowering, value, np.maximum(first, 0), axis)
        far = _taken(lowering, value, first + 1, axis)
        parts = [
            onnx.op("Mul", [part, onnx.constant(weight.reshape(along), "ratio")])
            for part, weight in ((near, F32(1) - ratio), (far, ratio))
        ]
        value = onnx.op("Add", parts, hint=f"{y}:along{axis}")
    value = onnx.op("Mul", [value, onnx.constant(dl_rescale(lowering.exponent(y)), "rescale")])
    limits = Bounds(-128, 127)
    lowering.write(y, rounded_and_clipped(lowering, value, limits), form, bounds=limits)
    lowering.prove(
        node, "float", note="interpolated in float32 as on the device (without fused multiply-add)"
    )


def _coefficients(axis: SpatialAxis, *, align_corners: bool) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Index of the nearer input and the weight of the next one (linear_coeffs)."""
    scale = axis.scale
    if align_corners:
        scale = F32(axis.output - 1) / F32(axis.length - 1) if axis.length > 1 else F32(np.inf)
    inverse = F32(1) / scale
    positions = np.arange(axis.output).astype(F32)
    where = positions * inverse if align_corners else (positions + F32(0.5)) * inverse - F32(0.5)
    first = np.floor(where).astype(np.int64)
    ratio = where - first.astype(F32)
    ratio = np.where(first < 0, F32(0), ratio)
    first = np.maximum(first, 0)
    last = first >= axis.length - 1
    return np.where(last, axis.length - 2, first), np.where(last, F32(1), ratio).astype(F32)

"""Conv and Gemm in plain integers, with what can be wrong in them: the broken kernels of a virtual board.

They share nothing with the exact reference but the reading of packed filters, so that what they get right
checks it, and what they get wrong is a fault of its own making.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.filters import filter_oihw
from esp_hil.formats.espdl.model import Attribute, EspdlModel, Node

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """What is wrong in a kernel; as it stands, nothing.

    Attributes:
        rounding: key of ROUNDINGS.
        add_shift: how much further the accumulator is shifted to the right.
        add_padding: how many pixels the window begins too early, in both directions.
        accumulator_bits: the accumulator saturates to so many bits after each product; 0: it never does.
    """

    rounding: str
    add_shift: int = 0
    add_padding: int = 0
    accumulator_bits: int = 0


def half_up(values: Integers, shifts: Integers) -> Integers:
    """Floor of value / 2**shift + 1/2."""
    half = np.where(shifts > 0, np.int64(1) << np.maximum(shifts - 1, 0), 0)
    return _floor(values + half, shifts)


def half_even(values: Integers, shifts: Integers) -> Integers:
    """To nearest, ties to the even neighbour."""
    up = half_up(values, shifts)
    ties = (shifts > 0) & ((values & ((np.int64(1) << np.maximum(shifts, 0)) - 1)) == _half(shifts))
    return np.where(ties & (up & 1 == 1), up - 1, up)


def _half(shifts: Integers) -> Integers:
    half: Integers = np.int64(1) << np.maximum(shifts - 1, 0)
    return half


def _floor(values: Integers, shifts: Integers) -> Integers:
    moved: Integers = np.where(shifts >= 0, values >> np.maximum(shifts, 0), values << np.maximum(-shifts, 0))
    return moved


def _toward_zero(values: Integers, shifts: Integers) -> Integers:
    magnitude: Integers = _floor(np.abs(values), shifts)
    return np.sign(values) * magnitude


ROUNDINGS: dict[str, Callable[[Integers, Integers], Integers]] = {
    "half_up": half_up,
    "half_even": half_even,
    "floor": _floor,
    "toward_zero": _toward_zero,
}


def run_node(model: EspdlModel, node: Node, x: NDArray[Any], wrong: Wrong) -> NDArray[Any]:
    """A Conv (NHWC, or NWC) or Gemm of a model on integers x (1, ...); same dtype and layout as the device's answer.

    Raises:
        ValueError: another operator, or a Conv of more than two dimensions.
    """
    graph = model.graph
    filter_ = graph.initializers[node.inputs[1]]
    depthwise = node.op_type == "Conv" and _int(node, "group") != 1
    weights = filter_oihw(filter_, depthwise=depthwise, kernels="chip").astype(np.int64)
    row = node.op_type == "Conv" and weights.ndim == 3
    if row:  # an image one pixel high
        weights, node = weights[:, :, np.newaxis], _as_image(node)
    if node.op_type not in {"Conv", "Gemm"} or weights.ndim != 4:
        raise ValueError(f"{node.op_type} {node.name} is neither a 1-D or 2-D Conv nor a Gemm")
    outputs = weights.shape[0]
    bias = np.zeros(outputs, np.int64)
    if node.input(2):
        bias = graph.initializers[node.inputs[2]].data.astype(np.int64)
    exponent_in, exponent_out = (
        graph.values[name].exponents[0] for name in (node.inputs[0], node.outputs[0])
    )
    shifts = np.broadcast_to(exponent_out - exponent_in - np.asarray(filter_.exponents), (outputs,))
    image = x.astype(np.int64)
    image = image.reshape(1, 1, -1, image.shape[-1]) if row or node.op_type == "Gemm" else image
    sums = _sums(image[0], weights, bias, node, wrong)
    rounded = ROUNDINGS[wrong.rounding](sums, shifts.astype(np.int64) + wrong.add_shift)
    if node.attributes.get("activation") in {"Relu", b"Relu"}:
        rounded = np.maximum(rounded, 0)
    limits = np.iinfo(x.dtype if node.op_type == "Gemm" else graph.values[node.outputs[0]].dtype)
    result = np.clip(rounded, limits.min, limits.max).astype(limits.dtype)
    if node.op_type == "Gemm":
        return result.reshape(*x.shape[:-1], outputs)
    return result if row else result[np.newaxis]


def _as_image(node: Node) -> Node:
    """A 1-D Conv as the 2-D one of an image one pixel high."""
    stride, dilation = _ints(node, "strides", (1,)), _ints(node, "dilations", (1,))
    left, right = _ints(node, "pads", (0, 0))
    attributes = {
        **node.attributes,
        "strides": (1, *stride),
        "dilations": (1, *dilation),
        "pads": (0, left, 0, right),
    }
    return replace(node, attributes=attributes)


def _sums(image: Integers, weights: Integers, bias: Integers, node: Node, wrong: Wrong) -> Integers:
    """(H, W, C) to accumulators (H', W', N)."""
    outputs, _, height, width = weights.shape
    strides, dilations = _ints(node, "strides", (1, 1)), _ints(node, "dilations", (1, 1))
    top, left, bottom, right = _ints(node, "pads", (0, 0, 0, 0))
    off = wrong.add_padding
    rows, columns = (
        (size + before + after - dilation * (taps - 1) - 1) // stride + 1
        for size, before, after, dilation, taps, stride in zip(
            image.shape[:2], (top, left), (bottom, right), dilations, (height, width), strides, strict=True
        )
    )
    around = abs(off) + 1
    padded = np.pad(image, ((top + around, bottom + around), (left + around, right + around), (0, 0)))
    total = np.broadcast_to(bias, (rows, columns, outputs)).copy()
    for y in range(height):
        for x in range(width):
            at = (around - off + y * dilations[0], around - off + x * dilations[1])
            patch = padded[at[0] :, at[1] :][:: strides[0], :: strides[1]][:rows, :columns]
            total = _accumulated(total, patch, weights[:, :, y, x], wrong.accumulator_bits)
    return total


def _accumulated(total: Integers, patch: Integers, taps: Integers, bits: int) -> Integers:
    """Add the products of one filter tap: patch (H', W', C), taps (N, C); depthwise taps are (N, 1)."""
    depthwise = taps.shape[1] == 1 and patch.shape[2] == taps.shape[0]
    if not bits:
        added = patch * taps[:, 0] if depthwise else (patch.astype(np.float64) @ taps.T).astype(np.int64)
        return np.asarray(total + added)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if depthwise:
        return np.clip(total + patch * taps[:, 0], low, high)
    for channel in range(patch.shape[2]):
        total = np.clip(total + patch[:, :, channel, np.newaxis] * taps[:, channel], low, high)
    return total


def _ints(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value: Attribute = node.attributes.get(name, default)
    assert isinstance(value, tuple)
    return tuple(int(item) for item in value) or default


def _int(node: Node, name: str) -> int:
    value = node.attributes.get(name, 1)
    assert isinstance(value, int)
    return value

"""Operators that take tensors apart and put them together: Slice, Split, Concat, Gather, ScatterND, Pad."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import clipped
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    Form,
    Lowering,
    attribute_int,
    attribute_text,
    channel_first_perm,
    quantized_dtype,
)
from esp_hil.exact.proof import DTYPE_BOUNDS, Bounds
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node

_INT32 = DTYPE_BOUNDS["int32"]


def _ends_form(lowering: Lowering, names: list[str]) -> Form:
    if lowering.prefers_bytes(*names):
        return lowering.bytes_form(*names)
    held = all(lowering.held_channel_first(name) for name in names)
    return CHANNEL_FIRST if held else DEVICE_FLOAT


def _axis_in(form: Form, axis: int, rank: int) -> int:
    """Where a device axis is in that form."""
    return channel_first_perm(rank).index(axis) if form.channel_first and rank > 2 else axis


def _moved(lowering: Lowering, node: Node, name: str, value: str, form: Form) -> None:
    bounds = None if lowering.is_float(node.inputs[0]) else lowering.bounds(node.inputs[0])
    lowering.write(name, value, form, bounds=bounds)


@dataclass(frozen=True, slots=True)
class Cut:
    """One axis of a Slice as ESP-DL reads it: start <= index < end by step, then flipped or not."""

    axis: int
    start: int
    end: int
    step: int
    flipped: bool


def _cuts(lowering: Lowering, node: Node) -> list[Cut]:
    """Slice parameters (get_slice_shape, TensorBase::_slice).

    A negative step counts from the other end and flips what it found.

    Raises:
        UnsupportedOperator: an empty slice; ESP-DL asserts.
    """
    shape = lowering.shape(node.inputs[0])
    lists = [lowering.constant_input(node, index) for index in (1, 2, 3, 4)]
    if lists[0] is None or lists[1] is None:
        raise UnsupportedOperator(f"Slice {node.name!r}: starts or ends are missing")
    starts, ends, axes, steps = (
        [int(v) for v in values.reshape(-1)] if values is not None else None for values in lists
    )
    assert starts is not None
    assert ends is not None
    cuts = []
    for index, (first, last) in enumerate(zip(starts, ends, strict=True)):
        axis = index if axes is None else axes[index] % len(shape)
        step = 1 if steps is None else steps[index]
        start, end = (min(max(value, _INT32.low), _INT32.high) for value in (first, last))
        if step < 0:
            start, end = -start - 1, -end - 1
        length = shape[axis]
        end = min(end, length)
        end = end + length if end < 0 else end
        start = start + length if start < 0 else start % (length + 1)
        if step == 0 or not 0 <= start < end:
            raise UnsupportedOperator(
                f"Slice {node.name!r}: empty on axis {axis}", hint="ESP-DL asserts that it is not"
            )
        cuts.append(Cut(axis, start, end, abs(step), step < 0))
    return cuts


def _slice_keeps_batch(lowering: Lowering, node: Node) -> bool:
    return lowering.batch_axis_kept(node) and all(cut.axis != 0 for cut in _cuts(lowering, node))


@operator("Slice", batches=_slice_keeps_batch)
def lower_slice(lowering: Lowering, node: Node) -> None:
    """Parts of the input."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    cuts, rank = _cuts(lowering, node), len(lowering.shape(x))
    form = _ends_form(lowering, [x])
    shape = list(lowering.shape(x))
    axes = [_axis_in(form, cut.axis, rank) for cut in cuts]
    lists = [[cut.start for cut in cuts], [cut.end for cut in cuts], axes, [cut.step for cut in cuts]]
    arrays = [onnx.constant(np.array(values, np.int64), "cut") for values in lists]
    value = onnx.op("Slice", [lowering.read(x, form), *arrays], hint=f"{y}:slice")
    for cut, axis in zip(cuts, axes, strict=True):
        shape[cut.axis] = 1 + (cut.end - cut.start - 1) // cut.step
        if cut.flipped:
            order = onnx.constant(np.arange(shape[cut.axis])[::-1].copy(), "flip")
            value = onnx.op("Gather", [value, order], axis=axis)
    lowering.set_shape(y, tuple(shape))
    _moved(lowering, node, y, value, form)
    lowering.prove(node, "move")


def _axis(lowering: Lowering, node: Node) -> int:
    return attribute_int(node, "axis", 0) % max(len(lowering.shape(node.inputs[0])), 1)


def _axis_keeps_batch(lowering: Lowering, node: Node) -> bool:
    return lowering.batch_axis_kept(node) and _axis(lowering, node) != 0


@operator("Split", batches=_axis_keeps_batch)
def lower_split(lowering: Lowering, node: Node) -> None:
    """Parts along one axis.

    Without sizes, ESP-DL takes `num_outputs` as the size of each part (dl_module_split.hpp).
    """
    onnx, x = lowering.onnx, node.inputs[0]
    axis, shape = _axis(lowering, node), lowering.shape(x)
    given = lowering.constant_input(node, 1)
    if given is not None:
        sizes = [int(size) for size in given.reshape(-1)]
    else:
        size = attribute_int(node, "num_outputs", -1)
        if size <= 0:
            raise UnsupportedOperator(f"Split {node.name!r}: neither split nor num_outputs")
        sizes = [size] * (shape[axis] // size) + ([shape[axis] % size] if shape[axis] % size else [])
    if sum(sizes) != shape[axis] or len(sizes) < len(node.outputs):
        raise UnsupportedOperator(
            f"Split {node.name!r}: {sizes} of {shape[axis]} into {len(node.outputs)} outputs"
        )
    form = _ends_form(lowering, [x])
    value, start = lowering.read(x, form), 0
    for name, size in zip(node.outputs, sizes, strict=False):
        limits = [
            onnx.constant(np.array([n]), "cut")
            for n in (start, start + size, _axis_in(form, axis, len(shape)))
        ]
        start += size
        if name:
            lowering.set_shape(name, (*shape[:axis], size, *shape[axis + 1 :]))
            _moved(lowering, node, name, onnx.op("Slice", [value, *limits], hint=f"{name}:part"), form)
    lowering.prove(node, "move")


@operator("Concat", batches=_axis_keeps_batch)
def lower_concat(lowering: Lowering, node: Node) -> None:
    """Integers one after the other, whatever their exponents."""
    names = list(node.inputs)
    rank, axis = len(lowering.shape(names[0])), _axis(lowering, node)
    form = DEVICE_FLOAT
    if any(lowering.has_bytes(name) for name in names):
        form = lowering.bytes_form(*names)
    elif any(lowering.held_channel_first(name) for name in names) and rank > 2:
        form = CHANNEL_FIRST
    values = [lowering.read(name, form) for name in names]
    value = lowering.onnx.op(
        "Concat", values, hint=f"{node.outputs[0]}:concat", axis=_axis_in(form, axis, rank)
    )
    bounds = None
    if not any(lowering.is_float(name) for name in names):
        each = [lowering.bounds(name) for name in names]
        bounds = Bounds(min(b.low for b in each), max(b.high for b in each))
    lowering.write(node.outputs[0], value, form, bounds=bounds)
    exponents = {lowering.exponent(name) for name in (*names, node.outputs[0])}
    lowering.prove(
        node, "move", note="" if len(exponents) == 1 else "exponents differ, and ESP-DL does not rescale"
    )


@operator("Gather", batches=_axis_keeps_batch)
def lower_gather(lowering: Lowering, node: Node) -> None:
    """Elements of one axis by constant indices.

    Raises:
        UnsupportedOperator: an index below 0 or beyond the end, which ESP-DL reads from outside the tensor.
    """
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    axis, shape = _axis(lowering, node), lowering.shape(x)
    indices = lowering.constant_input(node, 1)
    if indices is None or indices.dtype not in (np.int64, np.int32):
        raise UnsupportedOperator(f"Gather {node.name!r}: indices are missing or not int32 or int64")
    if indices.size and not (indices.min() >= 0 and indices.max() < shape[axis]):
        raise UnsupportedOperator(
            f"Gather {node.name!r}: indices {indices.min()} to {indices.max()} for {shape[axis]} elements",
            hint="ESP-DL does not count negative indices from the end; write them as positive ones",
        )
    lowering.set_shape(y, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))
    form = lowering.bytes_form(x) if lowering.prefers_bytes(x) else DEVICE_FLOAT
    value = onnx.op(
        "Gather", [lowering.read(x, form), onnx.constant(indices.astype(np.int64), node.inputs[1])], axis=axis
    )
    _moved(lowering, node, y, value, form)
    lowering.prove(node, "move")


@operator("ScatterND")
def lower_scatter(lowering: Lowering, node: Node) -> None:
    """Slices replaced, or combined with saturation, one update after the other (dl_module_scatter_nd.hpp)."""
    onnx, y = lowering.onnx, node.outputs[0]
    data, updates = node.inputs[0], node.inputs[2]
    dtype = quantized_dtype(node)
    indices = lowering.constant_input(node, 1)
    reduction = attribute_text(node, "reduction", "none")
    if indices is None or indices.ndim == 0 or reduction not in ("none", "add", "mul", "max", "min"):
        raise UnsupportedOperator(f"ScatterND {node.name!r}: indices are missing, or reduction {reduction!r}")
    shape, width = lowering.shape(data), indices.shape[-1]
    rows = indices.reshape(-1, width).astype(np.int64)
    if width > len(shape) or (rows < 0).any() or (rows >= np.array(shape[:width])).any():
        raise UnsupportedOperator(
            f"ScatterND {node.name!r}: indices outside the tensor {shape}",
            hint="ESP-DL does not count negative indices from the end; write them as positive ones",
        )
    outer, inner = math.prod(shape[:width]), math.prod(shape[width:])
    places = [int(place) for place in np.atleast_1d(np.ravel_multi_index(tuple(rows.T), shape[:width]))]
    value = _reshape(lowering, lowering.read(data), [outer, inner])
    news = _reshape(lowering, lowering.read(updates), [len(places), inner])
    limits = DTYPE_BOUNDS.get(dtype)
    for round_of in _rounds_without_repeats(places):
        where = onnx.constant(np.array([[places[index]] for index in round_of]), "where")
        new = onnx.op("Gather", [news, onnx.constant(np.array(round_of), "updates")], axis=0)
        if reduction != "none":
            old = onnx.op(
                "Gather", [value, onnx.constant(np.array([places[i] for i in round_of]), "places")], axis=0
            )
            new = onnx.op({"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}[reduction], [old, new])
            if limits is not None:
                new = clipped(lowering, new, limits)
        value = onnx.op("ScatterND", [value, where, new])
    lowering.write(y, _reshape(lowering, value, list(shape)), bounds=limits)
    lowering.prove(node, "move" if reduction == "none" else "float32", bound=2**14 if dtype == "int8" else 0)


def _rounds_without_repeats(places: list[int]) -> list[list[int]]:
    """Update numbers in rounds, in order, in each of which no place comes twice."""
    rounds: list[list[int]] = []
    seen: dict[int, int] = {}
    for number, place in enumerate(places):
        turn = seen.get(place, 0)
        seen[place] = turn + 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(number)
    return rounds


def _reshape(lowering: Lowering, value: str, shape: list[int]) -> str:
    return lowering.onnx.op("Reshape", [value, lowering.onnx.constant(np.array(shape, np.int64), "shape")])

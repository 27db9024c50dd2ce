"""Pad: constant, edge and reflect (dl_base_pad.cpp)."""

from __future__ import annotations

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    OFFSET,
    Lowering,
    attribute_text,
    channel_first_perm,
)
from esp_hil.exact.operators.conv import with_zero
from esp_hil.exact.proof import Bounds
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


def _pads(lowering: Lowering, node: Node) -> list[int]:
    """Heads, then tails, in the device's axes.

    Raises:
        UnsupportedOperator: what ESP-DL's module asserts or reads out of bounds.
    """
    shape = lowering.shape(node.inputs[0])
    values = lowering.constant_input(node, 1)
    mode = attribute_text(node, "mode", "")
    if mode not in ("constant", "edge", "reflect"):
        raise UnsupportedOperator(
            f"Pad {node.name!r}: mode {mode!r}", hint="ESP-DL pads constant, edge and reflect"
        )
    if values is None or values.dtype != np.int64 or values.size != 2 * len(shape):
        raise UnsupportedOperator(f"Pad {node.name!r}: pads must be {2 * len(shape)} constants of int64")
    pads = [int(value) for value in values.reshape(-1)]
    rank = len(shape)
    if min(pads) < 0:
        raise UnsupportedOperator(f"Pad {node.name!r}: negative pads {pads}", hint="use Slice to crop")
    if mode == "reflect" and any(
        max(pads[axis], pads[axis + rank]) >= size for axis, size in enumerate(shape)
    ):
        raise UnsupportedOperator(f"Pad {node.name!r}: reflects more than the tensor {shape} has: {pads}")
    if mode != "constant" and (rank > 5 or (rank == 5 and (pads[0] or pads[5]))):
        raise UnsupportedOperator(
            f"Pad {node.name!r}: mode {mode} of {rank} dimensions: ESP-DL computes nothing"
        )
    return pads


def _keeps_batch(lowering: Lowering, node: Node) -> bool:
    pads = _pads(lowering, node)
    return lowering.batch_axis_kept(node) and pads[0] == pads[len(pads) // 2] == 0


@operator("Pad", batches=_keeps_batch)
def lower_pad(lowering: Lowering, node: Node) -> None:
    """The constant is an integer as it stands; 0 if it is left out."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    pads, shape = _pads(lowering, node), lowering.shape(x)
    rank = len(shape)
    form = CHANNEL_FIRST if lowering.held_channel_first(x) else DEVICE_FLOAT
    mode = attribute_text(node, "mode", "")
    given = lowering.constant_input(node, 2) if mode == "constant" else None
    fill = 0.0 if given is None else float(given.reshape(-1)[0])
    if lowering.prefers_bytes(x):
        form = lowering.bytes_form(x) if fill >= 0 else OFFSET
    order = channel_first_perm(rank) if form.channel_first and rank > 2 else list(range(rank))
    amounts = [pads[axis] for axis in order] + [pads[axis + rank] for axis in order]
    inputs = [lowering.read(x, form), onnx.constant(np.array(amounts), "pads")]
    bounds = None if lowering.is_float(x) else lowering.bounds(x)
    if mode == "constant":
        filler = np.uint8(fill + form.zero) if form.dtype == "uint8" else np.float32(fill)
        inputs.append(onnx.constant(filler, "fill"))
        if bounds is not None:
            bounds = (
                with_zero(bounds)
                if given is None
                else Bounds(min(bounds.low, int(fill)), max(bounds.high, int(fill)))
            )
    lowering.set_shape(y, tuple(size + pads[axis] + pads[axis + rank] for axis, size in enumerate(shape)))
    lowering.write(y, onnx.op("Pad", inputs, hint=f"{y}:pad", mode=mode), form, bounds=bounds)
    lowering.prove(node, "move")

"""Functions of one number: on int8 and int16 tensors they are tables, stored in the file or not.

int8: index q + 128 (dl_base_lut.cpp). int16: the file's table with a step (65536 / (entries - 1)) and the
nearest entry, half-up, half-even on ESP32-P4; or, where ESP-DL evaluates a float function for each element,
that function tabulated here over all 65,536 inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError
from esp_hil.exact.arithmetic import clipped, rounded_and_clipped
from esp_hil.exact.lowering import CHANNEL_FIRST, DEVICE_FLOAT, OFFSET, POSITIVE, Lowering, attribute_text
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.proof import DTYPE_BOUNDS, Bounds
from esp_hil.formats.espdl.model import Node
from esp_hil.formats.espdl.versions import LUT_NEAREST, before

Table = NDArray[Any]


def stored_table(lowering: Lowering, node: Node) -> Table | None:
    """The node's table from the file, expanded to one entry per input value; None if it names none.

    Raises:
        FormatError: the table is missing or has an impossible size.
    """
    name = attribute_text(node, "lut", "")
    if not name:
        return None
    tensor = lowering.constant_tensor(name)
    if tensor is None:
        raise FormatError(f"{node.op_type} {node.name!r}: the table {name!r} is missing")
    entries = np.asarray(tensor.data)
    if entries.dtype == np.int8 and entries.size == 256:
        return entries
    if entries.dtype == np.int16 and entries.size > 1 and 65536 % (entries.size - 1) == 0:
        return _expanded(entries, lowering)
    raise FormatError(
        f"{node.op_type} {node.name!r}: table {name!r} of {entries.size} {entries.dtype} entries"
    )


def _expanded(entries: Table, lowering: Lowering) -> Table:
    """One entry per int16 value: the nearest of a coarser table (lut_index, dl_base_lut.cpp:50).

    Older versions interpolated between two entries, cutting off towards the first (dl_module_lut.hpp).
    """
    step = 65536 // (entries.size - 1)
    values = np.arange(65536)
    if step == 1:
        return entries[:65536]
    index, rest = values // step, values % step
    if before(lowering.esp_dl, LUT_NEAREST):
        wide = entries.astype(np.int64)
        rise = rest * (wide[index + 1] - wide[index])
        return np.asarray((wide[index] + np.sign(rise) * (np.abs(rise) // step)).astype(np.int16))
    half = step // 2
    tie = (index % 2 == 1) if lowering.rounding == "half_even" else True
    return np.asarray(entries[index + ((rest > half) | ((rest == half) & tie))])


def lower_table(lowering: Lowering, node: Node, table: Table, *, source: str = "") -> None:
    """Emit y = table[x - lowest]; table has 256 or 65536 entries, of any dtype.

    X is `source` or the node's first input.

    Raises:
        FormatError: x is of a type that the table has no entries for.
    """
    x, y = source or node.inputs[0], node.outputs[0]
    if {"int8": 256, "int16": 65536}.get(lowering.dtype(x)) != len(table):
        raise FormatError(
            f"{node.op_type} {node.name!r}: {len(table)} entries for {lowering.dtype(x)} inputs"
        )
    if lowering.prefers_bytes(x) and table.dtype.kind != "f" and lowering.dtype(y) == "int8":
        _offset_table(lowering, x, y, table)
        lowering.prove(node, "table")
        return
    form = CHANNEL_FIRST if lowering.held_channel_first(x) else DEVICE_FLOAT
    value = lowering.read(x, form)
    bounds = lowering.bounds(x)
    lowest = DTYPE_BOUNDS[lowering.dtype(x)].low
    used = table[bounds.low - lowest : bounds.high - lowest + 1]
    if used.dtype.kind == "f":
        result = _gather(lowering, value, table, lowest, y)
        lowering.write(y, result, form)
    else:
        limits = Bounds(int(used.min()), int(used.max()))
        simple = _as_clip(lowering, value, used, bounds, limits)
        result = simple or _gather(lowering, value, table, lowest, y)
        lowering.write(y, result, form, bounds=limits)
    lowering.prove(node, "table")


def _offset_table(lowering: Lowering, x: str, y: str, table: Table) -> None:
    """From uint8 to uint8: the index is the value itself."""
    onnx, bounds = lowering.onnx, lowering.bounds(x)
    used = table[bounds.low + 128 : bounds.high + 129].astype(np.int64)
    limits = Bounds(int(used.min()), int(used.max()))
    form = lowering.bytes_form(x)
    value = lowering.read(x, form)
    if np.array_equal(used, np.clip(np.arange(bounds.low, bounds.high + 1), limits.low, limits.high)):
        low, high = (
            onnx.constant(np.uint8(limit + form.zero), "limit") for limit in (limits.low, limits.high)
        )
        result = value if limits == bounds else onnx.op("Clip", [value, low, high], hint=f"{y}:u8")
        lowering.write(y, result, form, bounds=limits)
        return
    out = POSITIVE if limits.low >= 0 else OFFSET
    entries = np.clip(table.astype(np.int16) + out.zero, 0, 255).astype(np.uint8)[OFFSET.zero - form.zero :]
    index = onnx.op("Cast", [value], to=element_type("int32"))
    result = onnx.op("Gather", [onnx.constant(entries, f"{y}:table"), index], hint=f"{y}:u8")
    lowering.write(y, result, out, bounds=limits)


def _gather(lowering: Lowering, value: str, table: Table, lowest: int, y: str) -> str:
    onnx = lowering.onnx
    offset = onnx.op("Sub", [value, onnx.constant(np.float32(lowest), "lowest")], hint=f"{y}:offset")
    index = onnx.op("Cast", [offset], to=element_type("int32"), hint=f"{y}:index")
    return onnx.op(
        "Gather", [onnx.constant(table.astype(np.float32), f"{y}:table"), index], hint=f"{y}:looked_up"
    )


def _as_clip(lowering: Lowering, value: str, used: Table, bounds: Bounds, limits: Bounds) -> str | None:
    """The table as Clip, or as scale, round and Clip, if it is one (Relu, Relu6, Clip, a rescaling).

    Else None.
    """
    inputs = np.arange(bounds.low, bounds.high + 1)
    wide = used.astype(np.int64)
    if np.array_equal(wide, np.clip(inputs, limits.low, limits.high)):
        return clipped(lowering, value, limits)
    for shift in range(-7, 8):
        exact = inputs * 2.0**shift
        nearest = np.rint(exact) if lowering.rounding == "half_even" else np.floor(exact + 0.5)
        if shift and np.array_equal(wide, np.clip(nearest, limits.low, limits.high)):
            factor = lowering.onnx.constant(np.float32(2.0**shift), "scale")
            scaled = lowering.onnx.op("Mul", [value, factor], hint=f"{value}:scaled")
            return rounded_and_clipped(lowering, scaled, limits)
    return None

"""Filters as the exporter packs them, brought back to ONNX's order.

`dims` of a filter says HWCN (1-D: WCN) whatever its layout; a depthwise one has HWNC with C = 1. The data are
ordered as `layout` says (ResetParamLayoutPattern of esp-ppq):

- "NHWC", "NWC": one output channel after the other; depthwise "HWCN", "WCN": as dims.
- "(N/16)HWC16", "(N/8)HWC8" ...: blocks of 16 (8) output channels, those innermost.
- "..._UNALIGNED": as many whole blocks as there are, then the rest: one channel after the other, depthwise
  HW(rest).
- "N16HWC16", "N8HWC8" ...: the same blocks under the name that older exporters gave them; see `Kernels`.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError
from esp_hil.formats.espdl.model import TensorData

_BLOCKED = re.compile(r"^(?:\(N/(?P<new>8|16)\)|N(?P<old>8|16))H?WC(?:8|16)(?P<rest>_UNALIGNED)?$")
_PLAIN = {"NHWC", "NWC"}
_DEPTHWISE_PLAIN = {"HWCN", "WCN"}


Kernels = Literal["chip", "portable"]
"""Whose kernels to reproduce where they differ, for the families that have both.

"chip": the SIMD kernels of esp32s3 and esp32p4, with their accumulators, and filters under an old name such as
"N16HWC16" read in blocks of 16, as those kernels do, which do not look at the name. "portable": ESP-DL's C++
compiled for a PC with the family's rounding. It reads such filters one output channel after the other; the answers
that Espressif stored in files with old names do not come out so. For the c targets both are the same.
"""


def has_old_name(tensor: TensorData) -> bool:
    """Whether a filter's layout has one of the names for which `Kernels` matters."""
    match = _BLOCKED.match(tensor.layout)
    return match is not None and match["old"] is not None


def filter_oihw(tensor: TensorData, *, depthwise: bool, kernels: Kernels) -> NDArray[Any]:
    """Values of a Conv filter as (N, C, H, W), 1-D as (N, C, W); depthwise C is 1.

    Raises:
        FormatError: a layout that no exporter writes, or a shape that does not fit it.
    """
    shape = tensor.shape
    if len(shape) not in (3, 4):
        raise FormatError(f"filter {tensor.name!r} has {len(shape)} dimensions, not 3 or 4")
    kernel = shape[:-2]
    outputs, inputs = (shape[-2], shape[-1]) if depthwise else (shape[-1], shape[-2])
    flat = np.asarray(tensor.data)
    if depthwise and inputs != 1:
        raise FormatError(f"depthwise filter {tensor.name!r} has {inputs} channels a group, not 1")
    layout = tensor.layout
    if has_old_name(tensor) and kernels == "portable":
        layout = ""
    if layout in _DEPTHWISE_PLAIN or (layout == "" and depthwise):
        values = np.moveaxis(flat.reshape(*kernel, inputs, outputs), -1, 0)
    elif layout in _PLAIN or layout == "":
        values = flat.reshape(outputs, *kernel, inputs)
    else:
        values = _blocked(tensor, kernel, outputs, inputs, depthwise=depthwise)
    return np.ascontiguousarray(np.moveaxis(values, -1, 1))


def _blocked(
    tensor: TensorData, kernel: tuple[int, ...], outputs: int, inputs: int, *, depthwise: bool
) -> NDArray[Any]:
    """Values as (N, H, W, C)."""
    match = _BLOCKED.match(tensor.layout)
    if match is None:
        raise FormatError(f"filter {tensor.name!r} has the unknown layout {tensor.layout!r}")
    width = int(match["new"] or match["old"])
    whole = outputs // width * width
    if whole != outputs and not match["rest"]:
        raise FormatError(f"filter {tensor.name!r}: layout {tensor.layout!r}, but {outputs} output channels")
    flat = np.asarray(tensor.data)
    taps = int(np.prod(kernel)) * inputs
    blocks = flat[: whole * taps].reshape(-1, *kernel, inputs, width)
    parts = [np.moveaxis(blocks, -1, 1).reshape(whole, *kernel, inputs)]
    if whole != outputs:
        tail = flat[whole * taps :]
        if depthwise:
            parts.append(np.moveaxis(tail.reshape(inputs, *kernel, outputs - whole), (-1, 0), (0, -1)))
        else:
            parts.append(tail.reshape(outputs - whole, *kernel, inputs))
    return np.concatenate(parts)

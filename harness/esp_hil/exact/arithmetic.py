"""Rounding and saturation in ONNX nodes.

ESP-DL rounds with `tool::round` and `tool::shift_and_round` (dl_tool.cpp): half-up is floor(x + 1/2),
half-even on ESP32-P4 and S31 is IEEE's round to nearest. Then `tool::truncate` (dl_tool.hpp) saturates to the
whole range of the type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.lowering import Lowering
from esp_hil.exact.proof import DTYPE_BOUNDS, Bounds
from esp_hil.targets import Rounding


def scale_of(exponent: int) -> float:
    """2**exponent as `DL_SCALE` (dl_define.hpp) has it for |exponent| < 31: an exact power of two."""
    return float(np.ldexp(1.0, exponent))


def dl_scale(exponent: int) -> np.float32:
    """`DL_SCALE` (dl_define.hpp:75) in float32: 2**exponent, with a 5-bit shift count as processors have."""
    if exponent > 0:
        return np.float32(_one_shifted(exponent))
    return np.float32(1) / np.float32(_one_shifted(-exponent))


def dl_rescale(exponent: int) -> np.float32:
    """`DL_RESCALE` (dl_define.hpp:79) in float32: 2**-exponent."""
    if exponent > 0:
        return np.float32(1) / np.float32(_one_shifted(exponent))
    return np.float32(_one_shifted(-exponent))


def _one_shifted(count: int) -> int:
    """`1 << count` in a 32-bit int."""
    value = 1 << (count & 31)
    return value - 2**32 if value >= 2**31 else value


def round_array(values: NDArray[Any], rounding: Rounding) -> NDArray[Any]:
    """`tool::round` on numpy floats: half-up adds 1/2 in the precision of `values` and floors."""
    if rounding == "half_even":
        return np.asarray(np.rint(values))
    return np.asarray(np.floor(values + values.dtype.type(0.5)))


def quantize_array(values: NDArray[Any], dtype: str, rounding: Rounding) -> NDArray[Any]:
    """`tool::truncate(tool::round(values))`; not-a-number, which C leaves open, becomes the lowest value."""
    limits = DTYPE_BOUNDS[dtype]
    rounded = np.clip(round_array(values, rounding), limits.low, limits.high)
    return np.asarray(np.nan_to_num(rounded, nan=limits.low).astype(dtype))


def rounded(lowering: Lowering, value: str, *, half_added: bool = False, dtype: str = "float32") -> str:
    """`tool::round` of a float value.

    Args:
        lowering: where to append nodes.
        value: the ONNX value.
        half_added: half-up's 1/2 is already in the value.
        dtype: float32 or float64, the type of the value.
    """
    if lowering.rounding == "half_even":
        return lowering.onnx.op("Round", [value], hint=f"{value}:round")
    if not half_added:
        half = lowering.onnx.constant(np.asarray(0.5, dtype), "half")
        value = lowering.onnx.op("Add", [value, half], hint=f"{value}:half")
    return lowering.onnx.op("Floor", [value], hint=f"{value}:floor")


def clipped(lowering: Lowering, value: str, bounds: Bounds, *, dtype: str = "float32", hint: str = "") -> str:
    """Saturation to `bounds`."""
    low = lowering.onnx.constant(np.asarray(bounds.low, dtype), "low")
    high = lowering.onnx.constant(np.asarray(bounds.high, dtype), "high")
    return lowering.onnx.op("Clip", [value, low, high], hint=hint or f"{value}:clip")


def rounded_and_clipped(
    lowering: Lowering, value: str, bounds: Bounds, *, half_added: bool = False, dtype: str = "float32"
) -> str:
    """Round and saturate.

    Saturating first to whole numbers gives the same and lets the kernel before do it.
    """
    if lowering.rounding == "half_up" and not half_added:
        half = lowering.onnx.constant(np.asarray(0.5, dtype), "half")
        value = lowering.onnx.op("Add", [value, half], hint=f"{value}:half")
    within = clipped(lowering, value, bounds, dtype=dtype)
    return rounded(lowering, within, half_added=True, dtype=dtype)

"""Picture -> the integers of a network's input, as ESP-DL does it (vision/image/dl_image_process.cpp).

Arithmetic is float32 where ESP-DL's is, so that sizes and pixels that lie on the edge fall on the same side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.targets import Rounding
from esp_hil.tasks.pixels import Pixels

Resize = Literal["nearest", "nearest_half", "bilinear"]
Channels = Literal["rgb", "bgr"]
Crop = tuple[int, int, int, int]
_LIMITS = {"int8": (-128, 127), "int16": (-32768, 32767)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a picture becomes a network's input.

    Attributes:
        mean: subtracted from the bytes, in the network's order of channels.
        std: divisor after that.
        channels: the network's order.
        letterbox: RGB value of the border that keeps the proportions; None: the picture is stretched.
        resize: `nearest`, ESP-DL's only way since 3.2; `nearest_half`, the nearest by half-pixel centres of 3.1;
            or `bilinear`, of before.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Channels = "rgb"
    letterbox: tuple[int, int, int] | None = None
    resize: Resize = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputArea:
    """Where in the picture the network's input lies.

    Attributes:
        inverse_x: pixels of the picture per pixel of the input, float32.
        inverse_y: likewise.
        crop: (x1, y1, x2, y2) in the picture, the second corner outside; the whole picture without a crop.
        border: (top, bottom, left, right) pixels of the input that show the letterbox.
    """

    inverse_x: np.float32
    inverse_y: np.float32
    crop: Crop
    border: tuple[int, int, int, int] = (0, 0, 0, 0)


def round_float(values: NDArray[np.float32], rounding: Rounding) -> NDArray[np.float32]:
    """Round as dl::tool::round does on a chip: floor(v + 0.5), the sum narrowed to float32, or half to even."""
    if rounding == "half_even":
        return np.rint(values)
    return np.floor((values.astype(np.float64) + 0.5).astype(np.float32))


def quantize(values: NDArray[np.float32], exponent: int, dtype: str, rounding: Rounding) -> NDArray[Any]:
    """Saturate(round(v * 2**-exponent)), as dl::quantize."""
    scaled = (values * np.float32(2.0**-exponent)).astype(np.float32)
    low, high = _LIMITS[dtype]
    return np.clip(round_float(scaled, rounding), low, high).astype(dtype)


def tables(preprocessing: Preprocessing, exponent: int, dtype: str, rounding: Rounding) -> NDArray[Any]:
    """The integers of all 256 values of each channel, `dtype` (3, 256) (dl_image_norm_quant.hpp)."""
    values = np.arange(256, dtype=np.float32)
    rows = []
    for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True):
        normal = (values - np.float32(mean)) * (np.float32(1) / np.float32(std))
        rows.append(quantize(normal.astype(np.float32), exponent, dtype, rounding))
    return np.stack(rows)


def place(
    picture: tuple[int, int], size: tuple[int, int], *, crop: Crop | None, letterbox: bool
) -> InputArea:
    """Find the placement.

    Args:
        picture: (width, height).
        size: (width, height) of the network's input.
        crop: what to show of the picture, second corner outside; None: all.
        letterbox: whether proportions are kept.

    Raises:
        InputError: the crop is empty or leaves the picture (ESP-DL stops the firmware there), or the border
            leaves no row or column.
    """
    area = (0, 0, *picture) if crop is None else crop
    x1, y1, x2, y2 = area
    if not (0 <= x1 < x2 <= picture[0] and 0 <= y1 < y2 <= picture[1]):
        raise InputError(
            f"crop {area} of a picture of {picture[0]}x{picture[1]}", hint="ESP-DL stops on such an area"
        )
    width, height = x2 - x1, y2 - y1
    border = _border((width, height), size) if letterbox else (0, 0, 0, 0)
    inner_w, inner_h = size[0] - border[2] - border[3], size[1] - border[0] - border[1]
    if inner_w < 1 or inner_h < 1:
        raise InputError(f"a picture of {width}x{height} pixels is too narrow for the network's input")
    if (width, height) == (inner_w, inner_h):
        return InputArea(inverse_x=np.float32(1), inverse_y=np.float32(1), crop=area, border=border)
    return InputArea(
        inverse_x=np.float32(width) / np.float32(inner_w),
        inverse_y=np.float32(height) / np.float32(inner_h),
        crop=area,
        border=border,
    )


def _border(area: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the letterbox (dl_image_preprocessor.cpp)."""
    scale_x = np.float32(size[0]) / np.float32(area[0])
    scale_y = np.float32(size[1]) / np.float32(area[1])
    scale = min(scale_x, scale_y)
    if scale_x < scale_y:
        pad = size[1] - int(scale * np.float32(area[1]))
        return pad // 2, pad - pad // 2, 0, 0
    pad = size[0] - int(scale * np.float32(area[0]))
    return 0, 0, pad // 2, pad - pad // 2


def resized(rgb: Pixels, placement: InputArea, size: tuple[int, int], resize: Resize) -> Pixels:
    """The part of the picture that fills the input without its border, uint8 (inner height, inner width, 3)."""
    x1, y1, x2, y2 = placement.crop
    top, bottom, left, right = placement.border
    inner_w, inner_h = size[0] - left - right, size[1] - top - bottom
    part = rgb[y1:y2, x1:x2]
    if part.shape[:2] == (inner_h, inner_w):
        return part
    if resize == "bilinear":
        return _bilinear(part, placement, (inner_w, inner_h))
    if resize == "nearest_half":
        return _nearest_half(part, placement, (inner_w, inner_h))
    xs = np.minimum((np.arange(inner_w, dtype=np.float32) * placement.inverse_x).astype(int), x2 - x1 - 1)
    ys = np.minimum((np.arange(inner_h, dtype=np.float32) * placement.inverse_y).astype(int), y2 - y1 - 1)
    nearest: Pixels = part[ys[:, np.newaxis], xs]
    return nearest


def _nearest_half(part: Pixels, placement: InputArea, size: tuple[int, int]) -> Pixels:
    """Half-pixel centres, coordinates held inside the part, the nearest pixel (ESP-DL 3.1, dl_image_process.cpp)."""
    half = np.float32(0.5)
    rows = []
    for count, inverse, last in (
        (size[0], placement.inverse_x, part.shape[1] - 1),
        (size[1], placement.inverse_y, part.shape[0] - 1),
    ):
        centre = (np.arange(count, dtype=np.float32) + half) * inverse - half
        rows.append((np.clip(centre, 0, np.float32(last)) + half).astype(int))
    nearest: Pixels = part[rows[1][:, np.newaxis], rows[0]]
    return nearest


def _bilinear(part: Pixels, placement: InputArea, size: tuple[int, int]) -> Pixels:
    """Half-pixel centres, coordinates held inside the part, rounded half up (ESP-DL 3.0, dl_image_process.cpp)."""
    half = np.float32(0.5)
    height, width, _ = part.shape
    x = (np.arange(size[0], dtype=np.float32) + half) * placement.inverse_x - half
    y = (np.arange(size[1], dtype=np.float32) + half) * placement.inverse_y - half
    x, y = np.clip(x, 0, np.float32(width - 1)), np.clip(y, 0, np.float32(height - 1))
    x1, y1 = x.astype(int), y.astype(int)
    # the neighbour beyond the last row or column has no weight: any pixel serves
    x2, y2 = np.minimum(x1 + 1, width - 1), np.minimum(y1 + 1, height - 1)
    right, down = (x - x1).astype(np.float32), (y - y1).astype(np.float32)[:, np.newaxis]
    left, up = 1 - right, 1 - down
    rows = y1[:, np.newaxis], y2[:, np.newaxis]
    values = part.astype(np.float32)
    mixed = (left * up)[..., np.newaxis] * values[rows[0], x1]
    mixed = mixed + (right * up)[..., np.newaxis] * values[rows[0], x2]
    mixed = mixed + (left * down)[..., np.newaxis] * values[rows[1], x1]
    mixed = mixed + (right * down)[..., np.newaxis] * values[rows[1], x2]
    rounded: Pixels = (mixed + half).astype(np.uint8)
    return rounded


def framed(
    inner: Pixels, placement: InputArea, size: tuple[int, int], colour: tuple[int, int, int]
) -> Pixels:
    """The resized part with its letterbox, uint8 (height, width, 3)."""
    top, _, left, _ = placement.border
    frame = np.empty((size[1], size[0], 3), np.uint8)
    frame[:] = np.array(colour, np.uint8)
    frame[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return frame


def to_tensor(rgb: Pixels, table: NDArray[Any], channels: Channels) -> NDArray[Any]:
    """RGB of the input's size -> integers (1, height, width, 3) in the network's order of channels."""
    ordered = rgb[..., ::-1] if channels == "bgr" else rgb
    made = np.stack([table[channel][ordered[..., channel]] for channel in range(3)], axis=-1)
    return np.ascontiguousarray(made[np.newaxis])

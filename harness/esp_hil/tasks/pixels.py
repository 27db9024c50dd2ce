"""Pixel formats of cameras and what ESP-DL 3.3 makes of them (vision/image/dl_image_color_common.hpp).

RGB565 is widened by shifting, without repeating the high bits, so that white becomes (248, 252, 248). YUYV is
BT.601 of full range in 14-bit fixed point; the two pixels of a pair share their chroma. Gray cannot become RGB:
ESP-DL has no such conversion and refuses the picture.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError

PixelFormat = Literal[
    "rgb888", "bgr888", "rgb565le", "rgb565be", "bgr565le", "bgr565be", "yuyv", "uyvy", "gray"
]
FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)

_CHROMA_SHIFT = 14
_CHROMA_HALF = 1 << (_CHROMA_SHIFT - 1)
_V_TO_R, _U_TO_G, _V_TO_G, _U_TO_B = 22987, -5636, -11698, 29049
_GRAY_SHIFT = 15
_GRAY_WEIGHTS = (9798, 19235, 3735)

Pixels = NDArray[np.uint8]


def bytes_per_pixel(pixel_format: PixelFormat) -> int:
    """3, 2 or 1."""
    if pixel_format.endswith("888"):
        return 3
    return 1 if pixel_format == "gray" else 2


def decode(data: bytes, width: int, height: int, pixel_format: PixelFormat) -> Pixels:
    """The picture as RGB, uint8 (height, width, 3), as ESP-DL converts it.

    Raises:
        InputError: a gray picture.
    """
    if pixel_format == "gray":
        raise InputError(
            "a gray picture cannot feed a network that takes RGB: ESP-DL has no such conversion",
            hint="send RGB888, or repeat the gray value three times before you send it",
        )
    raw = np.frombuffer(data, np.uint8)
    if pixel_format in {"rgb888", "bgr888"}:
        rgb = raw.reshape(height, width, 3)
    elif pixel_format in {"yuyv", "uyvy"}:
        return _from_yuv(raw.reshape(height, width // 2, 4), uyvy=pixel_format == "uyvy")
    else:
        words = raw.view("<u2" if pixel_format.endswith("le") else ">u2").reshape(height, width)
        rgb = np.stack([(words & 0xF800) >> 8, (words & 0x7E0) >> 3, (words & 0x1F) << 3], axis=-1)
    ordered = rgb[..., ::-1] if pixel_format.startswith("bgr") else rgb
    return np.ascontiguousarray(ordered, dtype=np.uint8)


def encode(rgb: Pixels, pixel_format: PixelFormat) -> bytes:
    """The bytes of an RGB picture, uint8 (height, width, 3), in another format.

    RGB565 keeps the high bits (dl_image_color_common.hpp, rgb8882rgb565). YUYV takes BT.601 of full range, the
    inverse of what ESP-DL computes, and the mean chroma of each pair. Gray is ESP-DL's own weighting.

    Raises:
        InputError: YUYV of an odd width.
    """
    if pixel_format in {"rgb888", "bgr888"}:
        return (rgb if pixel_format == "rgb888" else rgb[..., ::-1]).tobytes()
    if pixel_format == "gray":
        weighted = rgb.astype(np.int32) @ np.array(_GRAY_WEIGHTS, np.int32)
        return ((weighted + (1 << (_GRAY_SHIFT - 1))) >> _GRAY_SHIFT).astype(np.uint8).tobytes()
    if pixel_format in {"yuyv", "uyvy"}:
        return _to_yuv(rgb, uyvy=pixel_format == "uyvy").tobytes()
    ordered = (rgb[..., ::-1] if pixel_format.startswith("bgr") else rgb).astype(np.uint16)
    words = ((ordered[..., 0] >> 3) << 11) | ((ordered[..., 1] >> 2) << 5) | (ordered[..., 2] >> 3)
    return words.astype("<u2" if pixel_format.endswith("le") else ">u2").tobytes()


def _from_yuv(pairs: Pixels, *, uyvy: bool) -> Pixels:
    """(height, pairs, 4) bytes -> RGB (height, 2 * pairs, 3)."""
    values = pairs.astype(np.int32)
    luma = values[..., (1, 3)] if uyvy else values[..., (0, 2)]
    u = (values[..., 0] if uyvy else values[..., 1]) - 128
    v = (values[..., 2] if uyvy else values[..., 3]) - 128
    offsets = np.stack(
        [
            (_V_TO_R * v + _CHROMA_HALF) >> _CHROMA_SHIFT,
            (_U_TO_G * u + _V_TO_G * v + _CHROMA_HALF) >> _CHROMA_SHIFT,
            (_U_TO_B * u + _CHROMA_HALF) >> _CHROMA_SHIFT,
        ],
        axis=-1,
    )
    rgb = np.clip(luma[..., np.newaxis] + offsets[:, :, np.newaxis, :], 0, 255)
    return rgb.astype(np.uint8).reshape(pairs.shape[0], -1, 3)


def _to_yuv(rgb: Pixels, *, uyvy: bool) -> Pixels:
    """RGB (height, width, 3) -> (height, width / 2, 4)."""
    height, width, _ = rgb.shape
    if width % 2:
        raise InputError(f"a picture {width} pixels wide has no YUYV form", hint="the width must be even")
    red, green, blue = (rgb[..., channel].astype(np.float64) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    u = ((blue - luma) / 1.772 + 128).reshape(height, -1, 2).mean(axis=-1)
    v = ((red - luma) / 1.402 + 128).reshape(height, -1, 2).mean(axis=-1)
    y = luma.reshape(height, -1, 2)
    order = (u, y[..., 0], v, y[..., 1]) if uyvy else (y[..., 0], u, y[..., 1], v)
    values: Pixels = np.clip(np.rint(np.stack(order, axis=-1)), 0, 255).astype(np.uint8)
    return values

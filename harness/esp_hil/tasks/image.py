"""A picture as a camera or a file gives it: bytes, size and pixel format."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tasks.pixels import FORMATS, PixelFormat, bytes_per_pixel, decode, encode

_LARGEST = 65535
_NO_PILLOW = "reading picture files needs Pillow"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """A picture in one of ESP-DL's pixel formats; it exists only if its size and its bytes agree.

    Attributes:
        width: in pixels, 1..65535 (ESP-DL keeps it in 16 bits).
        height: likewise.
        format: how `data` is to be read.
        data: rows from the top, without padding.

    Raises:
        InputError: an unknown format, an impossible size, or a buffer of another length.
    """

    width: int
    height: int
    format: PixelFormat
    data: bytes

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise InputError(f"unknown pixel format {self.format!r}", hint=f"one of: {', '.join(FORMATS)}")
        if not (1 <= self.width <= _LARGEST and 1 <= self.height <= _LARGEST):
            raise InputError(f"a picture of {self.width}x{self.height} pixels", hint="sides of 1 to 65535")
        if self.format in {"yuyv", "uyvy"} and self.width % 2:
            raise InputError(f"{self.format} with a width of {self.width}", hint="the width must be even")
        needed = self.width * self.height * bytes_per_pixel(self.format)
        if len(self.data) != needed:
            raise InputError(
                f"the frame buffer has {len(self.data)} bytes, "
                f"{self.width}x{self.height} {self.format} has {needed}",
                hint="check width, height and pixel format",
            )

    @staticmethod
    def of_rgb(rgb: NDArray[np.uint8]) -> Image:
        """From uint8 (height, width, 3)."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise InputError(
                f"{rgb.dtype} {rgb.shape} is not an RGB picture", hint="uint8 (height, width, 3)"
            )
        height, width, _ = rgb.shape
        return Image(width=width, height=height, format="rgb888", data=np.ascontiguousarray(rgb).tobytes())

    @staticmethod
    def of_file(source: Path | bytes) -> Image:
        """A JPEG, PNG or other picture file as Pillow decodes it; gray files stay gray, alpha is dropped.

        Raises:
            InputError: it is missing or no picture, or Pillow is not installed.
        """
        try:
            from PIL import Image as Pillow
            from PIL import UnidentifiedImageError
        except ImportError:
            raise InputError(_NO_PILLOW, hint='pip install "esp-hil[tasks]"') from None
        name = "the picture" if isinstance(source, bytes) else str(source)
        try:
            with Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
                gray = opened.mode in {"1", "L", "LA", "I", "I;16", "F"}
                picture = opened.convert("L" if gray else "RGB")
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise InputError(f"{name} cannot be read: {error}", hint="give a JPEG or PNG file") from None
        return Image(
            width=picture.width,
            height=picture.height,
            format="gray" if gray else "rgb888",
            data=picture.tobytes(),
        )

    def rgb(self) -> NDArray[np.uint8]:
        """The picture as ESP-DL's conversion gives it, uint8 (height, width, 3).

        Raises:
            InputError: it is gray.
        """
        return decode(self.data, self.width, self.height, self.format)

    def to(self, pixel_format: PixelFormat) -> Image:
        """The same picture in another format; what the format cannot hold is lost.

        Raises:
            InputError: a gray picture, or YUYV of an odd width.
        """
        if pixel_format == self.format:
            return self
        data = encode(self.rgb(), pixel_format)
        return Image(width=self.width, height=self.height, format=pixel_format, data=data)

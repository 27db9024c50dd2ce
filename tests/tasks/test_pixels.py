"""Pixel formats: what a camera sends and what is left of it."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.errors import InputError
from esp_hil.tasks import FORMATS, Image, PixelFormat
from esp_hil.tasks.pixels import bytes_per_pixel

COLOURS = np.array(
    [
        [[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0]],
        [[0, 0, 255], [8, 4, 8], [7, 3, 7], [99, 100, 101]],
    ],
    np.uint8,
)
COLOURED: list[PixelFormat] = [name for name in FORMATS if name != "gray"]


def test_rgb565_keeps_the_high_bits_and_fills_with_zeros() -> None:
    seen = Image.of_rgb(COLOURS).to("rgb565le").rgb()
    assert seen[0, 0].tolist() == [248, 252, 248]
    assert seen[1, 1].tolist() == [8, 4, 8]
    assert seen[1, 2].tolist() == [0, 0, 0]


def test_the_byte_order_of_rgb565_matters() -> None:
    picture = Image.of_rgb(COLOURS).to("rgb565le")
    assert picture.data[2 * 2 : 2 * 3] == b"\x00\xf8"  # red, low byte first
    swapped = Image(width=4, height=2, format="rgb565be", data=picture.data)
    assert swapped.rgb()[0, 2].tolist() != [248, 0, 0]
    assert Image.of_rgb(COLOURS).to("rgb565be").rgb().tolist() == picture.rgb().tolist()


@pytest.mark.parametrize("pixel_format", COLOURED)
def test_each_format_gives_the_colours_back_as_far_as_it_holds_them(pixel_format: PixelFormat) -> None:
    smooth = np.repeat(COLOURS, 2, axis=1)  # pairs of one colour: YUYV shares its chroma
    seen = Image.of_rgb(smooth).to(pixel_format).rgb().astype(int)
    allowed = 0 if pixel_format.endswith("888") else 7 if "565" in pixel_format else 2
    assert np.abs(seen - smooth).max() <= allowed


def test_the_chroma_of_yuyv_belongs_to_two_pixels() -> None:
    seen = Image.of_rgb(COLOURS).to("yuyv").rgb()
    assert seen[0, 2].tolist() != [255, 0, 0]
    assert Image.of_rgb(COLOURS).to("uyvy").rgb().tolist() == seen.tolist()


def test_a_gray_picture_is_refused_where_colours_are_needed() -> None:
    gray = Image.of_rgb(COLOURS).to("gray")
    with pytest.raises(InputError, match="gray picture cannot feed a network that takes RGB"):
        gray.rgb()


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_buffer_of_another_size_is_refused(pixel_format: PixelFormat) -> None:
    size = 4 * 2 * bytes_per_pixel(pixel_format)
    Image(width=4, height=2, format=pixel_format, data=bytes(size))
    for wrong in (size - 1, size + 1, 0):
        with pytest.raises(InputError, match=f"frame buffer has {wrong} bytes"):
            Image(width=4, height=2, format=pixel_format, data=bytes(wrong))


def test_impossible_pictures_are_refused() -> None:
    with pytest.raises(InputError, match="0x2 pixels"):
        Image(width=0, height=2, format="rgb888", data=b"")
    with pytest.raises(InputError, match="width must be even"):
        Image(width=3, height=1, format="yuyv", data=bytes(6))
    with pytest.raises(InputError, match="unknown pixel format"):
        Image(width=1, height=1, format="rgb444", data=bytes(2))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot be read"):
        Image.of_file(b"\xff\xd8\xff no JPEG")
    with pytest.raises(InputError, match="not an RGB picture"):
        Image.of_rgb(np.zeros((2, 2), np.uint8))


def test_a_jpeg_is_decoded_and_a_gray_one_stays_gray() -> None:
    import io

    from PIL import Image as Pillow

    for mode, wanted in (("RGB", "rgb888"), ("L", "gray"), ("RGBA", "rgb888")):
        file = io.BytesIO()
        Pillow.new(mode, (6, 4), 0).save(file, "PNG" if mode == "RGBA" else "JPEG")
        read = Image.of_file(file.getvalue())
        assert (read.width, read.height, read.format) == (6, 4, wanted)

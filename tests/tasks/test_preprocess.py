"""Sizes, crops and numbers of a network's input, where ESP-DL's arithmetic has an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import InputError
from esp_hil.tasks.preprocess import Preprocessing, place, resized, tables

PLAIN = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))


@given(exponent=st.integers(-8, 3), std=st.sampled_from([1.0, 57.375, 127.5, 255.0]))
def test_no_pixel_wraps_around_and_brighter_is_never_darker(exponent: int, std: float) -> None:
    for rounding in ("half_up", "half_even"):
        wanted = Preprocessing(mean=(0, 0, 0), std=(std, std, std))
        row = tables(wanted, exponent, "int8", rounding)[0].astype(int)
        assert (np.diff(row) >= 0).all()
        assert abs(row[255] - min(127, 255 / std * 2.0**-exponent)) <= 0.5


def test_white_saturates_and_does_not_become_black() -> None:
    assert tables(PLAIN, 0, "int8", "half_up")[0, 255] == 127
    assert tables(PLAIN, -8, "int16", "half_up")[0, 255] == 32767


def test_halves_go_up_on_esp32s3_and_to_even_on_esp32p4() -> None:
    assert tables(PLAIN, 1, "int8", "half_up")[0, :6].tolist() == [0, 1, 1, 2, 2, 3]
    assert tables(PLAIN, 1, "int8", "half_even")[0, :6].tolist() == [0, 0, 1, 2, 2, 2]


def test_nearest_takes_the_pixel_below_not_the_closest() -> None:
    ramp = np.repeat(np.arange(9, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
    placement = place((9, 1), (4, 1), crop=None, letterbox=False)
    assert resized(ramp, placement, (4, 1), "nearest")[0, :, 0].tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("size", [(4, 1), (3, 2), (7, 5), (16, 9), (40, 31)])
@pytest.mark.parametrize("crop", [None, (3, 1, 14, 9)])
def test_the_nearest_by_half_pixel_centres_is_that_of_a_loop_over_pixels(
    size: tuple[int, int], crop: tuple[int, int, int, int] | None
) -> None:
    """ESP-DL 3.1: x = (j + 0.5) / scale - 0.5, held inside the part, then int(x + 0.5)."""
    picture = np.random.default_rng(5).integers(0, 256, (12, 17, 3), np.uint8)
    placement = place((17, 12), size, crop=crop, letterbox=False)
    x1, y1, x2, y2 = crop or (0, 0, 17, 12)
    if size == (x2 - x1, y2 - y1):
        return
    wanted = np.empty((size[1], size[0], 3), np.uint8)
    half = np.float32(0.5)
    for i in range(size[1]):
        y = (np.float32(i) + half) * placement.inverse_y - half + np.float32(y1)
        for j in range(size[0]):
            x = (np.float32(j) + half) * placement.inverse_x - half + np.float32(x1)
            column = int(min(max(x, np.float32(x1)), np.float32(x2 - 1)) + half)
            row = int(min(max(y, np.float32(y1)), np.float32(y2 - 1)) + half)
            wanted[i, j] = picture[row, column]
    assert (resized(picture, placement, size, "nearest_half") == wanted).all()


def test_bilinear_keeps_the_middle_and_holds_the_edges() -> None:
    ramp = np.repeat(np.arange(0, 80, 10, dtype=np.uint8)[np.newaxis, :, np.newaxis], 3, axis=2)
    placement = place((8, 1), (4, 1), crop=None, letterbox=False)
    assert resized(ramp, placement, (4, 1), "bilinear")[0, :, 0].tolist() == [5, 25, 45, 65]
    larger = place((8, 1), (16, 1), crop=None, letterbox=False)
    row = resized(ramp, larger, (16, 1), "bilinear")[0, :, 0]
    assert (row[0], row[-1]) == (0, 70)


@pytest.mark.parametrize(
    ("picture", "border"),
    [
        ((320, 240), (28, 28, 0, 0)),
        ((240, 320), (0, 0, 28, 28)),
        ((224, 224), (0, 0, 0, 0)),
        ((451, 300), (37, 38, 0, 0)),
    ],
)
def test_the_letterbox_keeps_proportions(picture: tuple[int, int], border: tuple[int, ...]) -> None:
    assert place(picture, (224, 224), crop=None, letterbox=True).border == border


@pytest.mark.parametrize("crop", [(5, 5, 5, 9), (0, 0, 11, 5), (-1, 0, 5, 5), (3, 4, 8, 2)])
def test_a_crop_that_stops_esp_dl_is_refused(crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="crop"):
        place((10, 10), (4, 4), crop=crop, letterbox=False)


def test_a_picture_that_leaves_no_room_beside_its_letterbox_is_refused() -> None:
    with pytest.raises(InputError, match="too narrow"):
        place((65000, 10), (224, 224), crop=None, letterbox=True)

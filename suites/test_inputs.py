"""Does what the host prepares arrive as it was meant?"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from esp_hil.session.prepared_board import PreparedBoard

PIXELS = np.arange(256, dtype=np.uint8)


def test_every_pixel_value_arrives_as_declared(hil_board: PreparedBoard) -> None:
    """All 256 bytes, prepared and read back from the device: nearest on its grid, saturated, never wrapped."""
    spec, meaning = hil_board.model.input, hil_board.input.meaning
    if spec.dtype != "uint8" or meaning is None:
        pytest.skip("the model's inputs are floats, on the host or on the device: nothing is quantized")
    limits, scale = np.iinfo(hil_board.input.dtype), Fraction(meaning.scale)
    pixels = np.resize(PIXELS, -(-256 // int(np.prod(spec.image_shape[:2]))) * int(np.prod(spec.image_shape)))
    if len(spec.image_shape) == 3:
        pixels = np.repeat(pixels[:: spec.image_shape[2]], spec.image_shape[2])
    images = pixels.reshape(-1, *spec.image_shape)
    floats = spec.preprocess(images)
    for sent, values in zip(hil_board.encode(floats), floats, strict=True):
        hil_board.device.set_input(hil_board.input.name, sent[np.newaxis])
        held = hil_board.device.read_input(hil_board.input.name)
        np.testing.assert_array_equal(held, sent[np.newaxis])
        order = np.transpose(values[np.newaxis], hil_board.input.permutation)
        pairs = {(float(v), int(q)) for v, q in zip(order.flat, held.flat, strict=True)}
        for value, integer in pairs:
            exact = Fraction(value) / scale + meaning.zero_point
            wanted = min(max(exact, Fraction(int(limits.min))), Fraction(int(limits.max)))
            # a little more than half a step: TFLM divides in float32
            assert abs(integer - wanted) <= Fraction(1, 2) + Fraction(1, 1000), f"{value} became {integer}"


def test_what_lies_in_an_input_is_what_was_written_last(hil_board: PreparedBoard) -> None:
    """Lowest, highest and lowest integers, each read back."""
    lowest, highest = hil_board.constant_inputs("lowest"), hil_board.constant_inputs("highest")
    for arrays in (lowest, highest, lowest):
        for name, values in arrays.items():
            hil_board.device.set_input(name, values)
            np.testing.assert_array_equal(hil_board.device.read_input(name), values)

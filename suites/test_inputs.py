"""Does what the host prepares arrive as it was meant?"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from esp_hil.session.prepared_board import PreparedBoard
    from esp_hil.tensors import InputSpec

PIXELS = np.arange(256, dtype=np.uint8)


def test_every_pixel_value_arrives_as_declared(hil_board: PreparedBoard) -> None:
    """All 256 bytes, prepared and read back from the device: nearest on its grid, saturated, never wrapped."""
    images = [
        spec
        for spec in hil_board.model.inputs
        if spec.image and hil_board.tensors.inputs[spec.name].meaning is not None
    ]
    if not images:
        pytest.skip(
            "no input is made from bytes and quantized: the host prepares nothing that could go wrong"
        )
    for spec in images:
        _check_pixels(hil_board, spec)


def _check_pixels(hil_board: PreparedBoard, spec: InputSpec) -> None:
    tensor = hil_board.tensors.inputs[spec.name]
    meaning = tensor.meaning
    assert meaning is not None
    limits, scale = np.iinfo(tensor.dtype), Fraction(meaning.scale)
    pixels = np.resize(PIXELS, -(-256 // int(np.prod(spec.image_shape[:2]))) * int(np.prod(spec.image_shape)))
    if len(spec.image_shape) == 3:
        pixels = np.repeat(pixels[:: spec.image_shape[2]], spec.image_shape[2])
    floats = spec.preprocess(pixels.reshape(-1, *spec.image_shape))
    encoded = tensor.to_device(floats, hil_board.target.rounding)
    for item, values in zip(encoded, floats, strict=True):
        sent = item.reshape(tensor.shape)
        hil_board.device.set_input(tensor.name, sent)
        held = hil_board.device.read_input(tensor.name)
        np.testing.assert_array_equal(held, sent)
        order = tensor.arrange(values[np.newaxis])
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

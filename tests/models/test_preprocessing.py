"""All 256 pixel values at every input exponent from -3 to -8, read back from a virtual board.

The expected integers are computed here in rational numbers, with nothing of the harness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from esp_hil.device.device import Device
from esp_hil.device.ports import open_link
from esp_hil.targets import target
from esp_hil.tensors import DeviceTensor, Dtype, InputSpec
from esp_hil.virtual import VirtualBoard
from tests.formats.espdl.writer import edl, graph, node, value

EXPONENTS = range(-8, -2)
PIPELINES = {
    "plain": (1 / 255, 0.0, 1.0),
    "mnist": (1 / 255, 0.1307, 0.3081),
    "signed": (1 / 128, 1.0, 1.0),
    "bytes": (1.0, 0.0, 1.0),
}


@pytest.fixture(scope="module", params=["esp32s3", "esp32p4"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with VirtualBoard(target(request.param)) as board, Device(open_link(board.url)) as opened:
        opened.connect()
        yield opened


def image(exponent: int, dtype: str) -> bytes:
    """A model that only passes its input on, 16x16."""
    values = (value("x", (1, 16, 16, 1), exponent, dtype), value("y", (1, 16, 16, 1), exponent, dtype))
    kind = "S8" if dtype == "int8" else "S16"
    return edl(graph([node("Identity", ("x",), ("y",), quant_type=kind)], values))


def expected(pixel: int, exponent: int, dtype: str, *, pipeline: str, half_even: bool) -> int:
    scale, mean, std = PIPELINES[pipeline]
    real = np.float32((pixel * scale - mean) / std)  # the float model's input is a float32
    exact = Fraction(float(real)) / Fraction(2) ** exponent
    rounded = round(exact) if half_even else math.floor(exact + Fraction(1, 2))
    limit = 1 << (7 if dtype == "int8" else 15)
    return min(max(rounded, -limit), limit - 1)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_every_pixel_is_saturated_and_never_wraps(device: Device, exponent: int, dtype: Dtype) -> None:
    chip = target(device.info().chip)
    device.upload_model(image(exponent, dtype))
    device.load()
    (spec,) = device.info().inputs
    assert (spec.exponent, spec.dtype) == (exponent, dtype)
    tensor = DeviceTensor(
        name="x", dtype=dtype, shape=(1, 16, 16, 1), exponent=spec.exponent, permutation=(0, 2, 3, 1)
    )
    pixels = np.arange(256, dtype=np.uint8)
    for name, (scale, mean, std) in PIPELINES.items():
        pipeline = InputSpec(
            name="x", layout="NCHW", shape=(1, 16, 16), scale=scale, mean=(mean,), std=(std,)
        )
        floats = pipeline.preprocess(pixels.reshape(1, 16, 16))
        device.set_input("x", tensor.to_device(floats, chip.rounding))
        held = device.read_input("x").reshape(-1)
        even = chip.rounding == "half_even"
        wanted = [expected(int(p), exponent, dtype, pipeline=name, half_even=even) for p in pixels]
        assert held.tolist() == wanted, name
        assert (np.diff(held.astype(np.int64)) >= 0).all(), name


def test_the_seed_s_conversion_is_what_this_would_have_caught() -> None:
    """(x * 128).astype(int8) makes -128 of a white pixel; the right answer at exponent -7 is 127."""
    white = np.array([255], np.uint8) / np.float32(255)
    assert (white * 128).astype(np.int16).astype(np.int8)[0] == -128
    assert expected(255, -7, "int8", pipeline="plain", half_even=False) == 127

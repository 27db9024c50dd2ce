from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import ConfigError, InputError
from esp_hil.targets import Rounding
from esp_hil.tensors import (
    Affine,
    DeviceTensor,
    InputSpec,
    Layout,
    dequantize,
    device_permutation,
    invented_integers,
    invented_range,
    quantize_affine,
    quantize_input,
)

RGB = InputSpec(
    name="x", layout="NCHW", shape=(3, 2, 4), scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)
)


def floats(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_every_channel_gets_its_own_mean_and_deviation() -> None:
    images = np.arange(2 * 2 * 4 * 3, dtype=np.uint8).reshape(2, 2, 4, 3)
    x = RGB.preprocess(images)
    assert x.dtype == np.float32
    assert x.shape == (2, 3, 2, 4)
    for channel, (mean, std) in enumerate(zip(RGB.mean, RGB.std, strict=True)):
        expected = (images[..., channel] / 255 - mean) / std
        np.testing.assert_allclose(x[:, channel], expected, rtol=1e-6, atol=1e-7)


def test_an_nhwc_model_keeps_channels_last() -> None:
    spec = InputSpec(name="x", layout="NHWC", shape=(2, 4, 3), scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    assert np.array_equal(spec.preprocess(images), images.astype(np.float32))


@pytest.mark.parametrize("wrong", [np.zeros((1, 3, 2, 4), np.uint8), np.zeros((1, 2, 4, 3), np.float32)])
def test_images_of_another_shape_or_type_are_refused(
    wrong: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> None:
    with pytest.raises(InputError, match="for input 'x'") as caught:
        RGB.preprocess(wrong)
    assert "(N, 2, 4, 3)" in caught.value.hint


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("half_up", [-1, 0, 1, 2, 3, -2]), ("half_even", [-2, 0, 0, 2, 2, -2])],
)
def test_ties_round_as_the_chip_does(rounding: Rounding, expected: list[int]) -> None:
    ties = floats(-1.5, -0.5, 0.5, 1.5, 2.5, -2.5)
    assert quantize_input(ties, 0, "int8", rounding).tolist() == expected


def test_a_value_just_under_a_half_is_not_rounded_up() -> None:
    just_under = np.nextafter(floats(0.5), floats(0.0))
    assert quantize_input(just_under, 0, "int8", "half_up").tolist() == [0]


def test_white_saturates_instead_of_wrapping() -> None:
    assert quantize_input(floats(1.0, 2.0, -1.0, -9.0), -7, "int8", "half_up").tolist() == [
        127,
        127,
        -128,
        -128,
    ]


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        quantize_input(floats(0.0, np.nan), 0, "int8", "half_up")


@given(
    values=st.lists(st.integers(-128, 127), min_size=1, max_size=30),
    exponent=st.integers(-12, 8),
    rounding=st.sampled_from(["half_up", "half_even"]),
)
def test_integers_survive_the_way_to_floats_and_back(
    values: list[int], exponent: int, rounding: Rounding
) -> None:
    integers = np.array(values, np.int8)
    back = quantize_input(dequantize(integers, exponent), exponent, "int8", rounding)
    assert np.array_equal(back, integers)


@given(
    values=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=30),
    rounding=st.sampled_from(["half_up", "half_even"]),
)
def test_quantization_is_never_off_by_more_than_half_a_step(values: list[float], rounding: Rounding) -> None:
    x = floats(*values)
    error = dequantize(quantize_input(x, -13, "int16", rounding), -13) - np.clip(x, -4, 32767 / 8192)
    assert np.abs(error).max() <= 2.0**-14


def test_a_device_tensor_permutes_and_quantizes_there_and_back() -> None:
    tensor = DeviceTensor(name="x", dtype="int8", shape=(1, 2, 4, 3), exponent=-4, permutation=(0, 2, 3, 1))
    assert tensor.float_shape == (1, 3, 2, 4)
    x = ((np.arange(48).reshape(2, 3, 2, 4) - 24) / 16).astype(np.float32)
    device = tensor.to_device(x, "half_even")
    assert device.shape == (2, 2, 4, 3)
    assert device[1, 1, 2, 0] == x[1, 0, 1, 2] * 16
    assert np.array_equal(tensor.to_float(device), x)


def test_a_device_tensor_refuses_arrays_of_another_shape_or_type() -> None:
    tensor = DeviceTensor(name="x", dtype="int8", shape=(1, 2, 2, 1), exponent=-4, permutation=(0, 2, 3, 1))
    with pytest.raises(InputError, match="for tensor 'x'"):
        tensor.to_device(np.zeros((1, 2, 2, 1), np.float32), "half_up")
    with pytest.raises(InputError, match="for tensor 'x'"):
        tensor.to_float(np.zeros((1, 2, 2, 1), np.int16))


@pytest.mark.parametrize("permutation", [(1, 0), (0,), (0, 2)])
def test_a_permutation_that_is_none_or_moves_the_batch_is_refused(permutation: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="does not permute"):
        DeviceTensor(name="x", dtype="int8", shape=(1, 2), exponent=0, permutation=permutation)


@pytest.mark.parametrize(
    ("float_shape", "device_shape", "declared", "expected"),
    [
        ((1, 1, 28, 28), (1, 28, 28, 1), None, (0, 2, 3, 1)),
        ((1, 3, 8, 8), (1, 3, 8, 8), None, (0, 1, 2, 3)),
        ((1, 4, 16), (1, 16, 4), None, (0, 2, 1)),
        ((1, 10), (1, 10), None, (0, 1)),
        ((1, 8, 8, 8), (1, 8, 8, 8), "NHWC", (0, 2, 3, 1)),
        ((1, 8, 8, 8), (1, 8, 8, 8), "NCHW", (0, 1, 2, 3)),
    ],
)
def test_the_layout_follows_from_the_shapes_or_the_declaration(
    float_shape: tuple[int, ...],
    device_shape: tuple[int, ...],
    declared: Layout | None,
    expected: tuple[int, ...],
) -> None:
    assert device_permutation(float_shape, device_shape, declared) == expected


def test_a_layout_that_shapes_do_not_tell_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match="with and without moved channels") as caught:
        device_permutation((1, 8, 8, 8), (1, 8, 8, 8))
    assert "device_layout" in caught.value.hint


@pytest.mark.parametrize("declared", [None, "NCHW"])
def test_a_shape_that_no_layout_gives_is_an_error(declared: Layout | None) -> None:
    device_shape = (1, 28, 28, 1) if declared else (1, 28, 1, 28)
    with pytest.raises(ConfigError, match="cannot be"):
        device_permutation((1, 1, 28, 28), device_shape, declared)


def test_the_layout_is_the_one_that_the_exporter_recorded(shared: Path) -> None:
    compared = 0
    for path in sorted((shared / "vectors" / "ops").glob("*/meta.json")):
        inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        for tensor in inputs.values():
            permutation, shape = tensor.get("perm_to_espdl"), tensor.get("float_shape_onnx")
            if permutation is None or shape is None:
                continue
            layout: Layout | None = "NHWC" if permutation[-1] == 1 and len(shape) > 2 else "NCHW"
            if shape[2:] != shape[1:-1]:  # the shape alone must tell
                layout = None
            found = device_permutation(shape, tensor["espdl_shape"], layout)
            assert found == tuple(permutation), path
            compared += 1
    assert compared > 50


def test_affine_quantization_rounds_halves_away_from_zero_and_saturates() -> None:
    affine = Affine(scale=0.5, zero_point=-3)
    values = np.array([0.25, -0.25, 0.75, 0.7, 100.0, -100.0], np.float32)
    assert quantize_affine(values, affine, "int8").tolist() == [-2, -4, -1, -2, 127, -128]


def test_an_affine_tensor_goes_to_the_device_and_back() -> None:
    tensor = DeviceTensor(
        name="x",
        dtype="int8",
        shape=(1, 2, 2, 1),
        exponent=None,
        permutation=(0, 2, 3, 1),
        affine=Affine(scale=1 / 255, zero_point=-128),
    )
    image = np.array([[[[0, 1], [128, 255]]]], np.float32) / np.float32(255)
    device = tensor.to_device(image, "half_up")
    assert device.reshape(-1).tolist() == [-128, -127, 0, 127]
    np.testing.assert_array_equal(tensor.to_float(device), image)


def test_a_tensor_with_exponent_and_affine_scale_is_refused() -> None:
    with pytest.raises(ConfigError, match="exponent -4"):
        DeviceTensor(
            name="x",
            dtype="int8",
            shape=(1, 2),
            exponent=-4,
            permutation=(0, 1),
            affine=Affine(scale=1.0),
        )


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int8", -128, 127), ("uint8", 0, 255), ("int16", -32768, 32767), ("int32", 0, 1), ("bool", 0, 1)],
)
def test_an_input_that_nobody_gave_has_integers_that_its_type_can_mean(
    dtype: str, low: int, high: int
) -> None:
    """Of wider types they are counts or indices: any number of 32 bits would lead out of a table."""
    made = invented_integers((200_000,), np.dtype(dtype), np.random.default_rng(0))
    assert (made.dtype, made.min(), made.max()) == (np.dtype(dtype), low, high)
    assert invented_range(np.dtype(dtype)) == (low, high)

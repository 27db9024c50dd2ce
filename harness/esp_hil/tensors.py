"""Numbers on their way to a device and back: preprocessing, quantization, layout.

An image becomes a float tensor as model.toml declares (`InputSpec.preprocess`), the float tensor becomes
the integers that a device is sent (`DeviceTensor.to_device`), and the integers that it answers become
floats again (`DeviceTensor.to_float`). Nothing else in the harness scales, rounds or permutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, InputError
from esp_hil.targets import Rounding

Dtype = Literal["int8", "int16", "float32"]
Layout = Literal["NCHW", "NHWC"]
Array = NDArray[Any]
Arrays = Mapping[str, Array]
"""Tensors by name."""

_INTEGERS: dict[str, tuple[int, int]] = {"int8": (-128, 127), "int16": (-32768, 32767)}
_CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """What an integer stands for: (integer - zero_point) * scale."""

    scale: float
    zero_point: int = 0

    @staticmethod
    def of_exponent(exponent: int) -> Affine:
        """ESP-DL's scale 2^exponent."""
        return Affine(scale=math.ldexp(1.0, exponent))

    def real(self, integers: Array) -> NDArray[np.float64]:
        """The real values of `integers`, same shape, float64."""
        return (integers.astype(np.float64) - self.zero_point) * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """How stored images become the float model's input.

    Attributes:
        name: name of the input in the float model and on the device.
        layout: layout of the float model's input.
        shape: its shape without the batch axis, (C, H, W) for NCHW, (H, W, C) for NHWC.
        scale: factor that is applied to the stored bytes first.
        mean: subtracted after that, one value a channel.
        std: divisor after that, one value a channel.
        device_layout: layout on the device if the shapes alone do not tell, else None.
        dtype: of the stored inputs; "float32" are stored as the float model takes them, without scale, mean, std.
    """

    name: str
    layout: Layout
    shape: tuple[int, ...]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device_layout: Layout | None = None
    dtype: Literal["uint8", "float32"] = "uint8"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of a stored image: (H, W) with one channel, else (H, W, C); of a stored float input: `shape`."""
        if self.dtype == "float32":
            return self.shape
        channels, height, width = (
            self.shape if self.layout == "NCHW" else (self.shape[2], self.shape[0], self.shape[1])
        )
        return (height, width) if channels == 1 else (height, width, channels)

    def preprocess(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Turn stored images into the float model's input: (byte * scale - mean) / std.

        The 256 possible values of each channel are computed in float64 and rounded once, so that the result
        is the same bit for bit on every machine.

        Args:
            images: uint8 (N, H, W) for one channel, (N, H, W, C) for several; float32 (N, *shape) if `dtype`
                is float32, which stay as they are.

        Returns:
            float32 (N, *shape) in `layout`.

        Raises:
            InputError: the images have another type or shape.
        """
        if images.dtype != np.dtype(self.dtype) or images.shape[1:] != self.image_shape:
            raise InputError(
                f"images of {images.dtype} {images.shape} for input {self.name!r}",
                hint=f"give {self.dtype} of shape (N, {', '.join(map(str, self.image_shape))})",
            )
        if self.dtype == "float32":
            return np.ascontiguousarray(images)
        bytes_ = np.arange(256, dtype=np.float64) * self.scale
        tables = [((bytes_ - m) / s).astype(np.float32) for m, s in zip(self.mean, self.std, strict=True)]
        channels = images[..., np.newaxis] if images.ndim == 3 else images
        floats = np.stack([table[channels[..., c]] for c, table in enumerate(tables)], axis=-1)
        return np.ascontiguousarray(np.moveaxis(floats, -1, 1) if self.layout == "NCHW" else floats)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTensor:
    """An input or output as the device has it.

    Attributes:
        name: the tensor's name in the file.
        dtype: "int8", "int16" or "float32".
        shape: shape on the device; the first axis is the batch of 1.
        exponent: value = integer * 2**exponent; None for float32 and for affine tensors.
        permutation: device axis i is axis permutation[i] of the float model's tensor; permutation[0] is 0.
        affine: scale and zero point of an integer tensor that has no exponent.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    exponent: int | None
    permutation: tuple[int, ...]
    affine: Affine | None = None

    def __post_init__(self) -> None:
        if sorted(self.permutation) != list(range(len(self.shape))) or self.permutation[0] != 0:
            raise ConfigError(f"tensor {self.name!r}: {self.permutation} does not permute shape {self.shape}")
        meanings = (self.exponent is not None) + (self.affine is not None)
        if meanings != (self.dtype != "float32"):
            raise ConfigError(
                f"tensor {self.name!r}: {self.dtype} with exponent {self.exponent}, {self.affine}"
            )

    @property
    def meaning(self) -> Affine | None:
        """What its integers stand for; None for float32."""
        return self.affine if self.exponent is None else Affine.of_exponent(self.exponent)

    @property
    def float_shape(self) -> tuple[int, ...]:
        """Shape of the same tensor in the float model, with the batch axis."""
        shape = [0] * len(self.shape)
        for device_axis, float_axis in enumerate(self.permutation):
            shape[float_axis] = self.shape[device_axis]
        return tuple(shape)

    def to_device(self, values: NDArray[np.float32], rounding: Rounding) -> Array:
        """Quantize and permute: float32 (N, *float_shape[1:]) -> `dtype` (N, *shape[1:]).

        Raises:
            InputError: another dtype or shape, or a value that is not finite.
        """
        if values.dtype != np.float32 or values.shape[1:] != self.float_shape[1:]:
            raise InputError(
                f"{values.dtype} {values.shape} for tensor {self.name!r}",
                hint=f"give float32 of shape (N, {', '.join(map(str, self.float_shape[1:]))})",
            )
        return self.arrange(self._quantized(values, rounding))

    def _quantized(self, values: NDArray[np.float32], rounding: Rounding) -> Array:
        if self.affine is not None:
            return quantize_affine(values, self.affine, self.dtype)
        return (
            values if self.exponent is None else quantize_input(values, self.exponent, self.dtype, rounding)
        )

    def arrange(self, values: Array) -> Array:
        """Permute only: (N, *float_shape[1:]) -> (N, *shape[1:]), to compare floats in device order."""
        if values.shape[1:] != self.float_shape[1:]:
            raise InputError(
                f"values of shape {values.shape} for tensor {self.name!r}",
                hint=f"the float model has (N, {', '.join(map(str, self.float_shape[1:]))})",
            )
        return np.ascontiguousarray(values.transpose(self.permutation))

    def to_float(self, device: Array) -> NDArray[np.float32]:
        """Dequantize and permute back: `dtype` (N, *shape[1:]) -> float32 (N, *float_shape[1:])."""
        if device.dtype != np.dtype(self.dtype) or device.shape[1:] != self.shape[1:]:
            raise InputError(
                f"{device.dtype} {device.shape} for tensor {self.name!r}",
                hint=f"the device has {self.dtype} of shape (N, {', '.join(map(str, self.shape[1:]))})",
            )
        values = device if self.meaning is None else self.meaning.real(device)
        return np.ascontiguousarray(values.transpose(np.argsort(self.permutation)), dtype=np.float32)


def quantize_input(
    values: NDArray[np.float32], exponent: int, dtype: Dtype, rounding: Rounding
) -> NDArray[np.integer[Any]]:
    """Quantize to a power-of-two grid: saturate(round(value * 2**-exponent)).

    Computed in float64, where scaling by a power of two and adding one half are exact for every float32.

    Args:
        values: float32 of any shape.
        exponent: of the integers.
        dtype: "int8" or "int16"; the whole range is used, -128 too.
        rounding: "half_up" is floor(v + 0.5), "half_even" is IEEE's default; `Target.rounding` of the chip.

    Raises:
        InputError: NaN or infinity, or a type that is not quantized.
    """
    if dtype not in _INTEGERS:
        raise InputError(f"cannot quantize to {dtype}", hint=f"one of: {', '.join(_INTEGERS)}")
    if not np.isfinite(values).all():
        raise InputError("the input has values that are not finite")
    scaled = np.ldexp(values.astype(np.float64), -exponent)
    rounded = np.floor(scaled + 0.5) if rounding == "half_up" else np.rint(scaled)
    low, high = _INTEGERS[dtype]
    return np.clip(rounded, low, high).astype(dtype)


def quantize_affine(values: NDArray[np.float32], affine: Affine, dtype: Dtype) -> NDArray[np.integer[Any]]:
    """Quantize as TFLM's QUANTIZE does: saturate(round(value / scale) + zero_point).

    The division is one of float32; halves are rounded away from zero (reference/quantize.h, std::round).

    Args:
        values: float32 of any shape.
        affine: scale and zero point.
        dtype: "int8" or "int16".

    Raises:
        InputError: NaN or infinity, or a type that is not quantized.
    """
    if dtype not in _INTEGERS:
        raise InputError(f"cannot quantize to {dtype}", hint=f"one of: {', '.join(_INTEGERS)}")
    if not np.isfinite(values).all():
        raise InputError("the input has values that are not finite")
    scaled = (values / np.float32(affine.scale)).astype(np.float64)
    rounded: NDArray[np.float64] = np.trunc(scaled + np.copysign(0.5, scaled)) + affine.zero_point
    low, high = _INTEGERS[dtype]
    return np.clip(rounded, low, high).astype(dtype)


def dequantize(integers: NDArray[np.integer[Any]], exponent: int) -> NDArray[np.float32]:
    """Value of each integer, integer * 2**exponent: exact in float32 for 8 and 16 bits."""
    return np.ldexp(integers.astype(np.float32), exponent)


def device_permutation(
    float_shape: Sequence[int], device_shape: Sequence[int], declared: Layout | None = None
) -> tuple[int, ...]:
    """Find out how the device orders the axes of a float model's tensor.

    ESP-DL keeps a graph as it is, or moves the channels last if the graph has spatial operators; no other
    order occurs at inputs and outputs. Where both give the device's shape, `declared` decides.

    Args:
        float_shape: shape in the float model, (1, C, ...).
        device_shape: shape in the device's file.
        declared: `InputSpec.device_layout`: "NCHW" keeps the order, "NHWC" moves the channels last.

    Returns:
        For each axis of the device the axis of the float tensor.

    Raises:
        ConfigError: neither order fits, or both do and nothing was declared.
    """
    float_shape, device_shape = tuple(float_shape), tuple(device_shape)
    same = tuple(range(len(float_shape)))
    last = _CHANNELS_LAST.get(len(float_shape), same)
    orders = {"NCHW": same, "NHWC": last} if last != same else {"NCHW": same}
    fitting = {
        layout: order
        for layout, order in orders.items()
        if tuple(float_shape[axis] for axis in order) == device_shape and declared in {None, layout}
    }
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if not fitting:
        as_declared = f" as {declared}" if declared else ""
        raise ConfigError(f"a tensor {float_shape} cannot be {device_shape} on the device{as_declared}")
    raise ConfigError(
        f"a tensor {float_shape} is {device_shape} on the device with and without moved channels",
        hint='declare device_layout = "NHWC" or "NCHW" under [input] in model.toml',
    )

"""Numbers on their way to a device and back: preprocessing, quantization, layout.

An image becomes a float tensor as model.toml declares (`InputSpec.preprocess`), the float tensor becomes
the integers that a device is sent (`DeviceTensor.to_device`), and the integers that it answers become
floats again (`DeviceTensor.to_float`). Nothing else in the harness scales, rounds or permutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, InputError
from esp_hil.targets import Rounding

Dtype = Literal["int8", "uint8", "int16", "int32", "int64", "bool", "float32"]
"""Of an input or output on a device."""

StoredDtype = Literal["int8", "uint8", "int16", "int32", "bool", "float32"]
"""Of golden inputs as they are kept."""

Layout = Literal["NCHW", "NHWC"]
Array = NDArray[Any]
Arrays = Mapping[str, Array]
"""Tensors by name."""

_INTEGERS: dict[str, tuple[int, int]] = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}
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
    """How stored arrays become one input of the model.

    Three kinds: an image or another integer array with a `scale`, which becomes floats; float32, which is stored as
    the float model takes it; integers or bools without a `scale`, which are raw: the device gets them as they are.

    Attributes:
        name: name of the input on the device and, without `float_name`, in the float model.
        layout: layout of the float model's input.
        shape: its shape for one inference, with or without a leading batch of 1: (C, H, W) for NCHW images, (H, W, C)
            for NHWC ones.
        scale: factor that is applied to the stored integers first; 0: they are raw. Of float32 without meaning.
        mean: subtracted after that, one value a channel of an image, else one.
        std: divisor after that, likewise.
        device_layout: layout on the device if the shapes alone do not tell, else None.
        dtype: of the stored arrays.
        float_name: name in the float model; "": the same.
        state: the output that this input is fed with: what it gave in the step before, at the start of a sequence
            zeros; "": golden inputs have it.
    """

    name: str
    layout: Layout
    shape: tuple[int, ...]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device_layout: Layout | None = None
    dtype: StoredDtype = "uint8"
    float_name: str = ""
    state: str = ""

    @property
    def raw(self) -> bool:
        """Whether the device gets the stored integers as they are."""
        return self.dtype != "float32" and self.scale == 0

    @property
    def image(self) -> bool:
        """Whether it is stored as images, channels last, whatever the layout of the float model."""
        return self.dtype == "uint8" and not self.raw and len(self.shape) == 3

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of what is stored for one inference: (H, W) or (H, W, C) of an image, else `shape`."""
        if not self.image:
            return self.shape
        channels, height, width = (
            self.shape if self.layout == "NCHW" else (self.shape[2], self.shape[0], self.shape[1])
        )
        return (height, width) if channels == 1 else (height, width, channels)

    @staticmethod
    def raw_nhwc(name: str, shape: tuple[int, ...], dtype: str) -> InputSpec:
        """What a device file takes as it is, integers or float32, stored as it lies on the device.

        Raises:
            ConfigError: golden inputs cannot be of this dtype.
        """
        if dtype not in get_args(StoredDtype):
            raise ConfigError(f"input {name!r} is {dtype}", hint=f"known: {', '.join(get_args(StoredDtype))}")
        return InputSpec(
            name=name,
            layout="NHWC",
            shape=shape,
            scale=0.0,
            mean=(0.0,),
            std=(1.0,),
            dtype=cast(StoredDtype, dtype),
        )

    def require(self, prepared: Array) -> None:
        """Make sure that prepared inputs are what `preprocess` gives, and at least one.

        Raises:
            InputError: another dtype or shape, or none.
        """
        dtype = self.dtype if self.raw else "float32"
        if prepared.dtype != np.dtype(dtype) or prepared.shape[1:] != self.shape or not len(prepared):
            raise InputError(
                f"{prepared.dtype} {prepared.shape} for input {self.name!r}",
                hint=f"give {dtype} of shape (N, {', '.join(map(str, self.shape))})",
            )

    def preprocess(self, stored: Array) -> Array:
        """Turn stored arrays into the model's input: (integer * scale - mean) / std.

        Computed in float64 and rounded once, so that the result is the same bit for bit on every machine.

        Args:
            stored: `dtype` (N, *image_shape): of an image uint8 (N, H, W) for one channel, (N, H, W, C) for several.

        Returns:
            float32 (N, *shape) in `layout`; raw integers stay as they are.

        Raises:
            InputError: another type or shape, or floats that are not finite.
        """
        if stored.dtype != np.dtype(self.dtype) or stored.shape[1:] != self.image_shape:
            what = "images" if self.image else "values"
            raise InputError(
                f"{what} of {stored.dtype} {stored.shape} for input {self.name!r}",
                hint=f"give {self.dtype} of shape (N, {', '.join(map(str, self.image_shape))})",
            )
        if self.dtype == "float32" or self.raw:
            return np.ascontiguousarray(stored)
        if not self.image:
            floats = (stored.astype(np.float64) * self.scale - self.mean[0]) / self.std[0]
            return np.ascontiguousarray(floats, dtype=np.float32)
        return self._image_floats(stored)

    def _image_floats(self, images: Array) -> NDArray[np.float32]:
        """The 256 possible values of each channel are computed once."""
        bytes_ = np.arange(256, dtype=np.float64) * self.scale
        tables = [((bytes_ - m) / s).astype(np.float32) for m, s in zip(self.mean, self.std, strict=True)]
        channels = images[..., np.newaxis] if images.ndim == 3 else images
        floats = np.stack([table[channels[..., c]] for c, table in enumerate(tables)], axis=-1)
        return np.ascontiguousarray(np.moveaxis(floats, -1, 1) if self.layout == "NCHW" else floats)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTensor:
    """An input or output as the device has it.

    Many inferences are stacked as (N, *item): N takes the place of a leading 1 of `shape`, and stands before a shape
    that has none.

    Attributes:
        name: the tensor's name in the file.
        dtype: of its elements.
        shape: shape on the device for one inference.
        exponent: value = integer * 2**exponent; None for float32, for affine tensors and for plain numbers.
        permutation: device axis i is axis permutation[i] of the float model's tensor; 0 stays 0 where the first axis
            is the batch of 1.
        affine: scale and zero point of an integer tensor that has no exponent.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    exponent: int | None
    permutation: tuple[int, ...]
    affine: Affine | None = None

    def __post_init__(self) -> None:
        fits = sorted(self.permutation) == list(range(len(self.shape)))
        if not fits or (self.batched and self.permutation[0] != 0):
            raise ConfigError(f"tensor {self.name!r}: {self.permutation} does not permute shape {self.shape}")
        meanings = (self.exponent is not None) + (self.affine is not None)
        if meanings > (self.dtype != "float32"):
            raise ConfigError(
                f"tensor {self.name!r}: {self.dtype} with exponent {self.exponent}, {self.affine}"
            )

    @property
    def meaning(self) -> Affine | None:
        """What its integers stand for; None for float32 and for plain numbers."""
        return self.affine if self.exponent is None else Affine.of_exponent(self.exponent)

    @property
    def batched(self) -> bool:
        """Whether the first axis is a batch of 1, which N inferences take the place of."""
        return self.shape[:1] == (1,)

    @property
    def item(self) -> tuple[int, ...]:
        """Shape on the device of one of N stacked inferences."""
        return self.shape[1:] if self.batched else self.shape

    @property
    def float_shape(self) -> tuple[int, ...]:
        """Shape of the same tensor in the float model, with a batch axis if the device has one."""
        shape = [0] * len(self.shape)
        for device_axis, float_axis in enumerate(self.permutation):
            shape[float_axis] = self.shape[device_axis]
        return tuple(shape)

    @property
    def float_item(self) -> tuple[int, ...]:
        """Shape in the float model of one of N stacked inferences."""
        return self.float_shape[1:] if self.batched else self.float_shape

    @property
    def _stacked(self) -> tuple[int, ...]:
        """The permutation of N stacked inferences."""
        return self.permutation if self.batched else (0, *(axis + 1 for axis in self.permutation))

    def to_device(self, values: Array, rounding: Rounding) -> Array:
        """Quantize and permute: (N, *float_item) -> `dtype` (N, *item); integers of `dtype` are only permuted.

        Raises:
            InputError: another dtype or shape, or a value that is not finite.
        """
        raw = values.dtype == np.dtype(self.dtype)
        quantizable = values.dtype == np.float32 and self.meaning is not None
        if not (raw or quantizable) or self._without_batch(values).shape[1:] != self.float_item:
            kinds = dict.fromkeys(["float32"] if self.meaning is not None else []) | {self.dtype: None}
            raise InputError(
                f"{values.dtype} {values.shape} for tensor {self.name!r}",
                hint=f"give {' or '.join(kinds)} of shape (N, {', '.join(map(str, self.float_item))})",
            )
        return self.arrange(values if raw else self._quantized(values, rounding))

    def _quantized(self, values: NDArray[np.float32], rounding: Rounding) -> Array:
        if self.affine is not None:
            return quantize_affine(values, self.affine, self.dtype)
        assert self.exponent is not None
        return quantize_input(values, self.exponent, self.dtype, rounding)

    def _without_batch(self, values: Array) -> Array:
        """(N, 1, ...) as (N, ...) where the device's 1 is what N takes the place of."""
        if self.batched and values.shape[1:] == self.float_shape:
            return values.reshape(len(values), *self.float_item)
        return values

    def arrange(self, values: Array) -> Array:
        """Permute only: (N, *float_item) -> (N, *item), to compare floats in device order."""
        values = self._without_batch(values)
        if values.shape[1:] != self.float_item:
            raise InputError(
                f"values of shape {values.shape} for tensor {self.name!r}",
                hint=f"the float model has (N, {', '.join(map(str, self.float_item))})",
            )
        return np.ascontiguousarray(values.transpose(self._stacked))

    def restore(self, device: Array) -> Array:
        """Permute back: (N, *item) -> (N, *float_item)."""
        return np.ascontiguousarray(device.transpose(np.argsort(self._stacked)))

    def to_float(self, device: Array) -> NDArray[np.float32]:
        """Dequantize and permute back: `dtype` (N, *item) -> float32 (N, *float_item)."""
        if device.dtype != np.dtype(self.dtype) or device.shape[1:] != self.item:
            raise InputError(
                f"{device.dtype} {device.shape} for tensor {self.name!r}",
                hint=f"the device has {self.dtype} of shape (N, {', '.join(map(str, self.item))})",
            )
        return self.restore(device if self.meaning is None else self.meaning.real(device)).astype(np.float32)


def quantize_input(
    values: NDArray[np.float32], exponent: int, dtype: Dtype, rounding: Rounding
) -> NDArray[np.integer[Any]]:
    """Quantize to a power-of-two grid: saturate(round(value * 2**-exponent)).

    Computed in float64, where scaling by a power of two and adding one half are exact for every float32.

    Args:
        values: float32 of any shape.
        exponent: of the integers.
        dtype: of the integers; its whole range is used, -128 too.
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
        dtype: of the integers.

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
    # axes of one element may stand anywhere: orders that differ in those alone are the same
    if len({tuple(axis for axis in order if float_shape[axis] > 1) for order in fitting.values()}) == 1:
        return next(iter(fitting.values()))
    if not fitting:
        as_declared = f" as {declared}" if declared else ""
        raise ConfigError(f"a tensor {float_shape} cannot be {device_shape} on the device{as_declared}")
    raise ConfigError(
        f"a tensor {float_shape} is {device_shape} on the device with and without moved channels",
        hint='declare device_layout = "NHWC" or "NCHW" for it in model.toml',
    )


def invented_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Lowest and highest integer of an input that nobody gave.

    All of 8 and 16 bits; 0 and 1 of truth values, and of wider integers, which are counts or indices.
    """
    if dtype.kind == "b" or dtype.itemsize > 2:
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def invented_integers(shape: tuple[int, ...], dtype: np.dtype[Any], random: np.random.Generator) -> Array:
    """Integers or truth values for an input that nobody gave, all that `invented_range` allows alike."""
    low, high = invented_range(dtype)
    if dtype.kind == "b":
        return random.integers(low, high, shape, endpoint=True).astype(np.bool_)
    return random.integers(low, high, shape, dtype, endpoint=True)

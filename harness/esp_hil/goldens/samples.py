"""A person's own inputs in a folder: images, or arrays as NumPy saves them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.npz import read_npy

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
UNKNOWN = -1
"""The label of an input whose class nobody told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Inputs in the order of their paths.

    Attributes:
        values: uint8 images (N, H, W) or (N, H, W, C), or float32 (N, *shape) as the float model's input.
        labels: int64 (N,), UNKNOWN where nothing tells the class.
        ids: path of each within the folder, with its place in the file if that holds several.
        notes: what was done to them that a person should know.
    """

    values: NDArray[Any]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    notes: tuple[str, ...]


def read_samples(
    folder: Path,
    *,
    shape: tuple[int, ...],
    image_shape: tuple[int, ...] | None,
    classes: tuple[str, ...],
    dtype: str = "float32",
) -> Samples:
    """Read a folder of inputs.

    Args:
        folder: with .png, .jpg or .bmp images, or .npy arrays, all images or all arrays. In subfolders that
            are named as a class (or its number) they have this class.
        shape: of the float model's input without the batch axis.
        image_shape: (H, W) or (H, W, C) of its images; None if its input is not an image.
        classes: names of the classes, in the model's order.
        dtype: of arrays that are no images: another than float32 for integers that the device gets as they are.

    Raises:
        ConfigError: no such folder, nothing in it, images and arrays mixed, or images where the model's
            input is none.
        GoldenError: a file cannot be read, or has another shape.
    """
    if folder.is_file():
        raise ConfigError(
            f"{folder} is a file", hint="give its folder, or an .npz with an array for each input, N first"
        )
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}", hint="give a folder with images or .npy files, or an .npz")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES | {".npy"})
    if not files:
        raise ConfigError(
            f"no input in {folder}", hint=f"it needs {', '.join(sorted(IMAGES))} images or .npy arrays"
        )
    kinds = {path.suffix.lower() == ".npy" for path in files}
    if len(kinds) == 2:
        raise ConfigError(f"{folder} holds images and .npy arrays", hint="give one kind")
    values: list[NDArray[Any]] = []
    labels: list[int] = []
    ids: list[str] = []
    resized = 0
    for path in files:
        if kinds == {True}:
            rows = _array(path, shape, image_shape, dtype)
        else:
            image, changed = _image(path, image_shape)
            rows, resized = image[np.newaxis], resized + changed
        values.append(rows)
        labels += [_label(path, folder, classes)] * len(rows)
        name = path.relative_to(folder).as_posix()
        ids += [name] if len(rows) == 1 else [f"{name}[{i}]" for i in range(len(rows))]
    notes = [f"{resized} of {len(files)} images were resized to {image_shape}"] if resized else []
    if len({row.dtype for row in values}) > 1:
        raise ConfigError(f"{folder} holds arrays of uint8 and of float32", hint="give one kind")
    return Samples(
        values=np.concatenate(values), labels=np.array(labels, np.int64), ids=tuple(ids), notes=tuple(notes)
    )


def _label(path: Path, folder: Path, classes: tuple[str, ...]) -> int:
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if part in classes:
            return classes.index(part)
        if part.isdecimal() and int(part) < len(classes):
            return int(part)
    return UNKNOWN


def _array(
    path: Path, shape: tuple[int, ...], image_shape: tuple[int, ...] | None, dtype: str
) -> NDArray[Any]:
    """One or several inputs of an .npy file, as `dtype` (N, *shape), or uint8 images if they are bytes."""
    values = read_npy(path, hint="save it with numpy.save")
    if values.dtype == np.float64 and dtype == "float32":
        values = values.astype(np.float32)
    if dtype != "float32":
        image_shape = None
    if values.dtype != np.dtype(dtype) and (values.dtype != np.uint8 or dtype != "float32"):
        raise GoldenError(
            f"{path} is {values.dtype}",
            hint=f"save {dtype} as the model takes it: numpy.save(path, x.numpy())",
        )
    if dtype == "float32" and values.dtype == np.uint8 and image_shape is None:
        raise GoldenError(f"{path} holds bytes, and the model's input is not an image", hint="save float32")
    plain = image_shape if values.dtype == np.uint8 and image_shape is not None else shape
    one = values.shape == plain
    if not one and values.shape[1:] != plain:
        expected = "x".join(map(str, plain))
        raise GoldenError(
            f"{path} has shape {values.shape}", hint=f"the model's input is {expected}, or Nx{expected}"
        )
    if not one and len(values) == 0:
        raise GoldenError(f"{path} holds no inputs", hint="save at least one")
    if values.dtype == np.float32 and not np.isfinite(values).all():
        raise GoldenError(
            f"{path} holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite",
            hint="a quantizer that is calibrated on them puts every scale at the edge: take them out",
        )
    return np.ascontiguousarray(values[np.newaxis] if one else values)


def _image(path: Path, image_shape: tuple[int, ...] | None) -> tuple[NDArray[np.uint8], bool]:
    """An image in the model's size and colours, and whether it had another size."""
    if image_shape is None:
        raise ConfigError(
            f"{path.name} is an image, and the model's input is not one",
            hint="give .npy files of float32 in the shape of the model's input",
        )
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ConfigError("reading images needs Pillow", hint="pip install 'esp-hil[quantize]'") from None
    height, width = image_shape[:2]
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if len(image_shape) == 2 else "RGB")
    except (OSError, UnidentifiedImageError) as cause:
        raise GoldenError(f"{path}: {cause}") from None
    changed = image.size != (width, height)
    if changed:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8), changed

"""Labelled images on this machine: one .npz, or four idx files as MNIST is published; their splits."""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import GoldenError
from esp_hil.npz import read_npz

Split = Literal["train", "test"]

_SPLITS: tuple[Split, ...] = ("train", "test")
_IDX_NAMES = {"train": "train", "test": "t10k"}
_IDX_UINT8 = 0x08
_DIGEST = re.compile(r"[0-9a-f]{16}")
_HOW = (
    "give an .npz with x_train, y_train, x_test, y_test, or a folder with train-images-idx3-ubyte[.gz], "
    "train-labels-idx1-ubyte[.gz], t10k-images-idx3-ubyte[.gz], t10k-labels-idx1-ubyte[.gz]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One split: uint8 `images` (N, H, W) or (N, H, W, C), or float32 (N, ...); int64 `labels` of shape (N,)."""

    images: NDArray[Any]
    labels: NDArray[np.int64]


def load_split(
    source: Path,
    split: Split,
    *,
    enlarge: int = 1,
    classes: Sequence[int] = (),
    test_images: Collection[str] | None = None,
) -> Labelled:
    """Read one split of a data set.

    Args:
        source: an .npz file with x_train, y_train, x_test, y_test, or a folder with the idx files.
        split: "train" or "test".
        enlarge: 2 doubles height and width, see `doubled`.
        classes: keep only images with these labels, and number them 0, 1, ... in this order; empty: all.
        test_images: digests (see `image_digest`) of the test images; all others are for training, whatever
            split they are published in. None: the published split.

    Raises:
        GoldenError: there is no such file, it is damaged, images and labels do not belong together, a class
            has no image, or a test image is not there.
    """
    if test_images is None:
        data = _published(source, split)
        images, labels = data.images, data.labels
    else:
        parts = [_published(source, part) for part in _SPLITS]
        images = np.concatenate([part.images for part in parts])
        labels = np.concatenate([part.labels for part in parts])
    images, labels = _of_classes(source, images, labels, classes)
    if test_images is not None:
        held = _held_out(source, images, test_images)
        images, labels = (images[held], labels[held]) if split == "test" else (images[~held], labels[~held])
    if enlarge == 2:
        images = doubled(images)
    return Labelled(images=images, labels=labels)


def image_digest(image: NDArray[np.uint8]) -> str:
    """The first 16 hex digits of the sha256 of an image's bytes, in C order."""
    return hashlib.sha256(image.tobytes()).hexdigest()[:16]


def read_digests(path: Path) -> tuple[str, ...]:
    """The digests in a text file, one a line.

    Raises:
        GoldenError: it cannot be read, or a line is not a digest, or occurs twice.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as cause:
        raise GoldenError(f"{path}: {cause}") from None
    wrong = [line for line in lines if not _DIGEST.fullmatch(line)]
    if wrong or len(set(lines)) != len(lines):
        said = f"{wrong[0]!r} is not a digest" if wrong else "a digest occurs twice"
        raise GoldenError(f"{path}: {said}", hint="16 hex digits a line, each once")
    return tuple(lines)


def _of_classes(
    source: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if not classes:
        return images, labels
    missing = [label for label in classes if label not in labels]
    if missing:
        raise GoldenError(
            f"{source}: no image with label {missing[0]}", hint="model.toml names it under [data]"
        )
    kept = np.isin(labels, classes)
    numbers = {label: number for number, label in enumerate(classes)}
    return images[kept], np.array([numbers[int(label)] for label in labels[kept]], np.int64)


def _held_out(source: Path, images: NDArray[np.uint8], digests: Collection[str]) -> NDArray[np.bool_]:
    """Which images are test images."""
    there = [image_digest(image) for image in images]
    lacking = set(digests).difference(there)
    if lacking:
        raise GoldenError(
            f"{source}: {len(lacking)} of the {len(set(digests))} test images are not in it",
            hint="it is another edition of the data set",
        )
    return np.isin(there, list(digests))


def _published(source: Path, split: Split) -> Labelled:
    """One split as it was published."""
    if source.is_dir():
        images, labels = _from_idx(source, split)
    elif source.is_file():
        images, labels = _from_npz(source, split)
    else:
        raise GoldenError(f"no data set at {source}", hint=_HOW)
    if images.dtype != np.float32 and (images.dtype != np.uint8 or images.ndim not in {3, 4}):
        shape = "x".join(map(str, images.shape))
        raise GoldenError(f"{source}: images of split {split} are {images.dtype} {shape}", hint=_HOW)
    if labels.shape != images.shape[:1]:
        raise GoldenError(f"{source}: {len(images)} images but labels of shape {labels.shape}", hint=_HOW)
    return Labelled(images=images, labels=labels.astype(np.int64))


def doubled(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, H, W) or (N, H, W, C) with twice the height and width, bilinear, pixel centres aligned.

    Each new pixel is 9/16, 3/16, 3/16 and 1/16 of its four neighbours, at the border of those there are,
    rounded half up: integers only, so that every machine makes the same.
    """
    wide = images.astype(np.uint16)
    for axis in (1, 2):
        before, after = (
            np.take(wide, _clipped(wide, axis, -1), axis),
            np.take(wide, _clipped(wide, axis, 1), axis),
        )
        pair = np.stack((3 * wide + before, 3 * wide + after), axis + 1)
        wide = pair.reshape(*wide.shape[:axis], 2 * wide.shape[axis], *wide.shape[axis + 1 :])
    return ((wide + 8) // 16).astype(np.uint8)


def _clipped(array: NDArray[np.uint16], axis: int, step: int) -> NDArray[np.intp]:
    size = array.shape[axis]
    return np.clip(np.arange(size) + step, 0, size - 1)


def _from_npz(path: Path, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
    arrays = read_npz(path, (f"x_{split}", f"y_{split}"), hint=_HOW)
    return arrays[f"x_{split}"], arrays[f"y_{split}"]


def _from_idx(folder: Path, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
    prefix = _IDX_NAMES[split]
    return _read_idx(folder, f"{prefix}-images-idx3-ubyte"), _read_idx(folder, f"{prefix}-labels-idx1-ubyte")


def _read_idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """Read an idx file: two zero bytes, type, rank, big-endian uint32 sizes, then the bytes in C order."""
    plain, packed = folder / name, folder / f"{name}.gz"
    try:
        data = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
    except FileNotFoundError:
        raise GoldenError(f"neither {name} nor {name}.gz in {folder}", hint=_HOW) from None
    except (OSError, EOFError, zlib.error) as cause:
        raise GoldenError(f"{packed}: {cause}", hint=_HOW) from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _IDX_UINT8 or len(data) < 4 + 4 * data[3]:
        raise GoldenError(f"{folder / name}: not an idx file of bytes", hint=_HOW)
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if body.size != int(np.prod(shape, dtype=np.int64)):
        raise GoldenError(f"{folder / name}: {body.size} bytes do not fill shape {shape}", hint=_HOW)
    return body.reshape(shape)

"""Labelled images on this machine: one .npz, or four idx files as MNIST is published."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import GoldenError
from harness.npz import read_npz

Split = Literal["train", "test"]

_IDX_NAMES = {"train": "train", "test": "t10k"}
_IDX_UINT8 = 0x08
_HOW = (
    "give an .npz with x_train, y_train, x_test, y_test, or a folder with train-images-idx3-ubyte[.gz], "
    "train-labels-idx1-ubyte[.gz], t10k-images-idx3-ubyte[.gz], t10k-labels-idx1-ubyte[.gz]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """One split: uint8 `images` of shape (N, H, W) or (N, H, W, C), int64 `labels` of shape (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_split(source: Path, split: Split, *, enlarge: int = 1) -> Labelled:
    """Read one split of a data set.

    Args:
        source: an .npz file with x_train, y_train, x_test, y_test, or a folder with the idx files.
        split: "train" or "test".
        enlarge: 2 doubles height and width, see `doubled`.

    Raises:
        GoldenError: there is no such file, it is damaged, or images and labels do not belong together.
    """
    if source.is_dir():
        images, labels = _from_idx(source, split)
    elif source.is_file():
        images, labels = _from_npz(source, split)
    else:
        raise GoldenError(f"no data set at {source}", hint=_HOW)
    if images.dtype != np.uint8 or images.ndim not in {3, 4}:
        shape = "x".join(map(str, images.shape))
        raise GoldenError(f"{source}: images of split {split} are {images.dtype} {shape}", hint=_HOW)
    if labels.shape != images.shape[:1]:
        raise GoldenError(f"{source}: {len(images)} images but labels of shape {labels.shape}", hint=_HOW)
    if enlarge == 2:
        images = doubled(images)
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

"""Bytes that are the same everywhere: no library's random numbers."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def noise(seed: str, count: int) -> bytes:
    """`count` bytes that follow from the seed (SHAKE-256)."""
    return hashlib.shake_256(seed.encode()).digest(count)


def integers(seed: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """int8 of any value."""
    return np.frombuffer(noise(seed, int(np.prod(shape))), np.int8).reshape(shape)


def sparse(seed: str, shape: tuple[int, ...], *, one_in: int, low: int) -> NDArray[np.int8]:
    """int8 of which about one in `one_in` is any value; the others are `low`."""
    chosen = np.frombuffer(noise(f"{seed} where", int(np.prod(shape)) * 2), "<u2").reshape(shape)
    return np.where(chosen % one_in == 0, integers(seed, shape), np.int8(low)).astype(np.int8)


def digest(values: NDArray[Any]) -> str:
    """SHA-256 of the bytes of an array."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()

"""Reading .npz archives: arrays by name, or one error of ours, whatever numpy and zipfile raise."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import GoldenError

# RuntimeError (with NotImplementedError below it) is zipfile's for encryption and unknown compression
_REASONS = (OSError, EOFError, ValueError, KeyError, RuntimeError, BadZipFile, zlib.error)


def read_npz(path: Path, names: Iterable[str] | None = None, *, hint: str = "") -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file.

    Args:
        path: the file; pickled objects in it are refused.
        names: which arrays; None: all.
        hint: of the error.

    Raises:
        GoldenError: no such file, no .npz, damaged, or it lacks one of `names`.
    """
    try:
        # opened here: numpy leaves the file open when it turns out to be no archive
        with path.open("rb") as file:
            _check_magic(file)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise GoldenError(f"{path}: one array, not an .npz archive of several", hint=hint)
            wanted = archive.files if names is None else list(names)
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                there = ", ".join(archive.files)
                raise GoldenError(f"{path} has no {', '.join(missing)}, only {there}", hint=hint)
            _check_sizes(path, archive, wanted, hint)
            return {name: archive[name] for name in wanted}
    except _REASONS as cause:
        raise GoldenError(f"{path}: not a readable .npz: {_said(cause)}", hint=hint) from None


def read_npy(path: Path, *, hint: str = "") -> NDArray[Any]:
    """The array of an .npy file.

    Raises:
        GoldenError: no such file, not an .npy, pickled, or shorter than its header promises.
    """
    try:
        with path.open("rb") as file:
            _check_magic(file)
            shape, dtype = _header(file)
            _check_numbers("it", dtype)
            held = path.stat().st_size - file.tell()
            promised = math.prod(shape) * dtype.itemsize
            if promised > held:
                raise GoldenError(
                    f"{path} promises {shape} of {dtype}, {promised:,} bytes, and holds {held:,}", hint=hint
                )
            file.seek(0)
            values: NDArray[Any] = np.load(file, allow_pickle=False)
    except _REASONS as cause:
        raise GoldenError(f"{path}: not a readable .npy: {_said(cause)}", hint=hint) from None
    return values


MAX_BYTES = 4 << 30
"""Of all arrays that are read at once; golden inputs of 4 GiB would take a day on any board."""


def _check_sizes(path: Path, archive: Any, names: Iterable[str], hint: str) -> None:  # noqa: ANN401 - of numpy
    """Refuse an array whose header promises more than its file holds, before numpy allocates it."""
    total = 0
    for name in names:
        member = name if name in archive.zip.namelist() else f"{name}.npy"
        held = archive.zip.getinfo(member).file_size
        with archive.zip.open(member) as file:
            shape, dtype = _header(file)
        _check_numbers(name, dtype)
        promised = math.prod(shape) * dtype.itemsize
        if promised > held:
            raise GoldenError(
                f"{path}: {name} promises {shape} of {dtype}, {promised:,} bytes, and holds {held:,}",
                hint=hint,
            )
        total += promised
    if total > MAX_BYTES:
        raise GoldenError(f"{path}: {total:,} bytes of arrays, at most {MAX_BYTES:,} are read", hint=hint)


def _said(cause: Exception) -> str:
    return cause.strerror or str(cause) if isinstance(cause, OSError) else str(cause)


_ZIP, _NPY = b"PK", b"\x93NUMPY"


def _check_magic(file: IO[bytes]) -> None:
    """Refuse what is no file of numpy's in our words: numpy takes it for a pickle and says how to load it unsafely."""
    start = file.read(16)
    file.seek(0)
    if not start.startswith((_ZIP, _NPY)):
        raise ValueError(f"it begins with {start!r}" if start else "it is empty")


def _check_numbers(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, not numbers")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a .npy stream."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype

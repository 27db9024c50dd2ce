"""Reading .npz archives: arrays by name, or one error of ours, whatever numpy and zipfile raise."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
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
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise GoldenError(f"{path}: one array, not an .npz archive of several", hint=hint)
            wanted = archive.files if names is None else list(names)
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                there = ", ".join(archive.files)
                raise GoldenError(f"{path} has no {', '.join(missing)}, only {there}", hint=hint)
            return {name: archive[name] for name in wanted}
    except _REASONS as cause:
        raise GoldenError(f"{path}: not a readable .npz: {cause}", hint=hint) from None

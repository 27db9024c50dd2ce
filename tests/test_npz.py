from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import GoldenError
from esp_hil.npz import read_npz


def test_arrays_come_back_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.zeros((2, 2), np.int8))
    assert set(read_npz(tmp_path / "a.npz")) == {"x", "y"}
    assert read_npz(tmp_path / "a.npz", ["x"])["x"].tolist() == [0, 1, 2]


def test_a_lacking_array_is_named_beside_those_there_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with pytest.raises(GoldenError, match=r"has no labels, only x"):
        read_npz(tmp_path / "a.npz", ["x", "labels"])


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(GoldenError, match=r"not an \.npz archive"):
        read_npz(tmp_path / "a.npy")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    with pytest.raises(GoldenError):
        read_npz(tmp_path / "a.npz")


def test_a_flipped_byte_is_an_error_and_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).integers(0, 255, 40))
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x11]) + good[place + 1 :])
        try:
            found = read_npz(path, ["x"])["x"]
        except GoldenError:
            continue
        assert found.shape == (40,), "a flip that zip does not check changed the shape"

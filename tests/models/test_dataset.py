from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import GoldenError
from esp_hil.models.dataset import doubled, load_split
from tests.golden.tiny import images, write_data

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def write_idx(npz: Path, folder: Path, *, packed: bool) -> None:
    with np.load(npz) as arrays:
        for key, name in IDX_NAMES.items():
            data = idx(arrays[key])
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)


@pytest.mark.parametrize("packed", [False, True])
def test_the_published_idx_files_give_what_the_npz_gives(tmp_path: Path, packed: bool) -> None:
    npz = write_data(tmp_path / "tiny.npz")
    write_idx(npz, tmp_path, packed=packed)
    for split in ("train", "test"):
        from_npz, from_idx = load_split(npz, split), load_split(tmp_path, split)
        assert np.array_equal(from_npz.images, from_idx.images)
        assert np.array_equal(from_npz.labels, from_idx.labels)
        assert from_idx.labels.dtype == np.int64


def test_a_missing_data_set_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="no data set") as caught:
        load_split(tmp_path / "none.npz", "test")
    assert "x_train" in caught.value.hint
    with pytest.raises(GoldenError, match=r"neither train-images-idx3-ubyte nor"):
        load_split(tmp_path, "train")


@pytest.mark.parametrize("keep", [3, 10, -1])
def test_a_truncated_idx_file_is_an_error(tmp_path: Path, keep: int) -> None:
    write_idx(write_data(tmp_path / "tiny.npz"), tmp_path, packed=False)
    path = tmp_path / IDX_NAMES["x_test"]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(GoldenError):
        load_split(tmp_path, "test")


def test_a_truncated_gzip_file_is_an_error(tmp_path: Path) -> None:
    write_idx(write_data(tmp_path / "tiny.npz"), tmp_path, packed=True)
    path = tmp_path / f"{IDX_NAMES['x_test']}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(GoldenError):
        load_split(tmp_path, "test")


def test_images_without_their_labels_are_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=images(4, 0), y_test=np.zeros(3, np.uint8))
    with pytest.raises(GoldenError, match="4 images but labels"):
        load_split(tmp_path / "a.npz", "test")
    with pytest.raises(GoldenError, match="x_train"):
        load_split(tmp_path / "a.npz", "train")


def test_a_file_that_is_no_npz_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(GoldenError):
        load_split(tmp_path / "a.npz", "test")


def test_images_of_another_type_than_uint8_and_float32_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=np.zeros((2, 8, 8), np.float64), y_test=np.zeros(2, np.uint8))
    with pytest.raises(GoldenError, match="float64"):
        load_split(tmp_path / "a.npz", "test")


def test_doubling_takes_nine_three_three_and_one_sixteenth_of_the_neighbours() -> None:
    image = np.array([[[0, 160], [32, 64]]], np.uint8)
    made = doubled(image)[0]
    assert made[0].tolist() == [0, 40, 120, 160]  # at the border only those that there are
    assert made[1, 1] == (9 * 0 + 3 * 160 + 3 * 32 + 64 + 8) // 16
    assert made[2, 2] == (9 * 64 + 3 * 160 + 3 * 32 + 0 + 8) // 16
    assert made[:, 0].tolist() == [0, 8, 24, 32]
    assert doubled(np.full((2, 3, 5, 3), 255, np.uint8)).shape == (2, 6, 10, 3)

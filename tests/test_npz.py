from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import GoldenError
from esp_hil.npz import read_npy, read_npz


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


@pytest.mark.parametrize("suffix", ["npz", "npy"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello, no array", "it begins with b'hello, no array'"),
        (b"", "it is empty"),
        (None, "holds Python objects, not numbers"),
    ],
)
def test_what_numpy_takes_for_a_pickle_is_refused_without_its_advice(
    tmp_path: Path, suffix: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    objects = np.array([{}], dtype=object)
    if content is not None:
        path.write_bytes(content)
    elif suffix == "npz":
        np.savez(path, x=objects)
    else:
        np.save(path, objects)
    with pytest.raises(GoldenError) as caught:
        (read_npz if suffix == "npz" else read_npy)(path, hint="numpy.savez")
    assert words in caught.value.message
    assert "pickle" not in str(caught.value)
    assert "\n" not in caught.value.message


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


def archive(path: Path, shape: str, data: bytes) -> Path:
    """An .npz whose only array has a header of that shape."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    return path


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", "(3000000000,)", b"\0" * 16)
    tracemalloc.start()
    with pytest.raises(GoldenError, match=r"promises \(3000000000,\)"):
        read_npz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_zeros_that_unpack_to_more_than_a_board_could_take_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.npz.MAX_BYTES", 1000)
    with pytest.raises(GoldenError, match="at most 1,000 are read"):
        read_npz(archive(tmp_path / "a.npz", "(500,)", b"\0" * 2000))


def test_a_single_array_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((100, 100), np.float32))
    assert read_npy(tmp_path / "a.npy").shape == (100, 100)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:5000])
    with pytest.raises(GoldenError, match="promises"):
        read_npy(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"<html>")
    with pytest.raises(GoldenError, match=r"not a readable \.npy"):
        read_npy(tmp_path / "a.npy")

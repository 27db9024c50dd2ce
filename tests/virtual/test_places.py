"""The places of a virtual board that no line can write: the image itself, and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from esp_hil.virtual.flash import Flash, StorageError
from esp_hil.virtual.places import Places, files_of, rodata_of
from esp_hil.wire.objects import Location
from esp_hil.wire.status import Status

IMAGE = bytes(range(200))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    path = tmp_path / "flash.bin"
    rodata_of(path).write_bytes(IMAGE)
    files_of(path).mkdir()
    (files_of(path) / "net.espdl").write_bytes(IMAGE[::-1])
    flash = Flash(path, 4 << 20)
    yield Places(flash, ram_bytes=1 << 16)
    flash.close()


def test_a_linked_model_and_a_file_are_read_as_they_are(places: Places) -> None:
    assert places.open(Location.RODATA, "") == len(IMAGE)
    assert places.read(Location.RODATA, 10, 5) == IMAGE[10:15]
    assert places.open(Location.FILE, "/storage/net.espdl") == len(IMAGE)
    assert places.read(Location.FILE, 0, 3) == IMAGE[::-1][:3]


@pytest.mark.parametrize("location", [Location.RODATA, Location.FILE])
def test_nothing_is_written_there_over_the_line(places: Places, location: Location) -> None:
    with pytest.raises(StorageError) as caught:
        places.begin(location, 10, 0)
    assert caught.value.status == Status.BAD_OBJECT


@pytest.mark.parametrize(
    "path",
    [
        "",
        "net.espdl",
        "/storage/",
        "/storage",
        "/storage/other.espdl",
        "/storage/../flash.bin",
        "/etc/passwd",
    ],
)
def test_only_files_of_the_storage_are_found(places: Places, path: str) -> None:
    with pytest.raises(StorageError) as caught:
        places.open(Location.FILE, path)
    assert caught.value.status == Status.NO_MODEL


def test_a_path_longer_than_the_firmware_s_buffer_is_refused(places: Places) -> None:
    with pytest.raises(StorageError) as caught:
        places.open(Location.FILE, "/storage/" + "x" * 60)
    assert caught.value.status == Status.BAD_REQUEST


def test_an_image_without_a_model_says_so(tmp_path: Path) -> None:
    flash = Flash(tmp_path / "bare.bin", 4 << 20)
    with pytest.raises(StorageError) as caught:
        Places(flash, ram_bytes=0).open(Location.RODATA, "")
    flash.close()
    assert caught.value.status == Status.NO_MODEL

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import FormatError
from esp_hil.esp.partitions import parse_binary, problems
from esp_hil.targets import targets
from esp_hil.virtual.flash import (
    SECTOR_BYTES,
    TABLE_BYTES,
    TABLE_OFFSET,
    Flash,
    ModelStorage,
    StorageError,
    table_for,
    write_table,
)
from esp_hil.wire.status import Status

FLASH_BYTES = 1 << 20
Start = Callable[[], ModelStorage]
IMAGE = b"any image " * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flash.bin"


@pytest.fixture
def flash(path: Path) -> Iterator[Callable[[], Flash]]:
    """Opens the flash anew, as each start does."""
    opened: list[Flash] = []

    def open_it() -> Flash:
        opened.append(Flash(path, FLASH_BYTES))
        return opened[-1]

    yield open_it
    for one in opened:
        one.close()


@pytest.fixture
def storage(flash: Callable[[], Flash]) -> Start:
    """The model storage as after a start."""
    return lambda: ModelStorage(flash(), ram_bytes=1 << 16)


def store(place: ModelStorage, image: bytes, location: int = 0) -> None:
    assert not place.begin(location, len(image), zlib.crc32(image))
    half = len(image) // 2
    place.write(location, half, image[half:])
    place.write(location, 0, image[:half])
    place.finish(location)


@pytest.mark.parametrize(
    "flash_bytes", sorted({chip.flash_bytes for chip in targets().values()} | {FLASH_BYTES})
)
def test_the_partition_table_reads_back_and_a_flasher_would_take_it(flash_bytes: int) -> None:
    table = table_for(flash_bytes)
    assert parse_binary(write_table(table)) == table
    assert problems(table, flash_bytes) == []
    assert table[-1].name == "model"
    assert table[-1].end == flash_bytes


def test_a_flash_without_room_for_a_model_is_refused() -> None:
    with pytest.raises(FormatError, match="no room"):
        table_for(0x18000)


# not the filler between the MD5's magic and the MD5
@given(st.integers(0, 4 * 32 + 1) | st.integers(4 * 32 + 16, 5 * 32 - 1), st.integers(1, 255))
def test_a_damaged_partition_table_is_refused(at: int, flip: int) -> None:
    table = bytearray(write_table(table_for(FLASH_BYTES)))
    table[at] ^= flip
    with pytest.raises(FormatError):
        parse_binary(bytes(table))


def test_a_new_flash_is_erased_and_has_its_table_where_the_chip_looks(path: Path) -> None:
    Flash(path, FLASH_BYTES).close()
    data = path.read_bytes()
    assert len(data) == FLASH_BYTES
    assert parse_binary(data[TABLE_OFFSET : TABLE_OFFSET + TABLE_BYTES]) == table_for(FLASH_BYTES)
    assert data[TABLE_OFFSET + TABLE_BYTES :].count(0xFF) == FLASH_BYTES - TABLE_OFFSET - TABLE_BYTES


def test_a_flash_file_of_another_size_is_refused(path: Path) -> None:
    path.write_bytes(bytes(100))
    with pytest.raises(FormatError, match="100 bytes"):
        Flash(path, FLASH_BYTES)


def test_a_flash_file_without_a_model_partition_is_refused(path: Path) -> None:
    Flash(path, FLASH_BYTES).close()
    data = bytearray(path.read_bytes())
    data[TABLE_OFFSET : TABLE_OFFSET + TABLE_BYTES] = write_table(table_for(FLASH_BYTES)[:-1])
    path.write_bytes(data)
    with pytest.raises(FormatError, match="no partition named model"):
        Flash(path, FLASH_BYTES)


def test_flash_must_be_erased_before_it_is_written_again(flash: Callable[[], Flash]) -> None:
    chip = flash()
    chip.write(0x20000, b"\x0f\xff")
    chip.write(0x20000, b"\x0e\x01")
    with pytest.raises(StorageError) as caught:
        chip.write(0x20000, b"\x0f\x01")
    assert caught.value.status == Status.STORAGE_FAILED
    chip.erase(0x20001, 1)
    assert chip.read(0x20000, 2) == b"\x0e\xff"


def test_a_model_outlives_a_restart_and_is_known_again(storage: Start) -> None:
    store(storage(), IMAGE)
    again = storage()
    assert again.open(0, "") == len(IMAGE)
    assert again.read(0, 5, 20) == IMAGE[5:25]
    assert again.begin(0, len(IMAGE), zlib.crc32(IMAGE))


def test_a_power_cut_during_an_upload_leaves_no_model(storage: Start) -> None:
    store(storage(), IMAGE)
    cut = storage()
    other = IMAGE[::-1]
    assert not cut.begin(0, len(other), zlib.crc32(other))
    cut.write(0, 0, other[:5000])
    after = storage()
    with pytest.raises(StorageError, match="did not come to its end") as caught:
        after.open(0, "")
    assert caught.value.status == Status.NO_MODEL
    store(after, IMAGE)
    assert storage().open(0, "") == len(IMAGE)


def test_an_erased_partition_has_no_model(storage: Start) -> None:
    with pytest.raises(StorageError) as caught:
        storage().open(0, "")
    assert caught.value.status == Status.NO_MODEL


def test_a_damaged_image_is_not_loaded(path: Path, storage: Start) -> None:
    place = storage()
    store(place, IMAGE)
    at = table_for(FLASH_BYTES)[-1].offset + 1234
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(StorageError) as caught:
        storage().open(0, "")
    assert caught.value.status == Status.CRC_MISMATCH


def test_an_espdl_image_that_a_flasher_wrote_tells_its_length_itself(
    storage: Start, flash: Callable[[], Flash]
) -> None:
    image = b"EDL2" + bytes(4) + (500).to_bytes(4, "little") + bytes(4) + bytes(range(250)) * 2
    chip = flash()
    chip.write(chip.model.offset, image)
    assert storage().open(0, "") == len(image)
    # and one over an image that was uploaded before, whose label is still there
    store(storage(), IMAGE)
    chip.erase(chip.model.offset, SECTOR_BYTES)
    chip.write(chip.model.offset, image)
    assert storage().open(0, "") == len(image)


def test_a_truncated_image_keeps_the_length_that_was_uploaded(storage: Start) -> None:
    image = b"EDL2" + bytes(4) + (5000).to_bytes(4, "little") + bytes(100)
    store(storage(), image)
    assert storage().open(0, "") == len(image)


def test_what_does_not_fit_is_refused_before_anything_is_erased(storage: Start) -> None:
    place = storage()
    store(place, IMAGE)
    for location in (0, 1):
        with pytest.raises(StorageError) as caught:
            place.begin(location, FLASH_BYTES, 0)
        assert caught.value.status == Status.TOO_LARGE
    assert place.open(0, "") == len(IMAGE)


def test_ram_holds_a_model_until_the_next_start(storage: Start) -> None:
    place = storage()
    store(place, IMAGE, location=1)
    assert place.open(1, "") == len(IMAGE)
    assert place.begin(1, len(IMAGE), zlib.crc32(IMAGE))
    with pytest.raises(StorageError):
        storage().open(1, "")
    assert not place.begin(1, 10, 0)
    place.abort(1)
    with pytest.raises(StorageError):
        place.open(1, "")


def test_there_is_no_file_system(storage: Start) -> None:
    with pytest.raises(StorageError, match="no file system"):
        storage().open(0, "/sd/m.espdl")

"""Prebuilt MicroPython images: read, checked against chip and run, flashed."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from esp_hil.boards.select import Board
from esp_hil.errors import ConfigError, FlashError, FormatError
from esp_hil.esp.esptool_program import Flasher
from esp_hil.micropython.prebuilt import flash_image, read_image

FAKE = Path(__file__).resolve().parents[1] / "esp" / "fake_esptool.py"
BOARD = Board(id="desk", target="esp32s3", url="/dev/null")
CLASSES = (b"FaceDetector", b"ImageNet", b"CocoDetector")


def entry(name: bytes, kind: int, subtype: int, offset: int, size: int) -> bytes:
    return struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, name, 0)


def image(
    folder: Path,
    *,
    chip: int = 9,
    megabytes: int = 8,
    begin: int = 0,
    classes: tuple[bytes, ...] = CLASSES,
    more: bytes = b"",
    jpeg: bool = True,
) -> Path:
    """A merged image as makeimg.py lays it out, with an application of strings."""
    size = {4: 2, 8: 3, 16: 4}[megabytes]
    header = bytes([0xE9, 1, 2, size << 4]) + bytes(8) + struct.pack("<H", chip) + bytes(10)
    rows = entry(b"nvs", 1, 2, 0x9000, 0x6000) + entry(b"factory", 0, 0, 0x10000, 0x20000)
    rows += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(rows, usedforsecurity=False).digest()
    strings = b"\0".join(
        (
            b"",
            b"MicroPython",
            b"v1.26.0 on 2025-08-09",
            *classes,
            b"xHumanDetector",
            b"get_img_info" if jpeg else b"",
            b"",
        )
    )
    data = bytearray(b"\xff" * 0x18000)
    data[begin : begin + len(header)] = header
    data[0x8000 : 0x8000 + len(rows)] = rows
    app = b"\xe9" + bytes(63) + strings + b"human_face_detect_msr_s8_v1.espdl\0" + more
    data[0x10000 : 0x10000 + len(app)] = app
    path = folder / "firmware.bin"
    path.write_bytes(bytes(data[begin:]))
    return path


def test_an_image_tells_what_is_in_it(tmp_path: Path) -> None:
    made = read_image(image(tmp_path))
    assert (made.target, made.offset, made.flash_bytes) == ("esp32s3", 0, 8 << 20)
    assert made.version == "MicroPython v1.26.0 on 2025-08-09"
    assert made.classes == ("FaceDetector", "ImageNet", "CocoDetector")
    assert made.models == ("human_face_detect_msr_s8_v1.espdl",)
    assert [row.name for row in made.partitions] == ["nvs", "factory"]
    assert made.problems("esp32s3", 8 << 20, ("FaceDetector", "COCODetector")) == []


def network(size: int, fill: int = 7) -> bytes:
    return b"EDL2" + struct.pack("<III", 0, size, 0) + bytes([fill]) * size


def test_networks_inside_are_known_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, both, other = network(2000, 1), network(3000, 2), network(4000, 3)
    digests = {
        hashlib.sha256(old).hexdigest(): ("cat.espdl", frozenset({"3.1"})),
        hashlib.sha256(both).hexdigest(): ("face.espdl", frozenset({"3.1", ""})),
    }
    monkeypatch.setattr("esp_hil.micropython.prebuilt._known_weights", lambda: digests)
    made = read_image(image(tmp_path, more=both + b"EDL2" + old + b"\0" * 5 + other))
    assert made.weights == (("cat.espdl", frozenset({"3.1"})), ("face.espdl", frozenset({"3.1", ""})))
    assert (made.espdl, made.unknown_weights) == ("3.1", 1)
    assert read_image(image(tmp_path, more=both)).espdl is None


def test_a_class_whose_name_the_linker_merged_into_a_longer_word_is_there(tmp_path: Path) -> None:
    """With -Os FaceRecognizer is only the end of the log tag HumanFaceRecognizer."""
    made = read_image(image(tmp_path, classes=(b"FaceDetector", b"HumanFaceRecognizer")))
    assert made.classes == ("FaceDetector", "FaceRecognizer")


def test_an_image_without_the_module_jpeg_says_why(tmp_path: Path) -> None:
    made = read_image(image(tmp_path, jpeg=False))
    assert made.modules == ()
    assert "81df537" in made.problems("esp32s3", None)[0]


def test_a_zip_of_the_binding_s_ci_is_named_with_what_lies_in_it(tmp_path: Path) -> None:
    path = tmp_path / "firmware-v1.26.0-FLASH_16M.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("firmware-ESP32_GENERIC_S3-FLASH_16M.bin", b"x")
    with pytest.raises(FormatError, match="is a zip") as told:
        read_image(path)
    assert "firmware-ESP32_GENERIC_S3-FLASH_16M.bin" in told.value.hint


@pytest.mark.parametrize(
    ("chip", "name", "begin"), [(0, "esp32", 0x1000), (18, "esp32p4", 0x2000), (23, "esp32c5", 0x2000)]
)
def test_an_image_begins_where_its_chip_looks_for_the_bootloader(
    tmp_path: Path, chip: int, name: str, begin: int
) -> None:
    made = read_image(image(tmp_path, chip=chip, begin=begin))
    assert (made.target, made.offset) == (name, begin)
    assert made.classes


def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path: Path) -> None:
    made = read_image(image(tmp_path, megabytes=16))
    assert made.problems("esp32p4", 8 << 20, ("HumanDetector",)) == [
        "the image is for esp32s3, the board is an esp32p4",
        "the image needs 16 MB of flash, the board has 8 MB",
        "the image has no HumanDetector: it was built without -D MP_DL_PEDESTRIAN_DETECTOR_ENABLED=1",
    ]
    plain = read_image(image(tmp_path, classes=()))
    assert plain.problems("esp32s3", None) == [
        "the image does not have the binding: it is MicroPython without espdl"
    ]


def test_what_is_no_merged_image_is_refused_with_what_to_give_instead(tmp_path: Path) -> None:
    whole = image(tmp_path).read_bytes()
    wrong = tmp_path / "wrong.bin"
    for data, words in (
        (b"", "bootloader"),
        (b"UF2\n" + bytes(600), "bootloader"),
        (whole[:12] + b"\x63\x00" + whole[14:], "unknown number 99"),
        (whole[:0x8000] + b"\xff" * 0x8000 + whole[0x10000:], "no partition table"),
        (whole[:0xF000], "no application"),
    ):
        wrong.write_bytes(data)
        with pytest.raises(FormatError, match=words):
            read_image(wrong)
    with pytest.raises(ConfigError, match="No such file"):
        read_image(tmp_path / "missing.bin")


def chip(folder: Path, **changes: Any) -> tuple[Flasher, Path]:
    """A chip that is a file, and the program that flashes it."""
    flash, state = folder / "flash.bin", folder / "state.json"
    flash.write_bytes(b"\xff" * (8 << 20))
    said = {
        "chip": "ESP32-S3",
        "type": "ESP32-S3 (QFN56) (revision v0.2)",
        "features": "Wi-Fi, BT 5 (LE), Dual Core + LP Core, 240MHz",
        "mac": "aa:bb:cc:00:11:22",
        "flash_kb": 8192,
        "flash": str(flash),
        "max_baud": 2_000_000,
        "calls": str(folder / "calls"),
    }
    state.write_text(json.dumps(said | changes))
    return Flasher(port="/dev/ttyFAKE", program=(sys.executable, str(FAKE), str(state))), flash


def test_a_fitting_image_is_written_where_it_begins(tmp_path: Path) -> None:
    made = read_image(image(tmp_path))
    flasher, flash = chip(tmp_path)
    flash_image(made, BOARD, flasher, wanted=("FaceDetector",))
    assert flash.read_bytes()[: len(made.data)] == made.data


def test_nothing_is_written_to_a_board_it_is_not_for(tmp_path: Path) -> None:
    made = read_image(image(tmp_path))
    flasher, flash = chip(tmp_path, chip="ESP32-P4", type="ESP32-P4 (revision v1.0)")
    with pytest.raises(FlashError, match="the chip at /dev/ttyFAKE is an esp32p4"):
        flash_image(made, BOARD, flasher)
    flasher, flash = chip(tmp_path)
    with pytest.raises(FlashError, match="no CatDetector"):
        flash_image(made, BOARD, flasher, wanted=("CatDetector",))
    assert flash.read_bytes() == b"\xff" * (8 << 20)

"""`hil micropython` by hand, and what it says to wrong wishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.micropython.face_database import parse
from esp_hil.micropython.virtual import VirtualMicroPython, missing
from tests.micropython.test_face_database import of
from tests.micropython.test_prebuilt import image


def test_a_database_is_listed_and_a_torn_one_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, mended = tmp_path / "face.db", tmp_path / "mended.db"
    whole = of(3).deleted(2).to_bytes()
    file.write_bytes(whole)
    assert main(["micropython", "faces", str(file)]) == 0
    assert "face 2" in capsys.readouterr().out
    file.write_bytes(whole[:-5])
    assert main(["micropython", "faces", str(file)]) == 2
    assert "mend" in capsys.readouterr().err
    assert main(["micropython", "faces", str(file), "--mend", str(mended)]) == 0
    assert [face.id for face in parse(mended.read_bytes()).records] == [1, 0]


def test_an_image_is_described_with_its_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["micropython", "image", str(image(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert "yes  MP_DL_FACE_DETECTOR_ENABLED" in said
    assert "yes  MP_DL_COCO_DETECTOR_ENABLED" in said
    assert "no   MP_DL_CAT_DETECTOR_ENABLED" in said
    assert main(["micropython", "image", str(image(tmp_path)), "--target", "esp32p4"]) == 1
    assert "the image is for esp32s3" in capsys.readouterr().out


@pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
def test_a_board_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with VirtualMicroPython("esp32p4", tmp_path) as machine:
        assert main(["micropython", "board", machine.url]) == 0
    said = capsys.readouterr().out
    assert "virtual esp32p4" in said
    assert "espdl: no classes" in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["faces", "/no/face.db"], "No such file"),
        (["image", "/no/firmware.bin"], "No such file"),
        (["board", "/dev/ttyNONE"], "ttyNONE"),
        (["board", "virtual"], "python -m esp_hil.micropython.virtual"),
    ],
)
def test_what_is_not_there_is_said_in_a_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["micropython", *words]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import FormatError
from esp_hil.formats.espdl import read_espdl
from esp_hil.formats.kinds import kind_of
from esp_hil.formats.tflite import read_tflite
from esp_hil.lint import lint_file
from esp_hil.models.device_file import open_device_file
from tests.conftest import ROOT

TFLITE = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"
ESPDL = ROOT / "golden" / "fashion" / "w8a8" / "c.espdl"
ONNX = next((ROOT / "golden").glob("*/*.onnx"))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 3231234\n"
ARRAY = (
    b'#include "model.h"\n\nalignas(16) const unsigned char g_model_data[] = {\n    0x1c, 0x00, 0x00, 0x54,'
)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model.tflite", b"x")
    return stream.getvalue()


def saved() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize(("path", "kind"), [(TFLITE, "tflite"), (ESPDL, "espdl"), (ONNX, "onnx")])
@pytest.mark.parametrize("name", ["model", "model.TFLITE", "model.espdl", "model.onnx", "a.bin"])
def test_a_model_is_told_by_its_content_whatever_its_name(
    path: Path, kind: str, name: str, tmp_path: Path
) -> None:
    data = path.read_bytes()
    assert kind_of(data) == kind
    renamed = tmp_path / name
    renamed.write_bytes(data)
    assert lint_file(renamed).findings == lint_file(path).findings


@pytest.mark.parametrize(
    ("data", "words", "hint"),
    [
        (b"", "an empty file", "download it again"),
        (POINTER, r"the Git LFS pointer to a file \(of 3,231,234 bytes\)", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><head>", "a web page", "Raw"),
        (b"\n\n<HTML lang=en>", "a web page", "Raw"),
        (b"\xef\xbb\xbf<!-- x --><html>", "a web page", "Raw"),
        (ARRAY, "C source with the model as an array", "xxd -r -p"),
        (b"/* " + b"license " * 900 + b"*/\nstatic const uint8_t model[12] = {28, 0, 0, 0};", "C source", "xxd"),
        (b"const unsigned char model[] DATA_ALIGN_ATTRIBUTE = {0x1c,", "C source", "xxd"),
        (b"unsigned char model_tflite[] = {\n  0x1c, 0x00", "C source", "xxd"),
        (b'{"name": 1}', "JSON text", "give the .onnx, .tflite or .espdl file"),
        (b"404: Not Found", "text that starts with '404: Not Found'", "give the .onnx,"),
        (zipped(), "a ZIP archive", "unpack it"),
        (b"\x1f\x8b\x08\x00abc", "a gzip archive", "unpack it"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file of Keras", "TFLiteConverter"),
        (saved(), "a numpy array", "not the data"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_named_as_what_it_is(data: bytes, words: str, hint: str, tmp_path: Path) -> None:
    for suffix in (".tflite", ".espdl", ".onnx", ""):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(data)
        with pytest.raises(FormatError, match=words) as caught:
            lint_file(path)
        assert hint in caught.value.hint
        assert "at byte" not in caught.value.message
    for read in (read_tflite, read_espdl, open_device_file):
        with pytest.raises(FormatError, match=words):
            read(data)


def test_a_model_of_the_other_kind_is_named() -> None:
    with pytest.raises(FormatError, match=r"this is an \.espdl file, not an \.tflite file"):
        read_tflite(ESPDL)
    with pytest.raises(FormatError, match=r"this is an \.tflite file, not an \.espdl file"):
        read_espdl(TFLITE)
    with pytest.raises(FormatError, match="this is an ONNX file, which no board runs"):
        open_device_file(ONNX)


def test_bytes_that_are_nothing_known_are_shown() -> None:
    with pytest.raises(
        FormatError,
        match=r"this is neither an \.espdl, a \.tflite nor an \.onnx file: it starts with b'\\xff",
    ):
        kind_of(b"\xff" * 64)


@pytest.mark.parametrize("name", ["missing.tflite", "missing.espdl", "missing.onnx", "missing"])
def test_a_file_that_is_not_there_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file or directory") as caught:
        lint_file(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="directory"):
        lint_file(tmp_path)

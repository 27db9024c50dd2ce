"""What a hostile or tired user hands over: folders and files that are wrong, made once."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import ROOT
from tests.report.samples import sample_run

MNIST = ROOT / "golden" / "mnist"
ESPDL = MNIST / "w8a8" / "esp32s3.espdl"
TFLITE = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"
SECRET = "s3cr3t-pass"


def npy(header: str, data: bytes = b"") -> bytes:
    """An array file with a header of one's choice."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def zipped(members: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


def with_arrays(**arrays: Any) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


def row(**changes: object) -> str:
    """One line of rows, with keys replaced."""
    return json.dumps(json.loads(sample_run().to_json()) | changes)


def files() -> dict[str, bytes]:
    """Name -> content."""
    espdl, tflite = ESPDL.read_bytes(), TFLITE.read_bytes()
    onnx = (MNIST / "model.onnx").read_bytes()
    good = zipped({"images.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }", b"abcd")})
    huge = "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }"
    texts = {
        "text.espdl": "hello\n",
        "page.espdl": "<!DOCTYPE html><html><body>404</body></html>",
        "lfs.espdl": "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 99\n",
        "words.jsonl": "not json\n",
        "list.jsonl": "[1, 2]\n",
        "deep.jsonl": "[" * 100_000 + "\n",
        "future.jsonl": row(schema=99) + "\n",
        "types.jsonl": row(model=3, cycles="fast") + "\n",
        "lacking.jsonl": '{"schema": 7}\n',
        "nan.jsonl": row(duration_s=float("nan")) + "\n",
        "half.jsonl": row()[:200] + "\n",
        "empty.jsonl": "",
        "good.jsonl": row() + "\n",
        "boards_type.toml": "[desk]\ntarget = 3\n",
        "boards_key.toml": '[desk]\ntarget = "esp32s3"\ncolour = "red"\n',
        "boards_chip.toml": '[desk]\ntarget = "esp99"\nurl = "/dev/ttyUSB0"\n',
        "boards_twice.toml": '[desk]\ntarget = "esp32s3"\n[desk]\ntarget = "esp32s3"\n',
        "no_boards.toml": "",
        "boards_list.toml": 'desk = ["esp32s3"]\n',
        "plan_key.json": '{"engine": {"colour": 1}}',
        "plan_list.json": "[]",
        "plan_deep.json": '{"engine": ' * 100_000,
        "boards_deep.toml": "a = " + "[" * 100_000,
        "plan_type.json": '{"engine": {"cycles_factor": "fast"}}',
        "plan.json": "{",
        "recording.txt": "not a recording\n",
        "builds.toml": "targets = 3\n",
    }
    binary = {
        "empty.espdl": b"",
        "cut.espdl": espdl[:1000],
        "middle.espdl": espdl[: len(espdl) // 2],
        "cut.tflite": tflite[:200],
        "cut.onnx": onnx[:500],
        "zip.onnx": good,
        "noise.tflite": b"\x1c\0\0\0TFL3" + b"\xff" * 500,
        "latin.jsonl": b'{"model": "\xe9"}\n',
        "latin.toml": b'[desk]\ntarget = "\xe9"\n',
        "huge.npz": zipped({"input.npy": npy(huge)}),
        "cut.npz": good[:60],
        "text.npz": b"hello",
        "pickle.npz": with_arrays(input=np.array([{"a": 1}], object)),
        "names.npz": with_arrays(other=np.zeros(3, np.int8)),
        "shape.npz": with_arrays(input=np.zeros((2, 2), np.int8)),
        "dtype.npz": with_arrays(input=np.zeros((1, 28, 28, 1), np.float64)),
        "bad.jpg": b"\xff\xd8\xff\xe0" + b"\0" * 50,
        "text.db": b"hello",
        "noise.elf": b"\x7fELF" + b"\0" * 20,
        "bomb.png": bomb(),
    }
    return {name: text.encode() for name, text in texts.items()} | binary


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 3.6 gigapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def goldens(folder: Path) -> None:
    """Model folders, each with one thing wrong; named after it."""

    def model(name: str, change: Callable[[Path], object]) -> None:
        shutil.copytree(MNIST, folder / name, ignore=shutil.ignore_patterns("*.py"))
        change(folder / name)

    def toml(old: str, new: str) -> Callable[[Path], object]:
        def edit(path: Path) -> None:
            file = path / "model.toml"
            text = file.read_text("utf-8")
            assert old in text, old
            file.write_text(text.replace(old, new, 1), "utf-8")

        return edit

    def manifest(data: object) -> Callable[[Path], object]:
        return lambda path: (path / "manifest.json").write_text(json.dumps(data), "utf-8")

    def inputs(data: bytes) -> Callable[[Path], object]:
        return lambda path: (path / "inputs.npz").write_bytes(data)

    model("latin", lambda path: (path / "model.toml").write_bytes(b'x = "\xe9"'))
    model("nothing", lambda path: (path / "model.toml").write_text(""))
    model("types", lambda path: (path / "model.toml").write_text("recipes = 3\n"))
    model("escape", toml("[recipes.w8a8]", '[recipes."../../x"]'))
    model("float_outside", toml('float = "model.onnx"', 'float = "/etc/hostname"'))
    model("inputs_outside", toml('inputs = "inputs.npz"', 'inputs = "../.."'))
    model("manifest_list", manifest([1]))
    model("manifest_type", manifest({"files": 3}))
    model("manifest_gone", lambda path: (path / "manifest.json").unlink())
    model("file_gone", lambda path: (path / "w8a8" / "esp32s3.espdl").unlink())
    model("file_changed", lambda path: (path / "w8a8" / "esp32s3.espdl").write_bytes(b"EDL2" + b"\0" * 99))
    model("inputs_changed", inputs(b"hello"))


def make(folder: Path) -> Path:
    """All of it below one folder."""
    for name, data in files().items():
        (folder / name).write_bytes(data)
    (folder / "empty").mkdir()
    (folder / "folder.espdl").mkdir()
    (folder / "folder.jsonl").mkdir()
    goldens(folder / "golden")
    return folder

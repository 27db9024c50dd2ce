"""Folders of golden/ with a device file that was made here, and pytest's suites on a virtual board over them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl import Graph
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.models.manifest import Manifest, file_entry
from esp_hil.results import rows
from esp_hil.results.record import Run
from tests.formats.espdl.writer import edl, graph, node, value

HEAD = """
title = "{name}"
runtime = "{runtime}"
golden = {{inputs = "inputs.npz"}}
recipes.given = {{title = "as it came"{targets}}}
"""


def folder(
    root: Path,
    toml: str,
    files: dict[str, bytes],
    arrays: dict[str, NDArray[Any]],
    *,
    name: str = "net",
    runtime: str = "espdl",
) -> Model:
    """Write golden/`name`: device files by family, golden arrays, model.toml, manifest.json.

    Args:
        root: the folder that holds golden/.
        toml: [[inputs]] and [[outputs]].
        files: device files by family; "onnx": the float model.
        arrays: of inputs.npz.
        name: of the model.
        runtime: of the device files.
    """
    there = root / "golden" / name
    (there / "given").mkdir(parents=True)
    families = [family for family in files if family != "onnx"]
    targets = "" if runtime == "tflm" else f", targets = {families!r}"
    head = HEAD.format(name=name, runtime=runtime, targets=targets)
    if "onnx" in files:
        head += 'float = "model.onnx"\n'
        (there / "model.onnx").write_bytes(files["onnx"])
    (there / "model.toml").write_text(head + toml, encoding="utf-8")
    np.savez(there / "inputs.npz", **arrays)  # type: ignore[arg-type]
    for family in families:
        suffix = "tflite" if runtime == "tflm" else "espdl"
        (there / "given" / f"{family}.{suffix}").write_bytes(files[family])
    kept = [path for path in there.rglob("*") if path.is_file() and path.name != "model.toml"]
    entries = {path.relative_to(there).as_posix(): file_entry(path) for path in kept}
    Manifest(tools={}, files=entries, calibration={}).write(there)
    return catalogue.load(name, (root / "golden",))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pytest said of the suites."""

    status: int
    text: str
    runs: tuple[Run, ...]

    @property
    def run(self) -> Run:
        """The only row."""
        assert len(self.runs) == 1, self.text
        return self.runs[0]


def suites(root: Path, *arguments: str, target: str = "esp32s3", model: str = "net") -> Outcome:
    """Run the suites on a virtual board, in `root`."""
    out = root / "out"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--target", target]
    command += ["--hil-board", "virtual", "--hil-model", model, "--hil-results", str(out), "--hil-runs", "3"]
    done = subprocess.run(
        [*command, *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=300
    )
    kept = out / "runs.jsonl"
    found = rows.rows_of(out) if kept.is_file() and kept.stat().st_size else ()
    return Outcome(done.returncode, done.stdout + done.stderr, tuple(found))


TWO_AND_TWO = """
[[inputs]]
name = "imu"
dtype = "int8"
shape = [6]

[[inputs]]
name = "audio"
dtype = "int8"
shape = [6]

[[outputs]]
name = "product"
meaning = "raw"

[[outputs]]
name = "gate"
meaning = "values"
unit = "g"
"""


def fusion() -> Graph:
    """imu * audio -> product; Relu of it -> gate: two inputs, two outputs, no float model."""
    values = (
        value("imu", (1, 6), -4),
        value("audio", (1, 6), -5),
        value("product", (1, 6), -2),
        value("gate", (1, 6), -2),
    )
    nodes = [node("Mul", ("imu", "audio"), ("product",)), node("Relu", ("product",), ("gate",))]
    return graph(nodes, values, inputs=["imu", "audio"], outputs=["product", "gate"])


def fusion_file() -> bytes:
    """The same as a file."""
    return edl(fusion())


def integers(count: int, *item: int, dtype: str = "int8", seed: int = 0) -> NDArray[Any]:
    """Random integers of the whole range of a type, (count, *item)."""
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(
        limits.min, limits.max, (count, *item), np.dtype(dtype), endpoint=True
    )

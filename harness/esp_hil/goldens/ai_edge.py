"""A recipe for TFLM: ONNX -> float `.tflite` -> ai-edge-quantizer -> `.tflite`, in a process of its own.

The same arguments give the same bytes. Constants that the quantizer puts outside the FlatBuffer are brought
back in, because TFLM does not look for them there.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError, QuantizeError
from esp_hil.formats.tflite.interpreter import check
from esp_hil.formats.tflite.reader import read_tflite
from esp_hil.formats.tflite.writer import INSTALL, inline_buffers, name_by_signature
from esp_hil.goldens.from_onnx import float_tflite
from esp_hil.models.recipe import Recipe

DEADLINE_S = 600.0
_LOG_LINES = 4


def require_converter() -> None:
    """Make sure that ai-edge-quantizer and ai-edge-litert are installed, without importing them.

    Raises:
        QuantizeError: one is not.
    """
    missing = [n for n in ("ai_edge_litert", "ai_edge_quantizer") if importlib.util.find_spec(n) is None]
    if missing:
        raise QuantizeError(f"making .tflite files needs {' and '.join(missing)}", hint=INSTALL)


def quantize_tflite(
    onnx: Path, recipe: Recipe, calibration: NDArray[np.float32], *, tflite: Path
) -> Mapping[str, str]:
    """Convert and quantize; writes `tflite` only when everything has succeeded.

    Args:
        onnx: the float model, one input.
        recipe: of model.toml, for runtime tflm.
        calibration: float32 (N, ...) as the ONNX model's input, NCHW for images; all are used, in this order.
        tflite: the file to write.

    Returns:
        Package -> version that took part.

    Raises:
        QuantizeError: a package is missing, or the quantizer refused or ran too long.
        UnsupportedOperator: ONNX operators that are not converted, or that TFLM does not have.
        InputError: the calibration input is no float32 batch.
    """
    require_converter()
    if calibration.dtype != np.float32 or calibration.ndim < 2 or not len(calibration):
        raise InputError(
            f"calibration input is {calibration.dtype} {calibration.shape}: give float32 (N, ...)"
        )
    nhwc = np.ascontiguousarray(calibration.transpose(0, 2, 3, 1) if calibration.ndim == 4 else calibration)
    with tempfile.TemporaryDirectory(prefix="hil-tflite-") as name:
        folder = Path(name)
        (folder / "float.tflite").write_bytes(float_tflite(onnx))
        np.save(folder / "calibration.npy", nhwc)
        job = {"quant_type": recipe.quant_type, "io": recipe.io}
        (folder / "JOB.json").write_text(json.dumps(job), encoding="utf-8")
        versions = _work(folder)
        data = name_by_signature(inline_buffers((folder / "out.tflite").read_bytes()))
    check(read_tflite(data))
    tflite.parent.mkdir(parents=True, exist_ok=True)
    part = tflite.with_name(tflite.name + ".part")
    part.write_bytes(data)
    part.replace(tflite)
    return versions


def _work(folder: Path) -> dict[str, str]:
    """Run the worker on the job in the folder; returns the versions that it names."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "esp_hil.goldens.ai_edge_worker", str(folder)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise QuantizeError(f"ai-edge-quantizer was still running after {DEADLINE_S:g} s") from None
    result = folder / "RESULT.json"
    if done.returncode or not result.is_file():
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise QuantizeError(
            f"ai-edge-quantizer ended with status {done.returncode}", hint=" | ".join(lines[-_LOG_LINES:])
        )
    versions: dict[str, str] = json.loads(result.read_text(encoding="utf-8"))
    return versions

"""esp-ppq recipes: each job in a process of its own, byte-reproducible, nothing left in float unseen.

quantize(model.float_path, model.recipe("w8a8"), "esp32p4", calibration, espdl=Path("p4.espdl"))
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import InputError, QuantizeError
from esp_hil.goldens.rewrites import rewrite
from esp_hil.models.recipe import Recipe
from esp_hil.settings import cache_folder
from esp_hil.targets import FAMILIES, Family
from esp_hil.tensors import Array, Arrays

DEADLINE_S = 900.0
_LOG_LINES = 8
_INSTALL = "pip install 'esp-hil[quantize]' (it needs torch 2.13.0; Python 3.11 or 3.12)"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """What a quantization gave.

    Attributes:
        espdl: the file.
        versions: package -> version that took part.
        answers: output name -> integers (N, ...) in the float model's layout, if inputs were given.
    """

    espdl: Path
    versions: Mapping[str, str]
    answers: dict[str, Array]


def quantize(
    onnx: Path,
    recipe: Recipe,
    family: Family,
    calibration: Array | Arrays,
    *,
    espdl: Path,
    inputs: Array | Arrays | None = None,
    native: Path | None = None,
    say: Say | None = None,
    deadline_s: float = DEADLINE_S,
) -> Quantized:
    """Quantize a float model by a recipe and write its .espdl; the same arguments give the same bytes.

    Args:
        onnx: the float model; it is copied first and stays as it is.
        recipe: of model.toml.
        family: what to quantize for.
        calibration: float32 (N, ...) as the float model's input; by name if there are several; all is used, in order.
        espdl: the file to write; it appears only when everything has succeeded.
        inputs: float32 (N, ...) to put through esp-ppq's executor as well; by name if there are several.
        native: where to keep esp-ppq's own form of the graph for `executor_answers`; a pickle.
        say: called with a line now and then.
        deadline_s: after which the process is killed.

    Raises:
        QuantizeError: esp-ppq is missing, refused, ran too long, left an operator in float, or does not
        know a name. InputError: the calibration input is no float32 batch.
    """
    if family not in FAMILIES or recipe.runtime != "espdl":
        raise QuantizeError(f"no quantizer for runtime {recipe.runtime} and {family}")
    for array in _named(calibration).values():
        if array.dtype != np.float32 or array.ndim < 2 or not len(array):
            raise InputError(f"calibration input is {array.dtype} {array.shape}: give float32 (N, ...)")
    with _scratch() as folder:
        np.savez(folder / "calibration.npz", **_named(calibration))
        job = {
            "action": "quantize",
            "onnx": str(rewrite(onnx, recipe.rewrites, folder / "rewritten.onnx").resolve()),
            "calibration": str(folder / "calibration.npz"),
            "quant_type": recipe.quant_type,
            "observer": recipe.quantized.observer,
            "dispatch": dict(recipe.dispatch),
            "passes": {name: dict(options) for name, options in recipe.passes.items()},
            "float_operators": list(recipe.float_operators),
            "native": str(folder / "graph.native") if native else None,
            "espdl": str(folder / "out.espdl"),
        }
        result, answers = _work(job, folder, family=family, inputs=inputs, say=say, deadline_s=deadline_s)
        for made, wanted in ((folder / "out.espdl", espdl), (folder / "graph.native", native)):
            if wanted is not None:
                wanted.parent.mkdir(parents=True, exist_ok=True)
                part = wanted.with_name(wanted.name + ".part")
                shutil.copyfile(made, part)
                part.replace(wanted)
    return Quantized(espdl=espdl, versions=result["versions"], answers=answers)


def executor_answers(
    native: Path,
    espdl: Path,
    family: Family,
    inputs: Array | Arrays,
    *,
    say: Say | None = None,
    deadline_s: float = DEADLINE_S,
) -> dict[str, Array]:
    """Put inputs through esp-ppq's executor.

    Args:
        native: what `quantize` kept under that name. It is a pickle: load only files of your own making.
        espdl: the file exported from the same graph; gives the exponents.
        family: what it was quantized for.
        inputs: float32 (N, ...); by name if there are several.
        say: called with a line now and then.
        deadline_s: after which the process is killed.

    Returns:
        Output name -> integers (N, ...) in the float model's layout; floats where the output is float.

    Raises:
        QuantizeError: as `quantize`, or there is no such file.
    """
    if not native.is_file():
        raise QuantizeError(f"no quantized graph at {native}", hint="hil golden build MODEL makes it")
    with _scratch() as folder:
        job = {"action": "answer", "native": str(native.resolve()), "espdl": str(espdl.resolve())}
        return _work(job, folder, family=family, inputs=inputs, say=say, deadline_s=deadline_s)[1]


def require_quantizer() -> None:
    """Make sure that esp-ppq and torch are installed, without importing them.

    Raises:
        QuantizeError: one is not.
    """
    missing = [name for name in ("torch", "esp_ppq") if importlib.util.find_spec(name) is None]
    if missing:
        raise QuantizeError(f"quantizing needs {' and '.join(missing)}", hint=_INSTALL)


def _named(arrays: Array | Arrays) -> dict[str, Any]:
    """The arrays by name; the only one of a model has any."""
    return {"input": arrays} if isinstance(arrays, np.ndarray) else dict(arrays)


@contextmanager
def _scratch() -> Iterator[Path]:
    require_quantizer()
    with tempfile.TemporaryDirectory(prefix="hil-quantize-") as name:
        yield Path(name)


def _work(
    job: dict[str, Any],
    folder: Path,
    *,
    family: Family,
    inputs: Array | Arrays | None,
    say: Say | None,
    deadline_s: float,
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Run the worker on a job in a scratch folder; returns its result and the answers it wrote."""
    if inputs is not None:
        np.savez(folder / "inputs.npz", **_named(inputs))
    job |= {
        "family": family,
        "scratch": str(folder),
        "inputs": None if inputs is None else str(folder / "inputs.npz"),
        "answers": str(folder / "answers.npz"),
    }
    (folder / "JOB.json").write_text(json.dumps(job), encoding="utf-8")
    log = folder / "log.txt"
    status = _run_worker(folder, log, say or (lambda _line: None), deadline_s)
    result_path = folder / "RESULT.json"
    if not result_path.is_file():
        raise QuantizeError(f"the quantizer died with status {status}: {_tail(log)}")
    result: dict[str, Any] = json.loads(result_path.read_text(encoding="utf-8"))
    if "error" in result:
        raise QuantizeError(result["error"], hint=result["hint"] or _check_it(log))
    if inputs is None:
        return result, {}
    with np.load(folder / "answers.npz") as arrays:
        return result, {name: arrays[name] for name in arrays.files}


def _run_worker(folder: Path, log: Path, say: Say, deadline_s: float) -> int:
    """Start the worker, pass its progress lines on, wait; kills it at the deadline or when interrupted."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",  # esp-ppq writes initializers in set order
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-m", "esp_hil.goldens.esp_ppq_worker", str(folder / "JOB.json")]
    with (
        log.open("wb") as noise,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=noise, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        lines = process.stdout

        def relay() -> None:
            for line in lines:
                say(line.decode("utf-8", "replace").rstrip())

        reader = threading.Thread(target=relay, daemon=True)
        reader.start()
        try:
            return process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise QuantizeError(
                f"the quantizer was still running after {deadline_s:g} s: {_tail(log)}",
                hint="fewer calibration images, fewer steps of a pass, or a longer deadline",
            ) from None
        finally:
            process.kill()
            reader.join(timeout=5)


def _check_it(log: Path) -> str:
    """What to do about an error of esp-ppq's own, and the last line that it printed before."""
    said = _meaningful(log)
    last = f"; the last that esp-ppq printed: {said[-1]}" if said else ""
    return f"hil new NAME --onnx FILE --check says what to change{last}"


def _tail(log: Path) -> str:
    """The last lines that the worker printed, as one line."""
    return " | ".join(_meaningful(log)[-_LOG_LINES:]) or "it printed nothing"


def _meaningful(log: Path) -> list[str]:
    """Lines that the worker printed, without tracebacks and the exceptions at their ends."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines: list[str] = []
    inside = False
    for line in _COLOURS.sub("", text).splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside:
            # frames are indented; the exception's own line, which the error has, ends the block
            inside = line.startswith(" ") or not line.strip()
        elif line.strip() and not line.startswith(_BETWEEN_TRACEBACKS):
            lines.append(" ".join(line.split()))
    return lines


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BETWEEN_TRACEBACKS = ("During handling of the above", "The above exception was the direct")


def native_path(espdl: Path) -> Path:
    """Where `hil golden build` keeps esp-ppq's own form of the graph of a device file, in the user's cache.

    The name is the device file's sha256, so that it never belongs to another file. See docs/settings.md
    for the folder.
    """
    return cache_folder() / "native" / f"{hashlib.sha256(espdl.read_bytes()).hexdigest()}.pickle"

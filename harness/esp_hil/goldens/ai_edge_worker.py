"""The process in which ai-edge-quantizer runs: from JOB.json of a folder to out.tflite and RESULT.json."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = ("ai-edge-litert", "ai-edge-quantizer")


def _recipe(quant_type: str, io: str) -> list[dict[str, Any]]:
    """Static quantization of everything; float32 input and output where `io` says so."""
    from ai_edge_quantizer import qtyping, recipe

    rules: list[dict[str, Any]] = {"w8a8": recipe.static_wi8_ai8, "w8a16": recipe.static_wi8_ai16}[
        quant_type
    ]()
    if io == "integer":
        return rules
    for edge in ("INPUT", "OUTPUT"):
        rule = copy.deepcopy(rules[0])
        del rule["op_config"]
        rule |= {"operation": qtyping.TFLOperationName(edge), "algorithm_key": "no_quantize"}
        rules.append(rule)
    return rules


def _widest(statistics: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The least minimum and the greatest maximum of each tensor.

    The quantizer itself averages over the inputs: minimum and maximum of a tensor with a single element are
    the same number, and their average is not a range at all. (A classifier with one output then answers one
    half to everything.)
    """
    widest: dict[str, Any] = {}
    for ranges in statistics:
        for tensor, found in ranges.items():
            known = widest.setdefault(tensor, dict(found))
            known["min"] = np.minimum(known["min"], found["min"])
            known["max"] = np.maximum(known["max"], found["max"])
    return widest


def main(folder: Path) -> None:
    """Do the job."""
    from ai_edge_quantizer import quantizer

    job = json.loads((folder / "JOB.json").read_text(encoding="utf-8"))
    rows = np.load(folder / "calibration.npy")
    work = quantizer.Quantizer(str(folder / "float.tflite"), _recipe(job["quant_type"], job["io"]))
    name = next(iter(_input_names(folder / "float.tflite")))
    singly = (work.calibrate({"serving_default": [{name: rows[i : i + 1]}]}) for i in range(len(rows)))
    result = work.quantize(_widest(singly))
    (folder / "out.tflite").write_bytes(bytes(result.quantized_model))
    versions = {package: metadata.version(package) for package in _PACKAGES}
    (folder / "RESULT.json").write_text(json.dumps(versions), encoding="utf-8")


def _input_names(path: Path) -> list[str]:
    from esp_hil.formats.tflite.reader import read_tflite

    return [tensor.name for tensor in read_tflite(path).input_tensors]


if __name__ == "__main__":
    main(Path(sys.argv[1]))

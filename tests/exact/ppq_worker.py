"""esp-ppq in a process of its own: quantize small ONNX models, run its executor, write integers.

    PYTHONHASHSEED=0 python -m tests.exact.ppq_worker JOBS.json

JOBS.json is a list of {"onnx", "floats", "target", "quant_type", "espdl", "answers"}: `floats` is an .npz of
float32 (N, *shape[1:]) by input name; `answers` is written as an .npz of in<k>__NAME, mid<k>__NAME and out<k>__NAME,
integers in the device's layout. int16 is computed in float64, which holds every sum.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl import EspdlModel, ValueInfo, read_espdl
from esp_hil.targets import Family, rounding_of
from esp_hil.tensors import dequantize, device_permutation, quantize_input

Job = Mapping[str, str]


def main(argv: list[str]) -> int:
    """Do all jobs; a job that esp-ppq refuses leaves a file beside its answers that says why."""
    import torch

    torch.set_num_threads(1)
    for job in json.loads(Path(argv[0]).read_text(encoding="utf-8")):
        torch.manual_seed(0)
        try:
            _do(job)
        except Exception as error:  # esp-ppq raises whatever it likes
            Path(job["answers"]).with_suffix(".refused").write_text(f"{type(error).__name__}: {error}")
    return 0


def _do(job: Job) -> None:
    import torch
    from esp_ppq import TorchExecutor
    from esp_ppq.api import espdl_quantize_onnx

    archive = np.load(job["floats"])
    floats = {name: archive[name] for name in archive.files}
    count = len(next(iter(floats.values())))
    batches = [[torch.from_numpy(values[k : k + 1]) for values in floats.values()] for k in range(count)]
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copy(job["onnx"], Path(scratch) / "model.onnx")  # esp-ppq overwrites the file it reads
        graph = espdl_quantize_onnx(
            onnx_import_file=str(copy),
            espdl_export_file=job["espdl"],
            calib_dataloader=batches if len(floats) > 1 else [batch[0] for batch in batches],
            calib_steps=count,
            input_shape=[[1, *values.shape[1:]] for values in floats.values()],
            inputs=[values[:1] for values in map(torch.from_numpy, floats.values())],
            target=job["target"],
            quant_type=job["quant_type"],
            device="cpu",
            error_report=False,
            export_config=False,
            export_test_values=False,
            verbose=0,
            debug=job["quant_type"] == "w16a16",
        )
    model = read_espdl(Path(job["espdl"]))
    executor = TorchExecutor(graph, device="cpu")
    answers: dict[str, NDArray[Any]] = {}
    for k in range(count):
        given = _integers_in(
            model, {name: values[k : k + 1] for name, values in floats.items()}, job["target"]
        )
        grid = [torch.from_numpy(dequantize(given[name], _info(model, name).exponents[0])) for name in floats]
        known = [name for name in _between(model) if name in graph.variables]
        with torch.inference_mode():
            between = executor.forward(grid, output_names=known)
            values = executor.forward(grid)
        for name, value in zip(known, between, strict=True):
            answers[f"mid{k}__{name}"] = _integers_out(model, name, value.numpy())
        for name in floats:
            answers[f"in{k}__{name}"] = _on_device(given[name], _info(model, name))
        for name, value in zip(graph.outputs, values, strict=True):
            answers[f"out{k}__{name}"] = _integers_out(model, name, value.numpy())
    np.savez_compressed(job["answers"], **answers)  # type: ignore[arg-type]


def _between(model: EspdlModel) -> list[str]:
    """Tensors that nodes make, without the graph's outputs."""
    ends = {value.name for value in model.graph.outputs}
    return [name for node in model.graph.nodes for name in node.outputs if name and name not in ends]


def _integers_out(model: EspdlModel, name: str, answer: NDArray[Any]) -> NDArray[Any]:
    """The executor's floats as the device's integers."""
    info = _info(model, name)
    if info.exponents:
        answer = np.rint(np.ldexp(answer.astype(np.float64), -info.exponents[0])).astype(info.dtype)
    return _on_device(answer, info)


def _integers_in(model: EspdlModel, floats: Mapping[str, NDArray[np.float32]], target: str) -> dict[str, Any]:
    family: Family = "esp32p4" if target == "esp32p4" else "esp32s3" if target == "esp32s3" else "c"
    rounding = rounding_of(family)
    result = {}
    for name, values in floats.items():
        info = _info(model, name)
        dtype: Any = info.dtype
        result[name] = quantize_input(values, info.exponents[0], dtype, rounding)
    return result


def _info(model: EspdlModel, name: str) -> ValueInfo:
    return model.graph.values[name]


def _on_device(values: NDArray[Any], info: ValueInfo) -> NDArray[Any]:
    return np.ascontiguousarray(values.transpose(device_permutation(values.shape, info.shape)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

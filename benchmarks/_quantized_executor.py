"""esp-ppq's executor in a process of its own: `python -m benchmarks._quantized_executor JOB.json`.

JOB.json: {"native": path or null, "onnx": path or null, "family": ..., "shapes": {input: shape}, "threads":
n}. A line on standard output says "ready"; then for every line read it infers once and answers with the
seconds that took.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CALIBRATION_STEPS = 8  # the fewest that esp-ppq accepts


def main(argv: list[str]) -> int:
    """Load or quantize the model, then serve."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # esp-ppq prints a banner
    import torch

    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    inputs = [torch.randn(shape) for shape in job["shapes"].values()]
    executor = _executor(job, inputs)
    print("ready", file=answers, flush=True)
    with torch.inference_mode():
        for _ in sys.stdin:
            start = time.perf_counter()
            executor.forward(inputs)
            print(time.perf_counter() - start, file=answers, flush=True)
    return 0


def _executor(job: dict[str, Any], inputs: list[Any]) -> Any:  # noqa: ANN401
    from esp_ppq import TorchExecutor
    from esp_ppq.api import espdl_quantize_onnx, load_native_graph

    if job["native"] is not None:
        return TorchExecutor(load_native_graph(job["native"]), device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copy(job["onnx"], Path(scratch) / "model.onnx")  # esp-ppq overwrites the file it reads
        graph = espdl_quantize_onnx(
            onnx_import_file=str(copy),
            espdl_export_file=str(Path(scratch) / "model.espdl"),
            calib_dataloader=[inputs[0] if len(inputs) == 1 else inputs] * CALIBRATION_STEPS,
            calib_steps=CALIBRATION_STEPS,
            input_shape=[list(value.shape) for value in inputs],
            inputs=inputs,
            target=job["family"],
            quant_type="w8a8",
            device="cpu",
            error_report=False,
            export_config=False,
            export_test_values=False,
            verbose=0,
        )
    return TorchExecutor(graph, device="cpu")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Random graphs of two to six operators against esp-ppq's executor, which agrees with ESP-DL at int8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import Family
from tests.conftest import ROOT
from tests.exact.random_graphs import CHANNELS, HEIGHT, WIDTH, RandomGraph

FAMILIES: tuple[Family, ...] = ("c", "esp32s3", "esp32p4")
SEEDS = range(int(os.environ.get("HIL_RANDOM_GRAPHS", "12")))
RUNS = 3

needs_ppq = pytest.mark.skipif(
    find_spec("esp_ppq") is None or find_spec("torch") is None,
    reason="no esp-ppq: pip install 'esp-hil[quantize]'",
)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with <seed>.espdl and <seed>.npz, all made by one process of esp-ppq."""
    folder = tmp_path_factory.mktemp("random_graphs")
    jobs = []
    for seed in SEEDS:
        random = np.random.default_rng(seed)
        onnx.save(RandomGraph(seed).model(), folder / f"{seed}.onnx")
        scale = 2.0 ** random.integers(-3, 3)
        x = (random.normal(size=(RUNS, CHANNELS, HEIGHT, WIDTH)) * scale).astype(np.float32)
        np.savez(folder / f"{seed}.floats.npz", x=x)
        jobs.append(
            {
                "onnx": str(folder / f"{seed}.onnx"),
                "floats": str(folder / f"{seed}.floats.npz"),
                "target": FAMILIES[seed % len(FAMILIES)],
                "quant_type": "w8a8",
                "espdl": str(folder / f"{seed}.espdl"),
                "answers": str(folder / f"{seed}.npz"),
            }
        )
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "tests.exact.ppq_worker", str(folder / "jobs.json")],
        env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


@needs_ppq
@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_graph_comes_out_as_esp_ppq_computed_it(quantized: Path, seed: int) -> None:
    refused = quantized / f"{seed}.refused"
    if refused.exists():
        pytest.skip(f"esp-ppq refused the graph: {refused.read_text()}")
    reference = ExactReference(
        read_espdl(quantized / f"{seed}.espdl"), FAMILIES[seed % len(FAMILIES)], threads=1
    )
    with np.load(quantized / f"{seed}.npz") as answers:
        for run in range(RUNS):
            (result,) = reference.run({"x": answers[f"in{run}__x"]}).items()
            assert np.array_equal(result[1], answers[f"out{run}__{result[0]}"])

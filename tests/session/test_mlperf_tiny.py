from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.formats.tflite import read_tflite
from esp_hil.models.benchmarks import entries
from esp_hil.results.journal import read_runs
from esp_hil.results.outcome import status_of
from esp_hil.session import mlperf_tiny
from esp_hil.session.benchmark_model import LabelledInputs, auc, quality, read_data
from esp_hil.session.options import Options, all_combinations, combinations
from esp_hil.tensors import Affine
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm

FASHION = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model under the name of a benchmark's."""
    shutil.copy(FASHION, tmp_path / "kws_ref_model.tflite")
    return tmp_path


def test_models_are_found_by_the_names_that_the_benchmark_gives_them(folder: Path) -> None:
    (entry,) = entries(folder)
    assert (entry.benchmark.key, entry.benchmark.least, entry.data) == ("kws", 0.90, None)
    np.savez(folder / "kws_ref_model.npz", x=np.zeros(1), y=np.zeros(1))
    assert entries(folder)[0].data == folder / "kws_ref_model.npz"
    with pytest.raises(ConfigError, match="no model of MLPerf Tiny"):
        entries(folder / "elsewhere")


def test_windows_shorter_than_the_rules_are_marked_in_the_row_s_recipe(folder: Path) -> None:
    for window_s, recipe in ((10.0, "closed"), (None, "scaled-0.2s")):
        options = Options(
            targets=("esp32",), board="virtual", mlperf_tiny=folder, mlperf_window=window_s, results=Path()
        )
        (found,) = combinations(options, "benchmark")
        assert (found.model, found.recipe) == ("mlperf-tiny-kws", recipe)


def test_a_benchmark_is_one_of_the_catalogue_s_names(folder: Path) -> None:
    asked = Options(
        targets=("esp32",), board="virtual", mlperf_tiny=folder, models=("mlperf-tiny-kws",), results=Path()
    )
    assert [found.kind for found in all_combinations(asked)] == ["benchmark"]
    with pytest.raises(ConfigError, match="given by path"):
        all_combinations(replace(asked, mlperf_tiny=None))
    with pytest.raises(ConfigError, match=r"no mlperf-tiny-vww in .* \(there are: mlperf-tiny-kws\)"):
        all_combinations(replace(asked, models=("mlperf-tiny-vww",)))


def test_the_suites_of_every_model_run_a_benchmark_too_and_it_is_measured_once(folder: Path) -> None:
    asked = Options(
        targets=("esp32",), board="virtual", mlperf_tiny=folder, models=("mlperf-tiny-kws",), results=Path()
    )
    (own,), (among_models,) = combinations(asked, "benchmark"), combinations(asked, "model")
    assert own == among_models
    golden = own.catalogued.golden(limit=5)
    assert (own.catalogued.name, len(golden), golden.labels) == ("mlperf-tiny-kws", 5, None)


def test_without_data_the_inputs_are_the_same_random_ones_each_time(folder: Path) -> None:
    (entry,), model = entries(folder), read_tflite(FASHION)
    first, again = read_data(entry, model), read_data(entry, model)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert first.inputs.dtype == np.int8
    assert (first.inputs.min(), first.inputs.max()) == (-128, 127)
    assert first.labels is None


@pytest.mark.parametrize(
    "x",
    [np.zeros((2, 28, 28, 1), np.uint8), np.zeros((2, 28, 28), np.int8), np.zeros((3, 28, 28, 1), np.int8)],
)
def test_data_that_do_not_fit_the_model_are_an_error(folder: Path, x: np.ndarray) -> None:
    np.savez(folder / "kws_ref_model.npz", x=x, y=np.zeros(2, np.int64))
    with pytest.raises(GoldenError, match="x is"):
        read_data(entries(folder)[0], read_tflite(FASHION))


def test_auc_is_that_worked_out_by_hand() -> None:
    anomalous = np.array([False, False, True, True])
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), anomalous) == 1.0
    assert auc(np.array([1.0, 3.0, 2.0, 4.0]), anomalous) == 0.75
    assert auc(np.array([1.0, 2.0, 2.0, 4.0]), anomalous) == 0.875
    with pytest.raises(GoldenError, match="all normal"):
        auc(np.array([1.0]), np.array([False]))


def test_anomaly_scores_are_means_over_the_windows_of_a_recording() -> None:
    # two recordings of two windows; one LSB is one half: squared errors 0, 1 and 4, 0.25
    data = LabelledInputs(
        inputs=np.zeros((4, 2), np.int8), labels=np.array([0, 0, 1, 1]), groups=np.array([7, 7, 9, 9])
    )
    outputs = np.array([[0, 0], [2, 2], [4, 4], [1, 1]], np.int8)
    scale = Affine(scale=0.5)
    assert quality("AUC", data, outputs, given=scale, made=scale) == 1.0
    reversed_ = LabelledInputs(inputs=data.inputs, labels=1 - np.array([0, 0, 1, 1]), groups=data.groups)
    assert quality("AUC", reversed_, outputs, given=scale, made=scale) == 0.0


BENCHMARK_S = {
    "the_device_answers_what_the_exact_reference_says",
    "every_repetition_was_measured",
    "five_windows_were_long_enough",
    "the_median_of_the_windows_is_a_result_of_the_closed_rules",
    "the_accuracy_reaches_the_benchmark_s_target",
}
"""Of the suites of every model those that a benchmark could break, and its own."""


def run_suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@needs_tflm
def test_the_suite_measures_five_windows_and_the_accuracy_of_the_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_BAUD_MODEL", "115200,limit=1000000")
    monkeypatch.setenv("HIL_CACHE", str(folder / "cache"))
    images = np.random.default_rng(0).integers(-128, 128, (6, 28, 28, 1), np.int8)
    np.savez(folder / "kws_ref_model.npz", x=images, y=np.full(6, 3))
    results = folder / "results"
    done = run_suite(
        "suites", "--hil-model", "mlperf-tiny-kws", "--target", "esp32c3", "--hil-board", "virtual",
        "--hil-mlperf-tiny", str(folder), "--hil-mlperf-window", "0.05", "--hil-results", str(results),
    )  # fmt: skip
    assert "1 failed, " in done.stdout, done.stdout + done.stderr
    assert "the target is 0.9; tflite-micro has" in done.stdout
    assert "on a virtual board: no result of the benchmark" in done.stdout
    (row,) = read_runs(results).runs
    said = {check.name.removeprefix("test_"): check.outcome for check in row.checks}
    assert {name: said[name] for name in said if name in BENCHMARK_S} == {
        "the_device_answers_what_the_exact_reference_says": "passed",
        "every_repetition_was_measured": "passed",
        "five_windows_were_long_enough": "passed",
        "the_median_of_the_windows_is_a_result_of_the_closed_rules": "skipped",
        "the_accuracy_reaches_the_benchmark_s_target": "failed",
    }
    assert status_of(row) == "failed"
    assert "the target is 0.9" in (results / "report.md").read_text("utf-8")
    assert (row.model, row.recipe, row.runtime) == ("mlperf-tiny-kws", "scaled-0.05s", "tflm")
    assert row.verdict is not None
    assert row.verdict.bit_exact
    assert len(row.cycles) >= mlperf_tiny.WINDOWS * mlperf_tiny.LEAST_INFERENCES
    assert row.counters["mlperf_window_s"] == (0.05, "s")
    assert row.link is not None
    assert row.link.baud == 921_600  # tuned, like every line
    assert row.layers
    assert row.steps is not None
    assert row.leak_bytes == 0


def test_without_a_folder_the_suite_says_how_to_give_one() -> None:
    done = run_suite("suites/mlperf_tiny")
    assert "3 skipped" in done.stdout
    assert "given by path: --hil-mlperf-tiny DIR" in done.stdout

"""MLPerf Tiny's benchmarks, by its rules as far as the length of the windows allows.

The benchmarks' models are models: the other suites say of each whether it is right and how large.
"""

from __future__ import annotations

import pytest

from esp_hil.models.benchmarks import WINDOW_S, Entry
from esp_hil.session.mlperf_tiny import LEAST_INFERENCES, WINDOWS, BenchmarkResult
from esp_hil.session.options import Combination
from esp_hil.session.session import Measured

pytestmark = pytest.mark.hil_kind("benchmark")


@pytest.fixture
def entry(hil_combination: Combination) -> Entry:
    """The benchmark and its files."""
    assert isinstance(hil_combination.resolved, Entry)
    return hil_combination.resolved


@pytest.fixture
def tiny(hil_measured: Measured) -> BenchmarkResult:
    """What the rules say of the benchmark on the chip."""
    assert hil_measured.benchmark is not None
    return hil_measured.benchmark


def test_five_windows_were_long_enough(tiny: BenchmarkResult) -> None:
    """Each of the five windows has its seconds on the device's clock and at least ten inferences."""
    assert len(tiny.windows.windows_s) == WINDOWS
    assert min(tiny.windows.windows_s) >= tiny.windows.window_s
    assert min(tiny.windows.inferences) >= LEAST_INFERENCES


def test_the_median_of_the_windows_is_a_result_of_the_closed_rules(
    tiny: BenchmarkResult, hil_measured: Measured
) -> None:
    """Windows of 10 s on a chip; anything else is said to be none."""
    windows, run = tiny.windows, hil_measured.run
    said = f"median {windows.median_per_second:.1f} inferences/s over {WINDOWS} windows of {windows.window_s:g} s"
    if run.simulated:
        pytest.skip(f"{said}, on a {run.kind} board: no result of the benchmark")
    if windows.scaled:
        pytest.skip(f"{said}: scaled down from {WINDOW_S:g} s")


def test_the_accuracy_reaches_the_benchmark_s_target(tiny: BenchmarkResult, entry: Entry) -> None:
    """Top-1, or the AUC of anomaly detection, of the device's answers."""
    if tiny.quality is None:
        pytest.skip(f"no data: {entry.model.with_suffix('.npz').name} is not in the folder")
    assert tiny.quality >= tiny.least, (
        f"{entry.benchmark.quality} {tiny.quality:.4f}, the target is {tiny.least}; "
        f"tflite-micro has {tiny.quality_exact:.4f}"
    )

"""MLPerf Tiny's benchmarks, by its rules as far as the length of the windows allows."""

from __future__ import annotations

import pytest

from esp_hil.errors import HilError
from esp_hil.models.benchmarks import WINDOW_S, Entry
from esp_hil.session.mlperf_tiny import LEAST_INFERENCES, WINDOWS, BenchmarkResult, Measurement
from esp_hil.session.options import Combination, window_s
from esp_hil.session.session import Session

pytestmark = pytest.mark.hil_kind("benchmark")
_RESULTS = pytest.StashKey[dict[Combination, BenchmarkResult | HilError]]()


@pytest.fixture(scope="session")
def entry(hil_combination: Combination) -> Entry:
    """The benchmark and its files."""
    assert isinstance(hil_combination.resolved, Entry)
    return hil_combination.resolved


@pytest.fixture(scope="session")
def tiny(
    hil_combination: Combination, entry: Entry, hil_session: Session, request: pytest.FixtureRequest
) -> BenchmarkResult:
    """What the benchmark gave on the chip; measured once."""
    results = request.config.stash.setdefault(_RESULTS, {})
    if hil_combination not in results:
        results[hil_combination] = _measure(hil_combination, entry, hil_session)
    result = results[hil_combination]
    if isinstance(result, HilError):
        raise result
    return result


def _measure(combination: Combination, entry: Entry, session: Session) -> BenchmarkResult | HilError:
    length_s, cores = window_s(session.options), session.options.cores
    return session.run(
        combination,
        lambda attempt: Measurement(entry=entry, attempt=attempt, window_s=length_s, cores=cores).run(),
    )


def test_the_device_answers_what_tflite_micro_answers(tiny: BenchmarkResult) -> None:
    """Integer for integer, on the benchmark's data or else on random inputs."""
    if not tiny.verdict.ok:
        pytest.fail(tiny.verdict.text(), pytrace=False)


def test_five_windows_were_long_enough(tiny: BenchmarkResult) -> None:
    """Each of the five windows has its seconds on the device's clock and at least ten inferences."""
    assert len(tiny.windows_s) == WINDOWS
    assert min(tiny.windows_s) >= tiny.window_s
    assert min(tiny.inferences) >= LEAST_INFERENCES


def test_the_median_of_the_windows_is_a_result_of_the_closed_rules(tiny: BenchmarkResult) -> None:
    """Windows of 10 s on a chip; anything else is said to be none."""
    said = f"median {tiny.median_per_second:.1f} inferences/s over {WINDOWS} windows of {tiny.window_s:g} s"
    if tiny.run.simulated:
        pytest.skip(f"{said}, on a {tiny.run.kind} board: no result of the benchmark")
    if tiny.scaled:
        pytest.skip(f"{said}: scaled down from {WINDOW_S:g} s")


def test_the_accuracy_reaches_the_benchmark_s_target(tiny: BenchmarkResult, entry: Entry) -> None:
    """Top-1, or the AUC of anomaly detection, of the device's answers."""
    if tiny.quality is None:
        pytest.skip(f"no data: {entry.model.with_suffix('.npz').name} is not in the folder")
    assert tiny.quality >= entry.benchmark.least, (
        f"{entry.benchmark.quality} {tiny.quality:.4f}, the target is {entry.benchmark.least}; "
        f"tflite-micro has {tiny.quality_exact:.4f}"
    )

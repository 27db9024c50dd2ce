"""MLPerf Tiny's benchmarks, by its rules as far as the length of the windows allows."""

from __future__ import annotations

import pytest

from esp_hil.errors import HilError
from esp_hil.plugin import PROBLEM, options_of
from esp_hil.session import mlperf_tiny
from esp_hil.session.mlperf_tiny import LEAST_INFERENCES, WINDOW_S, WINDOWS, Entry, Measured, Measurement
from esp_hil.session.session import Session
from esp_hil.targets import target

VIRTUAL_WINDOW_S = 0.2
Case = tuple[Entry, str]
_RESULTS = pytest.StashKey[dict[Case, Measured | HilError]]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test once for each chip and each model in the folder of `--hil-mlperf-tiny`."""
    if "tiny_case" not in metafunc.fixturenames:
        return
    try:
        options = options_of(metafunc.config)
        folder = options.mlperf_tiny
        found = mlperf_tiny.entries(folder) if folder is not None else ()
        chips = [target(name).name for name in options.targets] if folder is not None else []
    except HilError as error:
        # said once for all suites, when all tests are collected
        metafunc.config.stash.setdefault(PROBLEM, error)
        metafunc.parametrize("tiny_case", (), scope="session")
        return
    if folder is None:
        why = "models of MLPerf Tiny are given by path: --hil-mlperf-tiny DIR"
        none = pytest.param(None, marks=pytest.mark.skip(reason=why))
        metafunc.parametrize("tiny_case", [none], ids=["none"], scope="session")
        return
    cases = [(entry, chip) for chip in chips for entry in found]
    names = [f"{entry.benchmark.key}-{chip}" for entry, chip in cases]
    metafunc.parametrize("tiny_case", cases, ids=names, scope="session")


@pytest.fixture(scope="session")
def tiny(tiny_case: Case, hil_session: Session, request: pytest.FixtureRequest) -> Measured:
    """What the benchmark gave on the chip; measured once."""
    results = request.config.stash.setdefault(_RESULTS, {})
    if tiny_case not in results:
        results[tiny_case] = _measure(*tiny_case, hil_session, hil_session.options.mlperf_window)
    result = results[tiny_case]
    if isinstance(result, HilError):
        raise result
    return result


def _measure(entry: Entry, chip: str, session: Session, asked_s: float | None) -> Measured | HilError:
    board = session.options.board
    window_s = asked_s or (VIRTUAL_WINDOW_S if board == "virtual" else WINDOW_S)
    return session.run(
        mlperf_tiny.combination(entry, target(chip), board, window_s),
        lambda attempt: Measurement(
            entry=entry, attempt=attempt, window_s=window_s, cores=session.options.cores
        ).run(),
    )


def test_the_device_answers_what_tflite_micro_answers(tiny: Measured) -> None:
    """Integer for integer, on the benchmark's data or else on random inputs."""
    if not tiny.verdict.ok:
        pytest.fail(tiny.verdict.text(), pytrace=False)


def test_five_windows_were_long_enough(tiny: Measured) -> None:
    """Each of the five windows has its seconds on the device's clock and at least ten inferences."""
    assert len(tiny.windows_s) == WINDOWS
    assert min(tiny.windows_s) >= tiny.window_s
    assert min(tiny.inferences) >= LEAST_INFERENCES


def test_the_median_of_the_windows_is_a_result_of_the_closed_rules(tiny: Measured) -> None:
    """Windows of 10 s on a chip; anything else is said to be none."""
    said = f"median {tiny.median_per_second:.1f} inferences/s over {WINDOWS} windows of {tiny.window_s:g} s"
    if tiny.run.simulated:
        pytest.skip(f"{said}, on a {tiny.run.kind} board: no result of the benchmark")
    if tiny.scaled:
        pytest.skip(f"{said}: scaled down from {WINDOW_S:g} s")


def test_the_accuracy_reaches_the_benchmark_s_target(tiny: Measured, tiny_case: Case) -> None:
    """Top-1, or the AUC of anomaly detection, of the device's answers."""
    entry, _ = tiny_case
    if tiny.quality is None:
        pytest.skip(f"no data: {entry.model.with_suffix('.npz').name} is not in the folder")
    assert tiny.quality >= entry.benchmark.least, (
        f"{entry.benchmark.quality} {tiny.quality:.4f}, the target is {entry.benchmark.least}; "
        f"tflite-micro has {tiny.quality_exact:.4f}"
    )

"""Every metric, of a full row and of a broken one."""

from __future__ import annotations

import dataclasses

import pytest

from esp_hil.results.metrics import METRICS, Better, Number
from tests.energy.rows import sample_energy
from tests.report.samples import failed_run, sample_measures, sample_run, sample_verdict

BY_NAME = {metric.name: metric for metric in METRICS}


def test_names_are_unique_and_end_in_their_unit() -> None:
    assert len(BY_NAME) == len(METRICS)
    suffix = {
        "ms": "_ms",
        "%": "_pct",
        "LSB": "_lsb",
        "B/s": "_bytes_per_s",
        "s": "_s",
        "1/s": "fps",
        "B": "_bytes",
        "mJ": "_mj",
        "mW": "_mw",
        "mA": "_ma",
        "1/Wh": "_per_wh",
    }
    for metric in METRICS:
        assert metric.name.endswith(suffix.get(metric.unit, ""))


def test_a_full_row_has_every_metric_of_its_kind() -> None:
    verdict = dataclasses.replace(sample_verdict(), measures=sample_measures())
    run = sample_run(verdict=verdict, energy=sample_energy())
    for metric in METRICS:
        figure = metric.of(run)
        assert type(figure) is (int if metric.whole else float), metric.name


def test_a_broken_row_has_none_but_what_the_host_knows() -> None:
    known = {metric.name for metric in METRICS if metric.of(failed_run()) is not None}
    assert known == {"repetitions", "duration_s"}


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("latency_ms", 3.0),
        ("latency_min_ms", 1.0),
        ("latency_max_ms", 5.0),
        ("latency_mad_ms", 1.0),
        ("latency_cold_ms", 9.0),
        ("fps", 1000 / 3),
        ("repetitions", 5),
        ("link_bytes", 441_856),
        ("link_retransmissions", 2),
        ("link_bytes_per_s", 441_856 / 3.9),
        ("agreement_device_exact_pct", 100.0),
        ("port_different", 0),
    ],
)
def test_a_metric_is_the_figure_of_its_name(name: str, figure: Number) -> None:
    clock = 400_000
    run = sample_run(cycles=tuple(ms * clock for ms in (1, 2, 3, 4, 5)), cold_cycles=9 * clock)
    assert run.device is not None
    run = dataclasses.replace(run, device=dataclasses.replace(run.device, clock_hz=clock * 1000))
    assert BY_NAME[name].of(run) == pytest.approx(figure)


def test_a_wrong_port_shows_in_its_metrics_and_nowhere_else() -> None:
    run, good = sample_run(wrong=7), sample_run()
    assert run.verdict is not None
    assert BY_NAME["port_different"].of(run) == 7
    assert BY_NAME["port_max_lsb"].of(run) == run.verdict.outputs[0].device_vs_exact.max_lsb  # type: ignore[union-attr]
    assert BY_NAME["quantizer_max_lsb"].of(run) == 0
    assert BY_NAME["quantization_rmse"].of(run) == BY_NAME["quantization_rmse"].of(good)


def test_only_speed_is_of_the_device() -> None:
    assert all(("latency" in metric.name) or metric.name == "fps" for metric in METRICS if metric.of_device)
    assert BY_NAME["latency_ms"].better is Better.LOWER
    assert BY_NAME["fps"].better is Better.HIGHER


def test_the_cycles_of_an_emulator_are_no_latency() -> None:
    assert BY_NAME["latency_ms"].of(sample_run(kind="emulated")) is None
    assert BY_NAME["latency_ms"].of(sample_run(kind="virtual")) is not None

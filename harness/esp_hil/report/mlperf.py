"""Results of MLPerf Tiny's benchmarks beside published ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esp_hil.report.view import mark_of, port_words
from esp_hil.results.record import Run
from esp_hil.results.text import clean
from esp_hil.results.timing.published import published_of

PREFIX = "mlperf-tiny-"


@dataclass(frozen=True, slots=True, kw_only=True)
class MlperfRow:
    """One benchmark on one chip as printed; "" where there is no such figure.

    Attributes:
        run: number of the run on the page.
        published: inferences per second that others have published for this model, chip and runtime.
        quality: accuracy or AUC of the device's answers.
        least: what the benchmark asks for.
    """

    run: int
    benchmark: str
    target: str
    port: str
    mark: str
    window: str
    per_second: str
    published: str
    quality: str
    least: str


def mlperf_rows(runs: Sequence[Run]) -> list[MlperfRow]:
    """The runs that are benchmarks, numbered from 1 among all."""
    return [
        _row(number, run)
        for number, run in enumerate(runs, start=1)
        if run.model.startswith(PREFIX) and "mlperf_median_per_s" in run.counters
    ]


def _row(number: int, run: Run) -> MlperfRow:
    figures = {name: value for name, (value, _) in run.counters.items()}
    others = published_of(run.model, run.target, run.runtime, run.macs)
    return MlperfRow(
        run=number,
        benchmark=clean(run.model.removeprefix(PREFIX)),
        target=clean(run.target),
        port=port_words(run),
        mark=mark_of(run),
        window=f"{figures['mlperf_window_s']:g} s",
        per_second=f"{figures['mlperf_median_per_s']:.2f}",
        published=clean("; ".join(f"{1e3 / row.latency_ms:.2f} ({row.version})" for row in others)),
        quality=_share(figures.get("mlperf_quality")),
        least=_share(figures.get("mlperf_quality_target")),
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"

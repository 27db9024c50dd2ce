"""The figures of a run: one row of METRICS each, pure functions of `Run`.

A metric is None where the run does not have it. A device counter needs no row: it becomes a column by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from esp_hil.results.record import LinkStats, Run
from esp_hil.results.timing.latency import Latency, statistics
from esp_hil.verdict.verdict import FloatDiff, IntegerDiff, OutputVerdict

Number = float | int | None


class Better(Enum):
    """Which way a metric improves."""

    LOWER = "lower"
    HIGHER = "higher"
    NONE = "none"


LOWER, HIGHER, NONE = Better.LOWER, Better.HIGHER, Better.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure.

    Attributes:
        name: column of the reports; ends in its unit where it has one.
        unit: as printed, "" for a plain number.
        better: which way it improves.
        of: the figure of a run, None if it has none.
        whole: whether it is a whole number.
        of_device: whether it tells of the device's speed, so that on a simulated board it is simulated too.
    """

    name: str
    unit: str
    better: Better
    of: Callable[[Run], Number]
    whole: bool = False
    of_device: bool = False


def latency_of(run: Run) -> Latency | None:
    """Figures of the run's repetitions; None if nothing was timed, or by an emulator: its cycles are no time."""
    if run.device is None or not run.cycles or run.kind == "emulated":
        return None
    return _statistics(run.cycles, run.device.clock_hz, run.cold_cycles)


_statistics = lru_cache(maxsize=4)(statistics)  # a dozen metrics ask for the same run in turn


def _latency(pick: Callable[[Latency], Number]) -> Callable[[Run], Number]:
    def of(run: Run) -> Number:
        latency = latency_of(run)
        return None if latency is None else pick(latency)

    return of


def _link(pick: Callable[[LinkStats], Number]) -> Callable[[Run], Number]:
    return lambda run: None if run.link is None else pick(run.link)


def _rate(link: LinkStats) -> Number:
    return (link.bytes_up + link.bytes_down) / link.seconds if link.seconds > 0 else None


def _worst_lsb(pick: Callable[[OutputVerdict], IntegerDiff | FloatDiff | None]) -> Callable[[Run], Number]:
    """Largest difference over the integer outputs."""

    def of(run: Run) -> Number:
        diffs = [pick(output) for output in run.verdict.outputs] if run.verdict else []
        return max((diff.max_lsb for diff in diffs if isinstance(diff, IntegerDiff)), default=None)

    return of


def _different(run: Run) -> Number:
    return sum(output.device_vs_exact.different for output in run.verdict.outputs) if run.verdict else None


def _worst_price(
    pick: Callable[[FloatDiff], float], worst: Callable[[list[float]], float]
) -> Callable[[Run], Number]:
    """The worst of the outputs' figures of quantized against float."""

    def of(run: Run) -> Number:
        outputs = run.verdict.outputs if run.verdict else ()
        figures = [pick(o.quantized_vs_float) for o in outputs if o.quantized_vs_float is not None]
        return worst(figures) if figures else None

    return of


def _share(table: str, key: str) -> Callable[[Run], Number]:
    """Percent of an accuracy or agreement of the verdict."""

    def of(run: Run) -> Number:
        share = getattr(run.verdict, table).get(key) if run.verdict else None
        return None if share is None else 100 * share.share

    return of


def _row(name: str, unit: str, better: Better, of: Callable[[Run], Number], **how: bool) -> Metric:
    return Metric(name=name, unit=unit, better=better, of=of, **how)


METRICS: tuple[Metric, ...] = (
    _row("latency_median_ms", "ms", LOWER, _latency(lambda found: found.median_ms), of_device=True),
    _row("latency_median_low_ms", "ms", NONE, _latency(lambda found: found.median_low_ms), of_device=True),
    _row("latency_median_high_ms", "ms", NONE, _latency(lambda found: found.median_high_ms), of_device=True),
    _row("latency_min_ms", "ms", LOWER, _latency(lambda found: found.min_ms), of_device=True),
    _row("latency_p95_ms", "ms", LOWER, _latency(lambda found: found.p95_ms), of_device=True),
    _row("latency_p99_ms", "ms", LOWER, _latency(lambda found: found.p99_ms), of_device=True),
    _row("latency_max_ms", "ms", LOWER, _latency(lambda found: found.max_ms), of_device=True),
    _row("latency_mad_ms", "ms", LOWER, _latency(lambda found: found.mad_ms), of_device=True),
    _row("latency_cold_ms", "ms", LOWER, _latency(lambda found: found.cold_ms), of_device=True),
    _row("inferences_per_s", "1/s", HIGHER, _latency(lambda found: found.fps), of_device=True),
    _row("repetitions", "", NONE, lambda run: len(run.cycles), whole=True),
    _row("port_max_lsb", "LSB", LOWER, _worst_lsb(lambda output: output.device_vs_exact), whole=True),
    _row("port_different", "values", LOWER, _different, whole=True),
    _row("quantizer_max_lsb", "LSB", LOWER, _worst_lsb(lambda output: output.exact_vs_quantized), whole=True),
    _row("quantization_rmse", "", LOWER, _worst_price(lambda diff: diff.rmse, max)),
    _row("quantization_mae", "", LOWER, _worst_price(lambda diff: diff.mae, max)),
    _row("quantization_max_abs", "", LOWER, _worst_price(lambda diff: diff.max_abs, max)),
    _row("quantization_cosine", "", HIGHER, _worst_price(lambda diff: diff.cosine, min)),
    _row("agreement_device_exact_pct", "%", HIGHER, _share("agreements", "device/exact")),
    _row("agreement_exact_quantized_pct", "%", HIGHER, _share("agreements", "exact/quantized")),
    _row("agreement_quantized_float_pct", "%", HIGHER, _share("agreements", "quantized/float")),
    _row("agreement_device_float_pct", "%", HIGHER, _share("agreements", "device/float")),
    _row("top1_float_pct", "%", HIGHER, _share("accuracies", "float")),
    _row("top1_quantized_pct", "%", HIGHER, _share("accuracies", "quantized")),
    _row("top1_exact_pct", "%", HIGHER, _share("accuracies", "exact")),
    _row("top1_device_pct", "%", HIGHER, _share("accuracies", "device")),
    _row("link_bytes", "B", NONE, _link(lambda link: link.bytes_up + link.bytes_down), whole=True),
    _row("link_bytes_per_s", "B/s", HIGHER, _link(_rate)),
    _row("link_retransmissions", "frames", LOWER, _link(lambda link: link.retransmissions), whole=True),
    _row("link_errors", "frames", LOWER, _link(lambda link: link.errors), whole=True),
    _row("load_ms", "ms", LOWER, lambda run: run.steps.load_ms if run.steps else None),
    _row("pre_ms", "ms", NONE, lambda run: run.steps.pre_ms if run.steps else None),
    _row("post_ms", "ms", NONE, lambda run: run.steps.post_ms if run.steps else None),
    _row("leak_bytes", "B", LOWER, lambda run: run.leak_bytes, whole=True),
    _row("duration_s", "s", NONE, lambda run: run.duration_s),
)

"""The figures of a run: one row of METRICS each, pure functions of `Run`.

A metric is None where the run does not have it. A device counter needs no row: it becomes a column by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal

from esp_hil.energy.figures import WH_MJ, Energy, EnergyWindow
from esp_hil.results.record import LinkStats, Run
from esp_hil.results.timing.latency import Latency, statistics
from esp_hil.verdict.measures import MEASURES, Against
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
        meaning: what it says, for the documentation of the tables.
        whole: whether it is a whole number.
        of_device: whether it tells of the device's speed, so that on a simulated board it is simulated too.
    """

    name: str
    unit: str
    better: Better
    of: Callable[[Run], Number]
    meaning: str
    whole: bool = False
    of_device: bool = False


def latency_of(run: Run) -> Latency | None:
    """Figures of the run's repetitions; None if nothing was timed, or by an emulator: its cycles are not time."""
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


def _energy(of: Callable[[Energy], Number]) -> Callable[[Run], Number]:
    """A figure of what a meter saw; none where a rule of measuring was broken."""
    return lambda run: of(run.energy) if run.energy is not None and run.energy.valid else None


def _window(of: Callable[[EnergyWindow], float]) -> Callable[[Run], Number]:
    """Its median over the windows."""
    return _energy(lambda found: found.median(of))


def _row(
    name: str, unit: str, better: Better, of: Callable[[Run], Number], meaning: str, **how: bool
) -> Metric:
    return Metric(name=name, unit=unit, better=better, of=of, meaning=meaning, **how)


AGAINST: Mapping[Against, str] = {"float": "the float model", "expected": "what is expected"}


def measure_column(name: str, against: Against) -> str:
    """Column of a figure by meaning, as rmse_float or iou_expected_pct."""
    return f"{name}_{against}{'_pct' if MEASURES[name].share else ''}"


def measures_of(run: Run, name: str, against: Against) -> dict[str, float]:
    """A figure of the device's answers by output, in percent if it is a share; where it is defined."""
    factor = 100.0 if MEASURES[name].share else 1.0
    return {
        one.output: factor * one.value
        for one in (run.verdict.measures if run.verdict else ())
        if (one.source, one.against, one.name) == ("device", against, name) and not math.isnan(one.value)
    }


def _of_meaning(name: str, against: Against) -> Metric:
    kind = MEASURES[name]

    def of(run: Run) -> Number:
        found = measures_of(run, name, against).values()
        return (min if kind.higher else max)(found) if found else None

    return _row(
        measure_column(name, against),
        "%" if kind.share else "",
        HIGHER if kind.higher else LOWER,
        of,
        f"device against {AGAINST[against]}: {kind.title} of the worst output",
    )


METRICS: tuple[Metric, ...] = (
    _row(
        "latency_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.median_ms),
        "median of the timed inferences",
        of_device=True,
    ),
    _row(
        "latency_low_ms",
        "ms",
        NONE,
        _latency(lambda found: found.median_low_ms),
        "lower end of the 95 % interval of the median",
        of_device=True,
    ),
    _row(
        "latency_high_ms",
        "ms",
        NONE,
        _latency(lambda found: found.median_high_ms),
        "upper end of the 95 % interval of the median",
        of_device=True,
    ),
    _row(
        "latency_min_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.min_ms),
        "fastest timed inference",
        of_device=True,
    ),
    _row(
        "latency_p95_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.p95_ms),
        "95th percentile of the timed inferences",
        of_device=True,
    ),
    _row(
        "latency_p99_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.p99_ms),
        "99th percentile of the timed inferences",
        of_device=True,
    ),
    _row(
        "latency_max_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.max_ms),
        "slowest timed inference",
        of_device=True,
    ),
    _row(
        "latency_mad_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.mad_ms),
        "median absolute deviation of the timed inferences",
        of_device=True,
    ),
    _row(
        "latency_cold_ms",
        "ms",
        LOWER,
        _latency(lambda found: found.cold_ms),
        "first inference after loading",
        of_device=True,
    ),
    _row(
        "fps",
        "1/s",
        HIGHER,
        _latency(lambda found: found.fps),
        "inferences per second, 1000 / latency_ms",
        of_device=True,
    ),
    _row(
        "energy_mj",
        "mJ",
        LOWER,
        _window(lambda window: window.energy_mj),
        "of one inference, the idle share taken off; median of the windows",
    ),
    _row(
        "energy_whole_mj",
        "mJ",
        LOWER,
        _window(lambda window: window.whole_mj),
        "of one inference, the idle share in it: what the supply delivers",
    ),
    _row(
        "energy_idle_share_mj",
        "mJ",
        NONE,
        _window(lambda window: window.idle_share_mj),
        "what the board takes in the time of one inference without making it",
    ),
    _row(
        "idle_mw",
        "mW",
        LOWER,
        _window(lambda window: window.idle_mw),
        "power between the windows, the board waiting for a request",
    ),
    _row("active_mw", "mW", LOWER, _window(lambda window: window.mean_mw), "mean power of the windows"),
    _row("active_ma", "mA", LOWER, _window(lambda window: window.mean_ma), "mean current of the windows"),
    _row(
        "peak_ma",
        "mA",
        LOWER,
        _energy(lambda found: max(window.peak_ma for window in found.windows)),
        "largest sample of current in a window: of the meter's rate, not of the chip's",
    ),
    _row("window_s", "s", NONE, _window(lambda window: window.seconds), "length of a window"),
    _row(
        "inferences_per_wh",
        "1/Wh",
        HIGHER,
        _window(lambda window: WH_MJ / window.whole_mj if window.whole_mj > 0 else math.inf),
        "inferences that a watt-hour makes, one after the other",
    ),
    _row("repetitions", "", NONE, lambda run: len(run.cycles), "timed inferences", whole=True),
    _row(
        "port_max_lsb",
        "LSB",
        LOWER,
        _worst_lsb(lambda output: output.device_vs_exact),
        "device against exact: largest difference of an integer output",
        whole=True,
    ),
    _row(
        "port_different",
        "values",
        LOWER,
        _different,
        "device against exact: values that differ, all outputs and inputs",
        whole=True,
    ),
    _row(
        "quantizer_max_lsb",
        "LSB",
        LOWER,
        _worst_lsb(lambda output: output.exact_vs_quantized),
        "exact against quantized: largest difference of an integer output",
        whole=True,
    ),
    _row(
        "quantization_rmse",
        "",
        LOWER,
        _worst_price(lambda diff: diff.rmse, max),
        "quantized against float: root of the mean squared error of the worst output",
    ),
    _row(
        "quantization_mae",
        "",
        LOWER,
        _worst_price(lambda diff: diff.mae, max),
        "quantized against float: mean absolute error of the worst output",
    ),
    _row(
        "quantization_max_abs",
        "",
        LOWER,
        _worst_price(lambda diff: diff.max_abs, max),
        "quantized against float: largest absolute error",
    ),
    _row(
        "quantization_cosine",
        "",
        HIGHER,
        _worst_price(lambda diff: diff.cosine, min),
        "quantized against float: cosine similarity of the worst output",
    ),
    _row(
        "agreement_device_exact_pct",
        "%",
        HIGHER,
        _share("agreements", "device/exact"),
        "inputs with the same top-1 class",
    ),
    _row(
        "agreement_exact_quantized_pct",
        "%",
        HIGHER,
        _share("agreements", "exact/quantized"),
        "inputs with the same top-1 class",
    ),
    _row(
        "agreement_quantized_float_pct",
        "%",
        HIGHER,
        _share("agreements", "quantized/float"),
        "inputs with the same top-1 class",
    ),
    _row(
        "agreement_device_float_pct",
        "%",
        HIGHER,
        _share("agreements", "device/float"),
        "inputs with the same top-1 class",
    ),
    _row("top1_float_pct", "%", HIGHER, _share("accuracies", "float"), "accuracy over the labels"),
    _row("top1_quantized_pct", "%", HIGHER, _share("accuracies", "quantized"), "accuracy over the labels"),
    _row("top1_exact_pct", "%", HIGHER, _share("accuracies", "exact"), "accuracy over the labels"),
    _row("top1_device_pct", "%", HIGHER, _share("accuracies", "device"), "accuracy over the labels"),
    *(_of_meaning(name, against) for against in AGAINST for name in MEASURES if name != "top1"),
    _row(
        "link_bytes",
        "B",
        NONE,
        _link(lambda link: link.bytes_up + link.bytes_down),
        "bytes over the line, both ways",
        whole=True,
    ),
    _row(
        "link_bytes_per_s",
        "B/s",
        HIGHER,
        _link(_rate),
        "bytes over the line by wall time, host's work included (not gated)",
    ),
    _row(
        "link_retransmissions",
        "frames",
        LOWER,
        _link(lambda link: link.retransmissions),
        "frames that were sent again",
        whole=True,
    ),
    _row(
        "link_errors",
        "frames",
        LOWER,
        _link(lambda link: link.errors),
        "frames that did not arrive whole",
        whole=True,
    ),
    _row(
        "load_ms",
        "ms",
        LOWER,
        lambda run: run.steps.load_ms if run.steps else None,
        "of one LOAD, on the host's clock: the model lay on the board already",
    ),
    _row(
        "pre_ms",
        "ms",
        NONE,
        lambda run: run.steps.pre_ms if run.steps else None,
        "host: to make the device's integers of one input",
    ),
    _row(
        "post_ms",
        "ms",
        NONE,
        lambda run: run.steps.post_ms if run.steps else None,
        "host: to make classes of one answer",
    ),
    _row(
        "leak_bytes",
        "B",
        LOWER,
        lambda run: run.leak_bytes,
        "free heap that loading the same model once more cost",
        whole=True,
    ),
    _row(
        "duration_s",
        "s",
        NONE,
        lambda run: run.duration_s,
        "wall time of the whole run, the host's work included",
    ),
)


Figure = Literal["measured", "predicted", "simulated"]
"""Where a figure of time or memory comes from: a chip, a model of the chip, a PC that plays the chip."""


_AS_PREDICTED = 2e-3
"""A virtual board counts whole cycles, of each node and of the run."""


def figure_of(run: Run) -> Figure:
    """Of the run's latency; an emulator's memory is measured, and it has no latency.

    A virtual board's latency is predicted where it is what its row says of the model on that chip; a planted one
    is simulated, and so are its memory and its line in any case.
    """
    if run.kind != "virtual":
        return "measured"
    latency, told = latency_of(run), run.predicted.get("latency_ms")
    if latency is None or told is None:
        return "simulated"
    return "predicted" if math.isclose(latency.median_ms, told[0], rel_tol=_AS_PREDICTED) else "simulated"


_UNIT_SUFFIXES = {"B": "bytes", "%": "pct", "Hz": "hz", "1/s": "per_s", "B/s": "bytes_per_s", "1": ""}


def counter_column(name: str, unit: str) -> str:
    """Column of a device counter: its name, and its unit unless the name already ends in it."""
    suffix = _UNIT_SUFFIXES.get(unit, unit)
    return name if not suffix or name.endswith(f"_{suffix}") else f"{name}_{suffix}"


def figures(run: Run) -> dict[str, int | float]:
    """The metrics and counters that the run has, by column."""
    found: dict[str, int | float] = {
        metric.name: figure for metric in METRICS if (figure := metric.of(run)) is not None
    }
    return found | counters_of(run)


def counters_of(run: Run) -> dict[str, int | float]:
    """The device's counters by column; none takes the name of a metric."""
    found: dict[str, int | float] = {}
    for name, (value, unit) in run.counters.items():
        column = counter_column(name, unit)
        found[column if column not in BY_NAME else f"counter_{column}"] = value
    return found


BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}

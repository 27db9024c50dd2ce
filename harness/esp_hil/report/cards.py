"""Everything about one run, as the page shows it when the run is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from esp_hil.counters import COUNT
from esp_hil.energy.figures import battery_days
from esp_hil.errors import ConfigError
from esp_hil.esp.sdkconfig import Value
from esp_hil.report.memory import BYTES, memory_rows
from esp_hil.report.plots import Svg, current_trace, lsb_bins, lsb_histogram, repetitions
from esp_hil.report.view import PrintedRun, milliseconds, size
from esp_hil.results.metrics import figure_of, latency_of
from esp_hil.results.record import Check, DeviceRow, Layer, LinkStats, Run, ShownInput
from esp_hil.results.text import clean
from esp_hil.results.timing.layers import LayerTime, expected, layer_times, outlier_of
from esp_hil.results.timing.predict import predict
from esp_hil.results.timing.published import published_of, spread_words
from esp_hil.results.timing.roofline import Machine, Roofline, roofline
from esp_hil.targets import targets
from esp_hil.verdict.difference import IntegerDiff

_SAVED = re.compile(r"divergence/[A-Za-z0-9][A-Za-z0-9._-]*\.npz")

BATTERY_WH = 3.7
"""1,000 mAh at 3.7 V: what a battery's life is told for."""

MOST_CLASSES = 40
"""More classes than this make no matrix that one could read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One layer: its median time, its share of the sum in percent, and what limits it.

    `expected` is what is predicted for it; "" of a simulated run, and where nothing is. `utilisation` is the share of
    the chip's multiply peak in percent; None where it is not known.
    """

    name: str
    operator: str
    time: str
    expected: str
    share: float
    macs: str
    utilisation: float | None
    limit: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionCell:
    """How often, as a share of the row, and whether it is the right class."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Label by label, what the device chose: rows are labels, columns choices."""

    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[ConfusionCell]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One class of a shown input: bars of its number and of its share, in percent of their box."""

    label: str
    raw: str
    real: str
    raw_bar: float
    share: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCard:
    """An input with what the device answered for each class; `right` is None if its class is not known."""

    input: str
    label: str
    right: bool | None
    rows: Sequence[ScoreRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongTensor:
    """The first wrong tensor: where, why, its histogram, the values around the worst, and where all of them are."""

    place: str
    why: str
    tensor: str
    summary: str
    svg: Svg
    low: str
    high: str
    around: Sequence[tuple[str, str, str, str]]
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyTrace:
    """What a meter saw of the first window and its idle time: the plot, its length and its largest current."""

    svg: Svg
    seconds: str
    most: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything about one run."""

    number: int
    line: PrintedRun
    verdict: Sequence[tuple[str, ...]]
    repetitions: Svg
    fastest: str
    slowest: str
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    layers: Sequence[LayerRow]
    outlier: str
    confusion: Confusion | None
    memory: Sequence[tuple[str, str, str, str]]
    scores: Sequence[ScoreCard]
    checks: Sequence[Check]
    wrong: WrongTensor | None
    energy: EnergyTrace | None


def card_of(number: int, line: PrintedRun, config: Mapping[str, Value] | None = None) -> Card:
    """The card of the run with that number on the page; `config` is its firmware's sdkconfig, if that is kept."""
    run, latency = line.run, latency_of(line.run)
    expectation = None if run.simulated or not run.layers else expected(run, config)
    return Card(
        number=number,
        line=line,
        verdict=[tuple(clean(cell) for cell in row) for row in run.verdict.table()] if run.verdict else (),
        repetitions=repetitions(run.cycles, simulated=run.simulated) if latency else "",
        fastest=milliseconds(latency.min_ms) if latency else "",
        slowest=milliseconds(latency.max_ms) if latency else "",
        facts=_facts(line),
        layers=_layers(line, layer_times(run, expectation[1]) if expectation else ()),
        outlier=clean(outlier_of(run, *expectation)) if expectation else "",
        confusion=_confusion(run),
        memory=_memory(run),
        scores=[_scores(shown) for shown in run.shown],
        wrong=_wrong(run),
        energy=_energy_trace(run),
        checks=[
            replace(check, name=clean(check.name), message=clean(check.message))
            for check in {check.message: check for check in run.red_checks}.values()
        ],
    )


def _wrong(run: Run) -> WrongTensor | None:
    found = run.first_wrong
    if found is None:
        return None
    bins = lsb_bins(found.diff) if isinstance(found.diff, IntegerDiff) else ()
    return WrongTensor(
        place=clean(found.place),
        why=clean(found.why),
        tensor=clean(f"{found.tensor} {list(found.shape)}, {found.scale}"),
        summary=clean(found.diff.summary),
        svg=lsb_histogram(found.diff) if isinstance(found.diff, IntegerDiff) else "",
        low=bins[0][0] if bins else "",
        high=bins[-1][0] if bins else "",
        around=[
            (str(list(near.index)), f"{near.got:g}", f"{near.expected:g}", f"{near.got - near.expected:+g}")
            for near in found.around
        ],
        # a row may come from anybody: only what the suites write is linked
        file=found.file if _SAVED.fullmatch(found.file) else "",
    )


def _scores(shown: ShownInput) -> ScoreCard:
    """The bars of raw numbers reach from the lowest to the highest of them, 0 among them; shares from 0 to 1."""
    raws = [score.raw for score in shown.scores if score.raw is not None]
    low, high = min([*raws, 0.0]), max([*raws, 0.0])
    rows = [
        ScoreRow(
            label=clean(score.label),
            raw="" if score.raw is None else f"{score.raw:g}",
            real="" if score.real is None else f"{score.real:.4g}",
            raw_bar=0.0 if score.raw is None or high == low else 100 * (score.raw - low) / (high - low),
            share=100 * min(1.0, max(0.0, score.share)),
            chosen=score.chosen,
        )
        for score in shown.scores
    ]
    chosen = next((score.label for score in shown.scores if score.chosen), "")
    return ScoreCard(
        input=clean(shown.input),
        label=clean(shown.label),
        right=chosen == shown.label if shown.label else None,
        rows=rows,
    )


def _facts(line: PrintedRun) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled lists of name and value."""
    run = line.run
    simulated = {"silicon": "", "emulated": " (emulated)", "virtual": " (simulated)"}[run.kind]
    timed = f" ({figure_of(run)})" if run.kind == "virtual" else simulated
    lists: dict[str, dict[str, object]] = {
        "Run": {
            "kind": run.kind,
            "location": run.location,
            "cores": run.cores_used,
            "inputs": run.inputs,
            "warm-up": run.warmup,
            f"cold{timed}": line.cold or "-",
            f"median{timed}": line.spread or "-",
            "rules": line.validity,
            "wall time": f"{run.duration_s:.2f} s",
            **_around(run),
            "id": run.run_id,
        },
        "Energy (simulated)" if run.energy is not None and run.energy.simulated else "Energy": _energy(run),
        "Plausibility": _plausibility(run),
        "Device": _device(run.device) if run.device else {},
        f"Counters{simulated}": {name: _counted(value, unit) for name, (value, unit) in run.counters.items()},
        "Line": _link(run.link) if run.link else {},
        "Made from": {
            "esp-hil": run.provenance.harness,
            "git": (run.provenance.git_sha[:10] or "-") + (" dirty" if run.provenance.dirty else ""),
            "model": run.provenance.model_sha256[:12],
            "golden": run.provenance.golden_sha256[:12],
            **run.provenance.tools,
        },
    }
    return [
        (title, [(clean(name), clean(str(value))) for name, value in pairs.items()])
        for title, pairs in lists.items()
        if pairs
    ]


def _energy_trace(run: Run) -> EnergyTrace | None:
    energy = run.energy
    if energy is None or energy.sketch is None or not (svg := current_trace(energy.sketch)):
        return None
    sketch = energy.sketch
    return EnergyTrace(
        svg=svg,
        seconds=f"{sketch.step_s * len(sketch.mean_ma):.3g} s",
        most=f"up to {max(*sketch.peak_ma, *sketch.mean_ma):.4g} mA",
        title=clean(f"current by {energy.meter}" + (", simulated" if energy.simulated else "")),
    )


def _energy(run: Run) -> dict[str, object]:
    """Figures of the windows, or why there are none; a battery that does nothing but feed this."""
    energy = run.energy
    if energy is None:
        return {}
    meter = f"{energy.meter} {energy.serial}".strip() + f", {energy.sample_hz:g} samples/s"
    if not energy.valid:
        return {"no figure": energy.summary, "meter": meter}
    spread = [window.energy_mj for window in energy.windows]
    days = [battery_days(energy, battery_wh=BATTERY_WH, every_s=every_s) for every_s in (1.0, 60.0)]
    return {
        "one inference": f"{energy.energy_mj:.4g} mJ ({min(spread):.4g} to {max(spread):.4g} of {len(spread)})",
        "with its idle share": f"{energy.median(lambda window: window.whole_mj):.4g} mJ",
        "idle": f"{energy.median(lambda window: window.idle_mw):.4g} mW",
        "working": f"{energy.median(lambda window: window.mean_mw):.4g} mW, "
        f"{max(window.peak_ma for window in energy.windows):.4g} mA at most",
        f"battery of {BATTERY_WH:g} Wh": f"{days[0]:.3g} days at one inference a second, "
        f"{days[1]:.3g} at one a minute, idle in between",
        "meter": meter,
        "calibration": energy.calibration or "-",
    }


def _around(run: Run) -> dict[str, object]:
    """What passed around the inference, as far as it was taken."""
    told: dict[str, object] = {}
    if run.steps is not None:
        told["load"] = milliseconds(run.steps.load_ms)
        told["before an inference, on the host"] = milliseconds(run.steps.pre_ms)
        if run.steps.post_ms is not None:
            told["after it, on the host"] = milliseconds(run.steps.post_ms)
    if run.leak_bytes is not None:
        told["leak of a load"] = size(run.leak_bytes) if run.leak_bytes else "none"
    if run.clock is not None and run.clock.timer_us:
        told["CPU by the device's timer"] = f"{run.clock.cycles / run.clock.timer_us:.4g} MHz"
    return told


def _predicted_words(run: Run, measured: float | None) -> str:
    """As `5.1 ms (4.1 to 6.4 ms); this run takes 1.2 times as long`."""
    ms = run.predicted["latency_ms"][0]
    # another program's rows may lack the band
    low, high = (run.predicted.get(f"latency_{end}_ms", (ms,))[0] for end in ("low", "high"))
    said = f"{ms:.3g} ms" + (
        f" (80 % of models lie between {low:.3g} and {high:.3g} ms)" if low < high else ""
    )
    if measured is None:
        return said
    outside = (
        "" if low <= measured <= high else ": settings, memory or a kernel differ (hil predict tells which)"
    )
    return f"{said}; this run takes {measured / ms:.2g} times that{outside}"


def _plausibility(run: Run) -> dict[str, object]:
    """What others have published for this model and chip, and what is predicted from all of them.

    Where a simulated latency lies among them says nothing, so that is not told.
    """
    latency = latency_of(run)
    measured = latency.median_ms if latency and not run.simulated else None
    found = published_of(run.model, run.target, run.runtime, run.macs)
    told: dict[str, object] = {}
    if found:
        told["published"] = spread_words(found, measured)
        told |= {
            f"source {number}": f"{row.summary}, {row.source}"
            for number, row in enumerate(found[:6], start=1)
        }
    chip = targets().get(run.target)
    if "latency_ms" in run.predicted:
        told["prediction"] = _predicted_words(run, measured)
    elif run.macs and chip is not None:
        try:
            told["prediction"] = predict(run.macs, chip, runtime=run.runtime).summary
        except ConfigError:
            told["prediction"] = "none: too few published models for this kind of chip"
    return told


def _counted(value: float, unit: str) -> str:
    """A counter as printed: bytes as everywhere, a plain number without a unit, never in powers of ten."""
    if unit in BYTES:
        return size(value)
    number = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}".rstrip("0")
    return number if unit in {"", COUNT} else f"{number} {unit}"


def _device(chip: DeviceRow) -> dict[str, object]:
    return {
        "chip": f"{chip.chip} v{chip.revision // 100}.{chip.revision % 100}",
        "clock": f"{chip.clock_hz / 1e6:g} MHz",
        "flash": size(chip.flash_bytes),
        "PSRAM": size(chip.psram_bytes),
        "ESP-IDF": chip.idf,
        "engine": f"{chip.engine} {chip.engine_version}",
        "MAC": chip.mac or "-",
        "sdkconfig": chip.sdkconfig_sha256[:12],
        "image": chip.image_sha256[:12],
    }


def _link(link: LinkStats) -> dict[str, object]:
    return {
        "sent": size(link.bytes_up),
        "received": size(link.bytes_down),
        "time": f"{link.seconds:.2f} s",
        "retransmissions": link.retransmissions,
        "errors": link.errors,
    }


def _layers(line: PrintedRun, times: Sequence[LayerTime]) -> list[LayerRow]:
    layers = line.run.layers or ()
    medians = [sorted(layer.cycles)[len(layer.cycles) // 2] if layer.cycles else 0 for layer in layers]
    total = sum(medians) or 1
    machine = machine_of(line.run)
    rows = [
        _layer(layer, cycles, 100 * cycles / total, machine)
        for layer, cycles in zip(layers, medians, strict=True)
    ]
    if not times:
        return rows
    return [
        replace(row, expected=milliseconds(time.node.ms) if time.node.ms else "")
        for row, time in zip(rows, times, strict=True)
    ]


def machine_of(run: Run) -> Machine | None:
    """The chip that ran it, for its roofline; None if it is not known."""
    chip = targets().get(run.target)
    if chip is None or run.device is None:
        return None
    return Machine(
        target=chip, clock_hz=run.device.clock_hz, cores=run.cores_used, psram=run.device.psram_bytes > 0
    )


def _layer(layer: Layer, cycles: int, share: float, machine: Machine | None) -> LayerRow:
    found = _roofline(layer, cycles, machine)
    return LayerRow(
        name=clean(layer.name),
        operator=clean(layer.operator),
        time=milliseconds(1e3 * cycles / machine.clock_hz) if machine and cycles else "",
        expected="",
        share=share,
        macs=f"{layer.macs:,}" if layer.macs is not None else "",
        utilisation=min(100.0, 100 * found.utilisation) if found else None,
        limit=found.limit if found else "",
        summary=found.summary if found else "",
    )


def _roofline(layer: Layer, cycles: int, machine: Machine | None) -> Roofline | None:
    """None where nothing was timed, or the graph does not tell the layer's work, or there is none."""
    parameters, activations = layer.parameter_bytes, layer.activation_bytes
    if machine is None or not cycles or layer.macs is None or parameters is None or activations is None:
        return None
    if not layer.macs + parameters + activations:
        return None
    return roofline(
        machine,
        cycles / machine.clock_hz,
        macs=layer.macs,
        parameter_bytes=parameters,
        activation_bytes=activations,
        bits=layer.bits,
    )


def _confusion(run: Run) -> Confusion | None:
    if not run.confusion:
        return None
    classes = sorted({index for label, choice, _ in run.confusion for index in (label, choice)})
    if len(classes) > MOST_CLASSES:
        return None
    counts = {(label, choice): count for label, choice, count in run.confusion}
    names = [clean(run.labels[c]) if 0 <= c < len(run.labels) else str(c) for c in classes]
    rows = []
    for name, label in zip(names, classes, strict=True):
        of_label = [counts.get((label, choice), 0) for choice in classes]
        total = sum(of_label) or 1
        cells = [
            ConfusionCell(count=count, share=count / total, right=choice == label)
            for choice, count in zip(classes, of_label, strict=True)
        ]
        rows.append((name, cells))
    return Confusion(names=names, rows=rows)


def _memory(run: Run) -> list[tuple[str, str, str, str]]:
    """Name, measured, predicted, difference; as printed."""
    printed = []
    for row in memory_rows(run):
        apart = (
            "" if row.difference is None else f"{row.difference:+,} B" if row.difference else "as predicted"
        )
        measured = "" if row.measured is None else size(row.measured)
        predicted = "" if row.predicted is None else size(row.predicted)
        printed.append((clean(row.name), measured, predicted, apart))
    return printed

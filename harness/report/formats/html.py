"""The page that people read: one file, no network, no script; light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import __version__
from harness.compare import IntegerDiff
from harness.metrics import latency_of
from harness.record import DeviceInfo, LinkStats
from harness.report.plots import Axis, Svg, latency_row, lsb_bins, lsb_histogram, repetitions
from harness.report.report import Report
from harness.report.view import SIMULATED_BANNER, Line, clean, milliseconds, size

FILE = "report.html"

MAX_CARDS = 300
"""Runs with plots and details of their own; the page says how many more there are in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One row of the latency plot."""

    line: Line
    svg: Svg


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPlot:
    """The LSB histogram of one integer output: its bins' labels at the ends, and what differs in words."""

    line: Line
    output: str
    svg: Svg
    low: str
    high: str
    words: str
    price: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One layer: its median time and its share of the sum, in percent."""

    name: str
    operator: str
    time: str
    share: float
    macs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything about one run."""

    anchor: str
    line: Line
    verdict: Sequence[tuple[str, ...]]
    repetitions: Svg
    fastest: str
    slowest: str
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    layers: Sequence[LayerRow]


def render(report: Report, path: Path) -> None:
    """Write the page; runs that are not ok get the first cards if there are more than MAX_CARDS."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,  # a model called <script> is text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbered = list(enumerate(report.lines, start=1))
    chosen = sorted(numbered, key=lambda item: item[1].status == "ok")[:MAX_CARDS]
    axis, rows = _latency([line for _, line in chosen])
    page = environment.get_template("report.html.j2").render(
        version=__version__,
        when=_when(report),
        revisions=sorted({clean(run.provenance.git_sha[:10]) for run in report.runs} - {""}),
        tally=report.tally,
        banner=SIMULATED_BANNER if report.tally.simulated else "",
        warnings=report.warnings,
        lines=[(f"run-{number}", line) for number, line in numbered],
        carded={number for number, _ in chosen},
        ticks=[(_tick(ms), axis.place(ms)) for ms in axis.ticks()] if axis else [],
        latency=rows,
        errors=[plot for _, line in chosen for plot in _errors(line)],
        cards=[_card(f"run-{number}", line) for number, line in chosen],
        more=len(numbered) - len(chosen),
    )
    path.write_text(page, encoding="utf-8")


def _when(report: Report) -> str:
    first, last = min(run.started_utc for run in report.runs), max(run.started_utc for run in report.runs)
    return clean(first if first == last else f"{first} to {last}")


def _tick(ms: float) -> str:
    return f"{ms:g} ms" if 0.001 <= ms < 100_000 else f"{ms / 1000:.0f} s" if ms >= 1 else f"{1e3 * ms:g} us"


def _latency(lines: Sequence[Line]) -> tuple[Axis | None, list[LatencyRow]]:
    timed = [(line, found) for line in lines if (found := latency_of(line.run)) is not None]
    if not timed:
        return None, []
    axis = Axis.over([found for _, found in timed])
    timed.sort(key=lambda item: (item[0].model, item[1].median_ms))
    rows = [
        LatencyRow(line=line, svg=latency_row(found, axis, simulated=line.run.simulated))
        for line, found in timed
    ]
    return axis, rows


def _errors(line: Line) -> list[ErrorPlot]:
    plots = []
    for output in line.run.verdict.outputs if line.run.verdict else ():
        diff, price = output.device_vs_exact, output.quantized_vs_float
        if isinstance(diff, IntegerDiff):
            bins = lsb_bins(diff)
            plots.append(
                ErrorPlot(
                    line=line,
                    output=clean(output.name),
                    svg=lsb_histogram(diff),
                    low=bins[0][0],
                    high=bins[-1][0],
                    words=clean(diff.words),
                    price=f"RMSE {price.rmse:.3g}, cosine {price.cosine:.5f}" if price else "",
                )
            )
    return plots


def _card(anchor: str, line: Line) -> Card:
    run, latency = line.run, latency_of(line.run)
    return Card(
        anchor=anchor,
        line=line,
        verdict=[tuple(clean(cell) for cell in row) for row in run.verdict.table()] if run.verdict else (),
        repetitions=repetitions(run.cycles, simulated=run.simulated) if latency else "",
        fastest=milliseconds(latency.min_ms) if latency else "",
        slowest=milliseconds(latency.max_ms) if latency else "",
        facts=_facts(line),
        layers=_layers(line),
    )


def _facts(line: Line) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled lists of name and value."""
    run = line.run
    simulated = " (simulated)" if run.simulated else ""
    lists: dict[str, dict[str, object]] = {
        "Run": {
            "kind": run.kind,
            "location": run.location,
            "cores": run.cores_used,
            "inputs": run.inputs,
            "warm-up": run.warmup,
            f"cold{simulated}": line.cold or "-",
            f"median{simulated}": line.spread or "-",
            "rules": line.validity,
            "wall time": f"{run.duration_s:.2f} s",
            "id": run.run_id,
        },
        "Device": _device(run.device) if run.device else {},
        f"Counters{simulated}": {
            name: size(value) if unit == "B" else f"{value:g} {unit}"
            for name, (value, unit) in run.counters.items()
        },
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


def _device(chip: DeviceInfo) -> dict[str, object]:
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


def _layers(line: Line) -> list[LayerRow]:
    layers = line.run.layers or ()
    medians = [sorted(layer.cycles)[len(layer.cycles) // 2] if layer.cycles else 0 for layer in layers]
    total = sum(medians) or 1
    clock_hz = line.run.device.clock_hz if line.run.device else 0
    return [
        LayerRow(
            name=clean(layer.name),
            operator=clean(layer.operator),
            time=milliseconds(1e3 * cycles / clock_hz) if clock_hz else "",
            share=100 * cycles / total,
            macs=f"{layer.macs:,}" if layer.macs is not None else "",
        )
        for layer, cycles in zip(layers, medians, strict=True)
    ]

"""The page that people read: one file, no network; light and dark, wide and narrow, with and without a mouse.

Everything is there without a script as far as MAX_CARDS runs go; the script sorts, filters and compares, and
shows all rows however many there are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from esp_hil.esp.sdkconfig import EFFECTS, Value
from esp_hil.report.before_after import COLUMNS, before_after
from esp_hil.report.cards import card_of
from esp_hil.report.columns import page_data
from esp_hil.report.details import details_of, differing
from esp_hil.report.mlperf import mlperf_rows
from esp_hil.report.plots import LogAxis, Svg, latency_row, lsb_bins, lsb_histogram
from esp_hil.report.report import Report
from esp_hil.report.templating import template
from esp_hil.report.timeline import timelines
from esp_hil.report.tradeoff import tradeoffs
from esp_hil.report.view import PrintedRun
from esp_hil.results.metrics import latency_of
from esp_hil.results.outcome import deciding
from esp_hil.results.provenance import BRANCH
from esp_hil.results.record import Run
from esp_hil.results.text import clean
from esp_hil.settings import VERSION
from esp_hil.verdict.verdict import IntegerDiff

FILE = "report.html"

MAX_CARDS = 300
"""Runs with plots and details of their own; the page says how many more there are in the table."""

MOST_TROUBLES = 8
"""Runs that are not ok, said at the head of the page; the table has them all, the worst first."""

SCRIPTS = ("state.js", "grid.js", "compare.js", "page.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One row of the latency plot."""

    number: int
    line: PrintedRun
    svg: Svg


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPlot:
    """The LSB histogram of one integer output: its bins' labels at the ends, and what differs in words."""

    number: int
    line: PrintedRun
    output: str
    svg: Svg
    low: str
    high: str
    summary: str
    price: str


def _config(report: Report, run: Run) -> Mapping[str, Value] | None:
    """The configuration of a run's firmware, if it was kept beside the rows."""
    return report.configs.get(run.device.sdkconfig_sha256) if run.device else None


def render(report: Report, path: Path) -> None:
    """Write the page; runs that are not ok get the first cards if there are more than MAX_CARDS."""
    chosen = [(number + 1, report.line(number)) for number in report.numbers(MAX_CARDS)]
    counts = deciding(report.runs)
    troubles = [(number, line) for number, line in chosen if line.status != "ok" and counts[number - 1]]
    axis, rows = _latency(chosen)
    script = script_text()
    page = template("report.html.j2").render(
        version=VERSION,
        when=_when(report),
        tally=report.tally,
        banners=report.tally.banners,
        warnings=report.warnings,
        lines=chosen,
        troubles=troubles[:MOST_TROUBLES],
        change_columns=list(COLUMNS),
        ticks=[(_tick(ms), axis.place(ms)) for ms in axis.ticks()] if axis else [],
        latency=rows,
        errors=sorted(
            (plot for number, line in chosen for plot in _errors(number, line)),
            key=lambda plot: plot.line.status == "ok",
        ),
        cards=[card_of(number, line, _config(report, line.run)) for number, line in chosen],
        more=len(report.runs) - len(chosen),
        timelines=timelines(report.history),
        changes=before_after(report.comparison, report.history) if report.comparison else [],
        compared=clean(report.comparison.summary) if report.comparison else "",
        about=about(report),
        tradeoffs=tradeoffs(report.runs),
        mlperf=mlperf_rows(report.runs),
        data=page_data(
            report.runs,
            report.latencies,
            report.validities,
            details={number: details_of(line.run) for number, line in chosen},
            configs=differing(report.configs),
            effects=dict(EFFECTS),
        ),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    path.write_text(page, encoding="utf-8")


def script_text() -> str:
    """The page's script: its parts in their order, in a function of their own."""
    folder = resources.files("esp_hil.report").joinpath("templates")
    parts = [folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


def about(report: Report) -> list[tuple[str, str]]:
    """What the head of the page says of where the rows come from: name and value."""
    runs = report.runs

    def distinct(values: Iterable[str]) -> str:
        found = sorted({clean(value) for value in values} - {""})
        return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")

    told = {
        "commit": distinct(
            run.provenance.git_sha[:10]
            + ("+changes" if run.provenance.dirty and run.provenance.git_sha else "")
            for run in runs
        ),
        "branch": distinct(run.provenance.tools.get(BRANCH, "") for run in runs),
        "host": distinct(run.provenance.machine[:24] for run in runs),
        "esp-hil": distinct(run.provenance.harness for run in runs),
        "ESP-IDF": distinct(run.device.idf for run in runs if run.device and run.kind != "virtual"),
        "engine": distinct(f"{run.device.engine} {run.device.engine_version}" for run in runs if run.device),
        "baseline": clean(report.baseline),
    }
    return [(name, value) for name, value in told.items() if value]


def _when(report: Report) -> str:
    starts = [run.started_utc[:16].replace("T", " ") for run in report.runs]
    first, last = min(starts), max(starts)
    return clean(f"{first} UTC" if first == last else f"{first} to {last} UTC")


def _tick(ms: float) -> str:
    return f"{ms:g} ms" if 0.001 <= ms < 100_000 else f"{ms / 1000:.0f} s" if ms >= 1 else f"{1e3 * ms:g} us"


def _latency(lines: Sequence[tuple[int, PrintedRun]]) -> tuple[LogAxis | None, list[LatencyRow]]:
    timed = [(number, line, found) for number, line in lines if (found := latency_of(line.run)) is not None]
    if not timed:
        return None, []
    axis = LogAxis.over([found for _, _, found in timed])
    timed.sort(key=lambda item: (item[1].model, item[2].median_ms))
    rows = [
        LatencyRow(number=number, line=line, svg=latency_row(found, axis, simulated=line.run.simulated))
        for number, line, found in timed
    ]
    return axis, rows


def _errors(number: int, line: PrintedRun) -> list[ErrorPlot]:
    plots = []
    for output in line.run.verdict.outputs if line.run.verdict else ():
        diff, price = output.device_vs_exact, output.quantized_vs_float
        if isinstance(diff, IntegerDiff):
            bins = lsb_bins(diff)
            plots.append(
                ErrorPlot(
                    number=number,
                    line=line,
                    output=clean(output.name),
                    svg=lsb_histogram(diff),
                    low=bins[0][0],
                    high=bins[-1][0],
                    summary=clean(diff.summary),
                    price=f"RMSE {price.rmse:.3g}, cosine {price.cosine:.5f}" if price else "",
                )
            )
    return plots

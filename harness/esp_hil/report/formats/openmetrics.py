"""Figures for dashboards, in the text format of OpenMetrics 1.0 (Prometheus reads it as well).

A dashboard keeps its own history, so each series has one sample: the latest row of what was run on that board.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from esp_hil.report.report import Report
from esp_hil.results.metrics import figure_of, figures
from esp_hil.results.outcome import deciding
from esp_hil.results.record import Run
from esp_hil.results.text import clean

FILE = "metrics.txt"

PREFIX = "hil"


def render(report: Report, path: Path) -> None:
    """Write one gauge a figure, with one sample a series; the label `figure` says which are measured."""
    latest: dict[str, int] = {}
    counts = deciding(report.runs)
    for number, run in enumerate(report.runs):
        if not counts[number]:
            continue  # the confirming run of one that got worse would say that all is well
        labels = _labels(run)
        if labels not in latest or _age(run) >= _age(report.runs[latest[labels]]):
            latest[labels] = number
    families: dict[str, list[str]] = {}
    for labels, number in latest.items():
        run = report.runs[number]
        stamp = _stamp(run.started_utc)
        families.setdefault(f"{PREFIX}_run_info", []).append(
            f"{PREFIX}_run_info{{{labels},{_origin(run)}}} 1{stamp}"
        )
        for name, value in _figures(run):
            families.setdefault(name, []).append(f"{name}{{{labels}}} {_number(value)}{stamp}")
    lines = []
    for name in sorted(families):
        lines += [f"# TYPE {name} gauge", *families[name]]
    path.write_text("\n".join([*lines, "# EOF"]) + "\n", encoding="utf-8")


def _age(run: Run) -> tuple[str, int]:
    return run.started_utc, run.attempt


def _figures(run: Run) -> Iterator[tuple[str, float]]:
    yield f"{PREFIX}_passed", float(run.passed)
    for name, value in figures(run).items():
        yield f"{PREFIX}_{_name(name)}", float(value)


def _name(text: str) -> str:
    """A name as the format allows it: letters, digits and underscores."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text)


def _labels(run: Run) -> str:
    pairs: Mapping[str, str] = {
        "model": run.model,
        "recipe": run.recipe,
        "runtime": run.runtime,
        "target": run.target,
        "board": run.board,
        "kind": run.kind,
        "figure": figure_of(run),
    }
    return _joined(pairs)


def _origin(run: Run) -> str:
    """What tells one row from the other rows of its series; labels of a figure would make a series of each."""
    return _joined({"run_id": run.run_id, "git_sha": run.provenance.git_sha, "attempt": str(run.attempt)})


def _joined(pairs: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items())


def _escaped(text: str) -> str:
    return clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _stamp(started_utc: str) -> str:
    """Seconds since 1970 after a space; nothing for a start that is not a time."""
    try:
        return f" {datetime.fromisoformat(started_utc).timestamp():.3f}"
    except ValueError:
        return ""

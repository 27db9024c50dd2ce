"""Runs as a tidy table: one row a run, one column a figure, the same columns whatever the runs hold.

What a virtual board says of its speed and memory stands in columns of its own, `simulated_...`, and what an
emulated one says of its memory in `emulated_...`, so that no mean over a column mixes it with what a chip said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from esp_hil.report.view import clean
from esp_hil.results.metrics import METRICS
from esp_hil.results.outcome import reason_of, status_of
from esp_hil.results.record import BoardKind, DeviceInfo, Run
from esp_hil.results.validity import Validity, check

Cell = str | bool | int | float | None

SIMULATED_PREFIX = "simulated_"

PREFIXES: Mapping[BoardKind, str] = {"silicon": "", "emulated": "emulated_", "virtual": SIMULATED_PREFIX}
"""Of the columns of speed and memory, by what answered; an emulator has no figure of speed at all."""

_LATENCY_UNITS: Mapping[BoardKind, str] = {"silicon": "ms", "emulated": "", "virtual": "ms (simulated)"}

_TEXTS: dict[str, Callable[[Run], str | None]] = {
    "run_id": lambda run: run.run_id,
    "session_id": lambda run: run.session_id,
    "started_utc": lambda run: run.started_utc,
    "model": lambda run: run.model,
    "recipe": lambda run: run.recipe,
    "runtime": lambda run: run.runtime,
    "target": lambda run: run.target,
    "board": lambda run: run.board,
    "kind": lambda run: run.kind,
    "location": lambda run: run.location,
    "status": status_of,
    "failure_class": lambda run: run.failure.kind if run.failure else None,
    "failure_step": lambda run: run.failure.step if run.failure else None,
    "failure_message": lambda run: run.failure.message if run.failure else None,
    "reason": reason_of,
    "divergence": lambda run: run.divergence or None,
    "checks_failed": lambda run: " ".join(check.name for check in run.red_checks) or None,
    "machine": lambda run: run.provenance.machine or None,
    "verdict": lambda run: run.verdict.words if run.verdict else None,
    "harness": lambda run: run.provenance.harness,
    "git_sha": lambda run: run.provenance.git_sha,
    "model_sha256": lambda run: run.provenance.model_sha256,
    "golden_sha256": lambda run: run.provenance.golden_sha256,
    "latency_unit": lambda run: _LATENCY_UNITS[run.kind],
}
_DEVICE_TEXTS = ("chip", "idf", "engine", "engine_version", "sdkconfig_sha256", "image_sha256", "mac")
_DEVICE_NUMBERS = ("revision", "cores", "clock_hz", "flash_bytes", "psram_bytes", "protocol")
_NUMBERS: dict[str, Callable[[Run], int | None]] = {
    "attempt": lambda run: run.attempt,
    "checks": lambda run: len(run.checks),
    "cores_used": lambda run: run.cores_used,
    "inputs": lambda run: run.inputs,
    "warmup": lambda run: run.warmup,
    "macs": lambda run: run.macs,
}
_FLAGS: dict[str, Callable[[Run], bool]] = {
    "simulated": lambda run: run.simulated,
    "passed": lambda run: run.passed,
    "dirty": lambda run: run.provenance.dirty,
}
_UNIT_SUFFIXES = {"B": "bytes", "%": "pct", "Hz": "hz", "1/s": "per_s", "B/s": "bytes_per_s"}


def figures(run: Run) -> dict[str, int | float]:
    """The metrics and counters that the run has, by column."""
    found: dict[str, int | float] = {}
    prefix = PREFIXES[run.kind]
    for metric in METRICS:
        figure = metric.of(run)
        if figure is not None:
            found[f"{prefix if metric.of_device else ''}{metric.name}"] = figure
    for name, (value, unit) in run.counters.items():
        found[f"{prefix}{counter_column(name, unit)}"] = value
    return found


def counter_column(name: str, unit: str) -> str:
    """Column of a device counter: its name, and its unit unless the name already ends in it."""
    suffix = _UNIT_SUFFIXES.get(unit, unit)
    named = not suffix or name.endswith(f"_{suffix}")
    return clean(f"counter_{name}" if named else f"counter_{name}_{suffix}")


def frame(
    runs: Sequence[Run],
    found: Sequence[dict[str, int | float]] | None = None,
    validities: Sequence[Validity] | None = None,
) -> pd.DataFrame:
    """The table of the runs, in their order.

    Text columns are `string`, whole numbers `Int64`, other figures `float64`, flags `bool`. The columns of
    METRICS and their simulated twins are always there; counters, which firmware is free to add, come last,
    in the order of names.

    Args:
        runs: the rows.
        found: `figures` of each, if they are known already.
        validities: what `esp_hil.results.validity.check` says of each, if that is known already.
    """
    found = [figures(run) for run in runs] if found is None else found
    validities = [check(run) for run in runs] if validities is None else validities
    columns: dict[str, pd.Series] = {}
    for name, flag in _FLAGS.items():
        columns[name] = pd.Series([flag(run) for run in runs], dtype="bool")
    for name, text in _TEXTS.items():
        columns[name] = _texts([text(run) for run in runs])
    columns["validity"] = _texts([validity.words for validity in validities])
    columns["validity_codes"] = _texts([" ".join(validity.codes) for validity in validities])
    for name in _DEVICE_TEXTS:
        columns[name] = _texts([_of_device(run.device, name) for run in runs])
    for name in _DEVICE_NUMBERS:
        columns[name] = pd.Series([_of_device(run.device, name) for run in runs], dtype="Int64")
    for name, number in _NUMBERS.items():
        columns[name] = pd.Series([number(run) for run in runs], dtype="Int64")
    for name, dtype in _figure_columns(found).items():
        columns[name] = pd.Series([row.get(name) for row in found], dtype=dtype)
    order = ["run_id", "model", "recipe", "runtime", "target", "board", "kind", "simulated", "status"]
    return pd.DataFrame(columns)[order + [name for name in columns if name not in order]]


def _figure_columns(found: Sequence[dict[str, int | float]]) -> dict[str, str]:
    """Column -> dtype of all figures: the metrics, their simulated twins, then the counters there are."""
    dtypes = {}
    for prefix in ("", SIMULATED_PREFIX):
        for metric in METRICS:
            if metric.of_device or not prefix:
                dtypes[f"{prefix}{metric.name}"] = "Int64" if metric.whole else "float64"
    counters = {name for row in found for name in row} - dtypes.keys()
    return dtypes | dict.fromkeys(sorted(counters), "float64")


def _of_device(device: DeviceInfo | None, name: str) -> Cell:
    return None if device is None else getattr(device, name)


def _texts(values: Sequence[Cell]) -> pd.Series:
    return pd.Series([clean(value) if isinstance(value, str) else None for value in values], dtype="string")

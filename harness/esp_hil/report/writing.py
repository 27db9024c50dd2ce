"""Finds the formats and writes each of them."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from esp_hil.errors import ReportError, cannot_write
from esp_hil.report import formats as package
from esp_hil.report.report import Report
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run

if TYPE_CHECKING:
    from esp_hil.report.details import Config
    from esp_hil.results.history import HistoryLine
    from esp_hil.results.regress import Comparison


def format_names() -> tuple[str, ...]:
    """The formats there are, by listing their folder."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(package.__path__)))


def write(
    runs: Sequence[Run] | Path,
    out_dir: Path,
    *,
    formats: Sequence[str] | None = None,
    warnings: Sequence[str] = (),
    history: Sequence[HistoryLine] = (),
    configs: Mapping[str, Config] | None = None,
    comparison: Comparison | None = None,
    baseline: str = "",
) -> dict[str, Path]:
    """Write the reports; see `esp_hil.report.write_reports`."""
    if isinstance(runs, Path):
        recorded = read_runs(runs)
        runs, warnings = recorded.runs, (*warnings, *recorded.warnings)
    if not runs:
        raise ReportError("no runs to report", hint="run the suites first", step="report")
    chosen = _modules(formats)
    report = Report(
        runs, warnings, history=history, configs=configs or {}, comparison=comparison, baseline=baseline
    )
    written: dict[str, Path] = {}
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name, module in chosen.items():
            written[name] = _replace(out_dir / module.FILE, module, report)
    except OSError as error:
        raise ReportError(
            f"cannot write {error.filename or out_dir}: {error.strerror or error}",
            hint="give a folder that can be written with --out (of a test run: --results, pytest --hil-results)",
            step="report",
        ) from None
    return written


def write_text(path: Path, text: str) -> Path:
    """Write a file of text in UTF-8.

    Raises:
        ReportError: the folder cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error, step="report") from None
    return path


def _modules(names: Sequence[str] | None) -> dict[str, ModuleType]:
    known = format_names()
    if unknown := sorted(set(names or ()) - set(known)):
        raise ReportError(f"unknown format {', '.join(unknown)}", hint=f"one of: {', '.join(known)}")
    return {name: importlib.import_module(f"{package.__name__}.{name}") for name in names or known}


def _replace(path: Path, module: ModuleType, report: Report) -> Path:
    """Write beside the old report and rename: a reader never sees half of one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        module.render(report, fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path

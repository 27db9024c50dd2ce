"""Rows to reports: tables in files, a page to read, one for pull requests, JUnit, and lines for a terminal.

A format is one module of `esp_hil.report.formats`, found by listing. No board is needed, only the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.report.terminal import summary
from esp_hil.results.record import Run

if TYPE_CHECKING:
    from esp_hil.report.details import Config
    from esp_hil.results.history import HistoryLine
    from esp_hil.results.regress import Comparison

__all__ = ["summary", "write_comparison", "write_reports"]


def write_reports(
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
    """Write the reports of some runs.

    Args:
        runs: the rows, or the file or folder that holds them.
        out_dir: where to; it is made.
        formats: names of formats; all of them by default.
        warnings: what else readers must know, such as rows that were left out.
        history: figures over time, for the page.
        configs: configurations of the firmware by their digest, for the page's comparison of two runs.
        comparison: with what came before, for "before and after" in page and Markdown.
        baseline: what that is, in words.

    Returns:
        The file of each format by the format's name.

    Raises:
        ReportError: no rows, unknown format, or a folder that cannot be read or written.
    """
    from esp_hil.report.writing import write

    return write(
        runs,
        out_dir,
        formats=formats,
        warnings=warnings,
        history=history,
        configs=configs,
        comparison=comparison,
        baseline=baseline,
    )


def write_comparison(comparison: Comparison, out_dir: Path) -> dict[str, Path]:
    """Write what a comparison found as Markdown, JUnit and JSON.

    Returns:
        The file of each form, by `changes-` and the form's name.

    Raises:
        ReportError: a folder that cannot be written.
    """
    from esp_hil.report.changes import as_json, as_junit, as_markdown
    from esp_hil.report.writing import write_text

    forms = {
        "changes-md": ("changes.md", as_markdown),
        "changes-xml": ("changes.xml", as_junit),
        "changes-json": ("changes.json", as_json),
    }
    return {name: write_text(out_dir / file, render(comparison)) for name, (file, render) in forms.items()}

"""Rows to reports: tables in files, a page to read, one for pull requests, JUnit, and lines for a terminal.

A format is one module of `harness.report.formats`, found by listing. No board is needed, only the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.record import Run
from harness.report.terminal import summary

__all__ = ["summary", "write_reports"]


def write_reports(
    runs: Sequence[Run] | Path,
    out_dir: Path,
    *,
    formats: Sequence[str] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Path]:
    """Write the reports of some runs.

    Args:
        runs: the rows, or the file or folder that holds them.
        out_dir: where to; it is made.
        formats: names of formats; all of them by default.
        warnings: what else readers must know, such as rows that were left out.

    Returns:
        The file of each format by the format's name.

    Raises:
        ReportError: no rows, unknown format, or a folder that cannot be read or written.
    """
    from harness.report.writing import write

    return write(runs, out_dir, formats=formats, warnings=warnings)

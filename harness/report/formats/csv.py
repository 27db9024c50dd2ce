"""The table for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

from harness.report.report import Report

FILE = "results.csv"


def render(report: Report, path: Path) -> None:
    """Write the table as UTF-8, one line a run; floats in the shortest form that gives them back."""
    report.table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n")

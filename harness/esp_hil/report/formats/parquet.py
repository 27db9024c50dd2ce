"""The table with its types, for pandas, DuckDB and history."""

from __future__ import annotations

from pathlib import Path

from esp_hil.report.report import Report

FILE = "results.parquet"


def render(report: Report, path: Path) -> None:
    """Write the table as parquet, zstd."""
    report.table.to_parquet(path, index=False, engine="pyarrow", compression="zstd")

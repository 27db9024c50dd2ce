"""The table with its types and what each column means, for pandas, DuckDB and history."""

from __future__ import annotations

from pathlib import Path

from esp_hil.report.report import Report

FILE = "results.parquet"


def render(report: Report, path: Path) -> None:
    """Write the table as parquet, zstd; each field's metadata has its unit, meaning and `since` (a schema)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from esp_hil.results.frames import COLUMNS

    told = {
        column.name: {"unit": column.unit, "meaning": column.meaning, "since": str(column.since)}
        for column in COLUMNS
    }
    table = pa.Table.from_pandas(report.table, preserve_index=False)
    fields = [field.with_metadata(told.get(field.name, {})) for field in table.schema]
    schema = pa.schema(fields, metadata=table.schema.metadata)
    pq.write_table(table.cast(schema), path, compression="zstd")

"""The table for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

from esp_hil.report.report import Report

FILE = "results.csv"


def render(report: Report, path: Path) -> None:
    """Write the table as UTF-8, one line a run; floats in the shortest form that gives them back.

    Arrow writes it, which takes a tenth of pandas' time; flags are True and False, as in Python.
    """
    import pyarrow as pa
    from pyarrow import csv

    table = pa.Table.from_pandas(report.table, preserve_index=False)
    for number, field in enumerate(table.schema):
        if pa.types.is_boolean(field.type):
            words = pa.array(["True" if flag else "False" for flag in table.column(number).to_pylist()])
            table = table.set_column(number, field.name, words)
    with path.open("wb") as file:
        csv.write_csv(table, file, csv.WriteOptions(quoting_style="needed"))

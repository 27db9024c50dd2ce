"""Where rows are read from: a folder of results, a file of rows, a history, or rows that are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from esp_hil.results.history_url import SUFFIXES
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run

Source = str | Path | Sequence[Run]
"""A folder of --hil-results, a .jsonl file, a history (SQLite file or URL), or the rows themselves."""


def is_history(source: str) -> bool:
    """Whether a source names a database rather than a file or folder of rows."""
    return "://" in source or source.endswith(SUFFIXES)


def rows_of(source: Source) -> tuple[Run, ...]:
    """The rows of a source, in the order they were written; of a history in the order of their start.

    Raises:
        ReportError: it cannot be read, or a folder or file has no rows.
    """
    if not isinstance(source, str | Path):
        return tuple(source)
    if not is_history(str(source)):
        return read_runs(Path(source)).runs
    from esp_hil.results.history import History

    with History.open(str(source), create=False) as history:
        return tuple(history.runs())

"""Every row that was ever recorded, in a database: SQLite beside the reports, or what a team shares.

    with History.open("sqlite:///reports/history.sqlite") as history:
        history.add(runs)
        for line in lines_of(history.runs(Where(model="mnist"))): ...

Any URL of SQLAlchemy serves; PostgreSQL and SQLite are what the tests prove.
"""

from __future__ import annotations

from esp_hil.results.history.lines import HistoryLine, Point, figure_names, lines_about, lines_of
from esp_hil.results.history.store import History, Where, default_url

__all__ = [
    "History",
    "HistoryLine",
    "Point",
    "Where",
    "default_url",
    "figure_names",
    "lines_about",
    "lines_of",
]

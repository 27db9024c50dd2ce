"""What a session is compared with: rows of a file, a folder, or a history; and how strictly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from esp_hil.errors import ReportError
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from esp_hil.results.regress import Comparison, Rules, compare
from esp_hil.results.regress.comparable import Identity, identity_of
from esp_hil.results.rows import is_history

LATEST_ROWS = 100
"""Of each combination in a history, as many of the last rows are looked at: those of several boards and settings."""


def base_rows(
    source: str, *, before_utc: str | None = None, first: bool = False, create: bool = False
) -> tuple[Run, ...]:
    """Rows to compare with.

    Args:
        source: folder or file of rows, or URL or file of a history.
        before_utc: of a history, only rows that started before; None: all.
        first: a history may be empty, because these are the first rows that go into it.
        create: a history that is not there is made, because rows will go into it.

    Raises:
        ReportError: it cannot be read, or there are none.
    """
    if not is_history(source):
        return read_runs(Path(source)).runs
    from esp_hil.results.history import History, Where

    with History.open(source, create=create) as history:
        wanted = history.combinations(Where(before_utc=before_utc))
        rows = tuple(history.last_runs(wanted, latest=LATEST_ROWS))
    if not rows and not first:
        raise ReportError(
            f"the history {history.name} has no rows older than the new ones",
            hint="hil history add puts rows into it",
            step="compare",
        )
    return rows


class Baseline:
    """Rows to compare with, read once.

    Args:
        rows: of the base.
        rules: how to compare.
        tests: how many latencies the session compares in all.
    """

    def __init__(self, rows: Sequence[Run], rules: Rules, tests: int) -> None:
        self._rules = rules
        self._tests = tests
        self._by_identity: dict[Identity, list[Run]] = {}
        for run in rows:
            self._by_identity.setdefault(identity_of(run), []).append(run)

    @property
    def rows(self) -> tuple[Run, ...]:
        """All that were given."""
        return tuple(run for runs in self._by_identity.values() for run in runs)

    def judge(self, attempts: Sequence[Run]) -> Comparison:
        """Compare the attempts of one combination with the rows of its identity."""
        known = self._by_identity.get(identity_of(attempts[0]), [])
        return compare(known, attempts, self._rules, tests=self._tests)

    def judge_all(self, rows: Sequence[Run]) -> Comparison:
        """Compare all rows of a session, of every combination."""
        return compare(self.rows, rows, self._rules, tests=self._tests)

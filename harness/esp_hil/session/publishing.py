"""The end of a session: reports first, history last; what cannot be done is one line, and nothing else is lost.

A history or a baseline that does not answer does not stop the boards from being tested. The session says so at its
start and again at its end, in one line each with what to do, and pytest's exit status tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from esp_hil.errors import HilError, HistoryUnreachable
from esp_hil.results.configs import kept_configs
from esp_hil.results.history_url import parsed, shown
from esp_hil.results.record import Run
from esp_hil.session.baseline import Baseline

if TYPE_CHECKING:
    from esp_hil.results.history import HistoryLine
    from esp_hil.results.regress import Comparison

UNPUBLISHED: Final = 10
"""Exit status: all tests were green, but a report or the history could not be written."""

NOT_COMPARED: Final = 11
"""Exit status: all tests were green, but the baseline did not answer, so nothing was compared."""


def check_history(url: str | None) -> str:
    """What is wrong with a history that rows shall go into, one line; "" if it answers.

    Raises:
        ReportError: it cannot be used at all: not a URL, no driver, made by a later version.
    """
    if url is None:
        return ""
    from esp_hil.results.history import History

    parsed(url)
    try:
        History.open(url).close()
    except HistoryUnreachable as error:
        return f"the history does not answer ({error.message}): the rows stay in the results folder"
    return ""


@dataclass(slots=True)
class Publication:
    """What came of it.

    Attributes:
        reports: file of each report by its name.
        comparison: with the baseline; None if there is none.
        troubles: what could not be done, one line each.
        status: exit status for a session whose tests are all green: 0, UNPUBLISHED or NOT_COMPARED.
    """

    reports: dict[str, Path] = field(default_factory=dict)
    comparison: Comparison | None = None
    troubles: list[str] = field(default_factory=list)
    status: int = 0


def publish(
    rows: Sequence[Run],
    results: Path,
    *,
    history: str | None,
    baseline: Baseline | None,
    not_compared: str = "",
    source: str = "",
    stopped: str = "",
) -> Publication:
    """Write the reports and the comparison, then put the rows into the history.

    Args:
        rows: of the session.
        results: folder of the reports.
        history: URL or file of the history; None: none.
        baseline: what to compare with; None: nothing.
        source: what the baseline is, in words.
        not_compared: why a baseline that was asked for is not there.
        stopped: why the session ended before all was run.
    """
    from esp_hil.report import write_comparison, write_reports
    from esp_hil.report.conformance import write_conformance

    done = Publication()
    if stopped:
        done.troubles.append(stopped)
    if not_compared:
        done.troubles.append(f"not compared: {not_compared}")
        done.status = NOT_COMPARED
    configs = kept_configs(results)
    try:
        if baseline is not None:
            done.comparison = baseline.judge_all(rows)
            done.reports |= write_comparison(done.comparison, results)
        done.reports |= write_reports(
            rows,
            results,
            configs=configs,
            warnings=list(done.troubles),
            comparison=done.comparison,
            baseline=source,
        )
        done.reports |= write_conformance(rows, results, before=_operators(baseline))
    except HilError as error:
        done.troubles.append(f"the reports are not complete: {error}; the rows are in {results}")
        done.status = UNPUBLISHED
    if history is None:
        return done
    try:
        if lines := _added(rows, history):
            done.reports |= write_reports(
                rows,
                results,
                formats=["html"],
                configs=configs,
                history=lines,
                warnings=list(done.troubles),
                comparison=done.comparison,
                baseline=source,
            )
    except HilError as error:
        later = f"put them in later: hil history --history {shown(history)} add {results}"
        done.troubles.append(f"the rows are not in the history: {error.message}; {later}")
        done.status = UNPUBLISHED
    return done


def _operators(baseline: Baseline | None) -> tuple[Run, ...]:
    """Rows of the baseline that are about operators."""
    return () if baseline is None else tuple(run for run in baseline.rows if run.case is not None)


def _added(rows: Sequence[Run], history: str) -> Sequence[HistoryLine]:
    """Put the rows in; what the history then says of them over time."""
    from esp_hil.results.history import History, lines_about

    with History.open(history) as opened:
        opened.add(rows)
        return lines_about(opened, rows)

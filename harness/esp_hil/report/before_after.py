"""Before and after: what each combination was in the baseline and is now, figure by figure, with the verdict."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esp_hil.report.plots import Svg, sparkline
from esp_hil.report.view import rate
from esp_hil.results.history import HistoryLine
from esp_hil.results.regress import Change, Comparison
from esp_hil.results.regress.comparable import Identity
from esp_hil.results.text import clean

NIGHTS = 30
"""Points of a sparkline: the last ones."""

_WORST_FIRST = {"worse": 0, "unconfirmed": 1, "better": 2, "same": 3, "": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One figure before and after; `judgement` is worse, unconfirmed, better, same, or "" if not compared."""

    text: str = ""
    detail: str = ""
    judgement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One combination.

    Attributes:
        title: model, recipe, runtime and chip.
        board: that the new row is from.
        cells: by the names in COLUMNS.
        others: figures of other names that changed, in words.
        layers: those that lost the time.
        nights: latency of the last nights, shapes only; "" without a history.
        not_compared: what was not compared, and why; "" if all was.
    """

    title: str
    board: str
    cells: Mapping[str, ComparedFigure]
    others: Sequence[str]
    layers: str
    nights: Svg
    not_compared: str

    @property
    def judgement(self) -> str:
        """The worst of its cells."""
        found = [cell.judgement for cell in self.cells.values()]
        return min(found, key=_WORST_FIRST.__getitem__, default="")


COLUMNS: Mapping[str, re.Pattern[str]] = {
    "latency": re.compile("latency_ms"),
    "top-1": re.compile("top1_device_pct|agreement_device_float_pct"),
    "arena": re.compile(r"arena_bytes|arena_internal_bytes"),
    "firmware": re.compile("size_.*total|size_flash.*"),
}
"""Column -> the figures that stand in it, the first that was compared."""


def before_after(comparison: Comparison, history: Sequence[HistoryLine] = ()) -> list[ComparedRow]:
    """One row for each combination that both sides have, the worst first."""
    keys: dict[tuple[Identity, str], list[Change]] = {}
    for change in comparison.changes:
        keys.setdefault((change.identity, change.board), []).append(change)
    for refusal in comparison.refusals:
        keys.setdefault((refusal.identity, refusal.board), [])
    rows = [
        _row(comparison, identity, board, changes, history) for (identity, board), changes in keys.items()
    ]
    return sorted(rows, key=lambda row: (_WORST_FIRST[row.judgement], row.title))


def _row(
    comparison: Comparison,
    identity: Identity,
    board: str,
    changes: Sequence[Change],
    history: Sequence[HistoryLine],
) -> ComparedRow:
    shown: dict[str, ComparedFigure] = {}
    taken: set[str] = set()
    for column, pattern in COLUMNS.items():
        found = next((change for change in changes if pattern.fullmatch(change.metric)), None)
        if found is not None:
            taken.add(found.metric)
            shown[column] = _cell(found)
    others = [f"{c.metric} {c.figures}" for c in changes if c.metric not in taken and c.judgement != "same"]
    lines = [
        line
        for line in history
        if (line.identity, line.board, line.metric) == (identity, board, "latency_ms")
    ]
    refused = [r.summary for r in comparison.refusals if (r.identity, r.board) == (identity, board)]
    refused += [words for words in comparison.not_gated if words.startswith(f"{identity.summary}:")]
    return ComparedRow(
        title=clean(identity.summary),
        board=clean(board),
        cells={column: shown.get(column, ComparedFigure()) for column in COLUMNS},
        others=[clean(text) for text in others],
        layers=clean("; ".join(culprit for change in changes for culprit in change.culprits)),
        nights=sparkline([point.value for point in lines[0].points[-NIGHTS:]]) if lines else "",
        not_compared=clean("; ".join(refused)),
    )


def _cell(change: Change) -> ComparedFigure:
    detail = ""
    if change.low is not None and change.high is not None:
        detail = f"95 % {100 * (change.low - 1):+.1f} to {100 * (change.high - 1):+.1f} %"
    if change.metric == "latency_ms" and change.new > 0 and change.base > 0:
        fps = f"{rate(1e3 / change.base)} -> {rate(1e3 / change.new)}"
        detail = f"{fps}; {detail}" if detail else fps
    return ComparedFigure(text=clean(change.figures), detail=clean(detail), judgement=change.judgement)

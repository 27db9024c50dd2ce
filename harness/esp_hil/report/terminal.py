"""The few lines that a terminal or a CI log shows."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from esp_hil.report.view import PrintedRun, line_of, numbers_of, tally
from esp_hil.results.record import Run

MOST_ROWS = 200
"""A terminal shows no more; what is left out is said."""

_HEADING = ("", "model", "board", "port", "top-1", "latency", "fps", "arena")
_SIGNS = {"ok": "ok", "worse": "WORSE", "failed": "FAILED", "wrong": "WRONG", "broken": "BROKEN"}
_STYLES = {
    "ok": "green",
    "worse": "bold red",
    "failed": "bold red",
    "wrong": "bold red",
    "broken": "bold yellow",
}


def summary(runs: Sequence[Run], *, colour: bool | None = None, width: int | None = None) -> str:
    """A short table of the runs, what is wrong in words, and the tally.

    Of more than MOST_ROWS runs, those that are not ok and then the first others.

    Args:
        runs: the rows.
        colour: a rich table with colours, or plain text; by default, whether standard output is a terminal.
        width: columns of the rich table; those of the terminal by default.
    """
    if not runs:
        return "no runs"
    lines = [line_of(runs[number]) for number in numbers_of(runs, MOST_ROWS)]
    table = _rich(lines, width) if (sys.stdout.isatty() if colour is None else colour) else _plain(lines)
    said = [
        f"{_SIGNS[line.status]} {line.model} on {line.board}: {line.summary}"
        for line in lines
        if line.status != "ok"
    ]
    if left := len(runs) - len(lines):
        said.append(f"{left} further runs are not shown")
    counted = tally(runs)
    return "\n".join([table, *said, *counted.banners.values(), counted.summary])


def _cells(line: PrintedRun) -> tuple[str, ...]:
    model = f"{line.model} {line.recipe} {line.runtime}" + (f" ({line.attempt})" if line.attempt else "")
    where = line.target if line.board == line.target else f"{line.target} {line.board}"
    mark = f" {line.mark}" if line.mark else ""
    latency = f"{line.latency}{mark}" if line.latency else "-"
    memory = f"{line.memory}{mark}" if line.memory else "-"
    fps = line.fps.removesuffix(" fps") or "-"
    return (_SIGNS[line.status], model, where, line.port or "-", line.top1 or "-", latency, fps, memory)


def _plain(lines: Sequence[PrintedRun]) -> str:
    rows = [_HEADING, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADING))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _rich(lines: Sequence[PrintedRun], width: int | None) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in _HEADING:
        table.add_column(heading, justify="right" if heading in ("latency", "fps", "arena") else "left")
    for line in lines:
        status, *rest = _cells(line)
        # Text, not str: a model called [red] is no markup.
        table.add_row(Text(status, style=_STYLES[line.status]), *(Text(cell) for cell in rest))
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=width, legacy_windows=False).print(table)
    return file.getvalue().rstrip("\n")

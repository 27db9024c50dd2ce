"""The report for pull requests and job summaries."""

from __future__ import annotations

import re
from pathlib import Path

from esp_hil.report.before_after import COLUMNS, before_after
from esp_hil.report.report import Report
from esp_hil.report.tradeoff import Tradeoff, tradeoffs
from esp_hil.report.view import PrintedRun
from esp_hil.results.record import Check, Run
from esp_hil.results.text import clean

FILE = "report.md"

MOST_ROWS = 500
MOST_DETAILS = 50
"""GitHub shows a summary of at most 1 MiB; what is left out is said, and is in the page."""

_SIGNS = {
    "ok": "✅",
    "worse": "❌ worse",
    "failed": "❌ failed",
    "wrong": "❌ wrong",
    "broken": "⚠️ broken",
}
_HEADING = (
    "",
    "model",
    "recipe",
    "runtime",
    "target",
    "board",
    "port",
    "quantizer",
    "top-1",
    "latency",
    "fps",
    "arena",
)
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~])")


def render(report: Report, path: Path) -> None:
    """Write the tally, the marks, one table of the runs, and what is wrong in full.

    Of more than MOST_ROWS runs the table has those that are not ok and then the first others.
    """
    parts = ["# esp-hil report", escape(report.tally.summary) + "."]
    parts += [f"> **{mark}** {escape(banner)}" for mark, banner in report.tally.banners.items()]
    parts += [f"> **Warning:** {escape(warning)}" for warning in report.warnings]
    chosen = [report.line(number) for number in report.numbers(MOST_ROWS)]
    rows = [
        _HEADING,
        ("---",) * (len(_HEADING) - 3) + ("---:",) * 3,
        *(_cells(line) for line in chosen),
    ]
    parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if left := len(report.runs) - len(chosen):
        parts.append(f"{left} further runs are in report.html and results.csv.")
    parts += [_changes(report)] if report.comparison is not None else []
    parts += [_recipes(trade) for trade in tradeoffs(report.runs)]
    troubled = [line for line in chosen if line.status != "ok"][:MOST_DETAILS]
    parts += [_detail(line) for line in troubled]
    # a further attempt is told too, and not counted
    if (left := report.tally.red - len(troubled)) > 0:
        parts.append(f"{left} further runs that are not ok are in report.html.")
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def escape(text: str) -> str:
    """Text that Markdown and the HTML in it show as it is, and that mentions nobody."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text).replace("@", "@<!-- -->").replace("://", ":<!-- -->//")


def _cells(line: PrintedRun) -> tuple[str, ...]:
    mark = f" ({line.mark})" if line.mark else ""
    latency = f"{line.latency}{mark}" if line.latency else ""
    memory = f"{line.memory}{mark}" if line.memory else ""
    model = f"{line.model} ({line.attempt})" if line.attempt else line.model
    names = (model, line.recipe, line.runtime, line.target, line.board + mark)
    said = (line.port, line.quantizer, line.top1, latency, line.fps.removesuffix(" fps"), memory)
    return (_SIGNS[line.status], *(escape(text) for text in (*names, *said)))


def _changes(report: Report) -> str:
    """Before and after, the worst combinations first."""
    assert report.comparison is not None
    rows: list[tuple[str, ...]] = [("what", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    found = before_after(report.comparison)
    for row in found[:MOST_DETAILS]:
        cells = []
        for name in COLUMNS:
            cell = row.cells[name]
            mark = f" **{cell.judgement}**" if cell.judgement in {"worse", "better"} else ""
            cells.append(escape(cell.text.replace("->", "→")) + mark)
        rows.append((escape(f"{row.title} @ {row.board}"), *cells))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    left = (
        f"\n\n{len(found) - MOST_DETAILS} further ones are in report.html."
        if len(found) > MOST_DETAILS
        else ""
    )
    return f"### Before → after: {escape(clean(report.comparison.summary))}\n\n{table}{left}"


def _recipes(trade: Tradeoff) -> str:
    """A model's recipes on a chip; those on the front are bold."""
    heading = (
        "recipe",
        "port",
        "float",
        "quantized",
        "device",
        "signal to noise",
        "bytes",
        "latency",
        "arena",
    )
    rows: list[tuple[str, ...]] = [heading, ("---",) * 5 + ("---:",) * 4]
    for row in trade.rows:
        name = escape(f"{row.recipe} {row.runtime}")
        mark = f" ({row.mark})" if row.mark else ""
        costs = (
            row.bytes,
            f"{row.latency}{mark if row.latency else ''}",
            f"{row.memory}{mark if row.memory else ''}",
        )
        told = (row.port, *row.accuracies, row.noise, *costs)
        rows.append((f"**{name}**" if row.front else name, *(escape(text) for text in told)))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"### {escape(trade.title)}: recipes, {escape(trade.inputs)}\n\n{table}"


def _check(check: Check) -> str:
    name, message = (escape(clean(text)) for text in (check.name, check.message))
    return f"- **{escape(clean(check.suite))}** {name}: {message}"


def _distinct(run: Run) -> list[Check]:
    """The red tests; of several with one message, as of a board that broke, the first."""
    return list({check.message: check for check in reversed(run.red_checks)}.values())[::-1]


def _detail(line: PrintedRun) -> str:
    run = line.run
    said = [f"### {_SIGNS[line.status]}: {escape(line.model)} on {escape(line.board)}", escape(line.summary)]
    said += ["\n".join(_check(check) for check in _distinct(run))] if run.red_checks else []
    if run.verdict is not None:
        rows = [tuple(escape(clean(cell)) for cell in row) for row in run.verdict.table()]
        body = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
        said.append("\n".join(f"| {' | '.join(row)} |" for row in body))
    return "\n\n".join(said)

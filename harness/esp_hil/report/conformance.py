"""The conformance suite as a page and as a table for a bug report: conformance.html and conformance.md.

Both say the same: how each operator and width came out, what it costs, what every case that is not exact looks like,
and what changed since an earlier run. The page is one file without scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from esp_hil.models.operators import ORIGINS
from esp_hil.report.formats.markdown import escape
from esp_hil.report.templating import template
from esp_hil.report.view import tally
from esp_hil.report.writing import write_text
from esp_hil.results.conformance import (
    RECORDED,
    CaseChange,
    OperatorEntry,
    Outcome,
    Table,
    compared,
    conformance,
    earlier,
    outcome_of,
    why_of,
    width,
    worst_of,
)
from esp_hil.results.record import Run
from esp_hil.results.text import clean

PAGE, MARKDOWN = "conformance.html", "conformance.md"
MOST_DETAILS = 200
"""Cases told in full; the counts are of all."""

SIGNS: dict[Outcome, str] = {
    "exact": "✅ exact",
    "within": "✅ within",
    "not judged": "⚪ not judged",
    "differs": "❌ differs",
    "fails": "❌ fails",
}
HEADING = ("operator", "bits", "answer", "worst", "cases", "recorded", "cycles/MAC", "cycles/element")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One operator and width, as texts for the columns of HEADING; `outcome` for colours."""

    outcome: Outcome
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case that is not exact, in full."""

    name: str
    title: str
    outcome: Outcome
    what: str
    origin: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A table as both forms show it.

    Attributes:
        title: chip, board and runtime.
        summary: counts in words.
        facts: name and value of what the answers depend on.
        lines: one an operator and width.
        cases: those that are not exact, the worst first, as far as MOST_DETAILS go.
        left: how many more there are.
        changes: since the earlier run; None without one.
        before: what that was, in words.
    """

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    lines: tuple[Line, ...]
    cases: tuple[Case, ...]
    left: int
    changes: tuple[CaseChange, ...] | None
    before: str


def write_conformance(runs: Sequence[Run], folder: Path, before: Sequence[Run] = ()) -> dict[str, Path]:
    """Write page and table of the rows that are about operators.

    Args:
        runs: rows; those of models are left out.
        folder: where to.
        before: rows of an earlier run, such as with another version of the runtime; those of another chip are left out.

    Returns:
        The files, by "conformance" and "conformance-md"; none without such rows.

    Raises:
        ReportError: the folder cannot be written, or `before` has nothing of these chips and runtimes.
    """
    tables = conformance(runs)
    if not tables:
        return {}
    shown = [_shown(table, earlier(table, before)) for table in tables]
    banners = tally([run for table in tables for run in table.rows]).banners
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "conformance": write_text(folder / PAGE, _page(shown, banners)),
        "conformance-md": write_text(folder / MARKDOWN, _markdown(shown, banners)),
    }


def _shown(table: Table, before: Table | None) -> Shown:
    first = table.first
    device = first.device
    wrong = [run for entry in table.entries for run in entry.rows if outcome_of(run) != "exact"]
    order: list[Outcome] = ["fails", "differs", "not judged", "within"]
    wrong.sort(key=lambda run: order.index(outcome_of(run)))
    facts = {
        "runtime": table.engine,
        "chip": f"{device.chip}, revision {device.revision / 100:.1f}" if device is not None else "",
        "clock": f"{device.clock_hz / 1e6:g} MHz" if device is not None else "",
        "ESP-IDF": device.idf if device is not None and first.kind != "virtual" else "",
        "cores": str(first.cores_used),
        "esp-hil": first.provenance.harness,
        "run": first.started_utc[:19].replace("T", " ") + " UTC",
    }
    return Shown(
        title=clean(f"{first.runtime} on {first.target}, board {first.board}"),
        summary=table.summary,
        facts=tuple((name, clean(value)) for name, value in facts.items() if value),
        lines=tuple(_line(entry) for entry in table.entries),
        cases=tuple(map(_case, wrong[:MOST_DETAILS])),
        left=max(0, len(wrong) - MOST_DETAILS),
        changes=compared(table, before) if before is not None else None,
        before=clean(f"{before.engine}, {before.first.started_utc[:10]}") if before is not None else "",
    )


def _line(entry: OperatorEntry) -> Line:
    per_mac, per_element = entry.cycles_per_mac, entry.cycles_per_element
    cells = (
        entry.operator,
        width(entry.bits),
        SIGNS[entry.outcome],
        entry.worst,
        str(len(entry.rows)),
        str(entry.recorded),
        "" if per_mac is None else f"{per_mac:.3g}",
        "" if per_element is None else f"{per_element:.3g}",
    )
    return Line(outcome=entry.outcome, cells=tuple(map(clean, cells)))


def _case(run: Run) -> Case:
    case = run.case
    assert case is not None
    origin = ORIGINS.get(case.origin, case.origin)  # type: ignore[call-overload]
    return Case(
        name=clean(case.name),
        title=clean(f"{case.operator} {width(case.bits)}"),
        outcome=outcome_of(run),
        what=clean(case.what),
        origin=clean(str(origin)),
        why=clean(" ".join(filter(None, (worst_of(run), why_of(run))))),
    )


def _page(shown: Sequence[Shown], banners: object) -> str:
    return template("conformance.html.j2").render(
        shown=shown, banners=banners, heading=HEADING, signs=SIGNS, origins=ORIGINS, recorded=RECORDED
    )


def _markdown(shown: Sequence[Shown], banners: object) -> str:
    parts = ["# Operators: conformance"]
    if isinstance(banners, dict):
        parts += [f"> **{mark}** {escape(banner)}" for mark, banner in banners.items()]
    for table in shown:
        parts += [f"## {escape(table.title)}", escape(table.summary) + "."]
        parts.append(", ".join(f"{name} {escape(value)}" for name, value in table.facts))
        if table.changes is not None:
            parts.append(_changes(table))
        rows = [
            HEADING,
            *[("---",) * 4 + ("---:",) * 4],
            *(tuple(map(escape, line.cells)) for line in table.lines),
        ]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
        if table.cases:
            parts.append("### What is not exact")
            parts.append("\n".join(_item(case) for case in table.cases))
        if table.left:
            parts.append(f"{table.left} further cases are in runs.jsonl.")
    return "\n\n".join(parts) + "\n"


def _changes(table: Shown) -> str:
    assert table.changes is not None
    said = [
        f"- **{change.kind}** {escape(change.title)} (`{change.case}`): {escape(change.words.replace('->', '→'))}"
        for change in table.changes[:MOST_DETAILS]
    ]
    return "\n".join([f"### Since {escape(table.before)}", "", *(said or ["nothing changed"])])


def _item(case: Case) -> str:
    return (
        f"- {SIGNS[case.outcome]} **{escape(case.title)}** `{case.name.replace('`', '')}`: {escape(case.why)}\n"
        f"  ({escape(case.what)}; {escape(case.origin)})"
    )

"""A comparison as people and machines read it: terminal, Markdown, JUnit, GitHub annotations, JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from xml.etree import ElementTree as xml

from esp_hil.report.formats.markdown import escape
from esp_hil.results.regress import Change, Comparison, Refusal
from esp_hil.results.regress.change import worst_first
from esp_hil.results.text import clean

MOST_ROWS = 200
"""Lines of a Markdown table; GitHub cuts a summary at 1 MiB."""

MOST_NOT_GATED = 8
"""Figures that are named because nobody judged them; the others are counted."""

_SIGNS = {"worse": "WORSE", "unconfirmed": "unsure", "better": "better", "same": "same"}
_EMOJI = {"worse": "❌ worse", "unconfirmed": "❔ not confirmed", "better": "✅ better"}


def as_text(comparison: Comparison, *, every: bool = False) -> str:
    """Lines for a terminal: what changed, what was not compared, and the count."""
    told = [change for change in worst_first(comparison.changes) if every or change.judgement != "same"]
    lines = [f"{_SIGNS[change.judgement]:7} {clean(change.summary)}" for change in told]
    lines += [f"BROKEN  {clean(words)}" for words in comparison.broken]
    lines += [f"board   {clean(words)}" for words in comparison.of_one_board]
    lines += [f"refused {clean(refusal.summary)}" for refusal in comparison.refusals]
    lines += [f"no gate {clean(words)}" for words in comparison.not_gated[:MOST_NOT_GATED]]
    if (left := len(comparison.not_gated) - MOST_NOT_GATED) > 0:
        lines.append(f"no gate {left} further figures, for the same reason")
    lines += [f"missing {clean(identity.summary)}: only the base has it" for identity in comparison.missing]
    lines += [
        f"new     {clean(identity.summary)}: the base does not have it" for identity in comparison.added
    ]
    return "\n".join([*lines, comparison.summary])


def as_markdown(comparison: Comparison) -> str:
    """For a pull request or a job summary."""
    parts = ["## esp-hil: compared with the baseline", escape(comparison.summary) + "."]
    told = [change for change in worst_first(comparison.changes) if change.judgement != "same"]
    if told:
        heading = ("", "what", "figure", "before → after", "how sure", "why")
        rows: list[tuple[str, ...]] = [heading, ("---",) * len(heading)]
        rows += [_markdown_row(change) for change in told[:MOST_ROWS]]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if len(told) > MOST_ROWS:
        parts.append(f"{len(told) - MOST_ROWS} further changes are in the other reports.")
    others = [f"**broken** {escape(clean(words))}" for words in comparison.broken]
    others += [f"**one board** {escape(clean(words))}" for words in comparison.of_one_board]
    others += [f"**not compared** {escape(clean(refusal.summary))}" for refusal in comparison.refusals]
    others += [f"**not gated** {escape(clean(words))}" for words in comparison.not_gated[:MOST_NOT_GATED]]
    others += [f"**missing** {escape(clean(identity.summary))}" for identity in comparison.missing]
    others += [f"**new** {escape(clean(identity.summary))}" for identity in comparison.added]
    if others:
        parts.append("\n".join(f"- {line}" for line in others[:MOST_ROWS]))
    return "\n\n".join(parts) + "\n"


def _markdown_row(change: Change) -> tuple[str, ...]:
    sure = ""
    if change.low is not None and change.high is not None and change.probability is not None:
        sure = (
            f"95 % {100 * (change.low - 1):+.1f} to {100 * (change.high - 1):+.1f} %, "
            f"p {change.probability:.2g}"
        )
    if change.reruns:
        sure += f", {change.reruns} re-run{'s' if change.reruns != 1 else ''}"
    why = "; ".join((*change.culprits, *change.causes))
    what = f"{change.identity.summary} @ {change.board}"
    cells = (what, change.metric, change.figures.replace("->", "→"), sure, why)
    return (_EMOJI.get(change.judgement, ""), *(escape(clean(cell)) for cell in cells))


def as_annotations(comparison: Comparison) -> str:
    """Workflow commands of GitHub Actions: one error or warning a line."""
    lines = [_annotation("error", "regression", change.summary) for change in comparison.regressions]
    lines += [_annotation("error", "broken", words) for words in comparison.broken]
    lines += [_annotation("warning", "not confirmed", change.summary) for change in comparison.unconfirmed]
    lines += [_annotation("warning", "not compared", refusal.summary) for refusal in comparison.refusals]
    lines += [
        _annotation("warning", "missing", f"{identity.summary}: only the base has it")
        for identity in comparison.missing
    ]
    return "\n".join(lines)


def _annotation(level: str, title: str, message: str) -> str:
    """Text that ends neither the command nor its properties, as GitHub's toolkit escapes it."""
    safe = clean(message).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=esp-hil {title}::{safe}"


def as_junit(comparison: Comparison) -> str:
    """One test case a figure; a refusal is skipped with its reason, a broken run an error."""
    changes = comparison.changes
    counts = {
        "tests": len(changes) + len(comparison.refusals) + len(comparison.broken) + len(comparison.missing),
        "failures": len(comparison.regressions),
        "errors": len(comparison.broken),
        "skipped": len(comparison.refusals) + len(comparison.missing),
    }
    attributes = {name: str(count) for name, count in counts.items()}
    root = xml.Element("testsuites", attributes)
    suite = xml.SubElement(root, "testsuite", {"name": "esp-hil compare", **attributes})
    for change in changes:
        suite.append(_case(change))
    for words in comparison.broken:
        case = xml.SubElement(suite, "testcase", {"classname": "hil.compare", "name": clean(words)[:120]})
        xml.SubElement(case, "error", {"type": "broken", "message": clean(words)})
    for refusal in comparison.refusals:
        suite.append(_skipped(refusal))
    for identity in comparison.missing:
        case = xml.SubElement(suite, "testcase", {"classname": clean(identity.summary), "name": "missing"})
        xml.SubElement(case, "skipped", {"message": "only the base has it"})
    xml.indent(root)
    return xml.tostring(root, encoding="unicode", xml_declaration=True)


def _case(change: Change) -> xml.Element:
    where = {"classname": clean(f"{change.identity.summary} @ {change.board}"), "name": clean(change.metric)}
    case = xml.Element("testcase", where)
    if change.judgement == "worse":
        xml.SubElement(case, "failure", {"type": "regression", "message": clean(change.summary)})
    elif change.judgement == "unconfirmed":
        xml.SubElement(case, "system-out").text = clean(change.summary)
    return case


def _skipped(refusal: Refusal) -> xml.Element:
    where = {
        "classname": clean(f"{refusal.identity.summary} @ {refusal.board}"),
        "name": ", ".join(refusal.groups),
    }
    case = xml.Element("testcase", where)
    xml.SubElement(case, "skipped", {"message": clean(refusal.summary)})
    return case


def as_json(comparison: Comparison) -> str:
    """Everything, for scripts; `words` of each change is what people are told."""
    document = {
        "words": comparison.summary,
        "changes": [asdict(change) | {"words": change.summary} for change in worst_first(comparison.changes)],
        "refusals": [asdict(refusal) | {"words": refusal.summary} for refusal in comparison.refusals],
        "missing": [asdict(identity) for identity in comparison.missing],
        "added": [asdict(identity) for identity in comparison.added],
        "broken": list(comparison.broken),
        "of_one_board": list(comparison.of_one_board),
        "not_gated": list(comparison.not_gated),
    }
    return json.dumps(document, indent=1, allow_nan=False)

"""What a nightly says in a pull request: what is wrong, worse and new, with its diagnosis; not what is well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from esp_hil.errors import ReportError
from esp_hil.report.formats.markdown import escape
from esp_hil.results.outcome import deciding, reason_of, status_of
from esp_hil.results.record import Run
from esp_hil.results.regress import Change, Comparison
from esp_hil.results.regress.change import worst_first
from esp_hil.results.text import clean

LEFT_OUT_FILE = "left_out.txt"
MARKER = "<!-- esp-hil -->"
"""First line: whoever posts the comment of the next night finds the last one by it."""
MOST_ROWS = 25
"""Of each table: a comment is read on a phone, and GitHub takes 65,536 letters."""
MOST_LETTERS = 300


def as_comment(
    runs: Sequence[Run], comparison: Comparison | None = None, *, link: str = "", left_out: Sequence[str] = ()
) -> str:
    """The comment as Markdown.

    Args:
        runs: of the night, with what the comparison says of them.
        comparison: with the baseline; None: there is none.
        link: to the page, as an artifact.
        left_out: boards that were not used, and why, one line each.
    """
    counted = [run for run, counts in zip(runs, deciding(runs), strict=True) if counts]
    red = [run for run in counted if status_of(run) not in {"ok", "worse"}]
    worse = worst_first(comparison.regressions) if comparison else ()
    worse_runs = [run for run in counted if status_of(run) == "worse"]
    parts = [MARKER, f"### esp-hil: {_count(counted, len(worse) or len(worse_runs))}"]
    parts += _section("Wrong", ("status", "what", "board", "why"), [_red_row(run) for run in red])
    if worse:
        parts += _section(
            "Worse", ("what", "figure", "before → after", "why"), [_worse_row(one) for one in worse]
        )
    else:
        parts += _section("Worse", ("status", "what", "board", "why"), [_red_row(run) for run in worse_runs])
    parts += _list("One board's only", comparison.of_one_board if comparison else ())
    parts += _list("Broken since the baseline", comparison.broken if comparison else ())
    parts += _list("New", (identity.summary for identity in comparison.added) if comparison else ())
    parts += _list("Not compared", (one.summary for one in comparison.refusals) if comparison else ())
    parts += _list("Left out", left_out)
    if link:
        parts.append(f"[The page with every row]({link})")
    return "\n\n".join(parts) + "\n"


def keep_left_out(folder: Path, left_out: Sequence[str]) -> None:
    """Write the boards that a run left out, and why, beside its rows; a later comment names them.

    Raises:
        ReportError: the folder cannot be written.
    """
    path = folder / LEFT_OUT_FILE
    try:
        if left_out:
            path.write_text("".join(f"{line}\n" for line in left_out), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}", step="report") from None


def left_out_of(rows: Path) -> list[str]:
    """The boards that the run of a folder, or of a file of rows in it, left out."""
    path = (rows if rows.is_dir() else rows.parent) / LEFT_OUT_FILE
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def annotated_rows(runs: Sequence[Run]) -> list[str]:
    """Workflow commands of GitHub: one error for each row that is not ok."""
    found = []
    for run, counts in zip(runs, deciding(runs), strict=True):
        status = status_of(run)
        if counts and status != "ok":
            found.append(command("error", status, f"{run.title}: {reason_of(run)}"))
    return found


def command(level: str, title: str, message: str) -> str:
    """One workflow command; text that ends neither it nor its properties, as GitHub's toolkit escapes it."""
    safe = clean(message).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=esp-hil {title}::{safe}"


def _count(runs: Sequence[Run], worse: int) -> str:
    counts = {"worse": worse}
    for run in runs:
        status = status_of(run)
        if status not in {"ok", "worse"}:
            counts[status] = counts.get(status, 0) + 1
    told = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    boards = len({run.board for run in runs})
    return f"{told or 'all well'}; {len(runs)} run{_s(len(runs))} on {boards} board{_s(boards)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _red_row(run: Run) -> tuple[str, ...]:
    return (
        status_of(run),
        f"{run.model} {run.recipe} {run.runtime}",
        f"{run.board} ({run.target})",
        reason_of(run),
    )


def _worse_row(change: Change) -> tuple[str, ...]:
    why = "; ".join((*change.culprits, *change.causes))
    what = f"{change.identity.summary} @ {change.board}"
    return what, change.metric, change.figures, why


def _section(title: str, heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    table = [heading, ("---",) * len(heading)]
    table += [tuple(escape(_short(clean(cell))) for cell in row) for row in rows[:MOST_ROWS]]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    more = [f"{len(rows) - MOST_ROWS} more on the page."] if len(rows) > MOST_ROWS else []
    return [f"**{title}**", "\n".join(lines), *more]


def _list(title: str, words: Iterable[str]) -> list[str]:
    lines = [f"- {escape(_short(clean(one)))}" for one in words]
    if len(lines) > MOST_ROWS:
        lines[MOST_ROWS:] = [f"- {len(lines) - MOST_ROWS} more on the page"]
    return [f"**{title}**", "\n".join(lines)] if lines else []


def _short(text: str) -> str:
    text = text.replace("->", "→")
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"

"""JUnit XML: a wrong model is a failure, a broken board an error; simulated figures say so in their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from esp_hil.report.report import Report
from esp_hil.report.view import clean, status_of, words_of
from esp_hil.results.record import Run

FILE = "junit.xml"


MOST_PROPERTIES = 5_000
"""Of more runs, only those that are not ok have their figures here: readers of JUnit load the file as a tree."""


def render(report: Report, path: Path) -> None:
    """Write one test case a run, with its figures as properties.

    The text is written as it comes: a tree of 100,000 cases takes longer than all other formats together.
    """
    tally = report.tally
    counts = {"tests": str(tally.total), "failures": str(tally.wrong), "errors": str(tally.broken)}
    seconds = sum(run.duration_s for run in report.runs)
    about = {"name": "esp-hil", **counts, "skipped": "0", "time": f"{seconds:.3f}"}
    about["timestamp"] = clean(min(run.started_utc for run in report.runs))
    every = tally.total <= MOST_PROPERTIES
    notes = [*tally.banners.values(), *report.warnings]
    if not every:
        notes.append(f"{tally.total} runs: the figures of those that are ok are in results.parquet")
    with path.open("w", encoding="utf-8") as file:
        file.write(f"<?xml version='1.0' encoding='utf-8'?>\n<testsuites{_attributes(counts)}>\n")
        file.write(f" <testsuite{_attributes(about)}>\n")
        file.write(
            _properties({"simulated_runs": str(tally.simulated), "emulated_runs": str(tally.emulated)})
        )
        for number in range(len(report.runs)):
            file.write(_case(report, number, every=every))
        text = escape("\n".join(notes))
        file.write(f"  <system-out>{text}</system-out>\n </testsuite>\n</testsuites>\n")


def _case(report: Report, number: int, *, every: bool) -> str:
    run = report.runs[number]
    status = status_of(run)
    where = {
        "classname": clean(f"{run.target}.{run.board}"),
        "name": clean(f"{run.model}-{run.recipe}-{run.runtime}"),
        "time": f"{run.duration_s:.3f}",
    }
    told = {"run_id": clean(run.run_id), "kind": run.kind, "simulated": str(run.simulated).lower()}
    if every or status != "ok":
        told |= {"words": words_of(run), "validity": report.validities[number].words}
        told |= {name: repr(value) for name, value in report.figures[number].items()}
    parts = [f"  <testcase{_attributes(where)}>\n", _properties(told)]
    if status != "ok":
        tag = "failure" if status == "wrong" else "error"
        about = {"type": run.failure.kind if run.failure else "numerics", "message": words_of(run)}
        parts.append(f"   <{tag}{_attributes(about)}>{escape(_table(run))}</{tag}>\n")
    return "".join([*parts, "  </testcase>\n"])


def _table(run: Run) -> str:
    """The verdict's table, line by line, as far as there is one."""
    return "\n".join(clean(row) for row in run.verdict.text().split("\n")) if run.verdict else ""


def _properties(values: Mapping[str, str]) -> str:
    items = (
        f"    <property name={quoteattr(name)} value={quoteattr(value)}/>\n" for name, value in values.items()
    )
    return f"   <properties>\n{''.join(items)}   </properties>\n"


def _attributes(values: Mapping[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items())

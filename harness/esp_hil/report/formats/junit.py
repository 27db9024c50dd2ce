"""JUnit XML: a suite for each run, in it a case for each test of the suites that judged it.

What turned pytest red is red here: a wrong model is a failure, a broken board an error, and the message is the
diagnosis. One cause is said once: of tests that could not be asked because the board broke, the first is the
error. A row without tests (of an older version, or made by a script) has one case, `run`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from esp_hil.report.report import Report
from esp_hil.report.view import words_of
from esp_hil.results.metrics import figure_of
from esp_hil.results.outcome import Status, deciding, status_of
from esp_hil.results.record import Run
from esp_hil.results.text import clean

FILE = "junit.xml"


MOST_PROPERTIES = 5_000
"""Of more runs, only those that are not ok have their figures here: readers of JUnit load the file as a tree."""

_Outcome = Literal["passed", "failure", "error", "skipped"]

_OUTCOMES: Mapping[Status, _Outcome] = {
    "ok": "passed",
    "worse": "failure",
    "failed": "failure",
    "wrong": "failure",
    "broken": "error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One test case; `told` is its message, `text` what stands below it."""

    name: str
    seconds: float
    outcome: _Outcome = "passed"
    kind: str = ""
    told: str = ""
    text: str = ""


def render(report: Report, path: Path) -> None:
    """Write one suite a run, with its figures as properties.

    The text is written as it comes: a tree of 100,000 cases takes longer than all other formats together.
    """
    tally = report.tally
    every = tally.total <= MOST_PROPERTIES
    counts = deciding(report.runs)
    suites = [tuple(_cases(run, counts=counted)) for run, counted in zip(report.runs, counts, strict=True)]
    notes = [*tally.banners.values(), *report.warnings]
    if not every:
        notes.append(f"{tally.total} runs: the figures of those that are ok are in results.parquet")
    with path.open("w", encoding="utf-8") as file:
        about = {"name": "esp-hil", **_counts([case for suite in suites for case in suite])}
        file.write(f"<?xml version='1.0' encoding='utf-8'?>\n<testsuites{_attributes(about)}>\n")
        for number, cases in enumerate(suites):
            file.write(_suite(report, number, cases, every=every))
        kinds = _properties({"simulated_runs": str(tally.simulated), "emulated_runs": str(tally.emulated)})
        said = f"  <system-out>{escape(chr(10).join(notes))}</system-out>\n"
        about = {"name": "about this report", **_counts([])}
        file.write(f" <testsuite{_attributes(about)}>\n{kinds}{said} </testsuite>\n</testsuites>\n")


def _counts(cases: list[_Case] | tuple[_Case, ...]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failure")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _suite(report: Report, number: int, cases: tuple[_Case, ...], *, every: bool) -> str:
    run = report.runs[number]
    attempt = f" attempt {run.attempt}" if run.attempt > 1 else ""
    name = clean(f"{run.model}-{run.recipe}-{run.runtime} on {run.target} {run.board}{attempt}")
    about = {"name": name, **_counts(cases), "timestamp": clean(run.started_utc)}
    told = {"run_id": clean(run.run_id), "kind": run.kind, "simulated": str(run.simulated).lower()}
    told["figure"] = figure_of(run)
    if every or status_of(run) != "ok":
        told |= {"words": words_of(run), "validity": report.validities[number].summary}
        told |= {clean(name): repr(value) for name, value in report.figures[number].items()}
    classname = clean(f"{run.target}.{run.board}.{run.model}-{run.recipe}-{run.runtime}")
    rest = "".join(_written(case, classname) for case in cases)
    return f" <testsuite{_attributes(about)}>\n{_properties(told)}{rest} </testsuite>\n"


def _cases(run: Run, *, counts: bool) -> Iterator[_Case]:
    """The cases of a row; an attempt that does not count has one that is skipped and says what came of it."""
    if not counts:
        told = f"not counted, another attempt decides; this one: {status_of(run)}, {words_of(run)}"
        yield _Case(name="run", seconds=run.duration_s, outcome="skipped", told=told)
        return
    yield from _checked(run)
    if not run.checks or (status_of(run) != "ok" and not run.red_checks):
        yield _run(run)


def _run(run: Run) -> _Case:
    """The row itself, where no test says what it says."""
    status = status_of(run)
    if status == "ok":
        return _Case(name="run", seconds=run.duration_s)
    return _Case(
        name="run",
        seconds=run.duration_s,
        outcome=_OUTCOMES[status],
        kind=_kind(run),
        told=words_of(run),
        text=_table(run),
    )


def _checked(run: Run) -> Iterator[_Case]:
    """The tests in their order; the first red one has the diagnosis, what broke for a cause said before is skipped."""
    said: set[str] = set()
    status = status_of(run)
    for check in run.checks:
        if check.ok:
            told = clean(check.message) if check.outcome == "skipped" else ""
            outcome: _Outcome = "skipped" if check.outcome == "skipped" else "passed"
            yield _Case(name=check.name, seconds=check.seconds, outcome=outcome, told=told)
        elif check.outcome == "error" and check.message in said:
            told = "not asked: what broke the test before it broke this one"
            yield _Case(name=check.name, seconds=check.seconds, outcome="skipped", told=told)
        else:
            first = not said
            said.add(check.message)
            yield _Case(
                name=check.name,
                seconds=check.seconds,
                # where the model does not fit this chip, the board is well
                outcome="error" if check.outcome == "error" and status != "failed" else "failure",
                kind=_kind(run) if first else check.suite,
                told=words_of(run) if first and status in {"wrong", "broken"} else clean(check.message),
                text=_table(run) if first else "",
            )


def _kind(run: Run) -> str:
    """What kind of failure: that of the row, else of the suite that was red first."""
    if run.failure is not None:
        return run.failure.kind
    return run.red_checks[0].suite if run.red_checks else "numerics"


def _written(case: _Case, classname: str) -> str:
    where = {"classname": classname, "name": clean(case.name), "time": f"{case.seconds:.3f}"}
    if case.outcome == "passed":
        return f"  <testcase{_attributes(where)}/>\n"
    about = {"message": case.told} if case.outcome == "skipped" else {"type": case.kind, "message": case.told}
    inside = f"<{case.outcome}{_attributes(about)}>{escape(case.text)}</{case.outcome}>"
    return f"  <testcase{_attributes(where)}>{inside}</testcase>\n"


def _table(run: Run) -> str:
    """The verdict's table, line by line, as far as there is one."""
    return "\n".join(clean(row) for row in run.verdict.text().split("\n")) if run.verdict else ""


def _properties(values: Mapping[str, str]) -> str:
    items = (
        f"   <property name={quoteattr(name)} value={quoteattr(value)}/>\n" for name, value in values.items()
    )
    return f"  <properties>\n{''.join(items)}  </properties>\n"


def _attributes(values: Mapping[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items())

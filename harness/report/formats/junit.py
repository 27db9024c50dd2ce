"""JUnit XML: a wrong model is a failure, a broken board an error; simulated figures say so in their names."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as xml

from harness.record import Run
from harness.report.report import Report
from harness.report.table import figures
from harness.report.view import SIMULATED_BANNER, Line, clean

FILE = "junit.xml"


def render(report: Report, path: Path) -> None:
    """Write one test case a run, with its figures as properties."""
    tally = report.tally
    counts = {"tests": str(tally.total), "failures": str(tally.wrong), "errors": str(tally.broken)}
    root = xml.Element("testsuites", counts)
    seconds = sum(run.duration_s for run in report.runs)
    suite = xml.SubElement(
        root,
        "testsuite",
        {"name": "esp-hil", **counts, "skipped": "0", "time": f"{seconds:.3f}"}
        | {"timestamp": clean(min(run.started_utc for run in report.runs))},
    )
    _properties(suite, {"simulated_runs": str(tally.simulated)})
    for line in report.lines:
        suite.append(_case(line))
    notes = [SIMULATED_BANNER] if tally.simulated else []
    xml.SubElement(suite, "system-out").text = "\n".join([*notes, *report.warnings])
    xml.indent(root)
    xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _case(line: Line) -> xml.Element:
    run = line.run
    case = xml.Element(
        "testcase",
        {
            "classname": f"{line.target}.{line.board}",
            "name": f"{line.model}-{line.recipe}-{line.runtime}",
            "time": f"{run.duration_s:.3f}",
        },
    )
    told = {"run_id": clean(run.run_id), "kind": run.kind, "simulated": str(run.simulated).lower()}
    told |= {"words": line.words, "validity": line.validity}
    _properties(case, told | {name: repr(value) for name, value in figures(run).items()})
    if line.status == "wrong":
        kind = run.failure.kind if run.failure else "numerics"
        xml.SubElement(case, "failure", {"type": kind, "message": line.words}).text = _table(run)
    elif run.failure is not None and line.status == "broken":
        xml.SubElement(case, "error", {"type": run.failure.kind, "message": line.words}).text = _table(run)
    return case


def _table(run: Run) -> str:
    """The verdict's table, line by line, as far as there is one."""
    return "\n".join(clean(row) for row in run.verdict.text().split("\n")) if run.verdict else ""


def _properties(parent: xml.Element, values: dict[str, str]) -> None:
    properties = xml.SubElement(parent, "properties")
    for name, value in values.items():
        xml.SubElement(properties, "property", {"name": name, "value": value})

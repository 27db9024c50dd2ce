"""Every format: what it says, that it marks what is simulated, and that names stay text."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as xml

import pandas as pd
import pytest

from esp_hil.report import write_reports
from esp_hil.report.formats.html import script_text
from esp_hil.report.formats.markdown import escape
from esp_hil.report.view import EMULATED_BANNER, SIMULATED_BANNER
from esp_hil.results.frames import frame
from esp_hil.results.record import Failure
from tests.report.samples import a_night, failed_run, sample_run

EVIL = "<script>alert(1)</script>\x1b[31m|`*_[x](javascript:y)@someone\x00\n# h\udc80"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_parquet_gives_the_table_back_with_its_types(tmp_path: Path) -> None:
    path = write_reports(a_night(), tmp_path, formats=["parquet"])["parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame(a_night()))


def test_csv_gives_the_figures_back(tmp_path: Path) -> None:
    path = write_reports(a_night(), tmp_path, formats=["csv"])["csv"]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [float(row["latency_ms"]) for row in rows if row["latency_ms"]]
    assert measured == frame(a_night())["latency_ms"].dropna().tolist()
    figures = ["measured"] * 3 + ["simulated"] * 2 + ["measured"]
    assert [row["figure"] for row in rows] == figures


def test_every_format_is_found_and_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    written = write_reports(a_night(), tmp_path / "new" / "folder")
    assert {name: path.name for name, path in written.items()} == {
        "csv": "results.csv",
        "html": "report.html",
        "junit": "junit.xml",
        "markdown": "report.md",
        "openmetrics": "metrics.txt",
        "parquet": "results.parquet",
    }
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(
        path.name for path in written.values()
    )


@pytest.mark.parametrize("name", ["csv", "html", "junit", "markdown", "openmetrics", "parquet"])
def test_every_format_takes_hostile_names_and_logs(name: str, tmp_path: Path) -> None:
    runs = [
        sample_run(model=EVIL, board=EVIL, recipe=EVIL, counters={EVIL: (1, EVIL)}),
        failed_run(model=EVIL, message=EVIL),
    ]
    path = write_reports(runs, tmp_path, formats=[name])[name]
    data = path.read_bytes()
    if name != "parquet":
        text = data.decode("utf-8")
        assert "\x00" not in text
        assert "\x1b" not in text
        assert "alert(1)" in text or "alert\\(1\\)" in text


def test_the_page_runs_only_its_own_script_and_fetches_nothing(tmp_path: Path) -> None:
    runs = [sample_run(model=EVIL, wrong=3), *a_night()]
    text = write_reports(runs, tmp_path, formats=["html"])["html"].read_text("utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2  # the rows as JSON, and what reads them
    digest = base64.b64encode(hashlib.sha256(script_text().encode()).digest()).decode()
    policies = [value for name, value in page.attributes if name == "content" and "default-src" in str(value)]
    assert policies == [
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    ]
    assert "innerHTML" not in script_text()
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    links = [value or "" for name, value in page.attributes if name == "href"]
    assert links
    assert all(value.startswith("#run-") for value in links)
    assert "<script>alert(1)" not in text
    assert any("<script>alert(1)</script>" in text for text in page.text)


def test_every_link_of_the_page_has_its_target(tmp_path: Path) -> None:
    page = Page(write_reports(a_night(), tmp_path, formats=["html"])["html"].read_text("utf-8"))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {f"#{anchor}" for anchor in ids} >= {value for name, value in page.attributes if name == "href"}


def test_the_page_shows_a_latency_row_and_an_error_plot_a_run(tmp_path: Path) -> None:
    page = Page(write_reports(a_night(), tmp_path, formats=["html"])["html"].read_text("utf-8"))
    looks = [value for name, value in page.attributes if name == "class"]
    assert looks.count("median measured") == 3
    assert looks.count("median simulated") == 2
    text = " ".join(page.text)
    assert text.count("all 1000 values equal") >= 4
    assert "7 of 1000 values differ" in text
    assert "timeout in load: no answer within 2 s" in text


def test_the_page_opens_what_is_wrong_and_folds_what_is_right(tmp_path: Path) -> None:
    page = Page(write_reports(a_night(), tmp_path, formats=["html"])["html"].read_text("utf-8"))
    assert page.tags.count("details") == 6 + 2  # two are lists to pick from
    assert sum(name == "open" for name, _ in page.attributes) == 2


def test_the_page_says_which_runs_have_no_plots_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.report.formats.html.MAX_CARDS", 2)
    page = Page(write_reports(a_night(), tmp_path, formats=["html"])["html"].read_text("utf-8"))
    assert page.tags.count("details") == 2 + 2
    assert sum(name == "open" for name, _ in page.attributes) == 2
    assert any("4 further runs have no plots" in text for text in page.text)
    assert len({value for name, value in page.attributes if name == "href"}) == 2


@pytest.mark.parametrize(("name", "mark"), [("html", "SIM"), ("markdown", "SIM"), ("junit", "simulated")])
def test_what_is_simulated_is_marked_with_the_reason_and_only_then(
    name: str, mark: str, tmp_path: Path
) -> None:
    def text(kind: str) -> str:
        path = write_reports([sample_run(kind=kind)], tmp_path / kind, formats=[name])[name]
        return re.sub(r"<(style|script)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)

    banner = escape(SIMULATED_BANNER) if name == "markdown" else SIMULATED_BANNER
    assert mark in text("virtual")
    assert banner in text("virtual")
    assert banner not in text("silicon")
    assert "SIM<" not in text("silicon")


@pytest.mark.parametrize("name", ["html", "markdown", "junit"])
def test_what_an_emulator_answered_has_a_mark_of_its_own_and_no_time(name: str, tmp_path: Path) -> None:
    def text(kind: str) -> str:
        path = write_reports([sample_run(kind=kind)], tmp_path / kind, formats=[name])[name]
        return re.sub(r"<(style|script)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)

    banner = escape(EMULATED_BANNER) if name == "markdown" else EMULATED_BANNER
    said = text("emulated")
    assert banner in said
    assert ("emulated" if name == "junit" else "EMU") in said
    assert SIMULATED_BANNER not in said
    assert "latency_ms" not in said
    assert banner not in text("virtual") + text("silicon")


def test_junit_tells_a_wrong_model_from_a_broken_board(tmp_path: Path) -> None:
    runs = [
        sample_run(),
        sample_run(wrong=2),
        failed_run(),
        failed_run(failure=Failure(kind="numerics", message="layer /conv differs", step="compare")),
    ]
    path = write_reports(runs, tmp_path, formats=["junit"])["junit"]
    root = xml.parse(path).getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "2", "1")
    cases = root.findall(".//testcase")
    assert [[child.tag for child in case if child.tag != "properties"] for case in cases] == [
        [],
        ["failure"],
        ["error"],
        ["failure"],
    ]
    error, failure = cases[2].find("error"), cases[1].find("failure")
    assert error is not None
    assert error.get("type") == "timeout"
    assert failure is not None
    assert "device vs exact (port)" in str(failure.text)


def test_junit_names_simulated_figures_so(tmp_path: Path) -> None:
    path = write_reports([sample_run(kind="virtual")], tmp_path, formats=["junit"])["junit"]
    names = {p.get("name"): p.get("value") for p in xml.parse(path).iter("property")}
    assert (names["simulated"], names["figure"]) == ("true", "simulated")
    assert "latency_ms" in names


def test_markdown_keeps_hostile_names_in_their_cell(tmp_path: Path) -> None:
    runs = [sample_run(model=EVIL, wrong=1), sample_run()]
    text = write_reports(runs, tmp_path, formats=["markdown"])["markdown"].read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith(("| ❌", "| ✅"))]
    assert len(rows) == 2
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [13, 13]
    assert "<script>" not in text
    assert "@someone" not in text
    assert "](javascript" not in text.replace("\\]\\(", "")


def test_warnings_are_told_in_the_formats_that_people_read(tmp_path: Path) -> None:
    warning = "runs.jsonl:3: row torn or damaged, left out (12 bytes)"
    written = write_reports(a_night(), tmp_path, warnings=[warning])
    for name in ("html", "junit", "markdown"):
        text = written[name].read_text("utf-8")
        assert warning in text or escape(warning) in text


def test_openmetrics_has_a_sample_a_figure_with_simulated_names_apart(tmp_path: Path) -> None:
    path = write_reports(a_night(), tmp_path, formats=["openmetrics"])["openmetrics"]
    lines = path.read_text("utf-8").splitlines()
    assert lines[-1] == "# EOF"
    passed = [line for line in lines if line.startswith("hil_passed{")]
    assert len(passed) == 6
    assert sum(line.split("} ")[1].startswith("1.0") for line in passed) == 4
    median = next(line for line in lines if line.startswith("hil_latency_ms{"))
    assert 'model="mnist",recipe="w8a8",runtime="espdl",target="esp32p4"' in median
    assert median.endswith(" 1773453600.000")
    figured = [line for line in lines if line.startswith("hil_latency_ms{")]
    assert (
        sorted(line.split('figure="')[1].split('"')[0] for line in figured)
        == ["measured"] * 3 + ["simulated"] * 2
    )
    declared = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))
    assert all(
        re.fullmatch(r"[a-z0-9_]+\{.*\} [-+0-9.e]+( [0-9.]+)?", line) for line in lines if line[0] != "#"
    )


def test_openmetrics_escapes_what_would_end_a_label(tmp_path: Path) -> None:
    run = sample_run(model='a"b\\c\n# d', started_utc="no time")
    path = write_reports([run], tmp_path, formats=["openmetrics"])["openmetrics"]
    line = next(line for line in path.read_text("utf-8").splitlines() if line.startswith("hil_passed"))
    assert 'model="a\\"b\\\\c' in line
    assert line.endswith("} 1.0")

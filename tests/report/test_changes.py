"""A comparison in every form that people and machines read."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree as xml

import pytest

from esp_hil.report.changes import as_annotations, as_json, as_junit, as_markdown, as_text
from esp_hil.report.comment import annotated_rows, as_comment
from esp_hil.results.record import Run
from esp_hil.results.regress import Comparison, compare
from tests.report.samples import failed_run, sample_run
from tests.results.regress.test_comparing import on_device, slower

HOSTILE = "<script>alert(1)</script>|`x`%0A\n::error::owned @everyone"


@pytest.fixture
def mixed() -> Comparison:
    """One worse, one refused, one missing, one new, one broken."""
    base = [sample_run(), sample_run(model="a"), sample_run(model="gone"), sample_run(model="dead")]
    new = [
        slower(sample_run(), 1.05),
        on_device(sample_run(model="a"), clock_hz=1),
        sample_run(model="fresh"),
        dataclasses.replace(failed_run(model="dead"), target="esp32p4"),
    ]
    return compare(base, new)


def test_the_terminal_hears_the_worst_first(mixed: Comparison) -> None:
    lines = as_text(mixed).splitlines()
    assert lines[0].startswith("WORSE   mnist w8a8 espdl on esp32p4: latency_ms")
    assert any(line.startswith("BROKEN  dead") for line in lines)
    assert any(line.startswith("refused a ") for line in lines)
    assert any(line.startswith("missing gone") for line in lines)
    assert any(line.startswith("new     fresh") for line in lines)
    assert lines[-1].endswith("1 worse, 1 broken, 1 not comparable, 1 missing, 1 new")
    assert len(as_text(mixed, every=True).splitlines()) > len(lines)


def test_a_change_of_one_board_among_several_is_said_to_be_the_boards() -> None:
    def on(board: str, factor: float = 1.0) -> Run:
        run = slower(sample_run(), factor)
        assert run.device is not None
        return dataclasses.replace(run, board=board, device=dataclasses.replace(run.device, mac=board))

    base = [on("p4-a"), on("p4-b")]
    found = compare(base, [on("p4-a", 1.1), on("p4-b")])
    (said,) = found.of_one_board
    assert "latency_ms is worse on p4-a only, not on p4-b" in said
    assert f"board   {said}" in as_text(found)
    assert "**one board**" in as_markdown(found)
    assert "**One board's only**" in as_comment([on("p4-a", 1.1), on("p4-b")], found)
    assert compare(base, [on("p4-a", 1.1), on("p4-b", 1.1)]).of_one_board == ()
    assert compare(base[:1], [on("p4-a", 1.1)]).of_one_board == ()


def test_a_comment_says_what_is_wrong_worse_and_new_and_nothing_of_what_is_well(mixed: Comparison) -> None:
    runs = [slower(sample_run(), 1.05), sample_run(model="fresh"), failed_run(model="dead")]
    text = as_comment(runs, mixed, link="https://ci/1", left_out=["s3-b (burnt)"])
    assert text.startswith("<!-- esp-hil -->\n")
    assert "1 worse, 1 broken; 3 runs on" in text
    wrong, worse = text.split("**Worse**")
    assert "dead" in wrong
    assert "| broken | dead" in wrong
    assert "2.5" in worse
    assert "→" in worse
    assert "**New**\n\n- fresh" in worse
    assert "- s3-b \\(burnt\\)" in worse
    assert "(https://ci/1)" in worse


def test_a_comment_lets_nobody_speak_for_it() -> None:
    run = dataclasses.replace(failed_run(), board=HOSTILE)
    text = as_comment([run])
    assert "<script>" not in text
    assert "\n::error" not in text
    assert "@everyone" not in text
    assert all("\n" not in line for line in annotated_rows([run]))


def test_markdown_has_a_row_a_change_and_a_line_a_refusal(mixed: Comparison) -> None:
    text = as_markdown(mixed)
    assert "| ❌ worse | mnist w8a8 espdl on esp32p4 @<!-- --> esp32p4-a | latency\\_ms | 2.5" in text
    assert "- **not compared** a w8a8" in text
    assert "- **missing** gone" in text


def test_junit_counts_what_it_lists(mixed: Comparison) -> None:
    suite = xml.fromstring(as_junit(mixed))[0]
    cases = suite.findall("testcase")
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[count]) == sum(case.find(tag) is not None for case in cases)
    assert int(suite.attrib["tests"]) == len(cases)
    assert [suite.attrib[name] for name in ("failures", "errors", "skipped")] == ["1", "1", "2"]


def test_annotations_are_one_line_each(mixed: Comparison) -> None:
    lines = as_annotations(mixed).splitlines()
    assert lines[0].startswith("::error title=esp-hil regression::mnist w8a8 espdl on esp32p4: latency")
    assert [line.split("::")[1].split()[0] for line in lines] == ["error", "error", "warning", "warning"]


def test_json_has_everything_with_its_words(mixed: Comparison) -> None:
    document = json.loads(as_json(mixed))
    assert document["words"] == mixed.summary
    assert document["changes"][0]["judgement"] == "worse"
    assert document["changes"][0]["words"] == mixed.regressions[0].summary
    assert document["missing"][0]["model"] == "gone"


def test_names_cannot_break_out_of_any_form() -> None:
    base = sample_run(model=HOSTILE, board=HOSTILE)
    found = compare([base, sample_run(model=f"gone {HOSTILE}")], [slower(base, 1.05)])
    assert found.regressions
    markdown = as_markdown(found)
    assert "<script>" not in markdown
    assert "@everyone" not in markdown
    assert "\n::error" not in as_annotations(found)
    assert len(as_annotations(found).splitlines()) == 2
    assert all("\n::" not in line for line in as_text(found).splitlines())
    names = [case.attrib["classname"] for case in xml.fromstring(as_junit(found)).iter("testcase")]
    assert any("<script>" in name for name in names)  # parsed back as text

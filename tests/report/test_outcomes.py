"""A red test of the suites is red in every artefact, and says why in the first screen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np
import pandas as pd
import pytest

from esp_hil.report import summary, write_reports
from esp_hil.results.record import Check, Failure, FirstWrong, Neighbour, Run
from esp_hil.verdict.difference import IntegerDiff, compare_answers
from tests.report.samples import failed_run, sample_run

NUMERICS = Check(
    suite="numerics", name="test_the_device_answers_what_the_exact_reference_says", outcome="passed"
)
LEAK = Check(
    suite="memory",
    name="test_loading_the_model_again_leaks_nothing",
    outcome="failed",
    message="a load costs 64 bytes of heap for good",
)
SLOWER = Check(
    suite="regression",
    name="test_nothing_got_worse_than_the_baseline",
    outcome="failed",
    message="latency 2.500 -> 2.675 ms (+7.0 %)",
)
DIAGNOSIS = "First wrong at node 3 of 7, Conv /conv2: padding is off by one"


def leaking() -> Run:
    return sample_run(model="leaky").judged(NUMERICS).judged(LEAK)


def slower() -> Run:
    return sample_run(model="slow").judged(NUMERICS).judged(SLOWER)


def wrong() -> Run:
    said = replace(NUMERICS, outcome="failed", message="7 of 1000 values differ")
    return replace(sample_run(model="wrong-net", wrong=7), divergence=DIAGNOSIS).judged(said)


@pytest.mark.parametrize(
    ("run", "word", "why"),
    [
        (leaking(), "failed", LEAK.message),
        (slower(), "worse", SLOWER.message),
        (wrong(), "wrong", DIAGNOSIS),
    ],
    ids=["leak", "slower", "wrong"],
)
def test_no_artefact_calls_a_red_run_ok(run: Run, word: str, why: str, tmp_path: Path) -> None:
    written = write_reports([run], tmp_path)
    root = xml.parse(written["junit"]).getroot()
    assert root.get("failures") == "1"
    message = root.find(".//failure")
    assert message is not None
    assert why in str(message.get("message"))
    row = pd.read_parquet(written["parquet"]).iloc[0]
    assert (row["status"], bool(row["passed"])) == (word, False)
    assert why in row["reason"]
    assert row["checks_failed"]
    assert "hil_passed" in written["openmetrics"].read_text("utf-8")
    assert "} 0.0 " in written["openmetrics"].read_text("utf-8")
    markdown = written["markdown"].read_text("utf-8")
    assert f"❌ {word}" in markdown
    assert "✅" not in markdown
    terminal = summary([run], colour=False)
    assert word.upper() in terminal
    assert why in terminal


def test_junit_has_every_test_and_the_cause_once(tmp_path: Path) -> None:
    down = failed_run(failure=Failure(kind="boot", message="the board does not answer", step="boot"))
    for name in ("test_a", "test_b", "test_c"):
        down = down.judged(
            Check(suite="numerics", name=name, outcome="error", message="BoardError: does not answer")
        )
    root = xml.parse(write_reports([down, leaking()], tmp_path)["junit"]).getroot()
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("5", "1", "1")
    assert root.get("skipped") == "2"
    error = root.find(".//error")
    assert error is not None
    assert "the board does not answer" in str(error.get("message"))


def test_a_further_attempt_is_marked_and_counts_nowhere_as_another_run(tmp_path: Path) -> None:
    first = slower()
    again = replace(sample_run(model="slow", seed=2), session_id=first.session_id, attempt=2, run_id="again")
    written = write_reports([first, again], tmp_path)
    assert "1 run: 0 ok, 1 WORSE than baseline, 1 further attempt" in summary([first, again], colour=False)
    assert "(attempt 2)" in summary([first, again], colour=False)
    root = xml.parse(written["junit"]).getroot()
    assert (root.get("failures"), root.get("skipped")) == ("1", "1")
    (passed,) = re.findall(
        r"^hil_passed\{.*\} (\S+) ", written["openmetrics"].read_text("utf-8"), re.MULTILINE
    )
    assert passed == "0.0"


def diagnosed() -> Run:
    got, expected = np.full((1, 4, 4, 8), 5, np.int8), np.full((1, 4, 4, 8), 5, np.int8)
    got[0, 1, 2, 3] = 68
    diff = compare_answers(got, expected)
    assert isinstance(diff, IntegerDiff)
    return replace(
        wrong(),
        first_wrong=FirstWrong(
            tensor="/relu2",
            place="node 3 of 7, Conv /conv2",
            shape=(1, 4, 4, 8),
            scale="exponent -5",
            why="padding is off by one",
            diff=diff,
            around=(
                Neighbour(index=(0, 1, 2, 2), got=5, expected=5),
                Neighbour(index=(0, 1, 2, 3), got=68, expected=5),
            ),
            file="divergence/wrong-net-w8a8-esp32p4.npz",
        ),
    )


def test_the_card_of_a_wrong_run_shows_the_tensor_that_went_wrong_first(tmp_path: Path) -> None:
    run = diagnosed()
    assert Run.from_json(run.to_json()) == run
    page = write_reports([run], tmp_path, formats=["html"])["html"].read_text("utf-8")
    card = page[page.index('class="wrongtensor"') :]
    for words in ("node 3 of 7, Conv /conv2", "padding is off by one", "exponent -5", "[0, 1, 2, 3]", "+63"):
        assert words in card, words
    assert 'href="divergence/wrong-net-w8a8-esp32p4.npz"' in card


@pytest.mark.parametrize(
    "file", ["../../etc/passwd", "javascript:alert(1)", "https://x.example/a.npz", "divergence/..npz/x"]
)
def test_a_row_of_somebody_else_links_nowhere(file: str, tmp_path: Path) -> None:
    run = diagnosed()
    assert run.first_wrong is not None
    run = replace(run, first_wrong=replace(run.first_wrong, file=file))
    page = write_reports([run], tmp_path, formats=["html"])["html"].read_text("utf-8")
    assert f'href="{file}"' not in page

"""An option is one row: on the command line, as a variable, in pytest's configuration file, in the docs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from esp_hil.errors import ConfigError
from esp_hil.session.option_rows import ROWS, Options, Sources, as_markdown, given, meant
from tests.conftest import ROOT

FOLDER = Path("/project")


def sources(
    command_line: Mapping[str, str | list[str]] | None = None,
    environ: dict[str, str] | None = None,
    file: dict[str, str] | None = None,
) -> Sources:
    return Sources(command_line=command_line or {}, environ=environ or {}, file=file or {}, folder=FOLDER)


def test_the_command_line_counts_before_the_variable_before_the_file() -> None:
    line, variable, file = {"hil_runs": "1"}, {"HIL_RUNS": "2"}, {"hil_runs": "3"}
    assert given(sources(line, variable, file)) == {"runs": 1}
    assert given(sources(None, variable, file)) == {"runs": 2}
    assert given(sources(None, None, file)) == {"runs": 3}
    assert given(sources()) == {}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_each_option_can_be_given_in_each_place(row: object) -> None:
    field = next(name for name, one in ROWS.items() if one is row)
    (one,) = (one for one in ROWS.values() if one is row)
    number = str(max(0.5, one.least or 0))
    texts = {"count": "7", "number": number, "duration": "30m", "switch": "yes"}
    text = texts.get(one.kind, "/some/thing")
    found = [
        given(sources({one.key: [text] if one.kind == "list" else text})),
        given(sources(None, {one.variable: text})),
        given(sources(None, None, {one.key: text})),
    ]
    assert [list(values) for values in found] == [[field]] * 3
    assert found[0] == found[1] == found[2]
    assert type(found[0][field]) is not str or one.kind in {"text", "place"}


def test_no_two_options_share_a_name_and_each_is_a_field_with_the_default_of_its_help() -> None:
    for names in zip(*((row.option, row.key, row.variable) for row in ROWS.values()), strict=True):
        assert len(set(names)) == len(ROWS)
    defaults = {field.name: field.default for field in fields(Options)}
    for name, row in ROWS.items():
        if "(default " in row.help and row.kind == "count":
            assert f"(default {defaults[name]})" in row.help


def test_a_switch_can_be_taken_back_and_words_are_split() -> None:
    taken = given(sources(None, {"HIL_SKIP_LINT": "no"}, {"hil_skip_lint": "yes"}))
    assert taken == {"skip_lint": False}
    asked = given(sources({"hil_model": ["mnist, gesture", "mnist,fashion"]}))
    assert asked == {"models": ("mnist", "gesture", "fashion")}


def test_a_path_of_the_file_is_relative_to_it_and_a_url_is_not_a_path() -> None:
    file = {"hil_results": "out", "hil_history": "sqlite:///h.sqlite", "hil_virtual_faults": '{"engine": {}}'}
    found = given(sources(None, None, file | {"hil_baseline": "rows.jsonl"}))
    assert found["results"] == FOLDER / "out"
    assert found["history"] == "sqlite:///h.sqlite"
    assert found["virtual_faults"] == '{"engine": {}}'
    assert found["baseline"] == str(FOLDER / "rows.jsonl")
    assert given(sources({"hil_results": "out"}))["results"] == Path("out")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (sources({"hil_runs": "0"}), "--hil-runs 0: must be at least 1"),
        (sources({"hil_runs": "five"}), "--hil-runs five: not a whole number"),
        (sources(None, {"HIL_INPUTS": "1.5"}), "HIL_INPUTS 1.5: not a whole number"),
        (sources(None, {"HIL_MLPERF_WINDOW": "nan s"}), "HIL_MLPERF_WINDOW nan s: not a number"),
        (sources(None, None, {"hil_skip_lint": "maybe"}), "hil_skip_lint maybe: neither yes nor no"),
    ],
)
def test_a_wrong_value_is_named_by_where_it_was_given(where: Sources, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(where)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--board", "esp-hil's option is --hil-board"),
        ("--gate-simulated", "esp-hil's option is --hil-gate-simulated"),
        ("--results=out", "esp-hil's option is --hil-results"),
        ("--hil-bord=virtual", "did you mean --hil-board?"),
        ("--hil-qqqqqq", "pytest --help"),
    ],
)
def test_a_word_that_looks_like_ours_is_answered_with_the_option(word: str, told: str) -> None:
    said = meant(["--foreign", word], ROWS.values())
    assert said is not None
    assert told in said
    assert word.partition("=")[0] in said
    assert meant(["--foreign"], ROWS.values()) is None


def test_the_docs_have_the_table_as_the_code_makes_it() -> None:
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert as_markdown(ROWS.values()) in text, "python -m esp_hil.session.option_rows prints the table"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_pytest_answers_an_old_name_with_one_line_and_takes_it_where_it_is_somebody_s(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_x() -> None:\n    pass\n", encoding="utf-8")
    done = run(tmp_path, "--board", "virtual", "test_x.py")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert said == ["ERROR: unrecognized arguments: --board (esp-hil's option is --hil-board)"]
    theirs = "def pytest_addoption(parser):\n    parser.addoption('--board')\n"
    (tmp_path / "conftest.py").write_text(theirs, encoding="utf-8")
    assert run(tmp_path, "--board", "virtual", "test_x.py").returncode == 0

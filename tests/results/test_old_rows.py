"""Rows that earlier versions wrote: real lines of schema 2 and 4, and 3 as it was without what 4 added."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esp_hil.results.journal import read_runs
from esp_hil.results.record import OLDEST_SCHEMA, SCHEMA, Run
from esp_hil.results.regress import Rules, compare
from tests.conftest import ROOT

ROWS = Path(__file__).with_name("old_rows.jsonl")
LINES = {json.loads(line)["schema"]: line for line in ROWS.read_text(encoding="utf-8").splitlines()}


@pytest.mark.parametrize("schema", [2, 3, 4])
def test_a_row_of_an_older_schema_is_read_with_all_that_it_has(schema: int) -> None:
    assert min(LINES) >= OLDEST_SCHEMA
    written, run = json.loads(LINES[schema]), Run.from_json(LINES[schema])
    again = json.loads(run.to_json())
    assert again["schema"] == SCHEMA
    for name in ("run_id", "cycles", "counters", "device", "provenance", "layers", "sizes", "failure"):
        assert again[name] == written[name], name
    assert run.passed
    assert run.verdict is not None
    assert run.verdict.bit_exact
    assert run.checks == ()
    assert run.link is not None
    assert run.link.baud is None


@pytest.mark.parametrize("schema", [2, 3, 4])
def test_an_old_row_still_compares_with_one_of_today(schema: int) -> None:
    old = Run.from_json(LINES[schema])
    new = Run.from_json(Run.from_json(LINES[4]).to_json())
    found = compare([old], [new], Rules(), tests=1)
    assert not found.added
    assert not found.missing
    assert not found.regressions


def test_the_committed_baseline_is_read_whole() -> None:
    path = ROOT / "reports" / "baselines" / "virtual.jsonl"
    assert len(read_runs(path).runs) == len(path.read_text(encoding="utf-8").splitlines())

"""Predictions change on purpose only: those of the project's own models are written down, node by node."""

from __future__ import annotations

import json

import pytest

from tests.conftest import ROOT
from tests.results.timing.make_predicted import CASES, FILE, errors_table, predicted, title

WRITTEN = json.loads(FILE.read_text(encoding="utf-8"))
REMADE = "if that is meant: python -m tests.results.timing.make_predicted"


@pytest.mark.parametrize("case", CASES, ids=title)
def test_a_model_is_predicted_as_it_was(case: tuple[str, str, str, dict[str, object]]) -> None:
    found, written = predicted(*case), WRITTEN[title(case)]
    assert list(found["nodes"]) == list(written["nodes"])
    for name, row in written["nodes"].items():
        assert found["nodes"][name][-1] == row[-1], f"{name}; {REMADE}"
        assert found["nodes"][name][:-1] == pytest.approx(row[:-1], rel=1e-5), f"{name}; {REMADE}"
    for name in ("ms", "low_ms", "high_ms"):
        assert found[name] == pytest.approx(written[name], rel=1e-5), f"{name}; {REMADE}"
    assert found["said"] == written["said"], REMADE


def test_what_predictions_are_worth_is_what_it_was() -> None:
    assert errors_table() == WRITTEN["errors"], REMADE


def test_the_page_of_predictions_has_the_table_of_today() -> None:
    page = (ROOT / "docs" / "predictions.md").read_text(encoding="utf-8")
    written = page.split("```text\n")[1].split("```")[0]
    assert written.splitlines() == errors_table()[1:], REMADE


def test_two_cores_wait_for_weights_at_the_same_time() -> None:
    """What one core waits for is not the bus: imagenet's 867 ms on two cores of an S3 are 0.66 of its 1309."""
    lines = [line.split() for line in errors_table() if line.startswith("imagenet_mobilenetv2")]
    (two,) = (line for line in lines if line[1:4] == ["esp32s3", "2", "867.0"])
    assert 0.8 <= float(two[5]) <= 1.25

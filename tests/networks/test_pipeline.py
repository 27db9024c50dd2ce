"""A person's own detector: what stands before and after the network in one Python file, its boxes compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.formats.espdl.writer import edl, graph, node, value
from tests.networks.folders import folder, suites

TOML = """
[pipeline]
file = "pipeline.py"
iou = 0.6
against_expected = {recall = 0.99, precision = 0.99}

[[inputs]]
name = "x"
dtype = "float32"
shape = [3, 6]

[[outputs]]
name = "y"
meaning = "raw"
"""

PIPELINE = """
from esp_hil.models.boxes import suppress


def before(stored):
    return {"x": stored["x"] / 2}


def after(outputs):
    rows = outputs["y"] * 2
    return suppress(rows[rows[:, 4] > 10], 0.5)
"""

NET = edl(graph([node("Relu", ("x",), ("y",))], (value("x", (1, 3, 6), 0), value("y", (1, 3, 6), 0))))
"""Three candidates pass through: x1, y1, x2, y2, score, class."""


@pytest.mark.parametrize("wrong", [False, True])
def test_a_detector_is_judged_by_its_boxes(tmp_path: Path, wrong: bool) -> None:
    seen = np.array([[[0, 0, 20, 20, 90, 2], [2, 0, 20, 20, 80, 2], [60, 60, 80, 80, 4, 2]]], np.float32)
    right = np.array([[[0, 0, 20, 20, 2], [0, 0, 0, 0, -1]]], np.float32)
    model = folder(tmp_path, TOML, {"esp32s3": NET}, {"x": seen, "expected/boxes": right})
    (model.folder / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    arguments: list[str] = []
    if wrong:  # the score of the first candidate falls below the threshold
        plan = {"engine": {"output": [{"tensor": "y", "index": 4, "add_lsb": -45}]}}
        (tmp_path / "faults.json").write_text(json.dumps(plan), encoding="utf-8")
        arguments = ["--hil-virtual-faults", str(tmp_path / "faults.json")]
    found = suites(tmp_path, *arguments)
    assert found.run.verdict is not None, found.text
    figures = {one.name: one for one in found.run.verdict.measures if one.source == "device"}
    assert figures["recall"].value == 1.0
    assert figures["iou"].value == pytest.approx(0.9 if wrong else 1.0)
    assert found.status == int(wrong), found.text


def test_a_detector_of_which_nothing_is_known_is_held_against_what_the_exact_reference_finds(
    tmp_path: Path,
) -> None:
    seen = np.array([[[0, 0, 20, 20, 90, 2], [2, 0, 20, 20, 80, 2], [60, 60, 80, 80, 4, 2]]], np.float32)
    asks_nothing = TOML.replace("against_expected = {recall = 0.99, precision = 0.99}\n", "")
    model = folder(tmp_path, asks_nothing, {"esp32s3": NET}, {"x": seen})
    (model.folder / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    plan = {"engine": {"output": [{"tensor": "y", "index": 4, "add_lsb": -45}]}}
    (tmp_path / "faults.json").write_text(json.dumps(plan), encoding="utf-8")
    found = suites(tmp_path, "--hil-virtual-faults", str(tmp_path / "faults.json"))
    assert found.run.verdict is not None, found.text
    figures = {(one.source, one.against, one.name): one.value for one in found.run.verdict.measures}
    # the best candidate fell below the threshold; the one that it suppressed stands in for it, 18 of 20 columns wide
    assert figures == {
        ("device", "exact", "recall"): 1.0,
        ("device", "exact", "precision"): 1.0,
        ("device", "exact", "iou"): pytest.approx(0.9),
    }
    assert found.run.steps is not None
    assert found.run.steps.post_ms is not None

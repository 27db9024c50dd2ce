"""Boxes of a pipeline: overlap, suppression, pairs, and figures of what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import ConfigError, InputError
from esp_hil.models.boxes import as_boxes, overlap, paired, suppress
from esp_hil.models.outputs import OutputGate
from esp_hil.models.pipeline import Pipeline, PipelineSpec, open_pipeline

SQUARE = [0.0, 0.0, 2.0, 2.0, 0.9, 1.0]
HALF = [1.0, 0.0, 3.0, 2.0, 0.8, 1.0]
FAR = [9.0, 9.0, 10.0, 10.0, 0.7, 1.0]
SPEC = PipelineSpec(
    file="pipeline.py", iou=0.5, gates=(OutputGate(against="expected", measure="recall", limit=0.75),)
)


def test_overlap_is_intersection_over_union_and_of_empty_boxes_none() -> None:
    empty = [1.0, 1.0, 1.0, 1.0, 0.5, 1.0]
    found = overlap(np.array([SQUARE, empty]), np.array([SQUARE, HALF, FAR, empty]))
    assert found.tolist() == [[1.0, pytest.approx(2 / 6), 0.0, 0.0], [0.0] * 4]


def test_suppression_keeps_the_best_of_each_class() -> None:
    other = [*SQUARE[:4], 0.5, 2.0]
    kept = suppress(np.array([HALF, SQUARE, FAR, other]), 0.3)
    assert kept[:, 4].tolist() == [0.9, 0.7, 0.5]
    assert len(suppress(np.array([HALF, SQUARE]), 0.4)) == 2


def test_each_right_box_is_found_once_and_only_by_its_class() -> None:
    right = as_boxes([SQUARE])
    assert paired(as_boxes([SQUARE, SQUARE]), right, 0.5) == [1.0]
    assert paired(as_boxes([[*SQUARE[:5], 2.0]]), right, 0.5) == []
    assert paired(as_boxes([HALF]), right, 0.5) == []
    assert paired(as_boxes([HALF]), right, 0.3) == [pytest.approx(1 / 3)]


@pytest.mark.parametrize("rows", [[1, 2], [[1, 2, 3]], [[float("nan")] * 6], "boxes", [[1, 2], [3]]])
def test_what_are_no_boxes_is_one_line(rows: object) -> None:
    with pytest.raises(InputError, match="boxes of shape"):
        as_boxes(rows)


def test_none_found_are_boxes_too() -> None:
    assert as_boxes([]).shape == (0, 6)


def figures(pipeline: Pipeline, device: list[list[list[float]]]) -> dict[str, float]:
    expected = np.full((2, 2, 5), -1.0)
    expected[0, :, :] = [[*SQUARE[:4], 1], [*FAR[:4], 1]]
    made = pipeline.measures({"device": [as_boxes(rows) for rows in device]}, expected)
    assert all(one.limit == (0.75 if one.name == "recall" else None) for one in made)
    return {one.name: one.value for one in made}


def test_figures_count_over_all_pictures() -> None:
    pipeline = Pipeline(spec=SPEC, before=None, after=len)
    assert figures(pipeline, [[SQUARE, FAR], []]) == {"recall": 1.0, "precision": 1.0, "iou": 1.0}
    assert figures(pipeline, [[SQUARE], [FAR]]) == {"recall": 0.5, "precision": 0.5, "iou": 1.0}
    assert figures(pipeline, [[], []]) == {"recall": 0.0, "precision": 1.0, "iou": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("after = 1\n", "has no function after"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("def after(outputs):\n    return outputs['z']\n", "after of the pipeline failed: KeyError"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pipeline.py").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        open_pipeline(tmp_path, SPEC).find({"y": np.zeros((1, 4))})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)

"""A task whole, with a network of its own: what a clone without Espressif's weights can prove."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError, FormatError, GoldenError, UnknownModel
from esp_hil.formats.espdl import Attribute
from esp_hil.results.journal import read_runs
from esp_hil.results.outcome import status_of
from esp_hil.session.options import Options, all_combinations
from esp_hil.tasks import Image
from esp_hil.tasks.as_models import GoldenPictures, models
from esp_hil.tasks.replay import answer_all
from esp_hil.tensors import Arrays
from tests.conftest import ROOT
from tests.formats.espdl.writer import edl, graph, node, tensor, value

SIDE = 4
COLOURS = ("red", "green", "blue", *(f"none {number}" for number in range(13)))
CONV: dict[str, Attribute] = {
    "strides": (1, 1),
    "dilations": (1, 1),
    "pads": (0, 0, 0, 0),
    "kernel_shape": (SIDE, SIDE),
    "group": 1,
    "activation": "Linear",
    "quant_type": "S8",
}
TASK = """
title = "Which colour"
source = "this test"
component = "none"
binding_class = "none"
kind = "classification"
labels = "labels.txt"

[network.colour]
file = "colour.espdl"
mean = [0, 0, 0]
std = [255, 255, 255]
macs = 768

[network.colour.sha256]
esp32s3 = "{sha256}"

[decode]
top = 2

[thresholds]
iou = 0
score = 0.02

[golden]
black = ["red"]
"""


def colour_network(outputs: int = 16) -> bytes:
    """A 4x4 convolution that adds up each colour: input 1x4x4x3 at 2^-6, 16 logits at 2^-3."""
    weights = np.zeros((SIDE, SIDE, 3, outputs), np.int8)
    for channel in range(3):
        weights[:, :, channel, channel] = 16
    conv = node("Conv", ("x", "w"), ("y",))
    conv = type(conv)(
        name=conv.name, op_type="Conv", inputs=conv.inputs, outputs=conv.outputs, attributes=CONV
    )
    filters = tensor("w", weights, exponents=(-7,), layout="(N/16)HWC16")
    values = [value("x", (1, SIDE, SIDE, 3), -6), value("y", (1, 1, 1, outputs), -3)]
    return edl(graph([conv], values, initializers=(filters,)))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """golden/ with the task, and a zoo with its network."""
    data = colour_network()
    golden, zoo = tmp_path / "golden", tmp_path / "zoo"
    (golden / "colour").mkdir(parents=True)
    zoo.mkdir()
    (zoo / "colour.espdl").write_bytes(data)
    text = TASK.format(sha256=hashlib.sha256(data).hexdigest())
    (golden / "colour" / "task.toml").write_text(text, encoding="utf-8")
    (golden / "colour" / "labels.txt").write_text("\n".join(COLOURS), encoding="utf-8")
    return golden, zoo


def filled(red: int, green: int, blue: int) -> Image:
    return Image.of_rgb(np.full((30, 40, 3), (red, green, blue), np.uint8))


@pytest.mark.parametrize("index", range(3))
def test_a_picture_is_named_by_its_colour(index: int, folders: tuple[Path, Path]) -> None:
    golden, zoo = folders
    task = tasks.load("colour", zoo, "esp32s3", roots=[golden])
    picture = filled(*(200 if channel == index else 20 for channel in range(3)))
    labels = task.run(picture).labels
    assert labels[0].name == COLOURS[index]
    assert len(labels) == 2
    steps = task.steps(picture)
    # 200 / 255 * 64 = 50.2; 16 pixels * 50 * 16 / 2^(13 - 3) = 12.5, rounded half up
    assert steps["colour.input"][0, 0, 0, index] == 50
    assert steps["colour.output.y"].reshape(-1)[index] == 13


def test_what_another_machine_answers_is_what_counts(folders: tuple[Path, Path]) -> None:
    golden, zoo = folders
    task = tasks.load("colour", zoo, "esp32s3", roots=[golden])
    blue = {"y": np.array([0, 0, 100, *[0] * 13], np.int8).reshape(1, 1, 1, 16)}
    found = answer_all(task, {"red": filled(255, 0, 0)}, lambda _, inputs: [blue for _ in inputs])
    assert found["red"].labels[0].name == "blue"


def test_a_network_that_takes_no_rgb_picture_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    golden, zoo = folders
    (zoo / "colour.espdl").write_bytes(b"")
    with pytest.raises(GoldenError, match="SHA-256"):
        tasks.load("colour", zoo, "esp32s3", roots=[golden])
    gray = graph([node("Relu", ("x",), ("y",))], [value("x", (1, 4)), value("y", (1, 4))])
    data = edl(gray)
    (zoo / "colour.espdl").write_bytes(data)
    text = TASK.format(sha256=hashlib.sha256(data).hexdigest())
    (golden / "colour" / "task.toml").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="does not take one RGB picture"):
        tasks.load("colour", zoo, "esp32s3", roots=[golden])


def suites(
    folders: tuple[Path, Path], results: Path, *words: str, monkeypatch: pytest.MonkeyPatch
) -> subprocess.CompletedProcess[str]:
    golden, zoo = folders
    monkeypatch.setenv("HIL_GOLDEN", str(golden))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "suites",
        "-q",
        "-p",
        "no:cacheprovider",
        "--target",
        "esp32s3",
    ]
    command += ["--hil-board", "virtual", "--hil-model", "colour", "--hil-zoo", str(zoo), "--hil-runs", "2"]
    return subprocess.run(
        [*command, "--hil-results", str(results), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_network_of_a_task_goes_through_the_suites_of_every_model(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = suites(folders, tmp_path / "right", monkeypatch=monkeypatch)
    # black is no colour: all logits are 0, and the first of equal ones wins
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_runs(tmp_path / "right").runs
    assert (row.model, row.recipe, row.inputs, status_of(row)) == ("colour-colour", "zoo", 1, "ok")
    assert row.verdict is not None
    assert row.verdict.accuracies["device"].share == 1.0
    passed = {check.name for check in row.checks if check.outcome == "passed"}
    assert {
        "test_the_device_answers_what_the_exact_reference_says",
        "test_running_changes_no_heap",
        "test_a_reset_in_the_middle_is_noticed_and_survived",
        "test_what_is_in_the_picture_is_found",
    } <= passed


def test_a_network_is_named_as_its_row_is(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    golden, zoo = folders
    monkeypatch.setenv("HIL_GOLDEN", str(golden))
    asked = Options(
        targets=("esp32s3",), board="virtual", models=("colour-colour",), zoo=zoo, results=Path("out")
    )
    (found,) = all_combinations(asked)
    assert (found.id, found.kind) == ("colour-colour-zoo-esp32s3", "model")
    both = all_combinations(replace(asked, models=("colour-colour", "colour")))
    assert [one.id for one in both] == ["colour-colour-zoo-esp32s3", "colour-zoo-esp32s3"]
    assert {one.group for one in both} == {"colour-zoo-esp32s3"}
    with pytest.raises(ConfigError, match=r"give --zoo DIR \(pytest: --hil-zoo DIR\)"):
        all_combinations(replace(asked, zoo=None))
    with pytest.raises(UnknownModel, match="no model 'colour-color'"):
        all_combinations(replace(asked, models=("colour-color",)))


def test_a_wrong_network_is_searched_for_its_first_wrong_layer_and_the_task_is_red_in_its_row(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"engine": {"output": [{"tensor": "y", "index": 3, "add_lsb": 40}]}}
    words = ("--hil-virtual-faults", json.dumps(plan))
    done = suites(folders, tmp_path / "wrong", *words, monkeypatch=monkeypatch)
    assert done.returncode == 1
    (row,) = read_runs(tmp_path / "wrong").runs
    assert status_of(row) == "wrong"
    assert row.divergence.startswith("first wrong at node 1 of 1, Conv")
    red = {check.name for check in row.checks if check.outcome == "failed"}
    assert {
        "test_the_device_answers_what_the_exact_reference_says",
        "test_what_is_in_the_picture_is_found",
    } <= red


def test_what_becomes_of_the_golden_pictures_is_asked_once_and_only_as_far_as_wanted(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    golden, zoo = folders
    text = (golden / "colour" / "task.toml").read_text("utf-8")
    (golden / "colour" / "task.toml").write_text(f'{text}noise = ["green"]\n', encoding="utf-8")
    task = tasks.load("colour", zoo, "esp32s3", roots=[golden])
    asked: list[str] = []
    exact = task.exact

    def counted(network: str, inputs: Arrays) -> Arrays:
        asked.append(network)
        return exact(network, inputs)

    monkeypatch.setattr(task, "exact", counted)
    model = models(GoldenPictures(task))["colour"]
    assert model.golden(limit=1).ids == ("black",)
    assert len(asked) == 1
    whole = model.golden()
    assert (whole.ids, whole.labels.tolist() if whole.labels is not None else None) == (
        ("black", "noise"),
        [0, 1],
    )
    assert whole.made_ms > 0
    assert len(asked) == 2
    with pytest.raises(ConfigError, match=r"3 golden inputs of colour-colour asked for \(there are 2\)"):
        model.golden(limit=3)

"""A task whole, with a network of its own: what a clone without Espressif's weights can prove."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from esp_hil import tasks
from esp_hil.errors import FormatError, GoldenError
from esp_hil.formats.espdl import Attribute
from esp_hil.tasks import Image
from esp_hil.tasks.replay import answer_all
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

"""The tasks with Espressif's weights, where they were given: what they find, and that a broken one is noticed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError, HilError, InputError
from esp_hil.tasks import Image, PixelFormat, Results, Task, Trace, decode, pictures
from esp_hil.tasks.match import match
from esp_hil.tasks.replay import answer_all
from esp_hil.tasks.task import Detector
from tests.conftest import shared_folder


def zoo() -> Path:
    if os.environ.get("HIL_ZOO"):
        return Path(os.environ["HIL_ZOO"])
    folder = shared_folder()
    if folder is None:
        pytest.skip("no weights: set HIL_ZOO to a folder with ESP-DL's models")
    return folder / "zoo"


@pytest.fixture(params=["esp32s3", "esp32p4"])
def chip(request: pytest.FixtureRequest) -> str:
    return str(request.param)


LOADED: dict[tuple[str, str, str], Task] = {}


def load(name: str, chip: str = "esp32s3", variant: str = "") -> Task:
    if (name, chip, variant) not in LOADED:
        try:
            LOADED[name, chip, variant] = tasks.load(name, zoo(), chip, variant=variant)
        except ConfigError as error:
            pytest.skip(str(error))
    return LOADED[name, chip, variant]


def picture(name: str) -> Image:
    for package in ("skimage", "matplotlib", "mahotas"):
        pytest.importorskip(package)
    return pictures.picture(name)


def test_the_astronaut_s_face_is_found_with_eyes_above_the_mouth(chip: str) -> None:
    (face,) = load("face_detect", chip).run(picture("astronaut")).detections
    assert face.score > 0.9
    left_eye, left_mouth, nose, right_eye, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    x1, y1, x2, y2 = face.box
    assert all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in face.landmarks)
    # by hand in the photograph: eyes at (206, 103) and (243, 104), within the size of an eye
    assert np.hypot(left_eye[0] - 206, left_eye[1] - 103) < 8
    assert np.hypot(right_eye[0] - 243, right_eye[1] - 104) < 8


@pytest.mark.parametrize(
    ("name", "count"), [("black", 0), ("cat", 0), ("admiral", 1), ("two_faces", 2), ("many_faces", 4)]
)
def test_as_many_faces_are_found_as_there_are(name: str, count: int, chip: str) -> None:
    assert len(load("face_detect", chip).run(picture(name)).detections) == count


def test_the_cat_is_a_cat_and_no_human(chip: str) -> None:
    cat = picture("cat")
    (found,) = load("cat", chip).run(cat).detections
    assert found.name == "cat"
    assert found.score > 0.9
    assert load("pedestrian", chip).run(cat).detections == ()
    assert load("face_detect", chip).run(cat).detections == ()
    assert load("cat", chip).run(picture("astronaut")).detections == ()
    assert load("imagenet", chip).run(cat).labels[0].name == "Egyptian_cat"


@pytest.mark.parametrize(("name", "variant"), [("cat", "espdet_416"), ("coco", "yolo11n_320")])
def test_other_networks_find_the_cat_as_well(name: str, variant: str, chip: str) -> None:
    (found,) = load(name, chip, variant).run(picture("cat")).detections
    assert (found.name, found.score > 0.8) == ("cat", True)


def test_the_astronaut_is_a_pedestrian_for_want_of_another_word(chip: str) -> None:
    (person,) = load("pedestrian", chip).run(picture("astronaut")).detections
    assert (person.name, person.score > 0.9) == ("person", True)


@pytest.mark.parametrize("variant", ["mfn", "mbf"])
def test_two_people_are_recognised_and_a_third_is_not(chip: str, variant: str) -> None:
    task = load("face_recognize", chip, variant)

    def point(name: str) -> Any:
        found = task.run(picture(name)).embedding
        assert found is not None, name
        return found.values

    known = [(1, point("astronaut")), (2, point("admiral"))]
    for number, name in ((1, "astronaut"), (2, "admiral")):
        for change in ("mirrored", "turned", "scaled", "dark"):
            found = tasks.query(point(f"{name}_{change}"), known, threshold=0.5)
            assert [row[0] for row in found] == [number], (name, change)
    assert tasks.query(point("author"), known, threshold=0.5) == []
    both = task.run(picture("two_faces"))
    assert both.embedding is not None
    assert [row[0] for row in tasks.query(both.embedding.values, known, threshold=0.5)] == [2]


@pytest.mark.parametrize("name", ["face_detect", "cat", "pedestrian", "imagenet"])
def test_a_gray_picture_is_refused_by_every_task(name: str) -> None:
    with pytest.raises(InputError, match="gray picture"):
        load(name).run(picture("cameraman"))


@pytest.mark.parametrize("pixel_format", ["bgr888", "rgb565le", "rgb565be", "yuyv", "uyvy"])
def test_the_same_face_is_found_in_every_pixel_format(pixel_format: PixelFormat) -> None:
    task, image = load("face_detect"), picture("admiral")
    (wanted,), (got,) = task.run(image).detections, task.run(image.to(pixel_format)).detections
    # RGB565 loses up to 7 of 255 in each colour, and with it more than a format should: 0.887 and 0.084
    overlap, score = (0.85, 0.1) if "565" in pixel_format else (0.9, 0.05)
    assert decode.overlap(got.box, wanted.box) > overlap
    assert abs(got.score - wanted.score) < score


def test_the_wrong_byte_order_is_another_picture() -> None:
    """Nothing tells the device: the harness must name the format."""
    task, image = load("pedestrian"), picture("admiral").to("rgb565le")
    swapped = replace(image, format="rgb565be")
    assert not match(task.run(swapped), task.run(image), task.spec.thresholds).ok


def test_every_step_can_be_looked_at() -> None:
    task = load("face_detect")
    steps = task.steps(picture("two_faces"))
    assert steps["msr.input"].shape == (1, 120, 160, 3)
    assert steps["msr.input"].dtype == np.int8
    assert {
        "image.rgb888",
        "msr.output.score0",
        "msr.kept",
        "mnp[0].crop",
        "mnp[1].input",
        "mnp.kept",
    } <= set(steps)
    assert len(steps["mnp.kept"]) == 2


def test_times_and_inferences_of_a_run_are_known() -> None:
    trace = Trace()
    load("face_detect").run(picture("many_faces"), trace=trace)
    assert trace.inferences["msr"] == 1
    assert trace.inferences["mnp"] >= 4
    assert all(seconds > 0 for seconds in trace.seconds.values())


def broken(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Plant one mistake that ports of ESP-DL make."""
    real = decode.msr, decode.mnp, decode.suppress
    if what == "anchors":
        monkeypatch.setattr(
            decode,
            "msr",
            lambda head, *rest: real[0](replace(head, stage=replace(head.stage, offset=0)), *rest),
        )
    elif what == "crop":
        monkeypatch.setattr(
            decode,
            "mnp",
            lambda o, t, s, placement, side: real[1](o, t, s, replace(placement, crop=(0, 0, 1, 1)), side),
        )
    elif what == "nms":
        monkeypatch.setattr(decode, "suppress", lambda found, threshold, top: real[2](found, 1.0, top))
    elif what == "landmarks":

        def swapped(*args: Any) -> Any:
            face = real[1](*args)
            return face and replace(face, landmarks=face.landmarks[::-1])

        monkeypatch.setattr(decode, "mnp", swapped)


@pytest.mark.parametrize("what", ["anchors", "crop", "nms", "landmarks"])
def test_a_broken_decoder_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load("face_detect")
    images = [picture(name) for name in ("astronaut", "two_faces")]
    wanted = [task.run(image) for image in images]
    broken(monkeypatch, what)
    got = [task.run(image) for image in images]
    assert not all(match(a, b, task.spec.thresholds).ok for a, b in zip(got, wanted, strict=True))


def test_networks_elsewhere_give_the_same_results() -> None:
    task = load("face_detect")
    images = {name: picture(name) for name in ("astronaut", "two_faces", "cat")}
    asked: list[tuple[str, int]] = []

    def ask(network: str, inputs: Any) -> list[Any]:
        asked.append((network, len(inputs)))
        name = task.networks[network].input.name
        return [task.exact(network, {name: values}) for values in inputs]

    found = answer_all(task, images, ask)
    assert {name: one.to_json() for name, one in found.items()} == {
        name: task.run(image).to_json() for name, image in images.items()
    }
    assert [network for network, _ in asked] == ["msr", "mnp"]
    assert asked[0][1] == 3


def test_a_wrong_network_elsewhere_changes_the_results() -> None:
    task = load("face_detect")
    images = {"astronaut": picture("astronaut")}

    def wrong(network: str, inputs: Any) -> list[Any]:
        rows: list[Mapping[str, Any]] = []
        for values in inputs:
            made = dict(task.exact(network, {task.networks[network].input.name: values}))
            if network == "msr":
                made["box0"] = np.clip(made["box0"].astype(int) + 60, -128, 127).astype(np.int8)
            rows.append(made)
        return rows

    got: Results = answer_all(task, images, wrong)["astronaut"]
    assert not match(got, task.run(images["astronaut"]), task.spec.thresholds).ok


def test_a_chip_without_weights_and_an_unknown_variant_are_named() -> None:
    with pytest.raises(ConfigError, match="not made for esp32c3"):
        tasks.load("cat", zoo(), "esp32c3")
    with pytest.raises(ConfigError, match="one of: espdet_224, espdet_416"):
        tasks.load("cat", zoo(), "esp32s3", variant="espdet_320")
    with pytest.raises(HilError, match="unknown target"):
        tasks.load("cat", zoo(), "esp32s9")
    assert isinstance(load("cat"), Detector)

"""Pre- and postprocessing against ESP-DL's own C++, bit for bit; see vectors/README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.tasks import decode, pixels, read_spec, recognise
from esp_hil.tasks.decode import Stage
from esp_hil.tasks.network import NetworkTensor
from esp_hil.tasks.preprocess import InputArea, framed, place, resized, tables, to_tensor
from esp_hil.tasks.results import Detection
from tests.tasks.noise import digest, integers, noise, sparse

VECTORS = Path(__file__).parent / "vectors"
READERS = {"espdet": decode.espdet, "pico": decode.pico, "yolo11": decode.yolo11, "msr": decode.msr}


def rows(name: str) -> list[Any]:
    lines = (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [pytest.param(row, id=row["seed"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("row", rows("preprocess"))
def test_a_picture_becomes_the_integers_that_esp_dl_makes(row: Any) -> None:
    spec = read_spec(row["task"]).networks[row["network"]].preprocessing
    width, height, pixel_format = row["width"], row["height"], row["format"]
    data = noise(row["seed"], width * height * pixels.bytes_per_pixel(pixel_format))
    size, crop = tuple(row["size"]), tuple(row["crop"]) if row["crop"] else None
    rgb = pixels.decode(data, width, height, pixel_format)
    placement = place((width, height), size, crop=crop, letterbox=spec.letterbox is not None)
    assert [float(placement.inverse_x).hex(), float(placement.inverse_y).hex()] == [
        float.fromhex(text).hex() for text in row["inverse"]
    ]
    shown = resized(rgb, placement, size, spec.resize)
    if spec.letterbox is not None:
        shown = framed(shown, placement, size, spec.letterbox)
    table = tables(spec, row["exponent"], "int8", "half_up")
    assert digest(to_tensor(shown, table, spec.channels)) == row["sha256"]


@pytest.mark.parametrize("row", rows("align"))
def test_a_face_is_aligned_as_esp_dl_aligns_it(row: Any) -> None:
    rgb = pixels.decode(
        noise(row["seed"], row["width"] * row["height"] * 3), row["width"], row["height"], "rgb888"
    )
    flat = row["landmarks"]
    aligned, matrix = recognise.align(rgb, list(zip(flat[::2], flat[1::2], strict=True)), (112, 112))
    assert matrix.reshape(-1).tolist() == [float.fromhex(text) for text in row["matrix"]]
    spec = read_spec("face_recognize").networks["mfn"].preprocessing
    assert digest(to_tensor(aligned, tables(spec, -6, "int8", "half_up"), spec.channels)) == row["sha256"]


def outputs(row: Any) -> tuple[dict[str, Any], dict[str, NetworkTensor]]:
    made, tensors = {}, {}
    for output in row["outputs"]:
        name, shape, seed = output["name"], tuple(output["shape"]), f"{row['seed']} {output['name']}"
        made[name] = (
            sparse(seed, shape, one_in=output["one_in"], low=-128)
            if output["one_in"]
            else integers(seed, shape)
        )
        tensors[name] = NetworkTensor(name=name, dtype="int8", shape=shape, exponent=output["exponent"])
    return made, tensors


def found_in(row: Any, stages: tuple[Stage, ...], score: float, nms: float, top: int) -> list[Detection]:
    made, tensors = outputs(row)
    placement = InputArea(
        inverse_x=np.float32(float.fromhex(row["inverse"][0])),
        inverse_y=np.float32(float.fromhex(row["inverse"][1])),
        crop=tuple(row["crop"]),
        border=(row["border_top"], row["border_top"], 0, 0),
    )
    if row["decoder"] == "mnp":
        face = decode.mnp(made, tensors, score, placement, 48)
        return [face] if face else []
    found: list[Detection] = []
    for head in decode.heads(stages, made, tensors):
        found += READERS[row["decoder"]](head, score, placement, "half_up")
    return decode.suppress(decode.ranked(found), nms, top)


@pytest.mark.parametrize("row", rows("decode"))
def test_outputs_become_the_boxes_that_esp_dl_finds(row: Any) -> None:
    rules = read_spec(row["task"]).decode
    found = found_in(row, rules.stages, rules.score, rules.nms, rules.top)
    held = [decode.inside(one, row["width"], row["height"]) for one in found]
    assert [
        [one.index, float(one.score).hex(), [*one.box, *(side for point in one.landmarks for side in point)]]
        for one in held
    ] == [[index, float.fromhex(score).hex(), box] for index, score, box in row["found"]]

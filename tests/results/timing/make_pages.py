"""Makes docs/time/*: where the milliseconds of the five systems go that this project grew from.

    python -m tests.results.timing.make_pages

Every number on them is a prediction of today, or a published figure of published.csv.
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

from esp_hil.formats.espdl.memory import plan_memory
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.models import catalogue
from esp_hil.models.arena import arena_of
from esp_hil.models.device_file import open_device_file
from esp_hil.report.memory_map import boxes_of_arena, boxes_of_plan, svg
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.page import networks_page, page
from esp_hil.results.timing.published import published_of
from esp_hil.results.timing.setup import setup_of
from esp_hil.results.timing.work import total_macs, work_of
from esp_hil.targets import target
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "time"

FPS = {
    "FaceDetector at QVGA": (15.2, ("human_face_detect_msr", "human_face_detect_mnp")),
    "FaceDetector at QQVGA": (14.5, ("human_face_detect_msr", "human_face_detect_mnp")),
    "HumanDetector at QVGA": (6.6, ("pedestrian_detect_pico",)),
}
"""Of cnadler86/mp_esp_dl_models, README.md: frames a second of a 2 MP camera."""

SYSTEMS: dict[str, tuple[str, str, str, str, dict[str, object]]] = {
    "mnist-esp32p4": ("MNIST on the ESP32-P4", "mnist", "w8a8", "esp32p4", {}),
    "gesture-esp32s3": ("Gestures on the ESP32-S3", "gesture", "w8a8", "esp32s3", {}),
    "cat-or-not-esp32": ("TFLM's binary classifier on the ESP32", "cat_or_not", "int8", "esp32", {}),
    "fashion-esp32": ("Fashion-MNIST on the ESP32", "fashion", "int8", "esp32", {"clock_hz": 160_000_000}),
}


def pages() -> dict[str, str]:
    """Name of each file -> its text."""
    found = {}
    for name, system in SYSTEMS.items():
        found[f"{name}.md"] = (
            _page(*system).rstrip("\n") + f"\n\n## What lies where\n\n![memory]({name}.svg)\n"
        )
        found[f"{name}.svg"] = _picture(*system)
    found["micropython-esp32s3.md"] = networks_page(
        "MicroPython's networks on the ESP32-S3",
        target("esp32s3"),
        ("human_face_detect_msr", "human_face_detect_mnp", "pedestrian_detect_pico", "espdet_pico_224_cat"),
        FPS,
    )
    return found


def _page(title: str, model: str, recipe: str, chip_name: str, changes: dict[str, object]) -> str:
    chip, known = target(chip_name), catalogue.load(model)
    file = open_device_file(known.artifact(recipe, chip.family_of(known.recipe(recipe).runtime)))
    found = forecast(file, chip, setup=setup_of(chip, **changes))
    rows = published_of(model, chip.name, file.runtime, total_macs(work_of(file)))
    return page(title, file, chip, found, published=rows)


def _picture(title: str, model: str, recipe: str, chip_name: str, changes: dict[str, object]) -> str:
    """What lies in which memory, over the nodes' time, as `hil plan --svg` draws it."""
    chip, known = target(chip_name), catalogue.load(model)
    file = open_device_file(known.artifact(recipe, chip.family_of(known.recipe(recipe).runtime)))
    weights = [layer.parameter_bytes for layer in work_of(file)]
    if isinstance(file.content, EspdlModel):
        boxes = boxes_of_plan(file.content, plan_memory(file.content, chip), weights, copied="psram")
    else:  # without TFLM's records, which are measured where tflite-micro is installed
        arena = replace(arena_of(file.content, file.image, chip=chip.name, esp_nn=""), tail_bytes=0)
        boxes = boxes_of_arena(arena, weights, memory="internal")
    node_ms = [node.ms for node in forecast(file, chip, setup=setup_of(chip, **changes)).nodes]
    return svg(title, boxes, node_ms, {"internal": (chip.largest_block_bytes, "largest block")})


def main(folder: Path = FOLDER) -> int:
    """Write them."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(pages())} pages in {folder}")
    return 0


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder (default: docs/time)")
    raise SystemExit(main(parser.parse_args().into))

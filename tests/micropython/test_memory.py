"""The PSRAM of a virtual board: a JPEG, its frame and the networks of the model in use share it; loading is a step."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from esp_hil.errors import ConfigError
from esp_hil.micropython.bindings import binding
from esp_hil.micropython.virtual import helper
from esp_hil.micropython.virtual.helper import Helper, Panicked
from esp_hil.micropython.virtual.storage import Storage

NETWORK_BYTES = 10_000
FRAME = {"width": 40, "height": 40, "format": "rgb888", "class": "HumanDetector", "model": ""}
FRAME_BYTES = 3 * 40 * 40


class Tasks:
    """Stands in for the tasks: each has one network of a size, and says when it was loaded."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "network.espdl"
        self.path.write_bytes(b"\0" * NETWORK_BYTES)
        self.loaded: list[str] = []

    def load(self, name: str, *_a: Any, **_o: Any) -> Any:
        loaded = self.loaded

        class Network:
            path = self.path

            @property
            def exact(self) -> None:
                loaded.append(name)

        return SimpleNamespace(
            networks={"only": Network()}, run=lambda *_a, **_o: SimpleNamespace(detections=())
        )


def board(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, psram: int, name: str = "102d875"
) -> tuple[Helper, Tasks]:
    tasks = Tasks(folder)
    monkeypatch.setattr(helper, "load", tasks.load)
    monkeypatch.setattr(helper, "bent", lambda results, _quirks: results)
    made = Helper(
        "esp32s3", folder, Storage(folder / "flash"), binding=binding(name, "esp32s3"), psram_bytes=psram
    )
    return made, tasks


def photograph() -> bytes:
    image = pytest.importorskip("PIL.Image")
    kept = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    image.fromarray(noise).save(kept, "JPEG", quality=95)
    return kept.getvalue()


def asked(operation: str, **more: Any) -> dict[str, Any]:
    return {"op": operation, **FRAME, **more}


def test_networks_are_loaded_when_the_object_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, tasks = board(tmp_path, monkeypatch, psram=8 << 20)
    tasks.loaded.clear()
    assert one.answer(asked("construct"), b"") == ({}, b"")
    assert tasks.loaded == ["pedestrian"]


def test_a_model_that_the_image_does_not_have_is_made_and_falls_over_in_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ESP_LOGE in the constructor, and a pointer to no network."""
    one, _ = board(tmp_path, monkeypatch, psram=8 << 20)
    absent = {"class": "CatDetector", "model": "7"}
    assert one.answer(asked("construct", **absent), b"") == ({}, b"")
    with pytest.raises(Panicked, match="LoadProhibited"):
        one.answer(asked("run", **absent), b"\0" * FRAME_BYTES)


@pytest.mark.parametrize(("name", "panics"), [("102d875", True), ("ours", False)])
def test_networks_that_do_not_fit_are_a_panic_or_an_exception_of_the_constructor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, panics: bool
) -> None:
    one, _ = board(tmp_path, monkeypatch, psram=NETWORK_BYTES - 1, name=name)
    if panics:
        with pytest.raises(Panicked, match="abort"):
            one.answer(asked("construct"), b"")
    else:
        assert one.answer(asked("construct"), b"")[0]["raise"] == "MemoryError"


def test_a_frame_fits_beside_the_networks_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b"\0" * FRAME_BYTES
    for psram, fits in ((NETWORK_BYTES + FRAME_BYTES, True), (NETWORK_BYTES + FRAME_BYTES - 1, False)):
        one, _ = board(tmp_path, monkeypatch, psram=psram, name="ours")
        one.answer(asked("construct"), b"")
        assert ("raise" not in one.answer(asked("run"), frame)[0]) == fits


def test_the_jpeg_that_a_frame_came_from_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = photograph()
    whole = NETWORK_BYTES + FRAME_BYTES + len(jpeg)
    for psram, fits in ((whole, True), (whole - 1, False)):
        one, _ = board(tmp_path, monkeypatch, psram=psram, name="ours")
        one.answer(asked("construct"), b"")
        answer, frame = one.answer({"op": "decode", "format": "RGB888"}, jpeg)
        assert ("raise" not in answer) == fits
        if fits:
            assert len(frame) == FRAME_BYTES
            assert "raise" not in one.answer(asked("run"), frame)[0]


def test_what_was_loaded_before_is_given_back_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = board(tmp_path, monkeypatch, psram=NETWORK_BYTES + FRAME_BYTES, name="ours")
    for name in ("HumanDetector", "ImageNet", "HumanDetector"):
        assert one.answer(asked("construct", **{"class": name}), b"") == ({}, b"")


def test_a_class_without_weights_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_a: Any, **_o: Any) -> Any:
        raise ConfigError("no weights")

    monkeypatch.setattr(helper, "load", nothing)
    one = Helper("esp32s3", tmp_path, Storage(tmp_path / "flash"), binding=binding("ours", "esp32s3"))
    assert one.answer({"op": "hello"}, b"")[0]["classes"] == []

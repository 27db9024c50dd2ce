"""What a virtual MicroPython board computes: the networks by the exact reference, JPEG by Pillow, its flash.

The board's `espdl` module asks; `Helper.answer` is one question and its answer, without any I/O but the flash.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import ConfigError, HilError
from esp_hil.micropython.virtual.quirks import bent
from esp_hil.micropython.virtual.storage import Storage
from esp_hil.tasks import FORMATS, Image, PixelFormat, Recognizer, Task, Trace, load, read_spec
from esp_hil.tasks.task import Prepared

TASKS: Mapping[str, str] = {
    "FaceDetector": "face_detect",
    "FaceRecognizer": "face_recognize",
    "HumanDetector": "pedestrian",
    "CatDetector": "cat",
    "CocoDetector": "coco",
    "ImageNet": "imagenet",
}
FEATURE_LENGTH = 512
THRESHOLD = 0.5
_FILES = {"files", "load", "store", "create", "make_folder", "remove", "remove_folder", "rename"}


class ResetAsked(Exception):
    """The board's program resets its chip."""


class Helper:
    """Answers the questions of a virtual board.

    Args:
        target: the chip whose numerics the networks have.
        zoo: folder with the weights.
        storage: the board's flash.
        quirks: what is wrong on purpose.
        classes: what the firmware offers; empty: all whose weights are there.
    """

    def __init__(
        self,
        target: str,
        zoo: Path,
        storage: Storage,
        quirks: frozenset[str] = frozenset(),
        classes: tuple[str, ...] = (),
    ) -> None:
        self._target, self._zoo, self._storage, self._quirks = target, zoo, storage, quirks
        self._tasks: dict[tuple[str, str], Task] = {}
        self._classes = classes or tuple(name for name in TASKS if self._is_there(name))

    def _is_there(self, name: str) -> bool:
        try:
            self._task(name, "")
        except ConfigError:
            # a firmware without that model: its class is missing
            return False
        return True

    def answer(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """JSON and bytes for a question; an error that the board's module shall raise is an answer too.

        Raises:
            ResetAsked: the board wants to be reset.
            PowerLost: in the middle of a write.
        """
        operation = asked["op"]
        if operation == "hello":
            return self._hello(), b""
        if operation == "reset":
            raise ResetAsked
        if operation in _FILES:
            return self._file(asked, payload)
        try:
            return self._decode(asked, payload) if operation == "decode" else self._run(asked, payload)
        except HilError as error:
            return {"raise": "ValueError", "message": error.message}, b""

    def _file(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        operation = asked["op"]
        if operation == "files":
            return {**self._storage.names()}, b""
        if operation == "load":
            return {}, self._storage.load(asked["path"])
        if operation == "store":
            self._storage.store(asked["path"], asked["at"], payload)
        else:
            self._storage.change(
                operation, asked["path"], to=asked.get("to", ""), empty=asked.get("empty", False)
            )
        return {}, b""

    def _hello(self) -> dict[str, Any]:
        return {
            "target": self._target,
            "classes": list(self._classes),
            "quirks": sorted(self._quirks),
            "feature_length": FEATURE_LENGTH,
            "threshold": -1.0 if "everybody_known" in self._quirks else THRESHOLD,
        }

    def _task(self, name: str, model: str) -> Task:
        there = tuple(read_spec(TASKS[name]).networks)
        if model.isdecimal() and int(model) >= len(there):
            raise ConfigError(f"{name} has no model {model}")
        variant = there[int(model)] if model.isdecimal() else model.lower()
        if (name, variant) not in self._tasks:
            self._tasks[name, variant] = load(TASKS[name], self._zoo, self._target, variant=variant)
        return self._tasks[name, variant]

    def _decode(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        wanted = {"RGB888": "rgb888", "RGB565_LE": "rgb565le", "RGB565_BE": "rgb565be", "CbYCrY": "uyvy"}
        decoded = Image.of_file(payload)
        if decoded.format == "gray":
            data = np.frombuffer(decoded.data, np.uint8).reshape(decoded.height, decoded.width, 1)
            decoded = Image.of_rgb(np.repeat(data, 3, axis=2))
        if asked["format"] not in wanted:
            return {"raise": "ValueError", "message": "Invalid pixel format."}, b""
        made = decoded.to(_format(wanted[asked["format"]]))
        return {"width": made.width, "height": made.height}, made.data

    def _image(self, asked: Mapping[str, Any], payload: bytes) -> Image:
        name = asked["format"]
        if name == "gray" and "accepts_gray" in self._quirks:
            gray = np.frombuffer(payload, np.uint8)
            rgb = np.resize(gray, asked["width"] * asked["height"] * 3)
            return Image.of_rgb(rgb.reshape(asked["height"], asked["width"], 3))
        if name == "rgb565le" and "swapped_rgb565" in self._quirks:
            name = "rgb565be"
        return Image(width=asked["width"], height=asked["height"], format=_format(name), data=payload)

    def _run(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        task = self._task(asked["class"], asked["model"])
        image, trace = self._image(asked, payload), Trace()
        features = b""
        if asked["op"] == "recognize":
            assert isinstance(task, Recognizer)
            results = bent(task.detector.run(image, trace=trace), self._quirks)
            picture = Prepared(rgb=image.rgb(), trace=trace, compute=task.exact)
            embedded = [task.embed(picture, face) for face in results.detections]
            features = b"".join(one.values.astype("<f4").tobytes() for one in embedded)
        else:
            results = bent(task.run(image, trace=trace), self._quirks)
        if "frame_size_counts" in self._quirks:
            more_s = trace.seconds["network"] * image.width * image.height / 40_000
            time.sleep(more_s)
            trace.seconds["network"] += more_s
        phases: dict[str, int] = {name: round(seconds * 1e6) for name, seconds in trace.seconds.items()}
        phases["inferences"] = sum(trace.inferences.values())
        return {"results": _as_binding(asked["class"], results), "phases_us": phases}, features


def _format(name: str) -> PixelFormat:
    return next(one for one in FORMATS if one == name)


def _as_binding(name: str, results: Any) -> list[Any]:  # noqa: ANN401 - of esp_hil.tasks
    """Results in the form of the binding's class."""
    if name == "ImageNet":
        return [value for label in results.labels for value in (label.name, label.score)]
    made = []
    for one in results.detections:
        row: dict[str, Any] = {"score": one.score, "box": list(one.box)}
        if name == "CocoDetector":
            row["category"] = one.index
        if one.landmarks:
            row["features"] = [value for point in one.landmarks for value in point]
        made.append(row)
    return made

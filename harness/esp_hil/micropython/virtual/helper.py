"""What a virtual MicroPython board computes: the networks by the exact reference, JPEG by Pillow, its flash.

The board's `espdl` module asks; `Helper.answer` is one question and its answer, without any I/O but the flash.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import ConfigError, GoldenError, HilError
from esp_hil.micropython.bindings import Binding
from esp_hil.micropython.faults import embeddings
from esp_hil.micropython.virtual.quirks import bent
from esp_hil.micropython.virtual.storage import FileSystemFull, Storage
from esp_hil.tasks import FORMATS, Image, PixelFormat, Recognizer, Results, Task, Trace, load

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
UART_BITS = 10
"""A byte at a UART: start, eight bits, stop."""
PSRAM_BYTES = 8 << 20
"""Of the boards that images are published for: a JPEG, the frame it becomes and the networks in use share it."""
PANICS: Mapping[str, str] = {
    "pointer": "Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.",
    "memory": "abort() was called at PC 0x4209f3c7 on core 1",
}
"""What a chip says at its UART that reads where there is nothing, and one whose C++ has no memory."""
_FILES = {"files", "load", "store", "close", "create", "make_folder", "remove", "remove_folder", "rename"}


class ResetAsked(Exception):
    """The board's program resets its chip."""


class Panicked(Exception):
    """The chip panics: what a real one prints on its console then."""


class Helper:
    """Answers the questions of a virtual board.

    Args:
        target: the chip whose numerics the networks have.
        zoo: folder with the weights.
        storage: the board's flash.
        binding: whose ways it has.
        quirks: what is wrong on purpose, besides.
        classes: what the firmware offers; empty: all of the binding whose weights are there.
        psram_bytes: what a JPEG, a frame and the networks of the model in use share.
    """

    def __init__(
        self,
        target: str,
        zoo: Path,
        storage: Storage,
        *,
        binding: Binding,
        quirks: frozenset[str] = frozenset(),
        classes: tuple[str, ...] = (),
        psram_bytes: int = PSRAM_BYTES,
    ) -> None:
        self._target, self._zoo, self._storage, self._binding = target, zoo, storage, binding
        self._quirks = quirks | binding.quirks_of(target)
        self._espdl = binding.espdl
        if "other_weights" in quirks:
            self._espdl = "" if binding.espdl else "3.1.5"
        self._psram_bytes = psram_bytes
        self._tasks: dict[tuple[str, str], Task] = {}
        self._stale: dict[str, tuple[list[Any], bytes]] = {}
        self._panics_at = self._panic = ""
        self._in_use: tuple[str, str] = ("", "")
        self._jpeg_bytes = self._frame_bytes = 0
        self._classes = classes or tuple(name for name in binding.classes if self._is_there(name))

    @property
    def console_bytes_per_s(self) -> float:
        """How fast its output is at most; 0: as fast as it is taken."""
        return self._binding.console_baud / UART_BITS

    def panic_at(self, operation: str, kind: str) -> None:
        """Panic when the board's program asks for this the next time, of a kind of `PANICS`."""
        self._panics_at, self._panic = operation, PANICS[kind]

    def _is_there(self, name: str) -> bool:
        try:
            self._task(name, "")
        except (ConfigError, GoldenError):
            # a firmware without that model: its class is missing
            return False
        return True

    def answer(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """JSON and bytes for a question; an error that the board's module shall raise is an answer too.

        Raises:
            ResetAsked: the board wants to be reset.
            PowerLost: in the middle of a write.
            Panicked: the chip panics.
        """
        operation = asked["op"]
        if operation == self._panics_at:
            self._panics_at = ""
            raise Panicked(self._panic)
        if operation == "hello":
            return self._hello(), b""
        if operation == "reset":
            raise ResetAsked
        if operation in _FILES:
            return self._file(asked, payload)
        try:
            if operation == "construct":
                return self._construct(asked)
            return self._decode(asked, payload) if operation == "decode" else self._run(asked, payload)
        except HilError as error:
            return {"raise": "ValueError", "message": error.message}, b""
        except MemoryError:
            if "panics" in self._quirks:
                raise Panicked(PANICS["memory"]) from None
            return {"raise": "MemoryError", "message": "memory allocation failed"}, b""

    def _file(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        operation = asked["op"]
        if operation == "files":
            return {**self._storage.names()}, b""
        if operation == "load":
            return {}, self._storage.load(asked["path"])
        if operation == "close":
            self._storage.close(asked["path"])
        elif operation == "store":
            try:
                self._storage.store(asked["path"], asked["at"], payload)
            except FileSystemFull:
                return {"full": True}, b""
        else:
            self._storage.change(
                operation, asked["path"], to=asked.get("to", ""), empty=asked.get("empty", False)
            )
        return {}, b""

    def _hello(self) -> dict[str, Any]:
        return {
            "target": self._target,
            "binding": self._binding.name,
            "espdl": self._binding.espdl,
            "formats": dict(self._binding.formats),
            "models": dict(self._binding.default_model),
            "classes": list(self._classes),
            "quirks": sorted(self._quirks),
            "feature_length": FEATURE_LENGTH,
            "threshold": -1.0 if "everybody_known" in self._quirks else THRESHOLD,
        }

    def _task(self, name: str, model: str) -> Task:
        numbers = self._binding.models.get(name, {})
        if numbers:
            number = int(model) if model else self._binding.default_model[name]
            if number not in numbers:
                # an ESP_LOGE, and a pointer to no network
                if "panics" in self._quirks:
                    raise Panicked(PANICS["pointer"])
                raise ConfigError(f"{name} has no model {number}")
            model = numbers[number]
        key = (name, model.lower())
        if key not in self._tasks:
            self._tasks[key] = load(TASKS[name], self._zoo, self._target, variant=key[1], espdl=self._espdl)
        return self._tasks[key]

    def _construct(self, asked: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Load the networks of a model. One that the image does not have is only logged: `run` falls over it."""
        self._in_use = ("", "")  # the object that was there before is collected first
        try:
            task = self._task(asked["class"], asked["model"])
        except (ConfigError, Panicked):
            return {}, b""
        self._in_use = (asked["class"], asked["model"])
        self._take(0)
        for network in task.networks.values():
            _ = network.exact  # made when it is first asked for
        return {}, b""

    def _take(self, frame_bytes: int) -> None:
        """Room for a frame beside the JPEG it came from and the networks of the model in use.

        Raises:
            MemoryError: together they are more than the PSRAM.
        """
        name, model = self._in_use
        networks = self._task(name, model).networks.values() if name else ()
        jpeg_bytes = self._jpeg_bytes if frame_bytes == self._frame_bytes else 0
        if frame_bytes + jpeg_bytes + sum(one.path.stat().st_size for one in networks) > self._psram_bytes:
            raise MemoryError

    def _decode(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        wanted = {"RGB888": "rgb888", "RGB565_LE": "rgb565le", "RGB565_BE": "rgb565be", "CbYCrY": "uyvy"}
        decoded = Image.of_file(payload)
        if decoded.format == "gray":
            data = np.frombuffer(decoded.data, np.uint8).reshape(decoded.height, decoded.width, 1)
            decoded = Image.of_rgb(np.repeat(data, 3, axis=2))
        if asked["format"] not in wanted:
            return {"raise": "ValueError", "message": "Invalid pixel format."}, b""
        made = decoded.to(_format(wanted[asked["format"]]))
        self._jpeg_bytes, self._frame_bytes = len(payload), len(made.data)
        self._take(len(made.data))
        return {"width": made.width, "height": made.height}, made.data

    def _format_read(self, name: str) -> str:
        """What the board takes a format for."""
        if name in {"rgb565le", "rgb565be"} and "swapped_rgb565" in self._quirks:
            return "rgb565be" if name == "rgb565le" else "rgb565le"
        return {"rgb888": "bgr888"}.get(name, name) if "blue_first" in self._quirks else name

    def _run(self, asked: Mapping[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        name = asked["class"]
        task = self._task(name, asked["model"])
        self._in_use = (name, asked["model"])
        self._take(len(payload))
        if asked["format"] == "gray" and "gray_is_noise" in self._quirks:
            before, features = self._stale.get(name, ([], b""))
            return {"results": before, "phases_us": {}}, features
        read = _format(self._format_read(asked["format"]))
        image, trace = Image(width=asked["width"], height=asked["height"], format=read, data=payload), Trace()
        features = b""
        if asked["op"] == "recognize":
            assert isinstance(task, Recognizer)
            found = embeddings(task, image, self._quirks, trace=trace)
            results = Results(task="", width=0, height=0, detections=tuple(face for face, _ in found))
            features = b"".join(values.astype("<f4").tobytes() for _, values in found)
        else:
            results = bent(task.run(image, trace=trace), self._quirks)
        if "frame_size_counts" in self._quirks:
            more_s = trace.seconds["network"] * image.width * image.height / 40_000
            time.sleep(more_s)
            trace.seconds["network"] += more_s
        phases: dict[str, int] = {name: round(seconds * 1e6) for name, seconds in trace.seconds.items()}
        phases["inferences"] = sum(trace.inferences.values())
        made = _as_binding(name, results)
        self._stale[name] = made, features
        return {"results": made, "phases_us": phases}, features


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

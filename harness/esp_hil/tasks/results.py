"""What a task answers: detections, labels, an embedding. Plain values that can be compared, stored and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
Point = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One object that was found.

    Attributes:
        box: (x1, y1, x2, y2) in pixels of the picture, both corners inside the box, as ESP-DL counts them.
        score: 0..1.
        index: of the class.
        name: of the class, "" where the task has no names.
        landmarks: (x, y) in pixels; of a face: left eye, left corner of the mouth, nose, right eye, right corner
            of the mouth, left and right as seen in the picture; () where the detector gives none.
    """

    box: Box
    score: float
    index: int = 0
    name: str = ""
    landmarks: tuple[Point, ...] = ()

    @property
    def area(self) -> int:
        """Width times height as ESP-DL compares faces by, corners as coordinates."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "box": list(self.box),
            "score": round(self.score, 6),
            "index": self.index,
            "name": self.name,
            "landmarks": [list(point) for point in self.landmarks],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One class of a classification, with its share of the softmax."""

    index: int
    name: str
    score: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"index": self.index, "name": self.name, "score": round(self.score, 6)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """A face as a point on the unit sphere.

    Attributes:
        face: whose it is: the largest that was found.
        values: float32 (length,), of Euclidean length 1.
    """

    face: Detection
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """What a task says of one picture.

    Attributes:
        task: its name.
        width: of the picture in pixels.
        height: of the picture in pixels.
        detections: by falling score; of a detection or recognition task.
        labels: by falling score; of a classification task.
        embedding: of a recognition task; None if no face was found.
    """

    task: str
    width: int
    height: int
    detections: tuple[Detection, ...] = ()
    labels: tuple[Label, ...] = ()
    embedding: Embedding | None = None

    def to_json(self) -> Mapping[str, Any]:
        """As JSON values; the embedding as a list of numbers."""
        made: dict[str, Any] = {"task": self.task, "width": self.width, "height": self.height}
        if self.labels:
            made["labels"] = [label.to_json() for label in self.labels]
        else:
            made["detections"] = [found.to_json() for found in self.detections]
        if self.embedding is not None:
            made["embedding"] = [float(value) for value in self.embedding.values]
        return made

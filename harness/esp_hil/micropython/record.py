"""What a board answered: results as those of esp_hil.tasks, and how long each part took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from esp_hil.errors import WireError
from esp_hil.micropython.firmware import MicroPythonFirmware
from esp_hil.tasks import Detection, Label, Results

_LANDMARK_NUMBERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose face it is, by the board's database.

    Attributes:
        id: in the database, from 1.
        similarity: of the embeddings, -1..1.
        name: "" without one.
    """

    id: int
    similarity: float
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One upload.

    Attributes:
        bytes: that were sent.
        seconds: on this machine, from the first to the acknowledged last byte.
        board_us: the same by the board's clock.
    """

    bytes: int
    seconds: float
    board_us: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureRecord:
    """One picture, one class, N runs.

    Attributes:
        firmware: what answered.
        class_name: of the binding, as the firmware spells it.
        pixel_format: of the picture as it was sent; jpeg.
        transfer: its upload.
        load_us: making the object, which loads its networks; 0: it was there from a picture before.
        decode_us: of each run, JPEG to frame; zeros for a raw frame.
        run_us: of each run, the binding's `run`: resize, network and post-processing.
        phases_us: of each run, by phase, and under `inferences` the number of those; empty where the firmware
            does not tell (no published one does).
        results: the board's answer; no detections if nothing was found.
        people: whose face each detection is; () of classes other than FaceRecognizer.
        differ: runs whose answer was not that of the first.
        free_bytes: of MicroPython's heap afterwards.
    """

    firmware: MicroPythonFirmware
    class_name: str
    pixel_format: str
    transfer: Transfer
    load_us: int
    decode_us: tuple[int, ...]
    run_us: tuple[int, ...]
    phases_us: tuple[Mapping[str, int], ...]
    results: Results
    people: tuple[Person | None, ...]
    differ: int
    free_bytes: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "firmware": asdict(self.firmware),
            "class": self.class_name,
            "format": self.pixel_format,
            "transfer": asdict(self.transfer),
            "load_us": self.load_us,
            "decode_us": list(self.decode_us),
            "run_us": list(self.run_us),
            "phases_us": [dict(phases) for phases in self.phases_us],
            **self.results.to_json(),
            "people": [asdict(person) if person else None for person in self.people],
            "differ": self.differ,
        }


def results_of(
    task: str,
    found: Sequence[Any] | None,
    width: int,
    height: int,
    labels: Sequence[str],
) -> tuple[Results, tuple[Person | None, ...]]:
    """The board's answer as results and people.

    Args:
        task: its name among esp_hil.tasks.
        found: what the binding's `run` returned: None, a list of names and scores, or a list of dicts.
        width: of the picture.
        height: of the picture.
        labels: names of the task's classes.

    Raises:
        WireError: it is none of the three.
    """
    rows: Sequence[Any] = found or ()
    try:
        if rows and isinstance(rows[0], str):
            named = tuple(
                Label(index=_index(name, labels), name=name, score=float(score))
                for name, score in zip(rows[::2], rows[1::2], strict=True)
            )
            return Results(task=task, width=width, height=height, labels=named), ()
        detections = tuple(_detection(row, labels) for row in rows)
        people = tuple(_person(row["person"]) for row in rows) if rows and "person" in rows[0] else ()
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WireError(
            f"the board's answer does not have the form of {task}: {error!r}",
            hint=f"it was {str(found)[:80]}",
        ) from None
    return Results(task=task, width=width, height=height, detections=detections), people


def _index(name: str, labels: Sequence[str]) -> int:
    """Number of a name; -1 of one that is not among them."""
    return labels.index(name) if name in labels else -1


def _detection(row: Mapping[str, Any], labels: Sequence[str]) -> Detection:
    x1, y1, x2, y2 = (int(value) for value in row["box"])
    index = int(row.get("category", 0))
    return Detection(
        box=(x1, y1, x2, y2),
        score=float(row["score"]),
        index=index,
        name=labels[index] if 0 <= index < len(labels) else "",
        landmarks=_landmarks(row.get("features")),
    )


def _landmarks(features: Sequence[Any] | None) -> tuple[tuple[int, int], ...]:
    """Five points: from ten numbers, as the binding gives them, or from pairs, as its README says."""
    if not features:
        return ()
    flat = [value for one in features for value in (one if isinstance(one, list) else [one])]
    if len(flat) != _LANDMARK_NUMBERS:
        raise ValueError(f"{len(flat)} numbers for five landmarks")
    return tuple((int(x), int(y)) for x, y in zip(flat[::2], flat[1::2], strict=True))


def _person(row: Mapping[str, Any] | None) -> Person | None:
    if row is None:
        return None
    return Person(id=int(row["id"]), similarity=float(row["similarity"]), name=row["name"] or "")

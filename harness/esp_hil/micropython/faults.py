"""A binding's faults told apart from a model's: what a faulty board would answer, and a page to send upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import HilError
from esp_hil.micropython.firmware import MicroPythonFirmware
from esp_hil.micropython.virtual.quirks import BENDING, QUIRKS, bent, place_of
from esp_hil.tasks import Detection, Image, PixelFormat, Recognizer, Results, Task, Trace
from esp_hil.tasks.pixels import Pixels
from esp_hil.tasks.task import Prepared

PAGE = "micropython-faults.md"
OTHER_ESPDL = ("", "3.1.5")
_OTHER_ORDER: dict[PixelFormat, PixelFormat] = {
    "rgb565le": "rgb565be",
    "rgb565be": "rgb565le",
    "rgb888": "bgr888",
}


def features_rgb(image: Image, quirks: frozenset[str]) -> Pixels:
    """A frame as the network for features sees it, uint8 (height, width, 3).

    Args:
        image: as it was sent, in the format that the detector reads it in.
        quirks: of the board; with `rgb_features` channels are not swapped, nor is RGB565 read in the detector's order.
    """
    if "rgb_features" not in quirks:
        return image.rgb()
    read = replace(image, format="rgb565le") if image.format == "rgb565be" else image
    return np.ascontiguousarray(read.rgb()[..., ::-1])


def embeddings(
    task: Recognizer, image: Image, quirks: frozenset[str], *, trace: Trace | None = None
) -> list[tuple[Detection, NDArray[np.float32]]]:
    """Each face of a picture with its embedding, float32 (length,), as a board with these quirks makes it."""
    trace = trace or Trace()
    found = bent(task.detector.run(image, trace=trace), quirks).detections
    picture = Prepared(rgb=features_rgb(image, quirks), trace=trace, compute=task.exact)
    return [(face, task.embed(picture, face).values) for face in found]


def explanations(
    task: Task, image: Image, of_espdl: Callable[[str], Task], espdl: str
) -> Iterator[tuple[str, Results]]:
    """What boards with one fault each would answer, with the fault's name, the likely ones first.

    Args:
        task: the reference.
        image: the picture that was answered otherwise.
        of_espdl: the same task in another version of ESP-DL; it may raise, where its weights are not there.
        espdl: the version that the reference is of.
    """
    for version in OTHER_ESPDL:
        if version == espdl or (version and espdl.startswith("3.1")):
            continue
        try:
            yield "other_weights", of_espdl(version).run(image)
        except HilError:
            continue
    if (other := _OTHER_ORDER.get(image.format)) is not None:
        name = "blue_first" if image.format == "rgb888" else "swapped_rgb565"
        yield name, task.run(replace(image, format=other))
    wanted = task.run(image)
    for quirk in BENDING:
        yield quirk, bent(wanted, frozenset({quirk}))


@dataclass(slots=True)
class Findings:
    """Faults of the binding that were seen.

    Attributes:
        rows: what was seen, by the fault's name.
    """

    rows: dict[str, str] = field(default_factory=dict)

    def saw(self, quirk: str, what: str) -> None:
        """A known fault showed itself."""
        self.rows.setdefault(quirk, what)

    def write(self, folder: Path, firmware: MicroPythonFirmware) -> Path:
        """Write the page; returns its path."""
        lines = [
            f"# What {firmware.version} does otherwise than it should",
            "",
            f"Board: {firmware.machine or 'unknown'}. Judged as mp_esp_dl_models {firmware.binding or 'unknown'} "
            f"with ESP-DL {firmware.espdl or 'newest'}, by the exact reference of esp-hil.",
            "",
            "| fault | seen | in the source |",
            "|---|---|---|",
        ]
        for quirk, what in sorted(self.rows.items()):
            place = place_of(quirk, firmware.binding) or "not a published one"
            lines.append(f"| {QUIRKS[quirk]} | {what} | {place} |")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / PAGE
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

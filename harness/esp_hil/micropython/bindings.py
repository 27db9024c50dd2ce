"""The MicroPython bindings of ESP-DL that people have, by what differs between them.

Read in the sources of cnadler86/mp_esp_dl_models and of the ESP-DL that each pins; docs/micropython.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from esp_hil.errors import ConfigError

NEWEST = "102d875"
_ALL = ("FaceDetector", "FaceRecognizer", "HumanDetector", "CatDetector", "CocoDetector", "ImageNet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One state of the binding.

    Attributes:
        name: its commit, or `ours` for a binding without any known fault.
        espdl: the version of ESP-DL that it is built with; "": the newest.
        classes: of `espdl` that its published images can have.
        formats: constants of `espdl` for pixel formats.
        targets: chips that it builds for.
        models: for a class with the option `model`, which network each number means, of those in its images.
        default_model: what `model` is if it is not given, by class.
        quirks: what it does otherwise than it should, by name (`virtual/quirks.py`), on each chip.
        console_baud: of the UART to which its images mirror all output, so that none is faster; 0: nothing is mirrored.
    """

    name: str
    espdl: str
    classes: tuple[str, ...]
    formats: Mapping[str, int]
    targets: tuple[str, ...]
    models: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    default_model: Mapping[str, int] = field(default_factory=dict)
    quirks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    console_baud: int = 0

    def quirks_of(self, target: str) -> frozenset[str]:
        """What it does otherwise than it should on a chip."""
        return frozenset((*self.quirks.get("", ()), *self.quirks.get(target, ())))


_COMMON = ("gray_is_noise", "panics", "poisoned_decoder")
BINDINGS: Mapping[str, Binding] = MappingProxyType(
    {
        "102d875": Binding(
            name="102d875",
            espdl="3.1.5",
            classes=_ALL,
            formats={"RGB888": 0, "GRAYSCALE": 3, "RGB565": 6},
            targets=("esp32s3",),
            models={"CatDetector": {0: "espdet_224"}, "CocoDetector": {3: "yolo11n_320"}},
            default_model={"CatDetector": 0, "CocoDetector": 3},
            quirks={
                "": (*_COMMON, "one_features_network"),
                "esp32s3": ("big_endian_rgb565", "rgb_features"),
            },
            console_baud=115_200,
        ),
        # of its images the one for 16 MB, which alone has ImageNet, and both networks for features
        "6012426": Binding(
            name="6012426",
            espdl="3.1.1",
            classes=("FaceDetector", "FaceRecognizer", "HumanDetector", "ImageNet"),
            formats={},
            targets=("esp32s3",),
            quirks={"": (*_COMMON, "old_signatures", "old_decoder_keyword"), "esp32s3": ("rgb_features",)},
            console_baud=115_200,
        ),
        "ours": Binding(
            name="ours",
            espdl="",
            classes=_ALL,
            formats={"RGB888": 0, "GRAYSCALE": 3, "RGB565LE": 6, "RGB565BE": 7},
            targets=("esp32s3", "esp32p4"),
            models={
                "CatDetector": {0: "espdet_224", 1: "espdet_416"},
                "CocoDetector": {0: "yolo11n_320", 1: "yolo11n_640"},
            },
            default_model={"CatDetector": 0, "CocoDetector": 0},
        ),
    }
)
"""By name. The newest commit that has images is `NEWEST`."""


def binding(name: str, target: str) -> Binding:
    """A binding on a chip; "": the newest that has images for the chip, else ours.

    Raises:
        ConfigError: no such binding, or it has no image for the chip.
    """
    if not name:
        name = NEWEST if target in BINDINGS[NEWEST].targets else "ours"
    if name not in BINDINGS:
        raise ConfigError(f"no binding {name!r}", hint=f"there are: {', '.join(BINDINGS)}")
    found = BINDINGS[name]
    if target not in BINDINGS["ours"].targets:
        raise ConfigError(
            f"ESP-DL publishes the models of these classes for {' and '.join(BINDINGS['ours'].targets)}, "
            f"not for {target}",
            hint="choose another --target",
        )
    if target not in found.targets:
        raise ConfigError(
            f"the binding at {name} has no image for {target}: none is published",
            hint="--hil-micropython-binding ours tries the tasks without its faults",
        )
    return found

"""What a MicroPython firmware says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from esp_hil.errors import HandshakeError, InputError
from esp_hil.micropython.bindings import BINDINGS, NEWEST
from esp_hil.tasks import PixelFormat

FLAGS: Mapping[str, str] = {
    "FaceDetector": "MP_DL_FACE_DETECTOR_ENABLED",
    "FaceRecognizer": "MP_DL_FACE_RECOGNITION_ENABLED",
    "HumanDetector": "MP_DL_PEDESTRIAN_DETECTOR_ENABLED",
    "CatDetector": "MP_DL_CAT_DETECTOR_ENABLED",
    "COCODetector": "MP_DL_COCO_DETECTOR_ENABLED",
    "ImageNet": "MP_DL_IMAGENET_CLS_ENABLED",
}
"""The binding's classes, and the CMake flag that puts each into a firmware."""
ALIASES: Mapping[str, str] = {"COCODetector": "CocoDetector"}
"""Classes that the README and the firmware spell differently."""
_CHIPS = ("esp32s3", "esp32s2", "esp32p4", "esp32c3", "esp32c6", "esp32c5", "esp32")
_NEWEST_FIRST: Mapping[PixelFormat, tuple[str, ...]] = {
    "rgb888": ("RGB888",),
    "bgr888": ("BGR888",),
    "rgb565le": ("RGB565LE", "RGB565_LE"),
    "rgb565be": ("RGB565BE", "RGB565_BE"),
    "yuyv": ("YUYV",),
    "uyvy": ("UYVY",),
    "gray": ("GRAYSCALE", "GRAY"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroPythonFirmware:
    """A MicroPython firmware.

    Attributes:
        version: of MicroPython, e.g. `MicroPython v1.26.0 on 2025-08-09`.
        machine: the board in its own words.
        platform: sys.platform, `esp32` or of a virtual board `webassembly`.
        target: the chip, "" where it does not say.
        kind: silicon or virtual.
        classes: of `espdl`, as the firmware spells them; None without that module.
        formats: constants of `espdl` for pixel formats; empty: a binding that only knows RGB888.
        has_jpeg: whether it has `jpeg`.
        free_bytes: of MicroPython's heap.
        binding: the binding that it is taken for, see `bindings.BINDINGS`; a virtual board says it.
        weights: the version of ESP-DL that the networks in its image are of; None: the image is not at hand.
    """

    version: str
    machine: str
    platform: str
    target: str
    kind: Literal["silicon", "virtual"]
    classes: tuple[str, ...] | None
    formats: Mapping[str, int]
    has_jpeg: bool
    free_bytes: int
    binding: str = ""
    weights: str | None = None

    @property
    def espdl(self) -> str:
        """The version of ESP-DL whose networks and ways it has; "": the newest."""
        if self.weights is not None:
            return self.weights
        return BINDINGS[self.binding].espdl if self.binding in BINDINGS else ""

    @property
    def console_baud(self) -> int:
        """Of the UART to which it mirrors all its output; 0: none is known."""
        return BINDINGS[self.binding].console_baud if self.binding in BINDINGS else 0

    @property
    def quirks(self) -> frozenset[str]:
        """What the binding does otherwise than it should."""
        return BINDINGS[self.binding].quirks_of(self.target) if self.binding in BINDINGS else frozenset()

    @staticmethod
    def of(said: Mapping[str, Any]) -> MicroPythonFirmware:
        """From what `_hil_identify` printed."""
        virtual = said.get("virtual", "")
        machine = said["machine"]
        words = re.sub(r"[^a-z0-9]", "", machine.lower())
        chip = next((name for name in _CHIPS if name in words), "")
        return MicroPythonFirmware(
            version=said["version"],
            machine=machine,
            platform=said["platform"],
            target=virtual or chip,
            kind="virtual" if virtual else "silicon",
            classes=None if said["espdl"] is None else tuple(said["espdl"]),
            formats=dict(said.get("formats", {})),
            has_jpeg=said["jpeg"],
            free_bytes=said["free"],
            binding=said.get("binding") or _taken_for(said),
        )

    def class_of(self, name: str) -> str:
        """A class as the firmware spells it.

        Args:
            name: FaceDetector, FaceRecognizer, HumanDetector, CatDetector, COCODetector or ImageNet.

        Raises:
            HandshakeError: the firmware lacks `espdl` or that class; the hint names the CMake flag.
            InputError: the binding has no such class at all.
        """
        if name not in FLAGS:
            raise InputError(f"the binding has no class {name!r}", hint=f"it has: {', '.join(FLAGS)}")
        if self.classes is None:
            raise HandshakeError(
                f"{self.version} has no module espdl",
                hint="none of the binding is published for the ESP32-P4"
                if self.target == "esp32p4"
                else "flash an image of the binding: --hil-micropython-image FILE",
                step="identify",
            )
        for spelled in (name, ALIASES.get(name, name)):
            if spelled in self.classes:
                return spelled
        raise HandshakeError(
            f"the firmware has no {name}; it has {', '.join(self.classes) or 'no classes'}",
            hint=f"build it with -D {FLAGS[name]}=1, or flash an image that has it",
            step="identify",
        )

    def has(self, name: str) -> bool:
        """Whether a class is there."""
        return bool({name, ALIASES.get(name, name)} & set(self.classes or ()))

    def constant(self, pixel_format: PixelFormat) -> int | None:
        """The number of a pixel format; None for RGB888 where the binding knows nothing else.

        Raises:
            InputError: the firmware has no constant for it.
        """
        if not self.formats and pixel_format == "rgb888":
            return None
        if "RGB565" in self.formats and pixel_format in {"rgb565le", "rgb565be"}:
            # one name for either order of bytes
            if pixel_format == ("rgb565be" if "big_endian_rgb565" in self.quirks else "rgb565le"):
                return self.formats["RGB565"]
        else:
            for name in _NEWEST_FIRST.get(pixel_format, ()):
                if name in self.formats:
                    return self.formats[name]
        raise InputError(
            f"this firmware does not take {pixel_format}",
            hint=f"espdl has: {', '.join(self.formats) or 'RGB888 only'}"
            + ("; its RGB565 is big-endian" if "big_endian_rgb565" in self.quirks else ""),
        )


def _taken_for(said: Mapping[str, Any]) -> str:
    """The binding of a real firmware, by its constants: the numbers 3 and 6 are those of ESP-DL before March 2026."""
    if said["espdl"] is None:
        return ""
    formats = said.get("formats", {})
    if not formats:
        return "6012426"
    return NEWEST if formats.get("RGB565") == BINDINGS[NEWEST].formats["RGB565"] else "ours"

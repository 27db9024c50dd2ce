"""esp-hil: hardware-in-the-loop tests and benchmarks for neural networks on ESP32 chips.

What is named here is the API that other programs may build on (docs/stability.md); what is not may change:

    import esp_hil

    chip = esp_hil.target("esp32s3")
    model = esp_hil.load_model("mnist")
    file = esp_hil.open_device_file(model.artifact("w8a8", chip.family))
    with esp_hil.open_session(chip, board="virtual") as session:
        session.put(file, name=model.name)
        outputs = session.device.infer({"input": integers}).outputs

    runs = esp_hil.load("reports/out/nightly")  # a pandas table, docs/results.md

`import esp_hil` itself loads nothing: each name brings its module when it is first used (PEP 562).
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any, Final

from esp_hil.settings import VERSION

if TYPE_CHECKING:
    from esp_hil.device.device import Device
    from esp_hil.errors import HilError
    from esp_hil.exact.reference import ExactReference
    from esp_hil.formats.espdl.reader import read_espdl
    from esp_hil.formats.tflite.reader import read_tflite
    from esp_hil.lint import lint_file
    from esp_hil.models.catalogue import load as load_model
    from esp_hil.models.device_file import open_device_file
    from esp_hil.results.frames import compare, load
    from esp_hil.results.record import Run
    from esp_hil.session.board_session import open_session
    from esp_hil.targets import target
    from esp_hil.verdict.verdict import Verdict, judge
    from esp_hil.virtual.board import VirtualBoard

__version__ = VERSION

__all__ = [
    "Device",
    "ExactReference",
    "HilError",
    "Run",
    "Verdict",
    "VirtualBoard",
    "compare",
    "judge",
    "lint_file",
    "load",
    "load_model",
    "open_device_file",
    "open_session",
    "read_espdl",
    "read_tflite",
    "target",
]

_FROM: Final = {
    "Device": "device.device:Device",
    "ExactReference": "exact.reference:ExactReference",
    "HilError": "errors:HilError",
    "Run": "results.record:Run",
    "Verdict": "verdict.verdict:Verdict",
    "VirtualBoard": "virtual.board:VirtualBoard",
    "compare": "results.frames:compare",
    "judge": "verdict.verdict:judge",
    "lint_file": "lint:lint_file",
    "load": "results.frames:load",
    "load_model": "models.catalogue:load",
    "open_device_file": "models.device_file:open_device_file",
    "open_session": "session.board_session:open_session",
    "read_espdl": "formats.espdl.reader:read_espdl",
    "read_tflite": "formats.tflite.reader:read_tflite",
    "target": "targets:target",
}
"""Each name's module below this package, and what it is called there."""

# a program that does not ask for the log sees none of it
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whichever of the names
    """The name, from its module, which is loaded now."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _FROM[name].partition(":")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found


def __dir__() -> list[str]:
    """The API as well as what Python itself puts there."""
    return sorted({*globals(), *__all__})

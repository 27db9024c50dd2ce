"""Firmware, virtual boards, document and host speak of the same counters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esp_hil import counters
from esp_hil.counters import COUNTERS
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.profiling import predicted_memory
from esp_hil.targets import target
from esp_hil.virtual.engine import ExactEngine
from esp_hil.virtual.faults import EngineFaults
from esp_hil.virtual.tflm_engine import TflmEngine
from tests.conftest import ROOT

_SPEC = re.compile(r'\{\s*"([a-z][a-z0-9_]*)",\s*"([a-z0-9]*)"\s*\}')
_HOST_ONLY = {"arena_activations_bytes", "arena_persistent_bytes"}
"""Counters of the virtual TFLM engine, whose allocator records more than the chip's."""


def in_sources() -> dict[str, tuple[str, Path]]:
    """Unit and file of each counter that the firmware's sources declare: CounterSpec{"name", "unit"}."""
    found: dict[str, tuple[str, Path]] = {}
    for folder in ("core/src", "ports", "engines"):
        for path in sorted((ROOT / "firmware" / folder).rglob("*.cpp")):
            text = path.read_text(encoding="utf-8")
            if "CounterSpec" in text:
                found |= {name: (unit, path) for name, unit in _SPEC.findall(text)}
    return found


def in_document() -> set[str]:
    """The names that section 5 of docs/PROTOCOL.md lists."""
    text = (ROOT / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")
    section = text[text.index("The host looks counters up") : text.index("## 6. Status")]
    return {name for name in re.findall(r"`([a-z0-9_]+)`", section) if "_" in name or name == "runs"}


def test_the_firmware_s_counters_are_those_of_the_list_with_its_units() -> None:
    declared = in_sources()
    assert len(declared) > 25  # the pattern above still finds them
    wrong = {name: where for name, where in declared.items() if COUNTERS.get(name) != where[0]}
    assert not wrong
    assert COUNTERS.keys() - declared.keys() == _HOST_ONLY


def test_the_document_lists_the_counters_that_reports_and_gates_know() -> None:
    own = {name for name in COUNTERS if not name.startswith("link_")}
    assert in_document() == own


def test_a_counter_in_bytes_says_so_in_its_name() -> None:
    # the server's counters of its line are older than that rule; their units are in INFO
    wrong = {
        name
        for name, unit in COUNTERS.items()
        if not name.startswith("link_") and (unit == counters.BYTES) != name.endswith("_bytes")
    }
    assert not wrong


@pytest.mark.parametrize("engine", [ExactEngine, TflmEngine])
def test_virtual_engines_have_counters_of_the_list_only(engine: type[ExactEngine | TflmEngine]) -> None:
    chip = target("esp32s3")
    machine = engine(chip, EngineFaults(), lambda _: None)
    assert {name: unit for name, unit, _ in machine.counters()}.items() <= COUNTERS.items()


def test_memory_is_predicted_under_names_that_the_firmware_counts() -> None:
    file = open_device_file(catalogue.load("mnist").artifact("w8a8", "esp32s3"))
    predicted = predicted_memory(file, target("esp32s3"), psram_bytes=8 << 20)
    assert predicted.keys() <= in_sources().keys()

"""The chips: one row of targets.toml each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from esp_hil.errors import UnknownTarget
from esp_hil.toml_table import read_toml

Runtime = Literal["espdl", "tflm"]
Family = Literal["c", "esp32s3", "esp32p4", "tflm"]
Rounding = Literal["half_up", "half_even"]

FAMILIES: tuple[Family, ...] = ("c", "esp32s3", "esp32p4")
"""ESP-DL's numeric families: each needs a device file of its own."""

FAMILIES_OF: dict[Runtime, tuple[Family, ...]] = {"espdl": FAMILIES, "tflm": ("tflm",)}
"""By runtime; a .tflite is the same on every chip, because TFLM's arithmetic is."""


def rounding_of(family: Family) -> Rounding:
    """Rounding of ESP-DL's requantization: half-even on P4/S31 only (dl_define_private.hpp:44)."""
    return "half_even" if family == "esp32p4" else "half_up"


PSRAM_RESERVE_BYTES = 128 << 10
"""Of PSRAM, what the firmware's buffers and the temporary memory of an inference take, beside a 32nd of it: so far
apart are the size classes of ESP-IDF's allocator."""


def psram_for_model(board_bytes: int) -> int:
    """The block of PSRAM that a model can have of so much: what firmware/tests/test_rooms.cpp holds the server to."""
    return max(0, board_bytes - board_bytes // 32 - PSRAM_RESERVE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A chip. Sizes in bytes, clock in Hz, bandwidths in bytes/s; see targets.toml for the meaning of each field."""

    name: str
    isa: str
    family: Family
    clock_hz: int
    cores: int
    int8_lanes: int
    load_bytes: int
    psram_bytes_per_s: int
    flash_bytes_per_s: int
    internal_bytes: int
    psram_bytes: int
    flash_bytes: int
    largest_block_bytes: int
    max_clock_hz: int = 0

    @property
    def fastest_hz(self) -> int:
        """The highest clock that any revision of the chip has."""
        return self.max_clock_hz or self.clock_hz

    @property
    def rounding(self) -> Rounding:
        """Rounding of requantization on this chip."""
        return rounding_of(self.family)

    def family_of(self, runtime: Runtime) -> Family:
        """The family of the device files that this chip runs with a runtime."""
        return self.family if runtime == "espdl" else "tflm"

    def runs(self, family: Family) -> bool:
        """Whether this chip can run a device file that was made for `family`."""
        return family in {self.family, "tflm"}


@cache
def targets() -> dict[str, Target]:
    """All chips by name, in the order of targets.toml."""
    rows = read_toml(resources.files("esp_hil").joinpath("targets.toml"))
    return {name: Target(name=name, **row) for name, row in rows.items()}


def target(name: str) -> Target:
    """The chip of that name.

    Raises:
        UnknownTarget: no such row; the message lists those there are.
    """
    try:
        return targets()[name]
    except KeyError:
        known = ", ".join(targets())
        raise UnknownTarget(f"unknown target {name!r}", hint=f"one of: {known}") from None

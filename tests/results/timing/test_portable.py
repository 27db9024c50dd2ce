"""Portable C++: what ESP-DL's own table tells of its operators in ANSI C."""

from __future__ import annotations

import math
from statistics import median

import pytest

from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.cost import PORTABLE_MAC_CYCLES
from esp_hil.results.timing.forecast import forecast
from esp_hil.targets import target

PUBLISHED = {
    400 * 32 * 16: (11.068, 6.665),
    10 * 12 * 16 * 9 * 32: (25.142, 10.886),
    11 * 11 * 32 * 25 * 16: (75.451, 36.57),
    19 * 23 * 33 * 9 * 22: (137.933, 58.941),
    100 * 50 * 32 * 9: (96.073, 52.862),
    20 * 20 * 25 * 49: (12.772, 5.901),
}
"""MACs -> ms on an esp32s3 (240 MHz), on an esp32p4 (360 MHz): espressif/esp-dl operator_performance.md, ANSI C."""


@pytest.mark.parametrize(("isa", "place", "clock"), [("xtensa", 0, 240e3), ("riscv", 1, 360e3)])
def test_published_operators_in_portable_c_lie_around_the_rate(isa: str, place: int, clock: float) -> None:
    factors = [PORTABLE_MAC_CYCLES[isa] * macs / (ms[place] * clock) for macs, ms in PUBLISHED.items()]
    assert median(factors) == pytest.approx(1, rel=0.15)
    assert max(abs(math.log(factor)) for factor in factors) < math.log(2)


def test_an_instruction_set_decides_what_portable_loops_take() -> None:
    file = open_device_file(catalogue.load("mnist").artifact("w8a8", "c"))
    xtensa, riscv = forecast(file, target("esp32")), forecast(file, target("esp32c6"))
    cycles = [found.ms * found.setup.clock_hz / 1e3 / 4_241_152 for found in (xtensa, riscv)]
    assert cycles[0] > 1.3 * cycles[1]
    assert "six published operators" in xtensa.reasons[0]

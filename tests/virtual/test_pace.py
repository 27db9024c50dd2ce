"""Cycles of a virtual board: this machine's time, or a model with seeded noise."""

from __future__ import annotations

import statistics

import pytest

from esp_hil.models import catalogue
from esp_hil.targets import target
from esp_hil.virtual.faults import EngineFaults
from esp_hil.virtual.pace import CALL_CYCLES, Pace, macs_of

P4 = target("esp32p4")


def test_without_a_plan_cycles_are_this_machine_s_time_at_the_chip_s_clock() -> None:
    assert Pace(P4, EngineFaults()).cycles(1_000_000, 10**9) == P4.clock_hz // 1000
    assert Pace(P4, EngineFaults(cycles_factor=1.5)).cycles(1_000_000, 0) == P4.clock_hz * 3 // 2000


def test_modelled_cycles_follow_from_the_macs_alone() -> None:
    pace = Pace(P4, EngineFaults(cycles_per_mac=0.5))
    assert pace.cycles(1, 1_000_000) == pace.cycles(10**12, 1_000_000) == 500_000 + CALL_CYCLES
    slower = Pace(P4, EngineFaults(cycles_per_mac=0.5, cycles_factor=1.05))
    assert slower.cycles(1, 1_000_000) == pytest.approx(1.05 * 502_000, abs=1)


def test_noise_is_seeded_and_has_the_size_that_was_asked_for() -> None:
    def series(seed: int) -> list[int]:
        pace = Pace(P4, EngineFaults(cycles_per_mac=1.0, cycles_noise=0.01, cycles_seed=seed))
        return [pace.cycles(0, 10**6) for _ in range(500)]

    assert series(1) == series(1) != series(2)
    assert statistics.pstdev(series(1)) / statistics.mean(series(1)) == pytest.approx(0.01, rel=0.15)


def test_the_work_of_an_image_is_that_of_its_graph() -> None:
    model = catalogue.load("mnist")
    assert macs_of(model.artifact("w8a8", "esp32p4").read_bytes()) == model.expected.macs

"""Cycles of a virtual board: those predicted for its chip, or a planted model with seeded noise."""

from __future__ import annotations

import statistics

import pytest

from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target
from esp_hil.virtual.faults import EngineFaults
from esp_hil.virtual.pace import CALL_CYCLES, Pace, macs_of

P4 = target("esp32p4")


MNIST = catalogue.load("mnist").artifact("w8a8", "esp32p4").read_bytes()


def paced(**faults: float) -> Pace:
    pace = Pace(P4, EngineFaults(**faults))  # type: ignore[arg-type]
    pace.open(MNIST)
    return pace


def test_without_a_plan_cycles_are_those_predicted_for_the_chip_and_the_same_each_time() -> None:
    pace = paced()
    found = forecast(open_device_file(MNIST), P4, setup=setup_of(P4, clock_hz=P4.clock_hz))
    assert pace.cycles() == pace.cycles() == pytest.approx(found.ms * P4.clock_hz / 1e3, abs=1)
    assert paced(cycles_factor=1.5).cycles() == pytest.approx(1.5 * pace.cycles(), abs=2)
    shares = pace.shares([1] * len(found.nodes))
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(found.nodes[0].ms / found.ms)


def test_planted_cycles_follow_from_the_macs_alone() -> None:
    macs = catalogue.load("mnist").expected.macs
    assert paced(cycles_per_mac=0.5).cycles() == macs // 2 + CALL_CYCLES
    slower = paced(cycles_per_mac=0.5, cycles_factor=1.05)
    assert slower.cycles() == pytest.approx(1.05 * (macs / 2 + CALL_CYCLES), abs=1)


def test_noise_is_seeded_and_has_the_size_that_was_asked_for() -> None:
    def series(seed: int) -> list[int]:
        pace = paced(cycles_per_mac=1.0, cycles_noise=0.01, cycles_seed=seed)
        return [pace.cycles() for _ in range(500)]

    assert series(1) == series(1) != series(2)
    assert statistics.pstdev(series(1)) / statistics.mean(series(1)) == pytest.approx(0.01, rel=0.15)


def test_the_work_of_an_image_is_that_of_its_graph() -> None:
    model = catalogue.load("mnist")
    assert macs_of(model.artifact("w8a8", "esp32p4").read_bytes()) == model.expected.macs

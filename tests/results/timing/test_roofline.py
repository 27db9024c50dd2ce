"""What limits a layer, by arithmetic that can be done in the head."""

from __future__ import annotations

import pytest

from esp_hil.results.timing.roofline import Machine, roofline
from esp_hil.targets import target

S3 = Machine(target=target("esp32s3"), clock_hz=240_000_000, cores=1, psram=True)


def test_the_peak_is_lanes_times_cores_times_clock() -> None:
    assert S3.macs_per_s() == 16 * 240e6
    assert Machine(target=S3.target, clock_hz=240_000_000, cores=2, psram=True).macs_per_s() == 32 * 240e6
    assert S3.macs_per_s(bits=16) == 8 * 240e6
    assert S3.macs_per_s(bits=32) == 240e6
    esp32 = Machine(target=target("esp32"), clock_hz=160_000_000, cores=1, psram=False)
    assert esp32.macs_per_s() == esp32.macs_per_s(bits=16) == 160e6


def test_a_layer_at_half_of_the_multipliers_is_limited_by_compute() -> None:
    found = roofline(S3, 0.002, macs=3_840_000, activation_bytes=1000, parameter_bytes=0)
    assert found.utilisation == pytest.approx(0.5)
    assert found.limit == "compute"
    assert found.summary == "limited by multipliers: 50 % of the multipliers, 0 % of the bandwidth"


def test_a_layer_that_streams_its_weights_is_limited_by_memory() -> None:
    found = roofline(S3, 0.002, macs=240_000, activation_bytes=0, parameter_bytes=240_000)
    assert found.memory_s == pytest.approx(0.001)
    assert found.limit == "memory"


def test_a_layer_far_from_both_is_limited_by_neither() -> None:
    found = roofline(S3, 0.02, macs=3_840_000, activation_bytes=240_000, parameter_bytes=0)
    assert found.limit == "overhead"
    assert "neither" in found.summary


def test_more_than_the_bandwidth_means_a_cache() -> None:
    found = roofline(S3, 0.0005, macs=0, activation_bytes=240_000, parameter_bytes=0)
    assert found.bandwidth_share == pytest.approx(2)
    assert "came from a cache" in found.summary


def test_without_psram_weights_come_from_flash_and_activations_from_internal_ram() -> None:
    inside = Machine(target=target("esp32c3"), clock_hz=160_000_000, cores=1, psram=False)
    assert inside.memory_s(0, 40_000_000) == pytest.approx(1)
    assert inside.memory_s(4 * 160_000_000, 0) == pytest.approx(1)


def test_a_bandwidth_that_nobody_published_makes_no_floor() -> None:
    unknown = Machine(target=target("esp32s31"), clock_hz=320_000_000, cores=1, psram=True)
    assert unknown.memory_s(10**9, 10**9) == 0

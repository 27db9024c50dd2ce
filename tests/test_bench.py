"""Figures of latency that cannot be believed are told, with the rule they break."""

from __future__ import annotations

import dataclasses

import pytest

from harness.bench import check, problems
from harness.record import Run
from harness.targets import target
from tests.report.samples import failed_run, sample_run


def clocked(run: Run, clock_hz: int) -> Run:
    """The run on a device that claims another clock."""
    assert run.device is not None
    return dataclasses.replace(run, device=dataclasses.replace(run.device, clock_hz=clock_hz))


def test_a_good_series_is_valid() -> None:
    found = check(sample_run())
    assert found.valid is True
    assert found.words == "valid"
    assert problems(sample_run()) == ()


def test_few_short_repetitions_are_too_few_but_few_long_ones_are_enough() -> None:
    run = sample_run(cycles=(10**6,) * 29)
    assert check(run).codes == ("too_few",)
    assert problems(run)[0].startswith("too_few: 29 repetitions in ")
    assert check(sample_run(cycles=(10**6,) * 30)).valid
    long = (target("esp32p4").clock_hz * 4,) * 3
    assert check(sample_run(cycles=long, duration_s=13.0)).valid


def test_a_time_that_the_chip_cannot_reach_is_below_the_floor() -> None:
    chip = target("esp32p4")
    macs = 100 * chip.int8_lanes * 1000
    assert check(sample_run(macs=macs, cycles=(100_000,) * 30)).valid
    assert check(sample_run(macs=macs, cycles=(100_000,) * 29 + (99_999,))).codes == ("below_floor",)
    assert check(sample_run(macs=macs, cycles=(99_999,) * 30, cores_used=2)).valid
    assert check(sample_run(macs=None, cycles=(99_999,) * 30), macs=macs).codes == ("below_floor",)


def test_a_clock_beyond_the_chips_is_a_mismatch() -> None:
    found = check(clocked(sample_run(), 1_000_000_000))
    assert found.codes == ("clock_mismatch",)
    assert "device claims 1000 MHz" in found.words


def test_repetitions_that_took_longer_than_the_run_are_a_mismatch() -> None:
    run = sample_run(cycles=(target("esp32p4").clock_hz,) * 30, duration_s=29.0)
    assert check(run).codes == ("clock_mismatch",)
    assert check(dataclasses.replace(run, duration_s=31.0)).valid


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (sample_run(kind="virtual", cycles=(1,)), "not checked: latency is simulated on virtual boards"),
        (sample_run(kind="emulated", cycles=(1,)), "not checked: the cycles of an emulator are no latency"),
        (failed_run(), "not checked: nothing was timed"),
        (dataclasses.replace(sample_run(), target="esp64"), "not checked: unknown target 'esp64'"),
    ],
)
def test_where_the_rules_do_not_apply_it_is_said(run: Run, words: str) -> None:
    found = check(run)
    assert found.valid is None
    assert found.words == words
    assert problems(run) == ()

"""Figures of latency that cannot be believed are told, with the rule they break."""

from __future__ import annotations

import dataclasses

import pytest

from esp_hil.results.record import ClockCheck, Run
from esp_hil.results.validity import check, problems
from esp_hil.targets import target
from tests.report.samples import failed_run, sample_run


def test_a_clock_that_the_device_s_own_timer_refutes_is_found() -> None:
    run = sample_run()
    assert run.device is not None
    claimed = run.device.clock_hz
    slow = dataclasses.replace(run, clock=ClockCheck(cycles=claimed * 8 // 10, timer_us=1_000_000))
    (finding,) = check(slow).findings
    assert finding.code == "clock_mismatch"
    assert finding.summary == "by its timer the CPU ran at 288 MHz, it claims 360"
    near = dataclasses.replace(run, clock=ClockCheck(cycles=claimed * 995 // 1000, timer_us=1_000_000))
    assert check(near).valid
    short = dataclasses.replace(run, clock=ClockCheck(cycles=claimed // 20, timer_us=99_999))
    assert check(short).valid, "two readings 100 us apart say nothing of so short a job"


def clocked(run: Run, clock_hz: int) -> Run:
    """The run on a device that claims another clock."""
    assert run.device is not None
    return dataclasses.replace(run, device=dataclasses.replace(run.device, clock_hz=clock_hz))


def test_a_good_series_is_valid() -> None:
    found = check(sample_run())
    assert found.valid is True
    assert found.summary == "valid"
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
    assert "device claims 1000 MHz" in found.summary


def test_repetitions_that_took_longer_than_the_run_are_a_mismatch() -> None:
    run = sample_run(cycles=(target("esp32p4").clock_hz,) * 30, duration_s=29.0)
    assert check(run).codes == ("clock_mismatch",)
    assert check(dataclasses.replace(run, duration_s=31.0)).valid


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (sample_run(kind="virtual", cycles=(1,)), "not checked: latency is simulated on virtual boards"),
        (
            sample_run(kind="virtual", cycles=(900_000,), predicted={"latency_ms": (2.5, "ms")}),
            "not checked: latency is predicted on virtual boards",
        ),
        (
            sample_run(kind="emulated", cycles=(1,)),
            "not checked: the cycles of an emulator are not a latency",
        ),
        (failed_run(), "not checked: nothing was timed"),
        (dataclasses.replace(sample_run(), target="esp64"), "not checked: unknown target 'esp64'"),
    ],
)
def test_where_the_rules_do_not_apply_it_is_said(run: Run, words: str) -> None:
    found = check(run)
    assert found.valid is None
    assert found.summary == words
    assert problems(run) == ()


def series(factors: list[float]) -> Run:
    """A run whose repetitions are these factors of 2 ms, in this order."""
    base = 2e-3 * target("esp32p4").clock_hz
    return sample_run(cycles=tuple(int(base * factor) for factor in factors))


STEADY = [1 + 0.002 * ((i * 7) % 11) / 11 for i in range(60)]


def test_a_repetition_of_a_few_cycles_is_too_short() -> None:
    assert check(sample_run(cycles=(1_999,) * 30, macs=None)).codes == ("too_short",)
    assert check(sample_run(cycles=(2_000,) * 30, macs=None)).valid


def test_a_lasting_change_of_speed_is_throttled_and_says_from_where() -> None:
    found = check(series(STEADY[:20] + [1.2 * factor for factor in STEADY[20:]]))
    assert found.codes == ("throttled",)
    assert "from repetition 21 of 60 on it takes +20" in found.summary


def test_a_slow_rise_is_drifting() -> None:
    found = check(series([factor * (1 + 0.001 * i) for i, factor in enumerate(STEADY)]))
    assert found.codes == ("drifting",)
    assert "+5." in found.summary


def test_two_speeds_are_bimodal() -> None:
    found = check(series([factor * (1.06 if (i * 5) % 8 < 3 else 1) for i, factor in enumerate(STEADY)]))
    assert found.codes == ("bimodal",)
    assert "2 ms" in found.summary


def test_a_device_clock_that_is_ahead_of_the_host_s_is_a_mismatch() -> None:
    run = series(STEADY)
    seconds = sum(run.cycles) / target("esp32p4").clock_hz
    assert check(dataclasses.replace(run, timed_s=seconds * 1.05)).valid
    found = check(dataclasses.replace(run, timed_s=seconds * 0.95))
    assert found.codes == ("clock_mismatch",)
    assert "the clock is not what it says" in found.summary


def test_a_host_that_waits_longer_than_the_cycles_explain_finds_a_slow_clock() -> None:
    base = target("esp32p4").clock_hz
    run = sample_run(cycles=(base // 2,) * 30, cold_cycles=base // 2, warmup=3, duration_s=60.0)
    job_s = 33 * 0.5
    assert check(dataclasses.replace(run, timed_s=job_s * 1.04)).valid
    assert check(dataclasses.replace(run, timed_s=job_s * 1.5)).codes == ("throttled",)


def test_a_short_job_says_nothing_of_the_clock() -> None:
    run = series(STEADY)
    assert check(dataclasses.replace(run, timed_s=0.4 + sum(run.cycles) / target("esp32p4").clock_hz)).valid


def test_the_faster_revision_of_a_chip_has_no_wrong_clock() -> None:
    assert check(clocked(sample_run(), 400_000_000)).valid
    assert check(clocked(sample_run(), 400_000_001)).codes == ("clock_mismatch",)


@pytest.mark.parametrize(
    ("warmup", "cold_s", "job_s"),
    [(0, 0, 15.0), (4, 0, 17.0), (1, 3, 18.0), (4, 3, 19.5)],
    ids=["no warm-up", "warm-up", "only a cold run", "a cold run and warm-up"],
)
def test_the_runs_of_the_warm_up_are_part_of_what_the_host_waited_for(
    warmup: int, cold_s: int, job_s: float
) -> None:
    """Thirty repetitions of half a second; the first run after a load is one of the warm-up and has its own time."""
    hz = target("esp32p4").clock_hz
    run = sample_run(cycles=(hz // 2,) * 30, cold_cycles=cold_s * hz or None, warmup=warmup, duration_s=90.0)
    longest = (job_s + 0.5) / 0.95
    assert check(dataclasses.replace(run, timed_s=longest * 0.999)).valid
    assert check(dataclasses.replace(run, timed_s=longest * 1.001)).codes == ("throttled",)

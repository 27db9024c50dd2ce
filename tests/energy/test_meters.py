"""Each meter's driver against a model of the meter: figures within one per cent, faults in their codes."""

from __future__ import annotations

import shlex
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp_hil.energy import ppk2
from esp_hil.energy.ina import CHIPS, Ina
from esp_hil.energy.joulescope import Joulescope, find_device
from esp_hil.energy.meter import PowerTrace
from esp_hil.energy.method import judge
from esp_hil.energy.ppk2 import Ppk2, Ppk2Factors, settled, unpacked
from esp_hil.energy.program import ProgramMeter, read_csv
from esp_hil.energy.simulated import MeterModel, PowerModel, SimulatedBoard, SimulatedClock, SimulatedMeter
from esp_hil.energy.windows import Done, record
from esp_hil.errors import DeviceCrashed, LinkClosed, MeterError
from tests.energy.fakes import (
    FakeInaBus,
    FakeJoulescopeDriver,
    FakePpk2,
    make_ina,
    make_joulescope,
    make_ppk2,
    metadata,
)
from tests.energy.real_time import recorded_in_real_time
from tests.energy.setups import MakeMeter, Setup, measured, off, plan_of, quiet, random_setup, setting_of

SLOW = Setup(
    power=PowerModel(idle_w=0.1, phases=((0.6, 0.5), (0.4, 0.3))), meter=MeterModel(), inference_s=0.00437
)


def board(power: PowerModel | None = None) -> SimulatedBoard:
    return SimulatedBoard(power or PowerModel(), SimulatedClock())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("make", [make_ppk2, make_joulescope], ids=["ppk2", "joulescope"])
def test_energy_is_within_one_percent_through_each_driver(make: MakeMeter, seed: int) -> None:
    setup = replace(random_setup(seed), windows=3)
    energy = measured(setup, make)
    assert energy.valid, energy.summary
    assert abs(off(setup, energy)) < 0.01
    assert not energy.simulated


@pytest.mark.parametrize("chip", CHIPS)
def test_an_ina_finds_windows_by_a_marker_in_the_power(chip: str) -> None:
    setup = replace(SLOW, edges="marker", meter=MeterModel(noise=0.003, supply_v=5.0, gate=False))
    energy = measured(setup, make_ina(chip))
    assert energy.valid, energy.summary
    assert abs(off(setup, energy)) < 0.01
    assert (energy.meter, energy.edges, energy.voltage_from) == (chip, "marker", "measured")


# PPK2


def words(counts: list[int], *, first: int = 0, level: int = 0, gate: int = 0) -> bytes:
    return b"".join(
        struct.pack("<I", count | level << 14 | ((first + n) & 63) << 18 | gate << 24)
        for n, count in enumerate(counts)
    )


def test_samples_are_taken_apart_bit_by_bit() -> None:
    data = words([7, 9, 11] * 6, first=60, level=3, gate=0b101)
    counts, ranges, logic, lost = unpacked(data)
    assert counts.tolist() == [7, 9, 11] * 6
    assert set(ranges.tolist()) == {3}
    assert set(logic.tolist()) == {5}
    assert not lost.any()


@pytest.mark.parametrize("gone", [1, 5, 62])
def test_the_counter_tells_how_many_samples_are_lost(gone: int) -> None:
    data = words([1] * 20) + words([2] * 20, first=20 + gone)
    counts, _, _, lost = unpacked(data)
    assert len(counts) == 40 + gone
    assert np.flatnonzero(lost).tolist() == list(range(20, 20 + gone))


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 6, 7])
def test_after_lost_bytes_samples_are_found_again_and_the_gap_is_known(cut: int) -> None:
    data = words(list(range(100, 300)))
    counts, _, _, lost = unpacked(data[:401] + data[401 + cut :])
    good = counts[~lost].tolist()
    assert good[:100] == list(range(100, 200))
    assert good[-90:] == list(range(210, 300))
    assert len(counts) == 200
    assert 1 <= lost.sum() <= 10


def test_samples_right_after_a_change_of_range_take_the_value_of_what_follows() -> None:
    ranges = np.array([0, 0, 1, 1, 1, 1, 1], np.uint32)
    current = np.array([1.0, 1.0, 99.0, 98.0, 97.0, 5.0, 5.0])
    assert settled(current, ranges).tolist() == [1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]


def test_the_fake_s_counts_and_the_driver_s_amperes_are_each_other_s_inverse() -> None:
    fake = FakePpk2(board(), MeterModel())
    fake.millivolts = 3300
    current = np.array([30e-6, 300e-6, 3e-3, 40e-3, 0.25])
    ranges = np.arange(5)
    found = Ppk2Factors.read(metadata().decode()).amperes(
        fake._counts(current, ranges).astype(np.uint32), ranges.astype(np.uint32), 3.3
    )
    assert found == pytest.approx(current, rel=5e-3)


def test_supply_power_and_mode_are_set_before_anything_is_measured() -> None:
    fake = FakePpk2(board(), MeterModel())
    Ppk2(fake, supply_v=4.1)
    assert fake.millivolts == 4100
    assert fake.power_on


def test_a_port_that_is_not_a_ppk2_s_and_a_voltage_that_it_has_not_are_refused() -> None:
    class Silent(FakePpk2):
        def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
            self.board.clock.sleep(max(0.0, until - self.now()))
            return len(outgoing), b""

    with pytest.raises(MeterError, match="no metadata within 2 s"):
        Ppk2(Silent(board(), MeterModel()), supply_v=3.3)
    with pytest.raises(MeterError, match=r"supplies 0\.8 to 5\.0 V, not 12"):
        Ppk2(FakePpk2(board(), MeterModel()), supply_v=12.0)
    with pytest.raises(MeterError, match="no factor GS4"):
        Ppk2Factors.read(metadata().decode().replace("GS4", "XX4"))


STRONG = PowerModel(idle_w=0.1, phases=((1.0, 4.0),))


@pytest.mark.parametrize(
    ("fault", "code", "power"),
    [
        ({"lost": 0.001}, "missing_samples", SLOW.power),
        ({"gap_s": 0.003}, "missing_samples", SLOW.power),
        ({"gap_s": 0.2}, "missing_samples", SLOW.power),
        ({}, "saturated", STRONG),
        ({"skew": 0.05}, "clock_skew", SLOW.power),
        ({"gate": False}, "no_edges", SLOW.power),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_ppk2_ends_in_its_code(
    fault: dict[str, float], code: str, power: PowerModel
) -> None:
    setup = replace(SLOW, power=power, meter=MeterModel(noise=0.002, **fault))  # type: ignore[arg-type]
    energy = measured(setup, make_ppk2)
    assert energy.codes == (code,), energy.summary


def test_a_ppk2_behind_a_pty_measures_in_real_time() -> None:
    setup = replace(SLOW, windows=1, meter=MeterModel(noise=0.01))
    recorded, meter = recorded_in_real_time(setup)
    energy = judge(recorded, setting_of(setup, meter.info))
    # a machine that is busy for a moment wakes late: that is a code, never a wrong number
    assert energy.valid or set(energy.codes) <= {"clock_skew", "missing_samples", "no_edges", "idle_drift"}
    assert abs(off(setup, energy)) < 0.01
    assert len(recorded.trace) > 1.5 * ppk2.SAMPLE_HZ


# Joulescope


def test_a_joulescope_is_set_up_and_let_go_of() -> None:
    driver = FakeJoulescopeDriver(board(), MeterModel())
    meter = Joulescope(
        driver, find_device(driver, "1234"), sleep=lambda _: driver.deliver(), sample_hz=10_000
    )
    meter.start()
    driver.board.work(300, 0.004)
    assert len(meter.stop()) > 9_000
    meter.close()
    meter.close()
    assert driver.opened == []
    assert driver.published["u/js220/001234/s/i/range/mode"] == "auto"
    assert driver.published["u/js220/001234/s/i/ctrl"] == 0
    assert meter.info.serial == "js220 001234"


def test_a_joulescope_that_is_not_there_is_named() -> None:
    with pytest.raises(MeterError, match=r"no Joulescope 99; attached: u/js220/001234"):
        find_device(FakeJoulescopeDriver(board(), MeterModel()), "99")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"lost": 0.004}, "missing_samples"),
        ({"gap_s": 0.1}, "missing_samples"),
        ({"skew": 0.05}, "clock_skew"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_joulescope_ends_in_its_code(fault: dict[str, float], code: str) -> None:
    setup = replace(SLOW, meter=MeterModel(noise=0.002, **fault))  # type: ignore[arg-type]
    energy = measured(setup, make_joulescope)
    assert energy.codes == (code,), energy.summary


# INA


def test_an_ina_at_another_address_or_of_another_kind_is_refused() -> None:
    there, clock = board(), SimulatedClock()
    bus = FakeInaBus("ina226", there, MeterModel(), address=0x41, ohm=0.1)
    with pytest.raises(MeterError, match="ina226 at 0x40 does not answer"):
        Ina(CHIPS["ina226"], bus, address=0x40, shunt_ohm=0.1, clock=clock)
    with pytest.raises(MeterError, match="address 0x41 says 0x0, an INA228 says 0x228"):
        Ina(CHIPS["ina228"], bus, address=0x41, shunt_ohm=0.1, clock=clock)


def test_an_ina_s_range_ends_with_its_shunt() -> None:
    setup = quiet(replace(SLOW, edges="marker", meter=MeterModel(gate=False)))
    energy = measured(setup, make_ina("ina226", ohm=1.0))
    assert "saturated" in energy.codes, energy.summary


# programs


def csv_of(trace: PowerTrace) -> str:
    assert trace.gate is not None
    rows = zip(trace.times_s, trace.current_a, trace.gate, strict=True)
    return "time_s,current_a,gate\n" + "".join(f"{t:.6f},{i:.6g},{int(g)}\n" for t, i, g in rows)


def test_a_program_that_prints_csv_is_a_meter(tmp_path: Path) -> None:
    there = board(SLOW.power)
    seen = SimulatedMeter(there, MeterModel(sample_hz=2_000.0, noise=0.005))
    clock = there.clock
    plan = plan_of(SLOW, seen.info)
    recorded = record(seen, lambda count: there.work(count, SLOW.inference_s), plan, clock)
    file = tmp_path / "trace.csv"
    file.write_text(csv_of(recorded.trace), encoding="utf-8")
    meter = ProgramMeter(f"cat {file}", sample_hz=2_000.0, range_a=1.0, supply_v=3.3, has_gate=True)
    meter.start()
    while meter.received < len(recorded.trace):
        meter.pump()
    trace = meter.stop()
    assert len(trace) == len(recorded.trace)
    energy = judge(replace(recorded, trace=trace), setting_of(SLOW, meter.info))
    assert energy.valid, energy.summary
    assert abs(off(SLOW, energy)) < 0.01


def test_a_line_that_does_not_parse_is_a_lost_sample_and_a_cut_one_is_not_there() -> None:
    trace = read_csv("time_s,current_a\n0,0.1\nWARNING\n0.2,0.1\n0.3,0.", 3.3)
    assert trace.times_s.tolist() == [0.0, 0.2]


@pytest.mark.parametrize("text", ["", "hello\n1,2\n", "time_s,voltage_v\n0,3\n"])
def test_columns_without_names_are_refused(text: str) -> None:
    with pytest.raises(MeterError, match="first line"):
        read_csv(text, 3.3)


def test_times_that_go_back_are_refused() -> None:
    with pytest.raises(MeterError, match="do not rise"):
        read_csv("time_s,current_a\n1,0.1\n0.5,0.1\n", 3.3)


def test_a_program_that_is_not_there_is_named() -> None:
    meter = ProgramMeter("no-such-logger-anywhere", sample_hz=100, range_a=1, supply_v=3.3, has_gate=False)
    with pytest.raises(MeterError, match="no-such-logger-anywhere"):
        meter.start()


def test_a_program_that_never_ends_by_itself_is_ended_and_what_it_printed_counts() -> None:
    endless = "i=0; echo time_s,current_a; while :; do i=$((i+1)); echo $i,0.1; sleep 0.01; done"
    meter = ProgramMeter(
        f"sh -c {shlex.quote(endless)}", sample_hz=100, range_a=1, supply_v=3.3, has_gate=False
    )
    meter.start()
    while meter.received < 20:
        meter.pump()
    assert len(meter.stop()) >= 20


def test_a_port_that_never_stops_talking_is_no_ppk2() -> None:
    class Chatty(FakePpk2):
        def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
            self.board.clock.sleep(0.01)
            return len(outgoing), b"I (12) app: alive\r\n"

    with pytest.raises(MeterError, match="is this port a PPK2's"):
        Ppk2(Chatty(board(), MeterModel()), supply_v=3.3)


def test_a_ppk2_that_vanishes_is_the_meter_s_trouble_and_not_the_board_s() -> None:
    class Gone(FakePpk2):
        def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
            raise LinkClosed("the port vanished")

    with pytest.raises(MeterError, match="the PPK2 is gone: the port vanished"):
        Ppk2(Gone(board(), MeterModel()), supply_v=3.3)


def test_the_board_s_failure_counts_before_what_its_meter_says_afterwards() -> None:
    class Sulking(SimulatedMeter):
        def stop(self) -> PowerTrace:
            raise MeterError("nothing to tell")

    def crash(count: int) -> Done:
        raise DeviceCrashed(f"panic after {count}")

    there = board(SLOW.power)
    meter = Sulking(there, MeterModel())
    with pytest.raises(DeviceCrashed):
        record(meter, crash, plan_of(SLOW, meter.info), there.clock)

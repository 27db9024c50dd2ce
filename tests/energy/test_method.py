"""Figures within one per cent of the truth, or a code that says why there is none; never a wrong number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from esp_hil.energy.figures import Energy, EnergyWindow, battery_days
from esp_hil.energy.meter import MeterInfo, PowerTrace
from esp_hil.energy.method import Setting, judge
from esp_hil.energy.simulated import MeterModel, PowerModel, SimulatedBoard, SimulatedClock, SimulatedMeter
from esp_hil.energy.windows import Done, MeterRecording, Plan, record
from tests.energy.fakes import make_ina
from tests.energy.setups import FAULTS, Setup, measured, off, quiet, random_setup

PLAIN = Setup(power=PowerModel(), meter=MeterModel(), inference_s=0.004)


@pytest.mark.parametrize("seed", range(10))
def test_energy_is_within_one_percent_of_the_truth(seed: int) -> None:
    setup = random_setup(seed, high_hz=20_000)
    energy = measured(setup)
    assert energy.valid or energy.codes == ("unsteady",), energy.summary
    assert abs(off(setup, energy)) < 0.01


def test_every_figure_of_a_window_is_that_of_the_model() -> None:
    energy = measured(replace(PLAIN, meter=MeterModel(noise=0.0)))
    power = PLAIN.power
    assert len(energy.windows) == PLAIN.windows
    for window in energy.windows:
        assert window.seconds >= 1.0
        assert window.seconds == pytest.approx(window.inferences * PLAIN.inference_s)
        assert window.meter_s == pytest.approx(window.seconds, abs=3e-4)
        assert window.mean_mw == pytest.approx(1e3 * power.active_w, rel=1e-3)
        assert window.idle_before_mw == pytest.approx(1e3 * power.idle_w, rel=1e-3)
        assert window.idle_after_mw == pytest.approx(1e3 * power.idle_w, rel=1e-3)
        assert window.mean_ma == pytest.approx(1e3 * power.active_w / 3.3, rel=1e-3)
        assert window.peak_ma == pytest.approx(1e3 * 0.30 / 3.3, rel=1e-3)
        assert window.whole_mj == pytest.approx(window.energy_mj + window.idle_share_mj)
        assert window.whole_mj == pytest.approx(1e3 * power.active_w * PLAIN.inference_s, rel=1e-3)
    assert energy.simulated


def test_warm_up_is_outside_the_window() -> None:
    without, warm = (measured(replace(PLAIN, warmup=count)) for count in (0, 40))
    assert warm.energy_mj == pytest.approx(without.energy_mj, rel=2e-3)
    assert warm.median(lambda window: window.idle_mw) == pytest.approx(80, rel=2e-3)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_ends_in_its_code_and_no_number(name: str, seed: int) -> None:
    plant, codes = FAULTS[name]
    setup = plant(quiet(replace(random_setup(seed, low_hz=1000, high_hz=20_000), windows=3)))
    energy = measured(setup)
    assert set(codes) & set(energy.codes), (energy.codes, energy.summary)
    assert energy.windows == ()
    assert not energy.valid


@pytest.mark.parametrize("seed", range(6))
def test_without_a_gate_the_marker_is_found_or_the_window_refused(seed: int) -> None:
    setup = random_setup(seed, high_hz=20_000, edges="marker")
    energy = measured(setup)
    assert energy.valid or energy.codes in {("no_edges",), ("unsteady",)}
    assert abs(off(setup, energy)) < 0.01


def test_without_a_gate_most_boards_can_still_be_measured() -> None:
    assert sum(measured(random_setup(seed, high_hz=20_000, edges="marker")).valid for seed in range(10)) >= 7


def test_work_of_somebody_else_between_the_windows_is_not_taken_for_one() -> None:
    clock = SimulatedClock()
    board = SimulatedBoard(PowerModel(), clock, gated=False)
    meter = SimulatedMeter(board, MeterModel(gate=False))
    plan = Plan.beside(meter.info, edges="marker", windows=3, inference_s=0.004)
    works = 0

    def job(count: int) -> Done:
        nonlocal works
        works += 1
        if works == 5:
            board.work(20, 0.004)
            clock.sleep(0.3)
        return board.work(count, 0.004)

    energy = judge(record(meter, job, plan, clock), Setting(info=meter.info))
    assert energy.codes == ("no_edges",)
    assert "8 windows, the board made 7" in energy.summary


def test_a_gate_on_another_pin_is_no_edge() -> None:
    for level, said in ((True, "high before"), (False, "shows 0 windows, the board made 3")):
        energy = _judged_with_gate(level)
        assert energy.codes == ("no_edges",)
        assert said in energy.summary


def _judged_with_gate(level: bool) -> Energy:
    recorded, info = _recorded(PLAIN)
    trace = replace(recorded.trace, gate=np.full(len(recorded.trace), level))
    return judge(replace(recorded, trace=trace), Setting(info=info))


def _recorded(setup: Setup) -> tuple[MeterRecording, MeterInfo]:
    clock = SimulatedClock()
    board = SimulatedBoard(setup.power, clock)
    meter = SimulatedMeter(board, setup.meter)
    plan = Plan.beside(meter.info, edges="gate", windows=setup.windows, inference_s=setup.inference_s)
    return record(meter, lambda count: board.work(count, setup.inference_s), plan, clock), meter.info


def test_a_window_below_a_second_is_too_short() -> None:
    clock = SimulatedClock()
    board = SimulatedBoard(PowerModel(), clock)
    meter = SimulatedMeter(board, MeterModel())
    plan = Plan(edges="gate", windows=3, window_s=0.5, idle_s=0.5, inference_s=0.004)
    energy = judge(record(meter, lambda n: board.work(n, 0.004), plan, clock), Setting(info=meter.info))
    assert energy.codes == ("too_short",)


def test_forty_samples_are_too_few_and_a_plan_gives_a_slow_meter_more_time() -> None:
    slow = MeterModel(sample_hz=30, noise=0.0)
    clock = SimulatedClock()
    board = SimulatedBoard(PowerModel(), clock)
    meter = SimulatedMeter(board, slow)
    plan = Plan(edges="gate", windows=3, window_s=1.0, idle_s=0.5, inference_s=0.004)
    energy = judge(record(meter, lambda n: board.work(n, 0.004), plan, clock), Setting(info=meter.info))
    assert energy.codes == ("too_few_samples",)
    assert measured(replace(PLAIN, meter=slow)).valid


def test_a_voltage_that_is_not_the_board_s_is_told() -> None:
    recorded, info = _recorded(PLAIN)
    told = judge(recorded, Setting(info=info, supply_v=5.0))
    assert told.codes == ("supply",)
    assert judge(recorded, Setting(info=info, supply_v=3.3)).valid


def test_samples_of_moments_that_always_meet_the_same_part_of_an_inference_are_refused() -> None:
    beat = MeterModel(sample_hz=1000.0, averages=False, noise=0.001)
    energy = measured(replace(PLAIN, meter=beat, inference_s=0.002))
    assert energy.codes == ("aliased",)
    apart = measured(replace(PLAIN, meter=beat, inference_s=0.002 * 1.1803))
    assert apart.valid
    assert apart.energy_mj == pytest.approx(PLAIN.power.energy_mj(0.002 * 1.1803), rel=0.01)


def test_an_empty_trace_is_too_few_samples() -> None:
    recorded, info = _recorded(PLAIN)
    nothing = PowerTrace.regular(np.zeros(0), sample_hz=1000, voltage_v=3.3)
    assert judge(replace(recorded, trace=nothing), Setting(info=info)).codes == ("too_few_samples",)


def test_a_battery_lasts_by_idle_and_by_inferences() -> None:
    window = EnergyWindow(
        inferences=100,
        seconds=1.0,
        meter_s=1.0,
        samples=1000,
        mean_mw=300.0,
        idle_before_mw=100.0,
        idle_after_mw=100.0,
        mean_ma=90.0,
        peak_ma=100.0,
    )
    energy = Energy(
        meter="ppk2",
        sample_hz=1e5,
        range_ma=1e3,
        voltage_v=3.3,
        voltage_from="supplied",
        edges="gate",
        windows=(window,),
    )
    assert energy.energy_mj == pytest.approx(2.0)
    assert battery_days(energy, battery_wh=2.4, every_s=1.0) == pytest.approx(2400 / 102 / 24)
    # without a pause it is continuous work
    assert battery_days(energy, battery_wh=2.4, every_s=0.0) == pytest.approx(2400 / 300 / 24)


@pytest.mark.parametrize("seed", [20, 21])
def test_an_inference_of_whole_samples_is_refused_where_the_marker_tells_its_length_badly(seed: int) -> None:
    """50 ms at 200 samples a second: each meets the same part, whatever the edges say."""
    setup = random_setup(seed, edges="marker")
    setup = replace(setup, meter=replace(setup.meter, supply_v=5.0), inference_s=0.05)
    assert measured(setup, make_ina("ina219")).codes == ("aliased",)

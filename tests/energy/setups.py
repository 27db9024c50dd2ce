"""Random boards beside random meters, whose truth is known, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from esp_hil.energy.figures import Edges, Energy, EnergyCode, VoltageSource
from esp_hil.energy.meter import Meter, MeterInfo
from esp_hil.energy.method import Setting, judge
from esp_hil.energy.simulated import MeterModel, PowerModel, SimulatedBoard, SimulatedClock, SimulatedMeter
from esp_hil.energy.windows import Plan, record


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A board, a meter, and how they are used together."""

    power: PowerModel
    meter: MeterModel
    inference_s: float
    windows: int = 3
    warmup: int = 3
    edges: Edges = "gate"

    @property
    def true_mj(self) -> float:
        """Energy of an inference without the idle share."""
        return self.power.energy_mj(self.inference_s)


MakeMeter = Callable[[SimulatedBoard, MeterModel], Meter]


def random_power(rng: np.random.Generator) -> PowerModel:
    """Any duty, and up to three levels within an inference."""
    idle_w = float(rng.uniform(0.02, 0.25))
    work_w = float(rng.uniform(0.04, 0.6))
    shares = rng.dirichlet([2.0] * int(rng.integers(1, 4)))
    levels = rng.uniform(0.2, 1.0, len(shares))
    levels[int(rng.integers(len(shares)))] = 1.0
    phases = tuple(
        (float(s), idle_w + work_w * float(level)) for s, level in zip(shares, levels, strict=True)
    )
    return PowerModel(idle_w=idle_w, phases=phases)


def random_setup(
    seed: int, *, low_hz: float = 100.0, high_hz: float = 100_000.0, edges: Edges = "gate"
) -> Setup:
    """Rates, noise, skew, duty and latency drawn at random."""
    rng = np.random.default_rng(seed)
    power = random_power(rng)
    meter = MeterModel(
        sample_hz=float(np.exp(rng.uniform(np.log(low_hz), np.log(high_hz)))),
        noise=float(rng.uniform(0, 0.05)),
        floor_a=float(rng.uniform(0, 200e-6)),
        skew=float(rng.uniform(-0.01, 0.01)),
        supply_v=float(rng.choice([3.3, 5.0])),
        gate=edges == "gate",
        seed=seed,
    )
    return Setup(
        power=power,
        meter=meter,
        inference_s=float(np.exp(rng.uniform(np.log(1e-4), np.log(0.4)))),
        windows=int(rng.integers(8, 13)),
        warmup=int(rng.integers(0, 5)),
        edges=edges,
    )


def measured(setup: Setup, make: MakeMeter = SimulatedMeter) -> Energy:
    """What the method says of a set-up, on a simulated clock."""
    clock = SimulatedClock()
    gated = setup.edges == "gate"
    board = SimulatedBoard(setup.power, clock, warmup=setup.warmup if gated else 0, gated=gated)
    meter = make(board, setup.meter)
    plan = plan_of(setup, meter.info)
    recorded = record(meter, lambda count: board.work(count, setup.inference_s), plan, clock)
    meter.close()
    return judge(recorded, setting_of(setup, meter.info))


def plan_of(setup: Setup, info: MeterInfo) -> Plan:
    """As a session makes it."""
    return Plan.beside(info, edges=setup.edges, windows=setup.windows, inference_s=setup.inference_s)


def setting_of(setup: Setup, info: MeterInfo) -> Setting:
    """Likewise."""
    told: VoltageSource = "measured" if info.measures_voltage else "told"
    return Setting(info=info, supply_v=setup.meter.supply_v, voltage_from=told)


def off(setup: Setup, energy: Energy) -> float:
    """Relative error; 0 where there is no number."""
    return energy.energy_mj / setup.true_mj - 1 if energy.valid else 0.0


def quiet(setup: Setup) -> Setup:
    """Without noise and skew, so that a fault is all there is."""
    return replace(setup, meter=replace(setup.meter, noise=0.002, floor_a=0.0, skew=0.0))


Fault = Callable[[Setup], Setup]


def _with(**changes: object) -> Fault:
    return lambda setup: replace(setup, meter=replace(setup.meter, **changes))  # type: ignore[arg-type]


def _saturating(setup: Setup) -> Setup:
    # below the mean: a slow meter does not see the peaks
    mean_a = setup.power.active_w / setup.meter.supply_v
    return replace(setup, meter=replace(setup.meter, range_a=0.9 * mean_a))


def _drifting(setup: Setup) -> Setup:
    added_w = setup.power.active_w - setup.power.idle_w
    return replace(setup, power=replace(setup.power, drift_w_per_s=0.08 * added_w))


def _idle_board(setup: Setup) -> Setup:
    idle_w = setup.power.idle_w
    return replace(setup, power=replace(setup.power, phases=((1.0, idle_w * 1.001),)))


FAULTS: dict[str, tuple[Fault, tuple[EnergyCode, ...]]] = {
    "lost samples": (_with(lost=0.002), ("missing_samples",)),
    "a gap without notice": (_with(gap_s=0.2), ("missing_samples",)),
    "a range too small": (_saturating, ("saturated",)),
    "idle that drifts": (_drifting, ("idle_drift",)),
    "a meter clock 5 % off": (_with(skew=0.05), ("clock_skew",)),
    "a gate that is not wired": (_with(gate=False), ("no_edges",)),
    "a meter in another supply": (_idle_board, ("no_load",)),
    "a meter full of noise": (
        _with(noise=3.0, sample_hz=200.0, range_a=100.0),
        ("unsteady", "idle_drift", "no_load"),
    ),
}
"""What is wrong, and the code that must say so. Not every random set-up has room for each, but most."""

"""Rows with energy in them."""

from __future__ import annotations

import dataclasses

import numpy as np

from esp_hil.energy.figures import Energy, EnergyFinding, EnergyWindow, Sketch
from esp_hil.results.record import Run
from tests.report.samples import sample_run


def sample_energy(
    *, energy_mj: float = 2.0, windows: int = 10, noise: float = 0.01, seed: int = 1, **changes: object
) -> Energy:
    """Windows of a board that idles at 80 mW, each off by its own noise."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(windows):
        added = energy_mj * (1 + noise * rng.standard_normal())
        idle = 80 * (1 + noise * rng.standard_normal() / 10)
        made.append(
            EnergyWindow(
                inferences=250,
                seconds=1.05,
                meter_s=1.0501,
                samples=105_000,
                mean_mw=float(idle + added * 250 / 1.05),
                idle_before_mw=float(idle),
                idle_after_mw=float(idle),
                mean_ma=float((idle + added * 250 / 1.05) / 3.3),
                peak_ma=187.5,
            )
        )
    found = Energy(
        meter="ppk2",
        serial="C1A2B3",
        sample_hz=100_000.0,
        range_ma=1000.0,
        calibration="of the maker, stored in the meter",
        voltage_v=3.3,
        voltage_from="supplied",
        edges="gate",
        gate_gpio=4,
        state="360 MHz, radio off",
        windows=tuple(made),
        sketch=Sketch(
            step_s=0.1,
            mean_ma=(24.0, 24.0, 170.0, 171.0, 24.0),
            peak_ma=(25.0, 26.0, 187.5, 180.0, 25.0),
            windows=((0.2, 0.4),),
        ),
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def refused_energy() -> Energy:
    """One without a number."""
    finding = EnergyFinding(code="idle_drift", summary="idle goes from 80 to 95 mW, beside 470 mW of work")
    return sample_energy(windows=0, findings=(finding,))


def energy_run(energy: Energy | None, **changes: object) -> Run:
    """A row with it."""
    return sample_run(energy=energy, **changes)  # type: ignore[arg-type]

"""A fake PPK2 behind a pty, and a board that takes the time that it says, both on the wall's clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from esp_hil.device.ports import open_link
from esp_hil.energy.figures import Energy
from esp_hil.energy.meter import WallClock
from esp_hil.energy.method import judge
from esp_hil.energy.ppk2 import Ppk2
from esp_hil.energy.simulated import SimulatedBoard
from esp_hil.energy.windows import MeterRecording, record
from tests.energy.fakes import FakePpk2, FakePpk2Pty
from tests.energy.setups import Setup, plan_of, random_setup, setting_of


def recorded_in_real_time(setup: Setup) -> tuple[MeterRecording, Ppk2]:
    """What both say of the same seconds."""
    clock = WallClock()
    board = SimulatedBoard(setup.power, clock, warmup=setup.warmup)
    port = FakePpk2Pty(FakePpk2(board, setup.meter))
    try:
        meter = Ppk2(open_link(port.url), supply_v=setup.meter.supply_v)
        recorded = record(
            meter, lambda count: board.work(count, setup.inference_s), plan_of(setup, meter.info), clock
        )
        meter.close()
    finally:
        port.close()
    return recorded, meter


def measured_in_real_time(setups: int, seed: int) -> Iterator[tuple[str, Setup, Energy]]:
    """So many random set-ups; inferences are short, so that a window is not much longer than a second."""
    for number in range(setups):
        setup = random_setup(seed + number)
        setup = replace(setup, inference_s=min(0.05, setup.inference_s), windows=3)
        recorded, meter = recorded_in_real_time(setup)
        yield "ppk2 behind a pty", setup, judge(recorded, setting_of(setup, meter.info))

"""The step that measures energy: a board beside its meter, if it has one."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from esp_hil.boards.meters import open_meter
from esp_hil.boards.select import rows
from esp_hil.energy.figures import Edges, Energy, EnergyFinding, VoltageSource
from esp_hil.energy.meter import Clock, Meter, WallClock
from esp_hil.energy.method import Setting, judge, refused
from esp_hil.energy.simulated import SimulatedMeter
from esp_hil.energy.windows import Done, Job, Plan, record
from esp_hil.errors import ConfigError, MeterError
from esp_hil.session.board_session import BoardSession
from esp_hil.session.option_rows import Options
from esp_hil.session.run_builder import Metered, Timed

MOST = 65_535
"""Inferences of a window: what a request has room for."""

AGAIN = frozenset({"missing_samples", "idle_drift", "unsteady"})
"""What may have been the moment's: it is measured once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """The meter of a board, by options and its row of boards.toml; "": none."""

    meter: str
    gate_gpio: int | None
    supply_v: float | None

    @staticmethod
    def of(options: Options, board: str) -> Wiring:
        """What is given counts before the board's row."""
        row = rows().get(board)
        meter = options.meter if options.meter is not None else row.meter if row else ""
        gate = options.gate_gpio if options.gate_gpio is not None else row.gate_gpio if row else None
        supply = options.supply if options.supply is not None else row.supply_v if row else None
        return Wiring(meter="" if meter == "none" else meter, gate_gpio=gate, supply_v=supply)


def measure_energy(session: BoardSession, timed: Timed, options: Options, wiring: Wiring) -> Metered:
    """Windows of the model that is loaded, with the input that was timed still in slot 0.

    A meter that fails is told in the row, and is no failure of the board.

    Raises:
        HilError: the board or its line failed.
    """
    if not wiring.meter or not timed.cycles:
        return Metered()
    try:
        meter = open_meter(wiring.meter, supply_v=wiring.supply_v, gated=_is_gated(session, wiring))
    except (MeterError, ConfigError) as error:
        return Metered(notes=(f"no energy: {error}",))
    try:
        found = _measured(session, meter, wiring, timed, options)
        if AGAIN & set(found.codes):
            found = _measured(session, meter, wiring, timed, options)
    finally:
        meter.close()
    notes = () if found.valid else (f"no energy: {', '.join(found.codes)}: {found.summary}",)
    return Metered(energy=found, notes=notes)


def _is_gated(session: BoardSession, wiring: Wiring) -> bool:
    """Old images know no gate: then windows are looked for in the power itself."""
    # a chip's pin is driven only where somebody said which
    simulated = wiring.meter.startswith("simulated") and session.board.kind != "silicon"
    return session.device.has_gate and (simulated or wiring.gate_gpio is not None)


def _measured(session: BoardSession, meter: Meter, wiring: Wiring, timed: Timed, options: Options) -> Energy:
    device, info = session.device, session.device.info()
    inference_s = statistics.median(timed.cycles) / info.clock_hz
    edges: Edges = "gate" if meter.info.has_gate and _is_gated(session, wiring) else "marker"
    plan = Plan.beside(
        meter.info,
        edges=edges,
        windows=options.energy_windows,
        inference_s=inference_s,
        window_s=options.energy_window,
    )
    setting = Setting(
        info=meter.info,
        supply_v=wiring.supply_v,
        voltage_from=_voltage_from(meter),
        gate_gpio=wiring.gate_gpio if edges == "gate" else None,
        state=f"{info.clock_hz / 1e6:g} MHz, no radio, waiting for a request",
    )
    if session.board.kind != "silicon" and not meter.info.simulated:
        said = f"a meter was named beside an {session.board.kind} board: it would measure this machine"
        return refused(setting, plan, EnergyFinding(code="not_silicon", summary=said))

    def job(count: int) -> Done:
        count = min(count, MOST)
        seconds = device.run_window(
            count,
            warmup=options.warmup if edges == "gate" else 0,
            cores=options.cores,
            gated=edges == "gate",
            timeout_s=30 + 3 * count * inference_s,
        )
        return Done(inferences=count, seconds=seconds or count * inference_s)

    if edges == "gate":
        device.choose_gate(wiring.gate_gpio if wiring.gate_gpio is not None else 0)
    clock: Clock = WallClock()
    working: Job = job
    if isinstance(meter, SimulatedMeter):
        clock, working = meter.board.clock, _beside(meter, job)
    try:
        recorded = record(meter, working, plan, clock)
    except MeterError as error:
        return refused(setting, plan, EnergyFinding(code="failed", summary=str(error)))
    return judge(recorded, setting)


def _beside(meter: SimulatedMeter, job: Job) -> Job:
    """A job that the simulated board makes as well, as long as the device says that it took."""

    def both(count: int) -> Done:
        done = job(count)
        meter.board.work(done.inferences, done.seconds / done.inferences)
        return done

    return both


def _voltage_from(meter: Meter) -> VoltageSource:
    if meter.info.measures_voltage:
        return "measured"
    return "supplied" if meter.info.kind == "ppk2" else "told"

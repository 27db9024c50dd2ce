"""`hil meter METER`: the live current of a meter, and whether a board's gate reaches it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esp_hil.energy.meter import Meter, PowerTrace

HELP = "show a meter's live current; check its gate and wiring"
EXAMPLES = """
  hil meter simulated
  hil meter ppk2:D8F3A1 --supply 3.3
  hil meter --board kitchen-s3 --target esp32s3
"""

PULSES = 3
PULSE_S = 0.2


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil meter`."""
    parser.add_argument(
        "meter",
        nargs="?",
        metavar="METER",
        help="as in boards.toml: ppk2:SERIAL, ina226:1:0x40:0.1, ... (default: the board's)",
    )
    parser.add_argument("--supply", type=float, metavar="V", help="voltage at the board, in V")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="how long to measure (default: %(default)s)"
    )
    parser.add_argument("--board", help="also raise this board's gate, and say whether the meter saw it")
    parser.add_argument("--target", help="the chip of that board")
    parser.add_argument(
        "--gate-gpio", type=int, metavar="N", help="its GPIO at the gate (default: as in boards.toml)"
    )


def run(args: Namespace) -> int:
    """Show; the status is 1 if the gate was not seen.

    Raises:
        HilError: no such meter or board, or it does not answer.
    """
    from esp_hil.boards.meters import open_meter
    from esp_hil.errors import ConfigError
    from esp_hil.session.energy import Wiring
    from esp_hil.session.options import Options

    given = Options(targets=(), meter=args.meter, gate_gpio=args.gate_gpio, supply=args.supply)
    wiring = Wiring.of(given, args.board or "")
    if not wiring.meter:
        raise ConfigError("which meter?", hint="hil meter ppk2 --supply 3.3, or `meter = ...` in boards.toml")
    if args.board and (not args.target or wiring.gate_gpio is None):
        raise ConfigError(
            "the gate's check needs --target and --gate-gpio", hint="docs/energy.md has the wiring"
        )
    meter = open_meter(wiring.meter, supply_v=wiring.supply_v, gated=True)
    try:
        if args.board:
            return _check_gate(meter, args.board, args.target, wiring.gate_gpio or 0)
        _show(meter, args.seconds)
    finally:
        meter.close()
    return 0


def _show(meter: Meter, seconds: float) -> None:
    """One line for each third of a second."""
    until = seconds
    while until > 0:
        trace = _sampled(meter, min(0.33, until))
        until -= 0.33
        print(_line(trace), flush=True)


def _sampled(meter: Meter, seconds: float) -> PowerTrace:
    from esp_hil.energy.meter import Clock, WallClock
    from esp_hil.energy.simulated import SimulatedMeter

    clock: Clock = meter.board.clock if isinstance(meter, SimulatedMeter) else WallClock()
    meter.start()
    until = clock.now_s() + seconds
    while clock.now_s() < until:
        meter.pump()
        if not clock.real:
            clock.sleep(seconds)
    return meter.stop()


def _line(trace: PowerTrace) -> str:
    import numpy as np

    known = trace.current_a[~np.isnan(trace.current_a)]
    if not len(known):
        return "no sample"
    gate = "" if trace.gate is None else f"  gate {'high' if trace.gate[-1] else 'low'}"
    voltage = float(np.nanmean(trace.voltage_v))
    return (
        f"{1e3 * known.mean():9.3f} mA  peak {1e3 * known.max():9.3f} mA  {voltage:5.3f} V  "
        f"{1e3 * known.mean() * voltage:9.3f} mW  {len(trace)} samples, {len(trace) - len(known)} lost{gate}"
    )


def _check_gate(meter: Meter, board: str, target_name: str, pin: int) -> int:
    """Raise the pin a few times and count what the meter's input saw."""
    import numpy as np

    from esp_hil.errors import ConfigError
    from esp_hil.session.board_session import open_session
    from esp_hil.targets import target

    if not meter.info.has_gate:
        raise ConfigError(
            f"a {meter.info.kind} has no gate input", hint="leave gate_gpio out: the marker is used"
        )
    seen = 0
    with open_session(target(target_name), board=board) as session:
        session.connect()
        if not session.device.has_gate:
            raise ConfigError(
                "the board's firmware knows no gate", hint="build and flash that of this harness"
            )
        for _ in range(PULSES):
            for high in (False, True):
                session.device.choose_gate(pin, high=high)
                trace = _sampled(meter, PULSE_S)
                if trace.gate is not None and len(trace):
                    seen += bool(np.mean(trace.gate[len(trace) // 2 :]) > 0.5) == high
        session.device.choose_gate(None)
    good = seen == 2 * PULSES
    print(
        f"gate on GPIO{pin}: {seen} of {2 * PULSES} levels seen by the {meter.info.kind}"
        + ("" if good else ": is it wired to the meter's first input, and are the grounds one?")
    )
    return int(not good)

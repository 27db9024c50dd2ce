"""Opens the meter that a text names.

ppk2, ppk2:SERIAL, ppk2:/dev/ttyACM1            supplies the board; ppk2-ampere:... stands in another supply
joulescope, joulescope:SERIAL                   extra `energy`
ina226:BUS:ADDRESS:OHM, as ina226:1:0x40:0.1    likewise; also ina219, ina228
program@2000:COMMAND                            prints CSV, 2000 samples a second
simulated, simulated:noise=0.01,active_w=0.3    beside any board: measures nothing
"""

from __future__ import annotations

import re
import time

from esp_hil.device.ports import open_link, serial_ports
from esp_hil.energy import ppk2
from esp_hil.energy.ina import CHIPS, Ina, open_bus
from esp_hil.energy.joulescope import Joulescope, find_device, load_driver
from esp_hil.energy.meter import Meter, WallClock
from esp_hil.energy.ppk2 import Ppk2
from esp_hil.energy.program import ProgramMeter
from esp_hil.energy.simulated import SimulatedBoard, SimulatedClock, SimulatedMeter, read_model
from esp_hil.errors import BoardUnavailable, ConfigError, MeterError, did_you_mean

KINDS = ("ppk2", "ppk2-ampere", "joulescope", *CHIPS, "program", "simulated")
PROGRAM_HZ, PROGRAM_RANGE_A = 1000.0, 3.0


def open_meter(text: str, *, supply_v: float | None, gated: bool) -> Meter:
    """The meter of that name, open.

    Args:
        text: see above.
        supply_v: at the board; a PPK2 supplies it, a program may not print it.
        gated: whether its gate input is wired.

    Raises:
        ConfigError: no such kind of meter, or its text has no meaning.
        MeterError: it is not there, or does not answer.
    """
    head, _, rest = text.partition(":")
    kind, _, rate = head.partition("@")
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"one of: {', '.join(KINDS)}"
        raise ConfigError(f"no meter {kind!r}", hint=hint)
    if kind in {"ppk2", "ppk2-ampere"}:
        return _ppk2(rest, kind == "ppk2", _told(supply_v, kind), gated)
    if kind == "joulescope":
        driver = load_driver()
        path = find_device(driver, rest)
        return Joulescope(driver, path, gate_channel=0 if gated else None, sleep=time.sleep)
    if kind in CHIPS:
        return _ina(kind, rest)
    if kind == "program":
        return ProgramMeter(
            rest,
            sample_hz=_number(rate, text) if rate else PROGRAM_HZ,
            range_a=PROGRAM_RANGE_A,
            supply_v=_told(supply_v, kind),
            has_gate=gated,
        )
    power, model = read_model(rest)
    return SimulatedMeter(SimulatedBoard(power, SimulatedClock(), gated=model.gate), model)


def _told(supply_v: float | None, kind: str) -> float:
    if supply_v is None:
        raise ConfigError(
            f"{kind} needs the voltage at the board",
            hint="supply_v = 3.3 in boards.toml, or --supply 3.3 (pytest: --hil-supply)",
        )
    return supply_v


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ConfigError(f"meter {whole}: {text!r} is not a number above 0")
    return value


def _ppk2(where: str, sources: bool, supply_v: float, gated: bool) -> Ppk2:
    if "/" in where or re.fullmatch(r"COM\d+", where, re.IGNORECASE):
        url, serial = where, ""
    else:
        found = {
            port.serial_number: port
            for port in sorted(serial_ports(), key=lambda port: port.url, reverse=True)
            if (port.vid, port.pid) == (ppk2.USB_VENDOR, ppk2.USB_PRODUCT)
        }  # of the two ports of each the first one, which carries data
        mine = [port for port in found.values() if where in ("", port.serial_number)]
        if len(mine) != 1:
            there = ", ".join(sorted(found)) or "none"
            what = f"no PPK2 {where}" if where else f"{len(mine)} PPK2s"
            raise MeterError(f"{what}; attached: {there}", hint="ppk2:SERIAL names one")
        url, serial = mine[0].url, mine[0].serial_number
    try:
        line = open_link(url)
    except BoardUnavailable as error:
        raise MeterError(error.message, hint=error.hint) from error
    try:
        return Ppk2(
            line, supply_v=supply_v, sources=sources, serial=serial, gate_channel=0 if gated else None
        )
    except BaseException:
        line.close()
        raise


def _ina(kind: str, rest: str) -> Ina:
    parts = rest.split(":")
    try:
        bus, address, ohm = parts[0], int(parts[1], 0), float(parts[2])
        if len(parts) != 3 or not ohm > 0:
            raise ValueError
    except (IndexError, ValueError):
        raise ConfigError(
            f"meter {kind}:{rest}", hint=f"{kind}:BUS:ADDRESS:OHM, as {kind}:1:0x40:0.1"
        ) from None
    return Ina(CHIPS[kind], open_bus(bus), address=address, shunt_ohm=ohm, clock=WallClock())

"""How DTR and RTS reset a chip, whatever sets them: a serial port of this machine or a server of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

RESET_PULSE_S = 0.1


@dataclass(frozen=True, slots=True)
class LineStep:
    """One line is raised or released, and then held so for some seconds."""

    line: Literal["dtr", "rts"]
    raised: bool
    hold_s: float = 0.0


def reset_steps(*, to_loader: bool, listening: bool) -> Iterator[LineStep]:
    """RTS pulls EN, DTR the boot strap, each only while the other is off (the boards' two transistors).

    Args:
        to_loader: start the ROM's loader.
        listening: both lines are raised at the end, see `esp_hil.device.ports.open_link`.
    """
    yield LineStep("dtr", raised=False)
    yield LineStep("rts", raised=True, hold_s=RESET_PULSE_S)
    if to_loader:
        yield LineStep("dtr", raised=True)
        yield LineStep("rts", raised=False, hold_s=RESET_PULSE_S / 2)
        yield LineStep("dtr", raised=False)
    else:
        yield LineStep("rts", raised=False)
    if listening:
        # DTR first, and never straight from RTS alone: that is how a chip's own USB port enters its bootloader
        yield LineStep("dtr", raised=True)
        yield LineStep("rts", raised=True)

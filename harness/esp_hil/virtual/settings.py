"""How a virtual board is to be run, and what its chip wants of a line that has a rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from esp_hil.targets import Runtime, Target
from esp_hil.virtual.faults import FaultPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualSettings:
    """How to run a virtual board.

    Attributes:
        target: the chip.
        runtime: of its firmware.
        flash: the flash image; None: a new one that is removed at the end.
        listen: `pty`, `pty:PATH`, `tcp` or `tcp:NUMBER`.
        faults: planted ones.
        control: take commands from standard input and end with it.
        line: model of the line, as `esp_hil.virtual.paced.parse_model` reads it; "": it takes no time.
    """

    target: Target
    runtime: Runtime
    flash: Path | None
    listen: str
    faults: FaultPlan
    control: bool
    line: str = ""


class Rate(Protocol):
    """The rate of a line, as the device core wants it."""

    baud: int

    def possible(self, baud: int) -> bool:
        """Whether the UART can do it."""
        ...

    def set_baud(self, baud: int) -> None:
        """Change it."""
        ...

    def now_ms(self) -> int:
        """A clock for time-outs."""
        ...

    def restarted(self, last_words: bytes) -> None:
        """The chip starts anew: back to the rate of its start, once it has said this at the present one."""
        ...

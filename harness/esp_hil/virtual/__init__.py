"""Virtual boards: the device core of `firmware/core` on this machine, behind a pty or a TCP port.

`python -m esp_hil.virtual --target esp32p4` runs one; `VirtualBoard` starts and ends it for a test.
"""

from esp_hil.virtual.board import VirtualBoard
from esp_hil.virtual.faults import EngineFaults, FaultPlan, LineFaults, OffByLsb, load_plan

__all__ = ["EngineFaults", "FaultPlan", "LineFaults", "OffByLsb", "VirtualBoard", "load_plan"]

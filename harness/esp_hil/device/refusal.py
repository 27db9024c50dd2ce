"""What a device refuses, as an error."""

from __future__ import annotations

from esp_hil.errors import DeviceFault
from esp_hil.wire.answers import FailureAnswer
from esp_hil.wire.status import HINTS, status_name


def refused(failure: FailureAnswer, *, step: str, board: str) -> DeviceFault:
    """The error for an answer that is not ok: the status by name, the device's own words, what to do next."""
    words = f": {failure.words}" if failure.words else ""
    fault = DeviceFault(
        f"the device refused: {status_name(failure.status)}{words}",
        status=failure.status,
        hint=next((text for status, text in HINTS.items() if status == failure.status), ""),
        step=step,
    )
    fault.at(board=board)
    return fault

"""MicroPython's tracebacks as typed errors."""

from __future__ import annotations

import re
from collections.abc import Sequence

from esp_hil.errors import HilError, InputError, OutOfMemory, ScriptFailed

_LAST = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(?:: ?(?P<words>.*))?$")
_BUFFER = "Frame buffer size does not match"


def exception_of(traceback: str) -> tuple[str, str]:
    """Class and words of the exception at the end of a traceback, such as ("ValueError", "bad").

    The words may go over several lines; the class stands at the beginning of the first line behind the frames.
    """
    lines = traceback.strip().splitlines()
    frames = [at for at, line in enumerate(lines) if line.startswith(("  File", "Traceback"))]
    rest = lines[frames[-1] + 1 :] if frames else lines
    found = _LAST.match(rest[0]) if rest else None
    if found is None:
        return "", " ".join(rest)
    return found["name"], " ".join([found["words"] or "", *rest[1:]]).strip()


def error_of(traceback: str, *, board: str, classes: Sequence[str] = ()) -> HilError:
    """The error for a traceback: InputError, OutOfMemory, else ScriptFailed with the traceback.

    Args:
        traceback: as MicroPython printed it.
        board: name for the message.
        classes: what the firmware's `espdl` offers, for the hint.
    """
    name, words = exception_of(traceback)
    error: HilError
    if name == "ValueError" and words.startswith(_BUFFER):
        error = InputError(
            "the board refuses the frame: its bytes are not those of width, height and pixel format",
            hint="a constant such as espdl.RGB565 may be of another ESP-DL than the firmware's",
        )
    elif name == "ValueError" and "gray" in words:
        error = InputError(f"the board refuses the frame: {words}", hint="send RGB888")
    elif name == "MemoryError":
        error = OutOfMemory(
            f"MicroPython: {words or 'memory allocation failed'}", hint="send a smaller picture"
        )
    else:
        offered = f"espdl offers: {', '.join(classes)}" if name == "AttributeError" and classes else ""
        error = ScriptFailed(
            f"{name or 'an exception'}: {words}" if words else name or "an exception without words",
            exception=name,
            traceback=traceback,
            hint=offered or "the error has MicroPython's traceback",
        )
    return error.at(step="script", board=board)

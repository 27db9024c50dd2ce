"""The module `time` of a virtual board: microseconds, and sleep that control-C ends, as on a chip."""

import struct

# the module of the interpreter, whose clock counts milliseconds and whose sleep cannot be interrupted
from utime import *  # type: ignore[import-not-found]  # noqa: F403

_clock = open("/dev/clock", "r+b", buffering=0)  # noqa: SIM115 - open as long as the board runs
_SLICE_MS = 10
_TICKS = (1 << 30) - 1


def ticks_us() -> int:
    """Microseconds, modulo the period of `ticks_diff`."""
    return int(struct.unpack("<Q", _clock.read(8))[0]) & _TICKS


def ticks_ms() -> int:
    """Milliseconds of the same clock."""
    return int(struct.unpack("<Q", _clock.read(8))[0]) // 1000 & _TICKS


def sleep_ms(ms: float) -> None:
    """Sleep; an interrupt character ends it."""
    while ms > 0:
        _clock.write(struct.pack("<d", min(ms, _SLICE_MS)))
        ms -= _SLICE_MS


def sleep(seconds: float) -> None:
    """Sleep; an interrupt character ends it."""
    sleep_ms(seconds * 1000)

"""The bytes of PATTERN frames: PRBS-15 (ITU-T O.150: x^15 + x^14 + 1), the first bit the highest of a byte."""

from __future__ import annotations

from functools import cache

PERIOD = 32_767
"""Of the bits, and of the bytes too: 8 has no common factor with it."""


@cache
def _sequence() -> tuple[bytes, tuple[int, ...]]:
    """The bytes of a whole period, and where in it each state begins a byte."""
    places = [0] * (PERIOD + 1)
    out = bytearray()
    state = 1
    for place in range(PERIOD):
        places[state] = place
        byte = 0
        for _ in range(8):
            bit = (state >> 14 ^ state >> 13) & 1
            state = (state << 1 | bit) & PERIOD
            byte = byte << 1 | bit
        out.append(byte)
    return bytes(out), tuple(places)


def pattern(number: int, size: int) -> bytes:
    """`size` bytes of the pattern of frame `number` (0..65535)."""
    sequence, places = _sequence()
    start = places[number % PERIOD + 1]
    whole = sequence[start:] + sequence * (size // PERIOD + 1)
    return whole[:size]

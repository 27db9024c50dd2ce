"""One direction of a bad line: bytes in, damaged bytes out, and what befalls the board meanwhile."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from esp_hil.virtual.faults import LineFaults

PACKET_BYTES = 62
"""Of a USB bridge: what is reordered."""

Incident = Literal["stall", "disconnect", "reset"]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something other than damaged bytes; `seconds` of a stall."""

    what: Incident
    seconds: float = 0.0


class BadLine:
    """Damages bytes as a plan says.

    Args:
        faults: of this direction.
        seed: the same gives the same damage for the same bytes, however they are split; only packets can change
            places no further than the call that passes them on reaches.
    """

    def __init__(self, faults: LineFaults, seed: int) -> None:
        self._faults = faults
        self._passed = 0
        self._flips = _Places(faults.bit_error_rate * 8, random.Random(f"{seed} flip"))
        self._drops = _Places(faults.drop_rate, random.Random(f"{seed} drop"))
        self._doubles = _Places(faults.duplicate_rate, random.Random(f"{seed} double"))
        self._swaps = _Places(faults.reorder_rate, random.Random(f"{seed} swap"))
        self._bits = random.Random(f"{seed} bit")
        self._once: dict[Incident, int] = {
            "stall": faults.stall_after_bytes,
            "disconnect": faults.disconnect_after_bytes,
            "reset": faults.reset_after_bytes,
        }

    def pass_on(self, data: bytes) -> tuple[bytes, list[Happening]]:
        """What arrives of `data`, and what happens then."""
        start, end = self._passed, self._passed + len(data)
        self._passed = end
        for place in self._swaps.between(start, end):
            data = _swap_packets(data, place - start)
        damaged = self._damage(data, start, end)
        happened = [
            Happening(what, self._faults.stall_s if what == "stall" else 0.0)
            for what, at in self._once.items()
            if start < at <= end
        ]
        return damaged, happened

    def _damage(self, data: bytes, start: int, end: int) -> bytes:
        edits: dict[int, list[str]] = {}
        for kind, places in (("flip", self._flips), ("drop", self._drops), ("double", self._doubles)):
            for place in places.between(start, end):
                edits.setdefault(place - start, []).append(kind)
        every = self._faults.text_every_bytes
        if every:
            for place in range(-(-start // every) * every, end, every):
                edits.setdefault(place - start, []).append("text")
        if not edits:
            return data
        out = bytearray()
        at = 0
        for place in sorted(edits):
            out += data[at:place]
            out += self._edited(data[place], edits[place])
            at = place + 1
        return bytes(out + data[at:])

    def _edited(self, byte: int, kinds: list[str]) -> bytes:
        piece = self._faults.text.encode() if "text" in kinds else b""
        if "flip" in kinds:
            byte ^= 1 << self._bits.randrange(8)
        if "drop" in kinds:
            return piece
        return piece + bytes([byte]) * (2 if "double" in kinds else 1)


def _swap_packets(data: bytes, at: int) -> bytes:
    """The packet at `at` after its successor, as a USB host controller may hand them on."""
    middle, end = at + PACKET_BYTES, at + 2 * PACKET_BYTES
    return data[:at] + data[middle:end] + data[at:middle] + data[end:]


class _Places:
    """Byte offsets where something random happens, by geometric gaps: what is rare costs nothing."""

    def __init__(self, rate: float, source: random.Random) -> None:
        self._rate = rate
        self._source = source
        self._next = self._gap() - 1 if rate > 0 else 0

    def _gap(self) -> int:
        if self._rate >= 1:
            return 1
        return 1 + int(math.log(1.0 - self._source.random()) / math.log(1.0 - self._rate))

    def between(self, start: int, end: int) -> list[int]:
        places: list[int] = []
        while self._rate > 0 and self._next < end:
            if self._next >= start:
                places.append(self._next)
            self._next += self._gap()
        return places

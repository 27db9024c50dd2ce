"""How long to wait before something is sent again, and how much to send at once."""

from __future__ import annotations

import math

RTO_MIN_S = 0.05
RTO_MAX_S = 2.0
"""Waits double from the estimate up to this; a deadline, not a wait, is what ends an exchange."""
FRAME_OVERHEAD_BYTES = 17
"""A DATA frame's bytes beside its chunk: header, CRC, transfer and offset, COBS, delimiters."""
CHUNK_MIN_BYTES = 32
_MEMORY_BYTES = 262_144


class RoundTrip:
    """The retransmission time-out from measured round trips (Jacobson and Karels; RFC 6298).

    Args:
        initial_s: the time-out before anything was measured.
    """

    def __init__(self, initial_s: float = 0.3) -> None:
        self._smoothed_s: float | None = None
        self._variation_s = 0.0
        self._initial_s = initial_s
        self.queue_s = 0.0
        """What a slow line takes for the bytes that wait before something that is sent now."""

    def measured(self, round_trip_s: float) -> None:
        """Take a round trip of something that was sent once only (Karn's rule)."""
        if self._smoothed_s is None:
            self._smoothed_s, self._variation_s = round_trip_s, round_trip_s / 2
        else:
            self._variation_s += (abs(round_trip_s - self._smoothed_s) - self._variation_s) / 4
            self._smoothed_s += (round_trip_s - self._smoothed_s) / 8

    def timeout_s(self, attempt: int = 0) -> float:
        """The wait after the transmission of that number (0: the first), doubled each time."""
        base = self._initial_s
        if self._smoothed_s is not None:
            base = max(RTO_MIN_S, self._smoothed_s + 4 * self._variation_s)
        return min(RTO_MAX_S, base * 2.0 ** min(attempt, 10)) + self.queue_s


class Departures:
    """When bytes that are sent now have left: a slow line has others before them.

    Args:
        bytes_per_s: what the line carries, or None if it has no known limit.
    """

    def __init__(self, bytes_per_s: float | None) -> None:
        self._byte_s = 1.0 / bytes_per_s if bytes_per_s else 0.0
        self._free_at = 0.0

    def send(self, size_bytes: int, now: float) -> float:
        """The time at which the last of these bytes leaves."""
        self._free_at = max(self._free_at, now) + size_bytes * self._byte_s
        return self._free_at


class ChunkSize:
    """Bytes for the next chunk: large on a clean line, small on a bad one.

    With `losses` per byte sent and an overhead of h bytes per frame, a delivered byte costs about
    (1 + h/n) * (1 + losses * n) sent ones in chunks of n: least at n = sqrt(h / losses).

    Args:
        most: the receiver's largest chunk.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent_bytes = 0.0
        self._losses = 0.0

    def allow(self, most: int) -> None:
        """The receiver's largest chunk is another one now; what is known of the line stays."""
        self._most = most

    def forget(self) -> None:
        """The line is another one now."""
        self._sent_bytes = self._losses = 0.0

    def sent(self, size_bytes: int) -> None:
        """A frame of that size went out."""
        self._sent_bytes += size_bytes
        if self._sent_bytes > _MEMORY_BYTES:
            # forget slowly, so that a line that has become clean gets long frames again
            self._sent_bytes /= 2
            self._losses /= 2

    def lost(self) -> None:
        """A frame did not arrive."""
        self._losses += 1

    @property
    def next_bytes(self) -> int:
        """The best size now."""
        if self._losses < 0.5:
            return self._most
        best = math.sqrt(FRAME_OVERHEAD_BYTES * max(self._sent_bytes, 1.0) / self._losses)
        return max(min(CHUNK_MIN_BYTES, self._most), min(self._most, int(best)))

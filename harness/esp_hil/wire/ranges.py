"""Which bytes of a transfer are there: half-open ranges, sorted and apart."""

from __future__ import annotations

from bisect import bisect_left


class ByteRanges:
    """A set of byte offsets, kept as ranges [start, end)."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> bool:
        """Add [start, end); returns whether any of it was missing."""
        if start >= end:
            return False
        at = bisect_left(self._ranges, (start, start))
        if at and self._ranges[at - 1][1] >= start:
            at -= 1
        first = at
        merged_start, merged_end = start, end
        while at < len(self._ranges) and self._ranges[at][0] <= end:
            merged_start = min(merged_start, self._ranges[at][0])
            merged_end = max(merged_end, self._ranges[at][1])
            at += 1
        if at == first + 1 and self._ranges[first] == (merged_start, merged_end):
            return False
        self._ranges[first:at] = [(merged_start, merged_end)]
        return True

    def holds(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is there."""
        at = bisect_left(self._ranges, (start + 1,)) - 1
        return start >= end or (at >= 0 and self._ranges[at][1] >= end)

    @property
    def cumulative(self) -> int:
        """All bytes below this offset are there."""
        return self._ranges[0][1] if self._ranges and self._ranges[0][0] == 0 else 0

    @property
    def beyond(self) -> list[tuple[int, int]]:
        """The ranges above `cumulative`."""
        return self._ranges[1:] if self.cumulative else list(self._ranges)

    @property
    def end(self) -> int:
        """One past the highest byte that is there; 0 if none is."""
        return self._ranges[-1][1] if self._ranges else 0

"""Compression of what is sent, where it pays: raw DEFLATE, each piece for itself: a lost one costs only itself."""

from __future__ import annotations

import zlib

SAVES = 0.9
"""A piece is sent packed when it shrinks to less than this share."""
LONGEST_PAUSE = 64
LEVEL = 6


class Packer:
    """Packs pieces; after one that did not shrink it leaves the next ones alone, ever more of them.

    Args:
        enabled: False: nothing is ever packed.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._pause = 1
        self._left = 0

    def pack(self, data: bytes) -> bytes | None:
        """The stream, or None if it is not worth it."""
        if not self.enabled:
            return None
        if self._left:
            self._left -= 1
            return None
        maker = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
        packed = maker.compress(data) + maker.flush()
        if len(packed) < SAVES * len(data):
            self._pause = 1
            return packed
        self._left = self._pause
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        return None

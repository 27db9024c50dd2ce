"""The arena of ESP-DL's planner: chunks in address order, and the free ones by size."""

from __future__ import annotations

from typing import Literal, Protocol

ALIGNMENT = 16


def aligned(size_bytes: int) -> int:
    """Rounded up to whole alignment units."""
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


class Owner(Protocol):
    """What can live in a chunk; placing it sets where."""

    size_bytes: int
    offset_bytes: int
    pool: Pool | None


class _Chunk:
    __slots__ = ("offset", "owner", "size")

    def __init__(self, size: int, offset: int, owner: Owner | None = None) -> None:
        self.size, self.offset, self.owner = size, offset, owner


class Pool:
    """One memory of the arena.

    Args:
        memory: which.
        fixed_bytes: its size if it cannot grow; 0 for one that grows at its end.

    ESP-DL keeps the free chunks in a list that it sorts by size, stably, after each addition, and takes the
    first that is large enough: best fit, and among equals the one that was freed first. The last chunk, if
    free but too small, is extended.
    """

    __slots__ = ("_chunks", "_fixed", "_free", "memory")

    def __init__(self, memory: Literal["internal", "psram"], fixed_bytes: int = 0) -> None:
        self.memory = memory
        self._fixed = fixed_bytes > 0
        self._chunks: list[_Chunk] = [_Chunk(fixed_bytes, 0)] if self._fixed else []
        self._free = list(self._chunks)

    @property
    def size_bytes(self) -> int:
        """How far it reaches."""
        return self._chunks[-1].offset + self._chunks[-1].size if self._chunks else 0

    def place(self, owner: Owner) -> bool:
        """Give memory to `owner`; False if the pool cannot grow and no free chunk is large enough."""
        need = aligned(owner.size_bytes)
        chunk = next((free for free in self._free if free.size >= need), None)
        if chunk is not None:
            self._split(chunk, need)
        elif self._fixed:
            return False
        else:
            chunk = self._grown(need)
        chunk.owner = owner
        owner.pool, owner.offset_bytes = self, chunk.offset
        return True

    def free(self, owner: Owner) -> None:
        """Take back the memory of `owner` and join it with free neighbours."""
        at = next(index for index, chunk in enumerate(self._chunks) if chunk.owner is owner)
        chunk = self._chunks[at]
        chunk.owner = None
        if at + 1 < len(self._chunks) and self._chunks[at + 1].owner is None:
            self._absorb(chunk, at + 1)
        if at > 0 and self._chunks[at - 1].owner is None:
            self._absorb(chunk, at - 1)
        self._add_free(chunk)

    def _absorb(self, chunk: _Chunk, at: int) -> None:
        neighbour = self._chunks.pop(at)
        self._free.remove(neighbour)
        chunk.size += neighbour.size
        chunk.offset = min(chunk.offset, neighbour.offset)

    def _split(self, chunk: _Chunk, need: int) -> None:
        self._free.remove(chunk)
        if chunk.size > need:
            rest = _Chunk(chunk.size - need, chunk.offset + need)
            chunk.size = need
            self._chunks.insert(self._chunks.index(chunk) + 1, rest)
            self._add_free(rest)

    def _grown(self, need: int) -> _Chunk:
        last = self._chunks[-1] if self._chunks else None
        if last is not None and last.owner is None:
            self._free.remove(last)
            last.size = need
            return last
        chunk = _Chunk(need, self.size_bytes)
        self._chunks.append(chunk)
        return chunk

    def _add_free(self, chunk: _Chunk) -> None:
        self._free.append(chunk)
        self._free.sort(key=lambda free: free.size)

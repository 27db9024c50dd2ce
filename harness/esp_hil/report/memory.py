"""Memory of a run: what the device counted beside what the model file alone says."""

from __future__ import annotations

from dataclasses import dataclass

from esp_hil.counters import ARENA, ARENA_INTERNAL, ARENA_PSRAM
from esp_hil.results.record import Run

ARENAS = (ARENA_INTERNAL, ARENA_PSRAM)
BYTES = frozenset({"B", "bytes"})


def arena_of(run: Run) -> int | None:
    """Bytes of the arena: as one counter, or as the sum over the memories it lies in; None if not counted."""
    if ARENA in run.counters:
        return int(run.counters[ARENA][0])
    parts = [run.counters[name][0] for name in ARENAS if name in run.counters]
    return int(sum(parts)) if parts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """One kind of memory in bytes; None where it was not counted, or not predicted."""

    name: str
    measured: int | None
    predicted: int | None

    @property
    def difference(self) -> int | None:
        """Measured minus predicted."""
        if self.measured is None or self.predicted is None:
            return None
        return self.measured - self.predicted


def memory_rows(run: Run) -> tuple[MemoryRow, ...]:
    """Counters in bytes that tell of the model and its heap, then predictions that nothing was counted for.

    Figures of the line are left out; a predicted 0 that was not counted is not a row.
    """
    counted = {
        name: int(value)
        for name, (value, unit) in run.counters.items()
        if unit in BYTES and not name.startswith("link_")
    }
    predicted = {name: int(value) for name, (value, unit) in run.predicted.items() if unit in BYTES}
    names = [*counted, *(name for name in predicted if name not in counted and predicted[name])]
    return tuple(
        MemoryRow(name=name, measured=counted.get(name), predicted=predicted.get(name)) for name in names
    )

"""The largest block of internal RAM that an image leaves, as boards have reported it, and what has room in it.

An arena is one block: what decides is not how much RAM a chip has, nor how much of it is free, but the largest
piece. It depends on the image (its static data lie in the same regions) and on Wi-Fi, whose buffers come from the
heap. `blocks.csv` has what was reported, `allocations.csv` what was asked for and whether it was there.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from esp_hil.targets import Target, target

Place = Literal["internal", "psram", "nowhere"]

_WIFI_BYTES = 68_784
"""What Wi-Fi and lwIP take of the largest block where no board has said: the ESP32-S3's 265,392 less 196,608."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedBlock:
    """What somebody's board said.

    Attributes:
        image: what it ran.
        wifi: whether Wi-Fi was up.
        largest_bytes: the largest block.
        free_bytes: all that was free in internal RAM; None if not said.
        known: whether that was the size of a region at boot, or a free block.
        source: a thread or a page.
    """

    target: str
    image: str
    wifi: bool
    largest_bytes: int
    free_bytes: int | None
    known: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What somebody asked for, and whether it was there.

    Attributes:
        what: the network, and how it was loaded.
        arena_bytes: in one block.
        other_bytes: of the same memory beside it: copied parameters, a file.
        psram_bytes: of the board.
        asked: from which memory.
        happened: whether it was there.
        source: a thread or a page.
    """

    target: str
    what: str
    arena_bytes: int
    other_bytes: int
    psram_bytes: int
    wifi: bool
    asked: Place
    happened: bool
    source: str

    @property
    def judged(self) -> bool:
        """Whether it should be there, by what is known of the chip."""
        found = room_for(
            self.arena_bytes,
            target(self.target),
            other_bytes=self.other_bytes,
            psram_bytes=self.psram_bytes if self.asked == "psram" else 0,
            wifi=self.wifi,
        )
        return found.place != "nowhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where an arena lies.

    Attributes:
        place: internal RAM if its largest block holds it, else PSRAM, else nowhere.
        largest_bytes: that block.
        how: where its size comes from.
    """

    place: Place
    largest_bytes: int
    how: str


@cache
def reported_blocks() -> tuple[ReportedBlock, ...]:
    """All, in the order of the file."""
    return tuple(
        ReportedBlock(
            target=row["target"],
            image=row["image"],
            wifi=row["wifi"] == "yes",
            largest_bytes=int(row["largest_bytes"]),
            free_bytes=int(row["free_bytes"]) if row["free_bytes"] else None,
            known=row["known"],
            source=row["source"],
        )
        for row in _rows("blocks.csv")
    )


@cache
def allocations() -> tuple[Allocation, ...]:
    """All, in the order of the file."""
    return tuple(
        Allocation(
            target=row["target"],
            what=row["what"],
            arena_bytes=int(row["arena_bytes"]),
            other_bytes=int(row["other_bytes"]),
            psram_bytes=int(row["psram_bytes"]),
            wifi=row["wifi"] == "yes",
            asked="psram" if row["asked"] == "psram" else "internal",
            happened=row["happened"] == "fits",
            source=row["source"],
        )
        for row in _rows("allocations.csv")
    )


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("esp_hil.models").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def largest_block(chip: Target, *, wifi: bool = False, measured: int | None = None) -> tuple[int, str]:
    """The largest block of internal RAM of a freshly booted image, and where that is known from.

    Args:
        chip: the target.
        wifi: whether Wi-Fi is up; then the smallest that a board with Wi-Fi has reported counts.
        measured: what one's own board reports (`heap_internal_largest_bytes`): it outweighs everything.
    """
    if measured is not None:
        return measured, "measured on your board"
    told = [block for block in reported_blocks() if block.target == chip.name]
    if not wifi:
        source = next((b.source for b in told if b.largest_bytes == chip.largest_block_bytes), "")
        return chip.largest_block_bytes, f"reported in {source}" if source else "estimated"
    if any(block.wifi for block in told):
        least = min((block for block in told if block.wifi), key=lambda block: block.largest_bytes)
        return least.largest_bytes, f"reported in {least.source}, with Wi-Fi"
    return max(0, chip.largest_block_bytes - _WIFI_BYTES), "estimated, with Wi-Fi"


def room_for(
    arena_bytes: int,
    chip: Target,
    *,
    psram_bytes: int,
    other_bytes: int = 0,
    wifi: bool = False,
    measured: int | None = None,
) -> Room:
    """Where an arena has room: in internal RAM as one block, else in PSRAM beside what else lies there.

    Args:
        arena_bytes: in one block.
        chip: the target.
        psram_bytes: of the board; 0 without.
        other_bytes: of the same memory: copied parameters.
        wifi: whether Wi-Fi is up.
        measured: the largest block that one's own board reports.
    """
    largest, how = largest_block(chip, wifi=wifi, measured=measured)
    place: Place = "nowhere"
    if arena_bytes <= largest and arena_bytes + other_bytes <= chip.internal_bytes:
        place = "internal"
    elif arena_bytes + other_bytes <= psram_bytes:
        place = "psram"
    return Room(place=place, largest_bytes=largest, how=how)

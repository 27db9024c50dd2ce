"""What esptool 5 prints, line by line, as values. Text in, values out; no I/O, and no esptool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from esp_hil.esp.image import Region

TAIL_LINES = 12

_CONNECTED = re.compile(r"^Connected to (ESP[\w-]+) on ")
_TYPE = re.compile(r"^Chip type: +(.+)$")
_REVISION = re.compile(r"\(revision v(\d+)\.(\d+)\)")
_FEATURES = re.compile(r"^Features: +(.+)$")
_MAC = re.compile(r"^(?:BASE )?MAC: +([0-9a-fA-F:]{17})$")
_FLASH = re.compile(r"^Detected flash size: (\d+)([KM])B")
_PSRAM = re.compile(r"Embedded PSRAM (\d+)MB")
_POSITION = re.compile(r"^Writing at (0x[0-9a-fA-F]+)\b.*%")
_KEPT = re.compile(r" at (0x[0-9a-fA-F]+) (?:already in flash|verified)")
_WROTE = re.compile(r"^Wrote (\d+) bytes.* at (0x[0-9a-fA-F]+) in ")
_FATAL = re.compile(r"A fatal error occurred: (.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedChip:
    """The chip at a port, as esptool describes it; "" and None are what it did not tell.

    Attributes:
        target: in targets.toml's words.
        description: package and revision in esptool's words.
        revision: 100 * major + minor.
        mac: aa:bb:cc:dd:ee:ff.
        flash_bytes: of the flash that is connected.
        embedded_psram_bytes: of PSRAM inside the chip's package; a module may have other PSRAM.
    """

    target: str = ""
    description: str = ""
    revision: int | None = None
    mac: str = ""
    flash_bytes: int | None = None
    embedded_psram_bytes: int | None = None


class EsptoolOutput:
    """Follows the output of one esptool run.

    Args:
        regions: what is being written, if anything is.

    Attributes:
        chip: what is known of it.
        written: names of regions of which something was written.
        kept: names of regions that were in the flash already.
        bytes_written: payload bytes, not counting compression.
        fatal: esptool's fatal error, or "".
    """

    def __init__(self, regions: Sequence[Region] = ()) -> None:
        self.chip = DetectedChip()
        self.written: list[str] = []
        self.kept: list[str] = []
        self.bytes_written = 0
        self.fatal = ""
        self._regions = tuple(regions)
        self._positions = dict.fromkeys((region.name for region in regions), 0)
        self._lines: list[str] = []

    @property
    def tail(self) -> str:
        """The last lines without progress bars."""
        return "\n".join(self._lines[-TAIL_LINES:])

    @property
    def done_bytes(self) -> int:
        """How many of the regions' bytes are known to be in the flash."""
        return sum(self._positions.values())

    def feed(self, line: str) -> None:
        """Take one line."""
        line = _COLOUR.sub("", line).strip()
        if found := _POSITION.match(line):
            self._reached(int(found[1], 16))
            return
        if not line:
            return
        self._lines.append(line)
        if found := _FATAL.search(line):
            self.fatal = found[1].strip()
        self._about_chip(line)
        self._about_regions(line)

    def _about_chip(self, line: str) -> None:
        if found := _CONNECTED.match(line):
            self.chip = replace(self.chip, target=found[1].lower().replace("-", ""))
        elif found := _TYPE.match(line):
            revision = _REVISION.search(found[1])
            number = 100 * int(revision[1]) + int(revision[2]) if revision else None
            self.chip = replace(self.chip, description=found[1], revision=number)
        elif found := _FEATURES.match(line):
            if psram := _PSRAM.search(found[1]):
                self.chip = replace(self.chip, embedded_psram_bytes=int(psram[1]) << 20)
            elif "No Embedded PSRAM" in found[1]:
                self.chip = replace(self.chip, embedded_psram_bytes=0)
        elif found := _MAC.match(line):
            self.chip = replace(self.chip, mac=found[1].lower())
        elif found := _FLASH.match(line):
            self.chip = replace(self.chip, flash_bytes=int(found[1]) << (20 if found[2] == "M" else 10))

    def _about_regions(self, line: str) -> None:
        if found := _KEPT.search(line):
            if region := self._at(int(found[1], 16)):
                self.kept.append(region.name)
                self._positions[region.name] = len(region.data)
        elif found := _WROTE.match(line):
            self.bytes_written += int(found[1])
            if region := self._at(int(found[2], 16)):
                if region.name not in self.written:
                    self.written.append(region.name)
                self._positions[region.name] = len(region.data)

    def _reached(self, address: int) -> None:
        if region := self._at(address - 1):
            reached = min(address - region.offset, len(region.data))
            self._positions[region.name] = max(self._positions[region.name], reached)

    def _at(self, address: int) -> Region | None:
        inside = (r for r in self._regions if r.offset <= address < r.offset + max(1, len(r.data)))
        return next(inside, None)

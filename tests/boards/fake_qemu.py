"""A program with the command line of Espressif's QEMU: a virtual chip that starts from a flash image.

    python fake_qemu.py -M esp32c3 -serial tcp:127.0.0.1:PORT,server=on,wait=on,nodelay=on -drive file=FLASH,...

Like QEMU it refuses unknown machines and odd flash sizes, waits for the first connection, and writes to the
file what the chip writes to its flash. In its application it believes that it is an emulated chip.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
from collections.abc import Mapping
from pathlib import Path

from esp_hil.targets import target
from esp_hil.virtual import loop
from esp_hil.virtual.chip import ChipIdentity, ResetReason
from esp_hil.virtual.faults import load_plan
from esp_hil.virtual.settings import VirtualSettings

MACHINES = ("esp32", "esp32c3")
SIZES_MB = (2, 4, 8, 16)


class EmulatedIdentity(ChipIdentity):
    """A chip whose firmware was built for emulators."""

    def table(self, reason: ResetReason, boot_id: int) -> Mapping[str, str | int]:
        """What INFO says of the board."""
        return {**super().table(reason, boot_id), "kind": "emulated", "idf": "v5.3.5", "psram_bytes": 0}


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("-M", "-display", "-monitor", "-serial", "-drive", "-icount", "-faults"):
        parser.add_argument(name)
    given = parser.parse_args()
    if given.M not in MACHINES:
        print(f"qemu: unsupported machine type {given.M!r}", file=sys.stderr)
        return 1
    flash = Path(dict(part.partition("=")[::2] for part in given.drive.split(","))["file"])
    if flash.stat().st_size not in {size << 20 for size in SIZES_MB}:
        print("qemu: only 2, 4, 8, 16 MB images are supported", file=sys.stderr)
        return 1
    print(json.dumps(sys.argv[1:]), flush=True)
    vars(loop)["ChipIdentity"] = EmulatedIdentity
    settings = VirtualSettings(
        target=target(given.M),
        runtime="espdl",
        flash=flash,
        listen=f"tcp:{given.serial.split(',')[0].rpartition(':')[2]}",
        faults=load_plan(given.faults or "{}"),
        control=False,
    )
    machine = loop.Loop(settings, flash.parent)
    select.select(machine.port.readers(), [], [])
    machine.port.read()  # takes the connection, so that no line of the boot log is lost
    machine.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

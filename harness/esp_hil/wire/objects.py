"""The numbers of objects and model locations in messages; docs/PROTOCOL.md section 3."""

from __future__ import annotations

from enum import IntEnum


class Object(IntEnum):
    """What OPEN_WRITE and OPEN_READ address."""

    INFO = 0
    MODEL = 1
    INPUT = 2
    OUTPUT = 3
    TENSOR = 4
    PROFILE = 5
    COUNTERS = 6
    CYCLES = 7
    GOLDEN = 8


class Location(IntEnum):
    """Where a model lies on the device; only the first two can be written over the line."""

    PARTITION = 0
    RAM = 1
    RODATA = 2
    FILE = 3

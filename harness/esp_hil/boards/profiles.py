"""Which fragments of firmware/profiles a build is made of: what was asked for, added to what the board is.

    added_up(("fast-uart",), target="esp32p4", revision=100) -> ("perf", "p4-rev1", "fast-uart")

Later fragments win, so what was asked for comes last.
"""

from __future__ import annotations

from collections.abc import Iterable

from esp_hil.errors import BuildError

DEFAULT = ("perf",)
OPTIMIZATION = frozenset({"perf", "size", "debug"})
"""One of them is in every build: without any, ESP-IDF compiles for debugging."""

P4_REV1, P4_REV3 = "p4-rev1", "p4-rev3"
P4 = "esp32p4"
_REV3 = 300
_KNOWS_P4_REV3 = ((5, 4, 4), (5, 5, 2))
"""First releases of ESP-IDF 5.4 and 5.5 that can build for ESP32-P4 v3 (ESP32P4_SELECTS_REV_LESS_V3 of Kconfig)."""


def added_up(
    wanted: Iterable[str], *, target: str, board: Iterable[str] = (), revision: int | None = None
) -> tuple[str, ...]:
    """The fragments to build with, each once, in the order in which they apply.

    Args:
        wanted: those that were asked for.
        target: the chip.
        board: those that the board needs.
        revision: of the chip, 100 * major + minor, where it is known. ESP32-P4 before and from 3.0 on are
            different chips to ESP-IDF: an image starts on one kind only.
    """
    wanted = tuple(wanted)
    first = () if OPTIMIZATION.intersection(wanted) else DEFAULT
    chip: tuple[str, ...] = ()
    if target == P4 and not {P4_REV1, P4_REV3}.intersection(wanted):
        chip = (p4_profile(revision),)
    return tuple(dict.fromkeys((*first, *(name for name in (*chip, *board) if name not in wanted), *wanted)))


def p4_profile(revision: int | None) -> str:
    """The fragment for an ESP32-P4 of a revision; of one that is not known the common 1.x."""
    return P4_REV3 if revision is not None and revision >= _REV3 else P4_REV1


def check_idf(profile: Iterable[str], version: str) -> None:
    """Refuse a build that this ESP-IDF cannot make, before minutes go by.

    Args:
        profile: the fragments.
        version: of ESP-IDF, such as 5.3.5.

    Raises:
        BuildError: an ESP32-P4 v3 is wanted of an ESP-IDF that knows v0 and v1 only.
    """
    numbers = tuple(map(int, version.split(".")))
    least = next((first for first in _KNOWS_P4_REV3 if first[:2] == numbers[:2]), None)
    too_old = numbers < _KNOWS_P4_REV3[0] if least is None else numbers < least
    if P4_REV3 in profile and too_old:
        raise BuildError(
            f"ESP-IDF {version} cannot build for ESP32-P4 v3.0 and newer",
            hint="use 5.4.4, 5.5.2, 6.0 or newer; for a chip v1.x: --build-profile p4-rev1",
            step="build",
        )

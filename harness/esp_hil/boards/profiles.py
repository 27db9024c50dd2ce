"""Which fragments of firmware/profiles a build is made of: what was asked for, added to what the board is.

    added_up(("fast-uart",), target="esp32p4", revision=100) -> ("perf", "p4-rev1", "fast-uart")

Later fragments win, so what was asked for comes last.
"""

from __future__ import annotations

from collections.abc import Iterable

from esp_hil.errors import BuildError, ConfigError
from esp_hil.targets import target as target_of

DEFAULT = ("perf",)
OPTIMIZATION = frozenset({"perf", "size", "debug"})
"""One of them is in every build: without any, ESP-IDF compiles for debugging."""

P4_REV1, P4_REV3 = "p4-rev1", "p4-rev3"
P4 = "esp32p4"
_REV3 = 300
_KNOWS_P4_REV3 = ((5, 4, 4), (5, 5, 2))
"""First releases of ESP-IDF 5.4 and 5.5 that can build for ESP32-P4 v3 (ESP32P4_SELECTS_REV_LESS_V3 of Kconfig)."""

_ONLY: dict[str, frozenset[str]] = {
    P4_REV1: frozenset({P4}),
    P4_REV3: frozenset({P4}),
    "xtal-26mhz": frozenset({"esp32", "esp32c2"}),
}
"""Fragments that a few chips have a use for."""
_WITHOUT_SERIAL_JTAG = frozenset({"esp32", "esp32s2", "esp32c2"})


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


def check_chip(profile: Iterable[str], target: str) -> None:
    """Refuse what a chip does not have: ESP-IDF would build for minutes and leave it out.

    Args:
        profile: the fragments.
        target: the chip.

    Raises:
        ConfigError: a fragment is for other chips, or for two kinds of ESP32-P4.
    """
    names = tuple(profile)
    if {P4_REV1, P4_REV3} <= set(names):
        hint = "name one: an image starts on one kind of ESP32-P4"
        raise ConfigError(
            f"build profiles {P4_REV1} and {P4_REV3} contradict each other", hint=hint, step="build"
        )
    for name in names:
        if hint := _not_of(name, target):
            raise ConfigError(f"build profile {name!r} does nothing on {target}", hint=hint, step="build")


def _not_of(name: str, target: str) -> str:
    """Why a fragment does nothing on a chip, or ""."""
    if target not in _ONLY.get(name, {target}):
        return f"it is for {', '.join(sorted(_ONLY[name]))}"
    if name == "usb" and target in _WITHOUT_SERIAL_JTAG:
        return "the chip has no USB-Serial/JTAG: leave it out, the line is the UART"
    if name.startswith("psram-") and name != "psram-off" and target_of(target).psram_bytes == 0:
        return "the chip can have no PSRAM"
    return ""


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

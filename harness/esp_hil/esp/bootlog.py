"""What a boot log says: why the chip started, what it found, what it runs. Text in, a value out; no I/O.

The wording is that of the mask ROMs, of ESP-IDF's second-stage loader, esp_psram and esp_app_format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

ResetKind = Literal[
    "power_on", "software", "watchdog", "brownout", "cpu_lockup", "deep_sleep", "usb", "glitch", "other"
]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class BootLog:
    """What the boot log said; None or "" is what it did not say (yet). Clocks in Hz, sizes in bytes.

    Attributes:
        rom: the ROM's banner.
        reset_code: the ROM's number of the reset cause; its meaning depends on the chip.
        reset: the cause in the ROM's words, such as RTC_SW_CPU_RST.
        download_mode: the ROM waits for a flasher instead of booting.
        revision: chip revision as ESP-IDF counts it: 100 * major + minor.
        psram_bytes: 0 if PSRAM was looked for and not found.
        psram_mode: quad, octal or hex.
        app_started: the application's own start-up code has run.
    """

    rom: str = ""
    reset_code: int | None = None
    reset: str = ""
    download_mode: bool = False
    revision: int | None = None
    flash_bytes: int | None = None
    psram_bytes: int | None = None
    psram_mode: str = ""
    psram_hz: int | None = None
    cpu_hz: int | None = None
    app: str = ""
    app_version: str = ""
    idf: str = ""
    elf_sha256: str = ""
    app_started: bool = False

    @property
    def reset_kind(self) -> ResetKind | None:
        """The class of the reset cause, or None before the ROM named it."""
        return reset_kind(self.reset) if self.reset else None


def reset_kind(words: str) -> ResetKind:
    """The class of a reset cause in the words of any chip's ROM (RTCWDT_BROWN_OUT_RESET is a brownout)."""
    for part, kind in _RESETS:
        if part in words:
            return kind
    return "other"


_RESETS: tuple[tuple[str, ResetKind], ...] = (
    ("BROWN", "brownout"),
    ("LOCKUP", "cpu_lockup"),
    ("POWERON", "power_on"),
    ("WDT", "watchdog"),
    ("SLEEP", "deep_sleep"),
    ("USB", "usb"),
    ("JTAG", "usb"),
    ("GLITCH", "glitch"),
    ("SW", "software"),
)

ROM_BANNER = re.compile(r"^(ESP-ROM:\S+|ets [A-Z][a-z]{2} +\d+ \d{4}.*)")
RESET_LINE = re.compile(r"rst:0x([0-9a-fA-F]+) \(([A-Z0-9_]+)\)")


def plain(line: str) -> str:
    """A console line without colours and line end."""
    return _COLOUR.sub("", line).rstrip("\r\n")


def first_group(pattern: re.Pattern[str], text: str) -> str:
    """The first group that matched where the pattern is found first, or ""."""
    found = pattern.search(text)
    return next((group for group in found.groups() if group), "") if found else ""


_MB = 1 << 20
_BOOT_FACTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("flash_bytes", re.compile(r"SPI Flash Size *: *(\d+)MB")),
    ("psram_bytes", re.compile(r"esp_psram: Found (\d+)MB PSRAM")),
    ("psram_hz", re.compile(r"esp_psram: Speed: (\d+)MHz")),
    ("psram_mode", re.compile(r"(quad|octal|hex)_psram: ")),
    ("cpu_hz", re.compile(r"cpu freq: (\d+) Hz")),
    ("app", re.compile(r"Project name: +(\S+)")),
    ("app_version", re.compile(r"App version: +(\S+)")),
    ("idf", re.compile(r"ESP-IDF: +(\S+)|ESP-IDF (\S+) 2nd stage bootloader")),
    ("elf_sha256", re.compile(r"ELF file SHA256: +([0-9a-fA-F]+)")),
)
_SCALE = {"flash_bytes": _MB, "psram_bytes": _MB, "psram_hz": 1_000_000, "cpu_hz": 1}
_REVISION = re.compile(r"chip revision: v(\d+)\.(\d+)")
_NO_PSRAM = re.compile(r"PSRAM chip (is not connected|not found)|continuing without it")
_STARTED = re.compile(r"cpu_start: |app_init: |main_task: ")


def parse_boot(text: str) -> BootLog:
    """What a boot log says; later lines override earlier ones (the application's ESP-IDF, the loader's)."""
    facts: dict[str, Any] = {}
    for line in map(plain, text.splitlines()):
        if found := ROM_BANNER.match(line):
            facts["rom"] = found[1].strip()
        if found := RESET_LINE.search(line):
            facts |= {"reset_code": int(found[1], 16), "reset": found[2]}
        if found := _REVISION.search(line):
            facts["revision"] = 100 * int(found[1]) + int(found[2])
        if _NO_PSRAM.search(line):
            facts["psram_bytes"] = 0
        for name, pattern in _BOOT_FACTS:
            if value := first_group(pattern, line):
                facts[name] = int(value) * _SCALE[name] if name in _SCALE else value
        if _STARTED.search(line):
            facts["app_started"] = True
        if line.strip() == "waiting for download":
            facts["download_mode"] = True
    return BootLog(**facts)

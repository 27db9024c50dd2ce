"""ESP-IDF's configuration of a build: read it, hash it, say what two of them differ in.

A figure without its configuration cannot be repeated: PSRAM speed, caches, -O2 and the clock change a latency
by up to twelve times.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esp_hil.errors import ConfigError
from esp_hil.json_text import parse_json

Value = bool | int | str

JSON = Path("config") / "sdkconfig.json"
"""Where a build folder has its configuration; the firmware's INFO carries the SHA-256 of this very file."""

_LINE = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_FLASH = re.compile(r"(\d+)MB")


EFFECTS: Mapping[str, str] = {
    "COMPILER_OPTIMIZATION_PERF": "compiled for speed",
    "COMPILER_OPTIMIZATION_DEBUG": "compiled for debugging",
    "COMPILER_OPTIMIZATION_SIZE": "compiled for size",
    "SPIRAM_SPEED": "clock of the PSRAM",
    "SPIRAM_MODE_OCT": "eight lines to the PSRAM instead of four",
    "SPIRAM_XIP_FROM_PSRAM": "code runs from PSRAM",
    "SPIRAM_FETCH_INSTRUCTIONS": "code runs from PSRAM",
    "SPIRAM_RODATA": "constants are read from PSRAM",
    "ESP32S3_DATA_CACHE_64KB": "size of the data cache",
    "ESP32S3_DATA_CACHE_LINE_64B": "line of the data cache",
    "ESP32S3_INSTRUCTION_CACHE_32KB": "size of the instruction cache",
    "CACHE_L2_CACHE_SIZE": "size of the L2 cache",
    "CACHE_L2_CACHE_LINE_SIZE": "line of the L2 cache",
    "ESP_DEFAULT_CPU_FREQ_MHZ": "clock of the CPU",
    # ESPTOOLPY_FLASHMODE itself is "dio" for QIO too: ESP-IDF's bootloader turns the other two lines on
    "ESPTOOLPY_FLASHMODE_QIO": "four lines to the flash",
    "ESPTOOLPY_FLASHMODE_QOUT": "four lines to the flash, for data only",
    "ESPTOOLPY_FLASHMODE_DIO": "two lines to the flash",
    "ESPTOOLPY_FLASHMODE_DOUT": "two lines to the flash, for data only",
    "ESPTOOLPY_OCT_FLASH": "eight lines to the flash",
    "ESPTOOLPY_FLASHFREQ": "clock of the flash",
}
"""Entries that are known to change a latency most, with what they decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkConfig:
    """The configuration of a build, without the CONFIG_ of its names."""

    values: Mapping[str, Value]
    sha256: str

    @property
    def target(self) -> str:
        """The chip."""
        return str(self.values.get("IDF_TARGET", ""))

    @property
    def flash_bytes(self) -> int | None:
        """The flash size the image is made for, or None if it is not told."""
        found = _FLASH.fullmatch(str(self.values.get("ESPTOOLPY_FLASHSIZE", "")))
        return int(found[1]) << 20 if found else None

    @property
    def needs_psram(self) -> bool:
        """Whether the image does not start on a board without PSRAM."""
        return bool(self.values.get("SPIRAM")) and not self.values.get("SPIRAM_IGNORE_NOTFOUND")

    @property
    def emulated(self) -> bool:
        """Whether the image tells its host that its chip is an emulated one."""
        return bool(self.values.get("HIL_EMULATED"))


def read_build_config(build_dir: Path) -> SdkConfig:
    """The configuration of a build folder.

    Raises:
        ConfigError: it has none that can be read.
    """
    path = build_dir / JSON
    try:
        raw = path.read_bytes()
        values = parse_json(raw)
    except (OSError, ValueError) as error:
        hint = "is this a build folder of idf.py? give the one with flasher_args.json"
        raise ConfigError(f"cannot read {path}: {error}", hint=hint, step="build") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a JSON object", step="build")
    return SdkConfig(values=values, sha256=hashlib.sha256(raw).hexdigest())


def parse_sdkconfig(text: str) -> dict[str, Value]:
    """The values of a `sdkconfig` or of a fragment of one, without the CONFIG_ of their names.

    Raises:
        ConfigError: a line is neither a value nor a comment.
    """
    values: dict[str, Value] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if unset := _UNSET.fullmatch(line):
            values[unset[1]] = False
        elif found := _LINE.fullmatch(line):
            values[found[1]] = _value(found[2])
        elif line and not line.startswith("#"):
            raise ConfigError(f"sdkconfig line {number}: {line!r} is neither CONFIG_NAME=value nor a comment")
    return values


def _value(text: str) -> Value:
    if text in {"y", "n"}:
        return text == "y"
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    try:
        return int(text, 0)
    except ValueError:
        return text


def differences(
    left: Mapping[str, Value], right: Mapping[str, Value]
) -> dict[str, tuple[Value | None, Value | None]]:
    """Names whose values differ, with both; a missing one counts as None, and equals one that is off."""
    found = {}
    for name in sorted({*left, *right}):
        pair = left.get(name), right.get(name)
        if pair[0] != pair[1] and not (pair[0] in {None, False} and pair[1] in {None, False}):
            found[name] = pair
    return found

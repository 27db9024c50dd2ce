"""The settings of a firmware that decide how long an inference takes, and what its memories can move at most.

Sources: ESP-IDF v5.5 components/esp_psram/*/Kconfig.spiram (modes of PSRAM), ESP32-S3 and ESP32-P4 datasheets (flash
modes), and the defaults of ESP-DL's own examples (sdkconfig.defaults.* of its zoo).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from esp_hil.errors import ConfigError
from esp_hil.targets import Target

Optimize = Literal["O2", "Os", "Og"]

PSRAM_BYTES_PER_S = {
    "octal120": 240e6,
    "octal80": 160e6,
    "octal40": 80e6,
    "quad120": 60e6,
    "quad80": 40e6,
    "quad40": 20e6,
    "hex250": 1000e6,
    "hex200": 800e6,
    "hex80": 320e6,
    "hex20": 80e6,
    "none": 0.0,
}
"""Bus width x clock x edges. octal and hex transfer on both edges, quad on one."""

FLASH_BYTES_PER_S = {
    "opi120": 240e6,
    "opi80": 160e6,
    "qio120": 60e6,
    "qio80": 40e6,
    "qio40": 20e6,
    "dio80": 20e6,
    "dio40": 10e6,
}

CLOCKS_MHZ: Mapping[str, tuple[int, ...]] = {
    "esp32": (40, 80, 160, 240),
    "esp32s2": (40, 80, 160, 240),
    "esp32s3": (40, 80, 160, 240),
    "esp32c2": (40, 80, 120),
    "esp32c3": (40, 80, 160),
    "esp32c5": (40, 80, 160, 240),
    "esp32c6": (40, 80, 120, 160),
    "esp32p4": (40, 90, 100, 180, 200, 360, 400),
}
"""Of the CPU, by its divider too: ESP-IDF v5.5 esp_system/port/soc/*/Kconfig.cpu and esp_hw_support's rtc_clk.c."""

CACHES_KB: Mapping[str, tuple[int, ...]] = {
    "esp32s2": (8, 16),
    "esp32s3": (16, 32, 64),
    "esp32p4": (128, 256, 512),
}
"""Where it is a setting of the firmware: ESP-IDF v5.5 esp_system/port/soc/*/Kconfig.cache."""

_BUSES: Mapping[str, tuple[str, ...]] = {
    "quad": ("esp32", "esp32s2", "esp32s3", "esp32c5"),
    "octal": ("esp32s3",),
    "hex": ("esp32p4",),
    "opi": ("esp32s3",),
}
"""Chips with a bus, where not all have it."""

_ESPDL_DEFAULTS = {"esp32s3": ("octal80", "qio80", 64), "esp32p4": ("hex200", "qio80", 256)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a prediction is for.

    Attributes:
        clock_hz: of the CPU.
        psram: a mode of PSRAM_BYTES_PER_S; `none` where the board has none.
        flash: a mode of FLASH_BYTES_PER_S.
        cache_bytes: data cache before the external memories (esp32s3), or L2 (esp32p4).
        optimize: of the compiler: kernels in assembly do not change, C++ does.
        cores: that an inference may use.
        param_copy: whether parameters are copied to PSRAM when the model loads; else they stay in flash.
    """

    clock_hz: int
    psram: str
    flash: str
    cache_bytes: int
    optimize: Optimize = "O2"
    cores: int = 1
    param_copy: bool = True

    def __post_init__(self) -> None:
        for kind, mode, known in (
            ("PSRAM", self.psram, PSRAM_BYTES_PER_S),
            ("flash", self.flash, FLASH_BYTES_PER_S),
        ):
            if mode not in known:
                raise ConfigError(f"{mode!r} is not a {kind} mode", hint=f"one of {', '.join(known)}")
        if self.clock_hz < 1 or self.cache_bytes < 1:
            raise ConfigError(
                f"a clock of {self.clock_hz} Hz, a cache of {self.cache_bytes} bytes", hint="above 0"
            )

    @property
    def psram_bytes_per_s(self) -> float:
        """Peak of the PSRAM's bus; 0 without PSRAM."""
        return PSRAM_BYTES_PER_S[self.psram]

    @property
    def weight_bytes_per_s(self) -> float:
        """Peak of the memory that parameters are read from while the model runs."""
        return self.psram_bytes_per_s if self.copied else FLASH_BYTES_PER_S[self.flash]

    @property
    def copied(self) -> bool:
        """Whether parameters lie in PSRAM."""
        return self.param_copy and self.psram != "none"

    @property
    def summary(self) -> str:
        """As `240 MHz, PSRAM octal80, flash qio80, cache 64 KB, -O2, 1 core`."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        where = "" if self.param_copy else ", parameters in flash"
        return (
            f"{self.clock_hz / 1e6:g} MHz, PSRAM {self.psram}, flash {self.flash}, "
            f"cache {self.cache_bytes // 1024} KB, -{self.optimize}, {cores}{where}"
        )


def setup_of(chip: Target, **changes: object) -> Setup:
    """The settings of ESP-DL's own examples for a chip, with changes; None changes nothing.

    Raises:
        ConfigError: an unknown mode.
    """
    psram, flash, cache = _ESPDL_DEFAULTS.get(
        chip.name, ("quad40" if chip.psram_bytes_per_s else "none", "qio80", 32)
    )
    plain = Setup(clock_hz=chip.fastest_hz, psram=psram, flash=flash, cache_bytes=cache * 1024)
    given = {name: value for name, value in changes.items() if value is not None}
    clock = given.get("clock_hz", plain.clock_hz)
    if isinstance(clock, int) and clock > chip.fastest_hz:
        raise ConfigError(
            f"{chip.name} has no clock of {clock / 1e6:g} MHz",
            hint=f"its fastest is {chip.fastest_hz / 1e6:g} MHz",
        )
    return replace(plain, **given)  # type: ignore[arg-type]


def check_possible(setup: Setup, chip: Target) -> None:
    """Refuse settings that no board with this chip has; what is not known of a chip is not refused.

    Raises:
        ConfigError: one of them; the hint names what there is.
    """
    usual = setup_of(chip)
    psram_known = chip.psram_bytes_per_s or not chip.psram_bytes
    psrams = _modes(PSRAM_BYTES_PER_S, chip, chip.psram_bytes_per_s) if psram_known else []
    flashes = _modes(FLASH_BYTES_PER_S, chip, chip.flash_bytes_per_s) if chip.flash_bytes_per_s else []
    usual_kb = usual.cache_bytes // 1024
    for what, given, there in (
        ("a clock of {} MHz", setup.clock_hz / 1e6, CLOCKS_MHZ.get(chip.name, ())),
        ("a cache of {} KB", setup.cache_bytes / 1024, (*CACHES_KB.get(chip.name, ()), usual_kb)),
        ("PSRAM in mode {}", setup.psram, psrams),
        ("flash in mode {}", setup.flash, (*flashes, usual.flash) if flashes else ()),
        ("{} cores", setup.cores, range(1, chip.cores + 1)),
    ):
        if there and given not in there:
            shown = f"{given:g}" if isinstance(given, float) else str(given)
            known = ", ".join(map(str, dict.fromkeys(there)))
            raise ConfigError(f"no {chip.name} has {what.format(shown)}", hint=f"there is: {known}")


def _modes(speeds: Mapping[str, float], chip: Target, most: float) -> list[str]:
    """Those of the chip's buses, and no faster than ESP-IDF configures them; octal flash is as fast as its modes."""
    found = []
    for mode, speed in speeds.items():
        bus = mode.rstrip("0123456789")
        if chip.name in _BUSES.get(bus, (chip.name,)) and (speed <= most or bus == "opi"):
            found.append(mode)
    return found

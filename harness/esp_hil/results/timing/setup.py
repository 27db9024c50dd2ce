"""The settings of a firmware that decide how long an inference takes, and what its memories can move at most.

Sources: ESP-IDF v5.5 components/esp_psram/*/Kconfig.spiram (modes of PSRAM), ESP32-S3 and ESP32-P4 datasheets (flash
modes), and the defaults of ESP-DL's own examples (sdkconfig.defaults.* of its zoo).
"""

from __future__ import annotations

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

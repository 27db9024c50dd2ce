"""What each configuration is meant to be, against the Kconfig of every ESP-IDF at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.boards.profiles import added_up, check_idf
from esp_hil.errors import BuildError
from tests.conftest import ROOT
from tests.firmware.kconfig import configure, fragments, idfs, targets, version

FIRMWARE = ROOT / "firmware"
CHIPS = ("esp32", "esp32s2", "esp32s3", "esp32c2", "esp32c3", "esp32c5", "esp32c6", "esp32p4", "esp32s31")
BASE = {
    "PARTITION_TABLE_CUSTOM": True,
    "ESP_TASK_WDT_PANIC": True,
    "COMPILER_OPTIMIZATION_PERF": True,
    "UART_ISR_IN_IRAM": True,
    "ESPTOOLPY_FLASHMODE_QIO": True,
}
MEANT: dict[str, dict[str, object]] = {
    "esp32": {"ESP_DEFAULT_CPU_FREQ_MHZ": 240, "SPIRAM_IGNORE_NOTFOUND": True, "SPIRAM_SPEED": 80},
    "esp32s2": {"ESP_DEFAULT_CPU_FREQ_MHZ": 240, "SPIRAM_IGNORE_NOTFOUND": True, "SPIRAM_SPEED": 80},
    "esp32s3": {
        "ESP_DEFAULT_CPU_FREQ_MHZ": 240,
        "SPIRAM_IGNORE_NOTFOUND": True,
        "SPIRAM_MODE_OCT": True,
        "SPIRAM_SPEED": 80,
        "ESP32S3_DATA_CACHE_LINE_64B": True,
        "ESPTOOLPY_FLASHSIZE": "8MB",
    },
    "esp32c2": {"ESP_DEFAULT_CPU_FREQ_MHZ": 120, "ESPTOOLPY_FLASHSIZE": "2MB"},
    "esp32c3": {"ESP_DEFAULT_CPU_FREQ_MHZ": 160, "ESPTOOLPY_FLASHSIZE": "4MB"},
    "esp32c5": {"ESP_DEFAULT_CPU_FREQ_MHZ": 240},
    "esp32c6": {"ESP_DEFAULT_CPU_FREQ_MHZ": 160},
    "esp32s31": {"ESP_DEFAULT_CPU_FREQ_MHZ": 320, "SPIRAM_IGNORE_NOTFOUND": True, "SPIRAM_SPEED": 200},
    "esp32p4": {
        "ESP_DEFAULT_CPU_FREQ_MHZ": 360,
        "ESP_REV_MAX_FULL": 199,
        "SPIRAM_IGNORE_NOTFOUND": True,
        "SPIRAM_SPEED": 200,
        "CACHE_L2_CACHE_SIZE": 0x40000,
        "CACHE_L2_CACHE_LINE_SIZE": 128,
    },
}
"""Of each chip with the profile of its build as it is chosen without a word."""

PROFILES: list[tuple[str, str, dict[str, object]]] = [
    ("esp32s3", "psram-quad", {"SPIRAM_MODE_QUAD": True, "SPIRAM_IGNORE_NOTFOUND": True}),
    ("esp32s3", "psram-off", {"SPIRAM": False, "SPIRAM_IGNORE_NOTFOUND": False}),
    ("esp32s3", "psram-xip", {"SPIRAM_FETCH_INSTRUCTIONS": True, "SPIRAM_RODATA": True}),
    ("esp32s3", "psram-slow", {"SPIRAM_SPEED": 40}),
    ("esp32s3", "flash-16mb", {"ESPTOOLPY_FLASHSIZE": "16MB"}),
    (
        "esp32s3",
        "flash-32mb-octal",
        {"ESPTOOLPY_FLASHSIZE": "32MB", "ESPTOOLPY_OCT_FLASH": True, "SPIRAM_MODE_OCT": True},
    ),
    ("esp32c5", "psram-quad", {"SPIRAM": True, "SPIRAM_SPEED": 80, "SPIRAM_IGNORE_NOTFOUND": True}),
    ("esp32s3", "usb", {"HIL_LINK_USB_SERIAL_JTAG": True, "ESP_CONSOLE_USB_SERIAL_JTAG": True}),
    ("esp32c3", "emulated", {"HIL_EMULATED": True, "ESPTOOLPY_FLASHMODE_DIO": True}),
    ("esp32c3", "size", {"COMPILER_OPTIMIZATION_SIZE": True}),
    ("esp32c3", "debug", {"COMPILER_OPTIMIZATION_DEBUG": True, "ESP_SYSTEM_USE_EH_FRAME": True}),
    ("esp32c3", "fast-uart", {"ESP_CONSOLE_UART_BAUDRATE": 921600, "COMPILER_OPTIMIZATION_PERF": True}),
    ("esp32c2", "xtal-26mhz", {"XTAL_FREQ": 26, "ESP_CONSOLE_UART_BAUDRATE": 74880, "HIL_UART_BAUD": 115200}),
    ("esp32c3", "spiffs", {"HIL_SPIFFS": True}),
    ("esp32p4", "p4-rev1", {"ESP_REV_MAX_FULL": 199, "ESP_DEFAULT_CPU_FREQ_MHZ": 360}),
    (
        "esp32p4",
        "p4-rev3",
        {"ESP_REV_MIN_FULL": 300, "ESP_REV_MAX_FULL": 399, "ESP_DEFAULT_CPU_FREQ_MHZ": 400},
    ),
]

needs_idf = pytest.mark.skipif(
    not idfs(), reason="no ESP-IDF at hand: HIL_IDFS names folders, HIL_KCONFIG_PYTHON has esp-idf-kconfig"
)


def found(idf: Path, target: str, wanted: tuple[str, ...], work: Path) -> dict[str, bool | int | str]:
    """The configuration of a build; skipped where that ESP-IDF does not have the chip or cannot build it."""
    if target not in targets(idf):
        pytest.skip(f"{idf.name} does not have {target}")
    if target == "esp32c5" and version(idf) < (5, 5):
        pytest.skip("ESP-DL supports the ESP32-C5 from ESP-IDF 5.5 on")
    profile = added_up(wanted, target=target)
    try:
        check_idf(profile, ".".join(map(str, version(idf))))
    except BuildError as error:
        pytest.skip(f"refused before the build: {error}")
    return configure(idf, target, profile, FIRMWARE, work)[0]


def differing(values: dict[str, bool | int | str], meant: dict[str, object]) -> dict[str, object]:
    """Of what was meant, what came out otherwise; an entry that is off is as good as absent."""
    return {
        name: values.get(name)
        for name, value in meant.items()
        if (values.get(name) or False) != (value or False)
    }


@needs_idf
@pytest.mark.parametrize("idf", idfs(), ids=lambda path: path.name)
@pytest.mark.parametrize("target", CHIPS)
def test_every_chip_is_configured_as_meant(idf: Path, target: str, tmp_path: Path) -> None:
    assert differing(found(idf, target, (), tmp_path), BASE | MEANT[target]) == {}


@needs_idf
@pytest.mark.parametrize("idf", idfs(), ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("target", "profile", "meant"), PROFILES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_profile_does_what_it_says(
    idf: Path, target: str, profile: str, meant: dict[str, object], tmp_path: Path
) -> None:
    assert differing(found(idf, target, (profile,), tmp_path), meant) == {}


def test_every_profile_has_an_intention() -> None:
    names = {path.name for path in (FIRMWARE / "profiles").iterdir() if "." not in path.name}
    tested = {profile for _, profile, _ in PROFILES} | {"perf"}
    # of components that this ESP-IDF does not carry, or the same as another one with another number
    others = {"esp-nn-off", "esp-nn-skip-nudge", "flash-2mb", "flash-4mb", "flash-8mb", "psram-octal"}
    assert names == tested | others


def test_a_fragment_for_a_chip_follows_the_one_for_all() -> None:
    names = [path.name for path in fragments(FIRMWARE, "esp32c3", ("perf", "debug"))]
    assert names == ["sdkconfig.defaults", "sdkconfig.defaults.esp32c3", "perf", "debug", "debug.esp32c3"]

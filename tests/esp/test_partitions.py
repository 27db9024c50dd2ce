from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import ConfigError, FormatError
from esp_hil.esp.partitions import Partition, model_partition, parse_binary, parse_csv, problems
from esp_hil.esp.sdkconfig import Value, differences, parse_sdkconfig
from esp_hil.targets import targets
from tests.conftest import ROOT

FIRMWARE = ROOT / "firmware"
TABLES = sorted((FIRMWARE / "partitions").glob("*.csv"))
DEFAULTS = sorted(FIRMWARE.glob("sdkconfig.defaults.*"))
FRAGMENTS = [FIRMWARE / "sdkconfig.defaults", *DEFAULTS, *sorted((FIRMWARE / "profiles").iterdir())]
MNIST_BYTES = 429_584  # golden/mnist, int8, target c


def flash_bytes_of(name: str) -> int:
    found = re.fullmatch(r"(\d+)mb\.csv", name)
    assert found
    return int(found[1]) << 20


def entry(name: str, offset: int, size: int, *, kind: int = 1, subtype: int = 0x82) -> bytes:
    return struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, name.encode(), 0)


def finished(entries: bytes) -> bytes:
    md5 = hashlib.md5(entries, usedforsecurity=False).digest()
    return (entries + b"\xeb\xeb" + b"\xff" * 14 + md5).ljust(0xC00, b"\xff")


def test_there_is_a_table_for_each_flash_size() -> None:
    assert {path.name for path in TABLES} == {"2mb.csv", "4mb.csv", "8mb.csv", "16mb.csv"}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_a_table_fits_its_flash_without_overlaps(path: Path) -> None:
    assert problems(parse_csv(path.read_text()), flash_bytes_of(path.name)) == []


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_the_model_partition_is_mappable_and_holds_the_smallest_golden(path: Path) -> None:
    model = model_partition(parse_csv(path.read_text()))
    assert model is not None
    assert model.offset % 0x10000 == 0
    assert model.size % 0x10000 == 0, "the port erases blocks of 64 KiB"
    assert model.size >= MNIST_BYTES + 0x1000
    assert model.size <= 256 * 0x10000, "the port's map of erased blocks has 256"


@pytest.mark.parametrize("path", DEFAULTS, ids=lambda path: path.name)
def test_the_flash_size_of_a_target_s_defaults_is_that_of_its_table(path: Path) -> None:
    values = parse_sdkconfig(path.read_text())
    size = next(name for name in values if name.startswith("ESPTOOLPY_FLASHSIZE_"))
    table = str(values["PARTITION_TABLE_CUSTOM_FILENAME"])
    assert (FIRMWARE / table).is_file()
    assert size == f"ESPTOOLPY_FLASHSIZE_{flash_bytes_of(table.split('/')[1]) >> 20}MB"


@pytest.mark.parametrize("megabytes", [2, 4, 8, 16])
def test_a_flash_profile_changes_size_and_table_together(megabytes: int) -> None:
    values = parse_sdkconfig((FIRMWARE / "profiles" / f"flash-{megabytes}mb").read_text())
    assert values == {
        f"ESPTOOLPY_FLASHSIZE_{megabytes}MB": True,
        "PARTITION_TABLE_CUSTOM_FILENAME": f"partitions/{megabytes}mb.csv",
    }


def test_every_chip_that_the_runtime_supports_has_its_defaults() -> None:
    chips = {path.name.removeprefix("sdkconfig.defaults.") for path in DEFAULTS}
    assert chips == set(targets())


@pytest.mark.parametrize("path", DEFAULTS, ids=lambda path: path.name)
def test_the_clock_of_the_defaults_is_the_target_s(path: Path) -> None:
    chip = path.name.removeprefix("sdkconfig.defaults.")
    clocks = [
        name for name in parse_sdkconfig(path.read_text()) if name.startswith("ESP_DEFAULT_CPU_FREQ_MHZ_")
    ]
    if chip == "esp32p4":
        assert clocks == []  # ESP-IDF chooses by chip revision
    else:
        assert clocks == [f"ESP_DEFAULT_CPU_FREQ_MHZ_{targets()[chip].clock_hz // 1_000_000}"]


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_parses(path: Path) -> None:
    assert parse_sdkconfig(path.read_text())


def test_a_fragment_for_one_target_belongs_to_a_fragment_and_a_target() -> None:
    names = {path.name for path in (FIRMWARE / "profiles").iterdir()}
    for name in names:
        base, _, chip = name.partition(".")
        assert base in names
        assert not chip or chip in targets()


GOOD = Partition(name="model", type=1, subtype=0x82, offset=0x20000, size=0x1000)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Partition(name="app", type=0, subtype=0, offset=0x11000, size=0x1000), "not aligned to 0x10000"),
        (Partition(name="x", type=1, subtype=2, offset=0x20000, size=0x1000), "overlaps"),
        (Partition(name="x", type=1, subtype=2, offset=0x8000, size=0x1000), "overlaps the partition table"),
        (Partition(name="x", type=1, subtype=2, offset=0x30000, size=0x1800), "not a multiple of a sector"),
        (Partition(name="x", type=1, subtype=2, offset=0x1FF000, size=0x2000), "ends at"),
        (Partition(name="x", type=1, subtype=2, offset=0x30800, size=0x1000), "not aligned to 0x1000"),
    ],
)
def test_a_bad_row_is_named(row: Partition, said: str) -> None:
    found = problems([GOOD, row], 0x200000)
    assert any(said in problem for problem in found), found


def test_a_good_table_has_no_problems() -> None:
    assert problems([GOOD], 0x200000) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a, app, factory, 0x10000", "of at least 5 cells"),
        ("a, code, factory, 0x10000, 1M", "unknown type"),
        ("a, app, spiffs, 0x10000, 1M", "unknown subtype"),
        ("a, app, factory, , 1M", "not a number of bytes"),
        ("a, app, factory, 0x10000, lots", "not a number of bytes"),
    ],
)
def test_a_row_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_csv(text)


def test_sizes_may_be_given_in_kilobytes_and_megabytes() -> None:
    (row,) = parse_csv("# c\nm, data, spiffs, 64K, 1M")
    assert (row.offset, row.size) == (0x10000, 0x100000)


names = st.text(alphabet="abcdefgh_0", min_size=1, max_size=15)


@given(st.lists(st.tuples(names, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=8))
def test_a_binary_table_is_read_back(rows: list[tuple[str, int, int]]) -> None:
    table = finished(b"".join(entry(*row) for row in rows))
    assert [(row.name, row.offset, row.size) for row in parse_binary(table)] == rows


def test_a_binary_table_with_a_flipped_bit_is_refused() -> None:
    table = bytearray(finished(entry("model", 0x10000, 0x1000)))
    table[5] ^= 1
    with pytest.raises(FormatError, match="MD5"):
        parse_binary(bytes(table))


def test_a_binary_table_that_is_none_is_refused() -> None:
    with pytest.raises(FormatError, match="entry begins with"):
        parse_binary(b"\0" * 64)
    with pytest.raises(FormatError, match="no end"):
        parse_binary(finished(entry("model", 0, 0))[:64])


def test_a_line_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="line 2"):
        parse_sdkconfig("CONFIG_A=y\nCONFIG B\n")


def test_configuration_values_have_types() -> None:
    text = '# c\nCONFIG_A=y\nCONFIG_B=0x10\nCONFIG_C="a \\"b\\""\n# CONFIG_D is not set\nCONFIG_E=7\n'
    assert parse_sdkconfig(text) == {"A": True, "B": 16, "C": 'a "b"', "D": False, "E": 7}


def test_differences_tell_both_values_and_take_off_for_missing() -> None:
    left: dict[str, Value] = {"SPIRAM_SPEED": 40, "A": False, "B": True}
    right: dict[str, Value] = {"SPIRAM_SPEED": 80, "B": True, "C": "x"}
    assert differences(left, right) == {"SPIRAM_SPEED": (40, 80), "C": (None, "x")}

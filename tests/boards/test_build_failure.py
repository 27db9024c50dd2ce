"""Recorded failures of builds: the first line that matters, and the advice.

The logs of `failing_builds` were made by idf.py of ESP-IDF 5.3.5, 5.5.5 and 6.0.2, its scripts, CMake 3.25, ninja 1.11
and GCC 12.2 for RISC-V and Xtensa, with the folders renamed; those of `_WRITTEN` are in these tools' formats.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.boards.build_failure import cause_of

LOGS = Path(__file__).with_name("failing_builds")
_WRITTEN = {
    "compiler_killed",
    "component_conflict",
    "git_ownership",
    "idf_too_old",
    "toolchain_version",
    "unknown_component",
}

EXPECTED: dict[str, tuple[str, str]] = {
    "assembler": (
        "main/assembler.cpp:1: Error: unrecognized opcode `ee.vld.128.ip",
        "does not know the chip",
    ),
    "bad_target": ("toolchain-esp32c9.cmake not found", "does not know the chip"),
    "broken_toolchain": ("is not able to compile a simple test program", "broken toolchain"),
    "compile_error": ("main/compile_error.cpp:1:36: error: 'undeclared_thing'", "from this line on"),
    "compiler_killed": ("Killed signal terminated program cc1plus", "ran out of memory"),
    "component_conflict": ("Because project depends on espressif/esp-dl (~3.3.9)", "different versions"),
    "disk_full": ("No space left on device", "disk space"),
    "dram_overflow": ("region `dram0_0_seg' overflowed by 68976 bytes", "static RAM is full"),
    "flash_size": ("does not fit in configured flash size 4MB", "more flash than"),
    "foreign_toolchain": (
        "prefix_map.cmake:42: Failed to determine toolchain sysroot",
        "not that of this ESP-IDF",
    ),
    "git_ownership": ("detected dubious ownership in repository", "safe.directory"),
    "idf_too_old": ("CMakeLists.txt:36: ESP-IDF 5.3 or newer is needed; this is 5.1", "newer ESP-IDF"),
    "iram_overflow": ("region `iram0_0_seg' overflowed by 7940 bytes", "IRAM is full"),
    "missing_header": ("missing_header.cpp:1:10: fatal error: dl_model_base.hpp", "a header is not found"),
    "missing_source": ("missing and no known rule to make it", "reconfigure"),
    "missing_submodule": ("mqtt/CMakeLists.txt:3: Missing esp-mqtt submodule", "git submodule update --init"),
    "missing_toolchain": (
        "riscv32-esp-elf-gcc is not a full path and was not found",
        "install.sh for the chip",
    ),
    "multiple_definition": ("multiple definition of `fine()'", "built twice"),
    "no_picolibc": ("cannot read spec file 'picolibc.specs'", "not that of this ESP-IDF"),
    "old_compiler": ("unrecognized command-line option '-std=gnu23'", "not that of this ESP-IDF"),
    "partition_csv": ("Partition factory invalid: Offset 0x11000", "0x10000"),
    "partition_overflow": ("too small for binary esp_hil.bin size 0x124f80: - Part 'factory'", "flash-8mb"),
    "python_requirements": ("Requirement 'idf-component-manager~=2.2' was not met", "Python environment"),
    "reconfigure_registry": (
        "build.cmake:592: ERROR: Cannot establish a connection to the component registry",
        "IDF_COMPONENT_REGISTRY_URL",
    ),
    "refusing_header": ("sys/dirent.h:10:2: error: #error", "in its own words"),
    "registry": ("Cannot establish a connection to the component registry", "IDF_COMPONENT_REGISTRY_URL"),
    "static_assertion": ("static_assertion.cpp:2:58: error: static assertion failed", "from this line on"),
    "toolchain_version": ("Tool doesn't match supported version", "not that of this ESP-IDF"),
    "undefined_reference": ("undefined_reference.cpp: undefined reference to `esp_nn_conv(int)'", "REQUIRES"),
    "unknown_cpu": ("cc1: error: unknown cpu 'esp-base' for '-mtune'", "not that of this ESP-IDF"),
    "unknown_component": ("Failed to resolve component 'espressif__esp-dl'", "not fetched"),
    "unknown_profile": (
        "CMakeLists.txt:18: HIL_PROFILE: no fragment p4-rev9 in profiles/",
        "--build-profile",
    ),
    "werror": ("werror.cpp:1:33: error: unused variable 'unused' [-Werror=", "a warning of this compiler"),
    "wrong_chip": ("does not match currently selected IDF_TARGET 'esp32c3'", "configured for another chip"),
    "wrong_engine": ("CMakeLists.txt:13: HIL_ENGINE=espnn: no such folder in engines/", "--runtime"),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_failed_build_says_what_failed_and_what_to_do(name: str) -> None:
    line, advice = EXPECTED[name]
    cause = cause_of((LOGS / f"{name}.log").read_text(encoding="utf-8").splitlines())
    assert line in cause.line
    assert advice in cause.advice
    assert not cause.line.startswith("FAILED")


@pytest.mark.parametrize(
    "line",
    [
        "cc1plus: error: unknown cpu 'esp-base' for '-mtune'",
        "riscv32-esp-elf-gcc: error: '-march=rv32imafc_zicsr_xesppie': extension 'xesppie' is unsupported",
        "cc1: error: '-march=rv32imc_zaamo': unsupported ISA string",
        "cc1: error: bad value ('esp-base') for '-mtune=' switch",
        "xtensa-esp32-elf-gcc: error: unrecognized argument in option '-mabi=call8'",
        "xtensa-esp32-elf-gcc: error: unrecognized command-line option '-mdynconfig=xtensa_esp32.so'",
    ],
)
def test_an_option_for_another_processor_is_a_compiler_of_another_esp_idf(line: str) -> None:
    cause = cause_of(
        ["FAILED: esp-idf/riscv/interrupt.c.obj", line, "ninja: build stopped: subcommand failed."]
    )
    assert cause.line == line
    assert "not that of this ESP-IDF" in cause.advice


def test_every_recorded_log_is_tested() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(EXPECTED)
    assert set(EXPECTED) >= _WRITTEN


def test_a_command_line_that_holds_the_word_error_is_no_error() -> None:
    lines = [
        "[7/12] /opt/dev/error/bin/g++ -Werror=all -fdebug-prefix-map=/error:1:1: error=/x -c a.cpp -o a.obj",
        "FAILED: a.obj",
        "a.cpp:7:1: error: expected ';' before '}' token",
    ]
    assert cause_of(lines).line == lines[2]


def test_colours_and_windows_line_ends_change_nothing() -> None:
    line = "\x1b[01m\x1b[Ka.cpp:7:1:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kno such thing\r"
    assert cause_of([line]).line == "a.cpp:7:1: error: no such thing"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ([], "no output"),
        (["", "  "], "no output"),
        (["doing this", "stopped for some reason", ""], "stopped for some reason"),
        (["FAILED: x.obj", "ninja: build stopped"], "FAILED: x.obj"),
    ],
)
def test_output_of_an_unknown_kind_gives_its_last_word(lines: list[str], line: str) -> None:
    assert cause_of(lines).line == line

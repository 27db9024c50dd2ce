"""`hil log`: consoles as people paste them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.esp.console import chip_of, crashes_of, unpasted

PANIC = """\
ESP-ROM:esp32s3-20210327
rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)
I (27) boot: ESP-IDF v5.4.2 2nd stage bootloader
Didn't find op for builtin opcode 'CONV_2D'
Failed to get registration from op code CONV_2D

AllocateTensors() failed
Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.

Core  1 register dump:
PC      : 0x42001000  PS      : 0x00060430  A0      : 0x82001010  A1      : 0x3fceb870
EXCVADDR: 0x00000000  LBEG    : 0x40056f5c  LEND    : 0x40056f72  LCOUNT  : 0xffffffff

Backtrace: 0x42000ffd:0x3fceb870 0x4200100d:0x3fceb890

Rebooting...
"""


def kept(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "console.txt"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize(
    "paste",
    [
        lambda text: text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: "".join(f"[0;32m{line}[0m\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"\x1b[0;31m{line}\x1b[0m\r\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"12:34:56.789 -> {line}\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"[2026-01-02 12:34:56] {line}\n" for line in text.splitlines()).encode(),
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()).encode(),
        lambda text: b"\xff\x00\x80garbage\n" + text.encode(),
    ],
)
def test_a_console_is_classified_however_it_was_pasted(
    tmp_path: Path, paste: Callable[[str], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", kept(tmp_path, paste(PANIC))]) == 1
    said = capsys.readouterr().out
    assert said.startswith("unsupported_operator\n")
    assert "CONV_2D" in said
    assert "hil resolver" in said
    assert "0x42000ffd" in said


def test_standard_input_is_read_and_json_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PANIC.encode())))
    assert main(["log", "-", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["chip"] == "esp32s3"
    assert [failure["kind"] for failure in told["failures"]] == ["unsupported_operator"]


def test_a_board_that_restarts_for_ever_tells_one_crash_and_how_often() -> None:
    assert [(crash.kind, times) for crash, times in crashes_of(unpasted((PANIC * 5).encode()))] == [
        ("unsupported_operator", 5)
    ]


def test_two_crashes_are_two_even_where_the_line_of_the_restart_was_lost() -> None:
    other = "ESP-ROM:esp32s3-20210327\nE (3) BOD: Brownout detector was triggered\n"
    text = PANIC.replace("Rebooting...\n", "") + other
    assert [crash.kind for crash, _ in crashes_of(text)] == ["unsupported_operator", "brownout"]


def test_a_cause_that_stopped_nothing_is_told() -> None:
    text = "I (3) x: y\nFailed to resize buffer. Requested: 98304, available 80000, missing: 18304\n"
    assert [crash.kind for crash, _ in crashes_of(text)] == ["out_of_memory"]


def test_a_quiet_log_tells_of_nothing_and_of_why_the_chip_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["log", kept(tmp_path, b"ESP-ROM:esp32c3-api1-20210207\nrst:0x8 (TG1WDT_SYS_RST)\n")]) == 0
    assert "watchdog" in capsys.readouterr().out
    assert main(["log", kept(tmp_path, b"I (10) hil: all is well\n")]) == 0
    assert "nothing" in capsys.readouterr().out


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", str(tmp_path / "none.txt")]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert main(["log", kept(tmp_path, PANIC.encode()), "--elf", str(tmp_path / "none.elf")]) == 2
    assert "no ELF" in capsys.readouterr().err


def test_names_come_from_the_elf_of_a_build_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = tmp_path / "build"
    build.mkdir()
    text = kept(
        tmp_path, PANIC.replace("Rebooting", "ELF file SHA256: 0123456789abcdef\n\nRebooting").encode()
    )
    assert main(["log", text]) == 1
    assert "no ELF: --elf BUILD, with the build folder, gives names" in capsys.readouterr().out
    assert main(["log", text, "--elf", str(build)]) == 2
    assert f"no ELF at {build}" in capsys.readouterr().err
    (build / "esp_hil.elf").write_bytes(b"\x7fELF, of another build")
    assert main(["log", text, "--elf", str(build)]) == 1
    assert "esp_hil.elf is not what crashed" in capsys.readouterr().out
    (build / "other.elf").write_bytes(b"\x7fELF")
    assert main(["log", text, "--elf", str(build)]) == 2
    assert "has esp_hil.elf, other.elf (name one with --elf)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "chip"),
    [
        ("ESP-ROM:esp32c3-api1-20210207", "esp32c3"),
        ("ESP-ROM:esp32p4-eco2-20240710", "esp32p4"),
        ("ets Jun  8 2016 00:22:57", "esp32"),
        ("ets Jul 29 2019 12:21:46", "esp32"),
        ("I (34) boot.esp32s2: Boot SPI Speed : 80MHz", "esp32s2"),
        ("I (34) cpu_start: Pro cpu up.", ""),
    ],
)
def test_the_chip_is_told_by_the_boot_log(line: str, chip: str) -> None:
    assert chip_of([line]) == chip


def test_every_kept_case_has_its_class(shared: Path) -> None:
    cases = shared / "cases"
    if not cases.is_dir():
        pytest.skip("no folder cases/ beside the ground truth")
    expected = {
        "tflm_missing_op_log/console.txt": "unsupported_operator",
        "tflm_missing_op_log/console_hybrid.txt": "unsupported_operator",
        "log_kinds/no_mem_error_check.txt": "out_of_memory",
        "log_kinds/espdl_unregistered.txt": "unsupported_operator",
        "log_kinds/espdl_model_alloc.txt": "out_of_memory",
    }
    for name, kind in expected.items():
        found = crashes_of(unpasted((cases / name).read_bytes()))
        assert [crash.kind for crash, _ in found] == [kind], name

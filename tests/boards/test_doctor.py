from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from esp_hil.boards import doctor, quarantine
from esp_hil.boards.doctor import CheckResult
from esp_hil.boards.emulator import EmulatorKind, find_program
from esp_hil.boards.select import Board
from esp_hil.cli import main
from esp_hil.device.ports import SerialPort
from esp_hil.errors import BuildError, ConfigError
from esp_hil.esp.idf import Idf
from esp_hil.targets import Target, target
from esp_hil.virtual.board import VirtualBoard


def port(url: str = "/dev/ttyUSB0", vid: int | None = 0x10C4) -> SerialPort:
    return SerialPort(url=url, vid=vid, pid=1, serial_number="", usb_path="1-1", description="")


def no_idf() -> Idf:
    raise BuildError("no ESP-IDF 5.3 or newer", hint="install one")


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 4), "fail"), ((3, 11, 0), "ok"), ((3, 13, 9), "ok"), ((3, 14, 0), "fail")]
)
def test_the_python_must_be_one_that_all_packages_have(version: tuple[int, ...], state: str) -> None:
    assert doctor.check_python(version).state == state


def installed(name: str) -> str:
    versions = {"good": "1.2", "old": "0.9"}
    if name not in versions:
        raise metadata.PackageNotFoundError(name)
    return versions[name]


def test_packages_that_are_missing_or_of_another_version_are_named() -> None:
    required = ["good>=1,<2", "old>=1", "gone", "only-dev; extra == 'dev'"]
    finding = doctor.check_packages(required, installed)
    assert finding.state == "fail"
    assert finding.said == "old 0.9 is not >=1; gone is missing"
    assert doctor.check_packages(["good>=1", "x; extra == 'y'"], installed) == CheckResult(
        check="packages", state="ok", said="1 as required"
    )


def test_a_core_that_was_not_compiled_says_how_to_compile_it() -> None:
    def missing() -> object:
        raise ImportError("no module")

    assert doctor.check_core(missing).state == "fail"
    assert "C++ compiler" in doctor.check_core(missing).todo
    assert doctor.check_core(object).state == "ok"


@pytest.mark.parametrize(
    ("output", "state"),
    [("esptool v5.6.0", "ok"), ("esptool.py v4.8.1", "fail"), ("v5.5.0", "fail"), ("?", "fail")],
)
def test_esptool_must_be_new_enough_to_skip_what_is_flashed(output: str, state: str) -> None:
    finding = doctor.check_esptool((sys.executable, "-c", f"print({output!r})"))
    assert finding.state == state
    assert bool(finding.todo) == (state == "fail")


def test_the_installed_esptool_is_ok() -> None:
    assert doctor.check_esptool().state == "ok"


def test_esptool_that_cannot_be_started_is_a_finding(tmp_path: Path) -> None:
    assert doctor.check_esptool((str(tmp_path / "none"),)).state == "fail"


def test_a_missing_esp_idf_is_a_warning_with_the_way_to_get_one() -> None:
    finding = doctor.check_idf(no_idf)
    assert (finding.state, finding.todo) == ("warn", "install one")


def test_compilers_are_looked_for_in_the_environment_of_esp_idf(tmp_path: Path) -> None:
    compiler = tmp_path / "riscv32-esp-elf-gcc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    idf = Idf(path=tmp_path, version="5.3.5", python="", environment={"PATH": str(tmp_path)})
    said = doctor.check_toolchains(lambda: idf).said.removeprefix("for ").split(", ")
    assert "esp32c3" in said
    assert "esp32s3" not in said
    (tmp_path / "tools" / "idf_py_actions").mkdir(parents=True)
    constants = "SUPPORTED_TARGETS = ['esp32', 'esp32c3']\nPREVIEW_TARGETS = ['esp32c5']\n"
    (tmp_path / "tools" / "idf_py_actions" / "constants.py").write_text(constants)
    assert doctor.check_toolchains(lambda: idf).said == "for esp32c3, esp32c5"  # what this ESP-IDF knows
    nothing = Idf(path=tmp_path, version="5.3.5", python="", environment={"PATH": str(tmp_path / "x")})
    assert doctor.check_toolchains(lambda: nothing).state == "warn"


def test_ports_are_told_with_their_bridge() -> None:
    finding = doctor.check_ports([port(), port("/dev/ttyS0", None)])
    assert (finding.state, finding.said) == ("ok", "/dev/ttyUSB0 (Silicon Labs CP210x)")
    assert doctor.check_ports([port("/dev/ttyS0", None)]).state == "warn"
    assert doctor.check_ports([]).said == "none"


def test_a_port_without_permission_says_which_group_to_join() -> None:
    finding = doctor.check_permissions([port(), port("/dev/ttyUSB1")], lambda url: url.endswith("0"))
    assert finding.state == "fail"
    assert finding.said == "not for /dev/ttyUSB1"
    assert "usermod" in finding.todo
    assert doctor.check_permissions([port()], lambda _: True).state == "ok"
    assert doctor.check_permissions([port("/dev/ttyS0", None)], lambda _: False).said == "no port to open"


def usb(folder: Path, place: str, vendor: int, tty: str = "") -> None:
    (folder / place).mkdir(parents=True)
    (folder / place / "idVendor").write_text(f"{vendor:04x}\n")
    if tty:
        (folder / place / f"{place}:1.0" / tty).mkdir(parents=True)


def test_a_bridge_without_a_port_lacks_its_driver(tmp_path: Path) -> None:
    usb(tmp_path, "1-1", 0x1A86)
    usb(tmp_path, "1-2", 0x10C4, "ttyUSB0")
    usb(tmp_path, "1-3", 0x303A, "tty/ttyACM0")
    usb(tmp_path, "1-4", 0x046D)  # a mouse
    finding = doctor.check_drivers(tmp_path)
    assert finding.state == "fail"
    assert finding.said == "WCH CH34x at USB 1-1 has no serial port"
    assert "brltty" in finding.todo


def test_a_system_that_does_not_list_its_devices_is_not_called_ok(tmp_path: Path) -> None:
    assert doctor.check_drivers(tmp_path / "none").state == "warn"


def test_bridges_with_ports_are_ok(tmp_path: Path) -> None:
    usb(tmp_path, "1-2", 0x10C4, "ttyUSB0")
    assert doctor.check_drivers(tmp_path).said == "every bridge has its port"


def rows_of(*boards: Board) -> dict[str, Board]:
    return {board.id: board for board in boards}


def test_two_rows_for_one_board_are_found() -> None:
    one = Board(id="a", target="esp32s3", mac="7C:DF:A1:00:00:01")
    two = Board(id="b", target="esp32s3", mac="7c:df:a1:00:00:01")
    assert doctor.check_boards(lambda: rows_of(one, two)).said == "a and b have the same mac"
    assert doctor.check_boards(lambda: rows_of(one)).said == "1 boards: a"
    assert doctor.check_boards(dict).state == "ok"


def test_a_boards_toml_that_cannot_be_read_is_a_failure_with_its_hint() -> None:
    def broken() -> dict[str, Board]:
        raise ConfigError("boards.toml: bad", hint="keys: target")

    finding = doctor.check_boards(broken)
    assert (finding.state, finding.said, finding.todo) == ("fail", "boards.toml: bad", "keys: target")


def test_emulators_are_told_with_the_chips_that_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-system-xtensa"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    empty = {"PATH": str(tmp_path)}

    def find(kind: EmulatorKind, chip: Target) -> Path:
        return find_program(kind, chip, environ=empty, home=tmp_path)

    assert doctor.check_emulators(find).said == "qemu-system-xtensa (esp32, esp32s3)"
    program.unlink()
    assert doctor.check_emulators(find).state == "warn"
    monkeypatch.setenv("HIL_QEMU", str(tmp_path / "none"))
    wrong = doctor.check_emulators()
    assert (wrong.state, "HIL_QEMU" in wrong.said) == ("fail", True)
    other = tmp_path / "esp-emu"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("HIL_ESP_EMU", str(other))
    both = doctor.check_emulators()
    assert both.state == "warn"
    assert "esp-emu (esp32c3" in both.said
    assert "HIL_QEMU" in both.said


def test_boards_in_quarantine_are_told_with_how_they_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_STATE", str(tmp_path))
    one = Board(id="a", target="esp32s3", url="COM3")
    assert doctor.check_quarantine(lambda: rows_of(one)).state == "ok"
    quarantine.put("a", "no answer")
    found = doctor.check_quarantine(lambda: rows_of(one))
    assert found.state == "warn"
    assert found.said.startswith("a: no answer (since ")
    assert "hil boards --lift a" in found.todo


def test_the_line_to_a_device_is_tried_with_frames() -> None:
    machine = VirtualBoard(target("esp32c3"))
    url = machine.start()
    try:
        finding = doctor.check_link(url, 115_200)
    finally:
        machine.stop()
    assert finding.state == "ok", finding
    assert finding.said.startswith("40 frames")


def test_a_line_to_nothing_is_a_failure(tmp_path: Path) -> None:
    finding = doctor.check_link(str(tmp_path / "ttyUSB9"), 115_200)
    assert finding.state == "fail"
    assert finding.todo


def shown(monkeypatch: pytest.MonkeyPatch, *findings: CheckResult) -> None:
    def examine(**_: object) -> Iterator[CheckResult]:
        yield from findings

    monkeypatch.setattr(doctor, "examine", examine)


GOOD = CheckResult(check="python", state="ok", said="3.11.7")
SOSO = CheckResult(check="ESP-IDF", state="warn", said="none", todo="install it")
BAD = CheckResult(check="esptool", state="fail", said="gone", todo="pip install")


def test_hil_doctor_ends_with_1_only_if_something_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(monkeypatch, GOOD, SOSO)
    assert main(["doctor"]) == 0
    assert "-> install it" in capsys.readouterr().out
    shown(monkeypatch, GOOD, BAD)
    assert main(["doctor", "--json"]) == 1
    assert [row["state"] for row in json.loads(capsys.readouterr().out)] == ["ok", "fail"]


def test_hil_doctor_examines_this_machine() -> None:
    findings = {finding.check: finding for finding in doctor.examine()}
    assert findings["python"].state == "ok"
    assert all(finding.todo for finding in findings.values() if finding.state != "ok")

"""Emulated boards with a program that takes QEMU's command line; the real one needs none of this."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil.boards import emulator
from esp_hil.boards.emulator import EmulatedBoard, command_line, find_program, named
from esp_hil.boards.flash import merge
from esp_hil.boards.opening import open_board
from esp_hil.cli import main
from esp_hil.device.device import Device
from esp_hil.errors import BoardUnavailable, ConfigError
from esp_hil.esp.image import FirmwareImage
from esp_hil.results.journal import read_runs
from esp_hil.targets import target
from tests.boards.builds import make_build_folder
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake emulator is a POSIX script")

C3 = target("esp32c3")
MODEL = ROOT / "golden" / "mnist" / "w8a8" / "c.espdl"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a fake qemu-system-riscv32."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "qemu-system-riscv32"
    fake = ROOT / "tests" / "boards" / "fake_qemu.py"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {fake} "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture
def build_folder(tmp_path: Path) -> Path:
    return make_build_folder(tmp_path / "build")


@pytest.fixture
def flash(build_folder: Path, tmp_path: Path) -> Path:
    """A merged flash image with a model."""
    image = FirmwareImage.from_build_dir(build_folder).with_model(MODEL.read_bytes())
    return merge(image, tmp_path / "merged.bin")


# which program


@pytest.mark.parametrize(
    ("board", "meant"),
    [
        ("qemu", ("qemu", "")),
        ("qemu:/opt/q/qemu-system-xtensa", ("qemu", "/opt/q/qemu-system-xtensa")),
        ("esp-emu", ("esp-emu", "")),
        ("esp-emu:bin/esp-emu", ("esp-emu", "bin/esp-emu")),
        ("socket://qemu:5555", None),
        ("qemu2", None),
        ("desk-c3", None),
    ],
)
def test_an_emulator_is_named_by_its_word_and_perhaps_a_path(
    board: str, meant: tuple[str, str] | None
) -> None:
    assert named(board) == meant


def test_the_program_is_looked_for_where_it_was_named_then_on_the_path_then_among_esp_idf_s_tools(
    programs: Path, tmp_path: Path
) -> None:
    name = "qemu-system-riscv32"
    installed = tmp_path / ".espressif" / "tools" / "qemu-riscv32" / "9.0" / "qemu" / "bin"
    installed.mkdir(parents=True)
    (installed / name).write_text("#!/bin/sh\n")
    (installed / name).chmod(0o755)
    empty = {"PATH": str(tmp_path)}
    assert find_program("qemu", C3, environ=empty, home=tmp_path) == installed / name
    moved = {**empty, "IDF_TOOLS_PATH": str(tmp_path / ".espressif")}
    assert find_program("qemu", C3, environ=moved, home=tmp_path / "home") == installed / name
    assert find_program("qemu", C3, environ={"PATH": str(programs)}, home=tmp_path) == programs / name
    variable = {"PATH": str(programs), "HIL_QEMU": str(installed)}
    assert find_program("qemu", C3, environ=variable, home=tmp_path) == installed / name
    assert find_program("qemu", C3, str(programs), environ=variable, home=tmp_path) == programs / name
    assert find_program("qemu", C3, str(programs / name), environ=empty, home=tmp_path) == programs / name


def test_what_is_missing_or_cannot_be_is_said_with_what_to_do(tmp_path: Path) -> None:
    empty = {"PATH": str(tmp_path)}
    with pytest.raises(BoardUnavailable, match=r"qemu-system-riscv32 is not installed.*HIL_QEMU"):
        find_program("qemu", C3, environ=empty, home=tmp_path)
    with pytest.raises(ConfigError, match=r"qemu does not emulate the esp32p4.*esp32s3"):
        find_program("qemu", target("esp32p4"), environ=empty, home=tmp_path)
    with pytest.raises(ConfigError, match="esp-emu does not emulate the esp32 "):
        find_program("esp-emu", target("esp32"), environ=empty, home=tmp_path)
    with pytest.raises(ConfigError, match=r"HIL_QEMU names .*nowhere, which is not a program"):
        find_program("qemu", C3, environ=empty | {"HIL_QEMU": "/nowhere"}, home=tmp_path)


def test_esp_emu_is_given_chip_image_and_uart_and_keeps_its_flash() -> None:
    words = command_line("esp-emu", Path("/bin/esp-emu"), C3, flash=Path("/f.bin"), port=7, extra=("--x",))
    assert " ".join(words) == (
        "/bin/esp-emu --chip esp32c3 --firmware /f.bin --uart-tcp 127.0.0.1:7 --save-state --x"
    )


# running


def test_a_restart_is_a_power_cycle_and_the_flash_stays(
    programs: Path, flash: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil.boards.emulator")
    original = flash.read_bytes()
    with EmulatedBoard(C3, "qemu", flash, program=str(programs), extra=["-icount", "3"]) as board:
        device = Device(board.connect(), reopen=board.connect)
        device.connect()
        assert device.info().kind == "emulated"
        model = MODEL.read_bytes()
        sent_before = device.link_statistics().sent_bytes
        device.upload_model(model)
        # the image had it already
        assert device.link_statistics().sent_bytes - sent_before < 1000
        device.upload_model(model[:1000])
        board.restart()
        device.drop_link()
        device.connect()
        assert device.info().reset_reason == "power_on"
        sent_before = device.link_statistics().sent_bytes
        device.upload_model(model[:1000])
        assert device.link_statistics().sent_bytes - sent_before < 500
        assert any("Project name" in line.text for line in device.console)
        assert '"-icount", "3"' in board.log_text()
        device.close()
    assert not board.running
    # its command line is in the log, once for each start
    assert [" -icount 3" in line for line in caplog.messages] == [True, True]
    assert flash.read_bytes() == original


def test_an_emulator_that_ends_says_why(programs: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.bin"
    odd.write_bytes(b"\xff" * (3 << 20))
    with (
        EmulatedBoard(C3, "qemu", odd, program=str(programs)) as board,
        pytest.raises(BoardUnavailable, match=r"qemu-system-riscv32 ended: .*only 2, 4, 8, 16 MB"),
    ):
        board.connect()


def test_an_emulator_that_never_listens_is_waited_for_only_so_long(
    tmp_path: Path, flash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "qemu-system-riscv32"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(emulator, "START_S", 0.2)
    with (
        EmulatedBoard(C3, "qemu", flash, program=str(program)) as board,
        pytest.raises(BoardUnavailable, match="nothing listens"),
    ):
        board.connect()


def test_an_emulator_without_an_image_is_an_error_before_anything_starts(programs: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs an image.*--build-dir"):
        open_board(C3, board=f"qemu:{programs}")


# the suites


def suites(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_the_suites_pass_on_an_emulated_board_and_every_report_says_emulated(
    programs: Path, build_folder: Path, tmp_path: Path
) -> None:
    results = tmp_path / "out"
    done = suites(
        "--target", "esp32c3", "--hil-board", f"qemu:{programs}", "--build-dir", str(build_folder),
        "--hil-model", "mnist", "--hil-recipe", "w8a8", "--hil-inputs", "6", "--hil-runs", "3",
        "--hil-results", str(results),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_runs(results).runs
    assert (row.kind, row.board, row.target) == ("emulated", "qemu", "esp32c3")
    assert row.verdict is not None
    assert row.verdict.bit_exact
    assert json.loads(row.to_json())["kind"] == "emulated"
    # time in an emulator is no chip's: it is in no figure
    assert "latency" not in (results / "metrics.txt").read_text(encoding="utf-8")
    assert "no latency gate applies to an emulated board" in done.stdout


def test_an_image_of_another_chip_is_refused(programs: Path, tmp_path: Path) -> None:
    other = make_build_folder(tmp_path / "s3", target="esp32s3")
    done = suites(
        "--target", "esp32c3", "--hil-board", f"qemu:{programs}", "--build-dir", str(other),
        "--hil-model", "mnist", "--hil-recipe", "w8a8", "--hil-results", str(tmp_path / "out"), "-x",
    )  # fmt: skip
    assert "is for esp32s3, the run for esp32c3" in done.stdout


def test_hil_layers_compares_every_tensor_on_an_emulated_board(
    programs: Path, build_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["layers", "mnist", "--recipe", "w8a8", "--target", "esp32c3", "--board", f"qemu:{programs}"]
    assert main([*words, "--build-dir", str(build_folder), "--all"]) == 0
    assert "8 tensors of input 0: none wrong" in capsys.readouterr().out


def test_a_row_of_an_emulator_is_emulated_even_if_it_never_started(
    tmp_path: Path, build_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "boards.toml"
    listed.write_text(
        '[emu]\ntarget = "esp32c3"\nemulator = "qemu"\nprogram = "/nowhere"\n', encoding="utf-8"
    )
    monkeypatch.setenv("HIL_BOARDS", str(listed))
    done = suites(
        "--target", "esp32c3", "--hil-board", "emu", "--build-dir", str(build_folder),
        "--hil-model", "mnist", "--hil-recipe", "w8a8", "--hil-results", str(tmp_path / "out"),
        "-k", "exact_reference_says",
    )  # fmt: skip
    assert "the board names /nowhere, which is not a program" in done.stdout
    kinds = {(row.kind, row.passed) for row in read_runs(tmp_path / "out").runs}
    assert kinds == {("emulated", False)}

"""The firmware's sizing of memory on the allocators of the ESP-IDFs at hand, compiled for this computer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.firmware.kconfig import idfs

FIRMWARE = ROOT / "firmware"
TESTS = FIRMWARE / "tests"


def allocators() -> list[Path]:
    """The folders of TLSF, a submodule of ESP-IDF, that are at hand."""
    return [path for idf in idfs() if (path := idf / "components" / "heap" / "tlsf" / "tlsf.c").is_file()]


@pytest.mark.skipif(
    not allocators(), reason="no ESP-IDF with its submodules at hand: HIL_IDFS names folders of it"
)
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ on this machine")
def test_boards_of_every_size_do_on_esp_idf_s_allocator_what_they_do_on_its_model(tmp_path: Path) -> None:
    common = ["g++", "-std=c++17", "-O1", f"-I{FIRMWARE / 'core' / 'include'}", f"-I{TESTS}"]
    core = sorted((FIRMWARE / "core" / "src").glob("*.cpp"))
    _do([*common, "-fno-exceptions", "-fno-rtti", "-c", *map(str, core)], tmp_path)
    objects = [f"{path.stem}.o" for path in core]
    for number, tlsf in enumerate(allocators()):
        header = next(tlsf.parent.rglob("tlsf.h")).parent
        _do(
            ["gcc", "-O1", "-w", f"-I{header}", f"-I{tlsf.parent}", "-c", str(tlsf), "-o", "tlsf.o"], tmp_path
        )
        for name in ("rooms", "memory_table"):
            program = tmp_path / f"{name}{number}"
            sources = [str(TESTS / f"test_{name}.cpp"), str(TESTS / "check_main.cpp")]
            page = f'-DHIL_FIRMWARE_MD="{ROOT / "docs" / "FIRMWARE.md"}"'
            options = ["-DHIL_TLSF=1", page, f"-I{header}", "-o", str(program)]
            _do([*common, *options, *sources, "tlsf.o", *objects], tmp_path)
            _do([str(program)], tmp_path)


def _do(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

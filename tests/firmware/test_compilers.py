"""The device core under the dialects of the oldest and the newest ESP-IDF, with ESP-IDF's flags, without a warning.

ESP-IDF 5.3 compiles with gnu++2b, 6.0 with gnu++26; a warning that is new in one of them ends the build of everybody
who updates (-Werror=all). What a machine has of compilers near theirs is used: the oldest GCC, the newest clang.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

CORE = ROOT / "firmware" / "core"
FLAGS = (
    *("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-enum-conversion"),
    *("-O2", "-fno-exceptions", "-fno-rtti", "-ffunction-sections", "-fdata-sections", "-fno-jump-tables"),
)
"""Those of ESP-IDF's build.cmake that both compilers know; here all warnings are errors."""
COMPILERS = (("g++", min, "gnu++23"), ("clang++", max, "gnu++26"))


def compiler(name: str, choose: object, dialect: str) -> list[str]:
    """The command of the oldest or newest `name` or `name-N`; skips where there is none, or it lacks the dialect."""
    assert callable(choose)
    found: dict[int, str] = {}
    for suffix in ("", *(f"-{number}" for number in range(10, 40))):
        if (program := shutil.which(f"{name}{suffix}")) is not None:
            said = subprocess.run(
                [program, "-dumpversion"], capture_output=True, text=True, timeout=60, check=True
            )
            found.setdefault(int(re.findall(r"\d+", said.stdout)[0]), program)
    if not found:
        pytest.skip(f"there is no {name} on this machine")
    command = [found[choose(found)], f"-std={dialect}"]
    asked = [*command, "-x", "c++", "-fsyntax-only", "-"]
    if subprocess.run(
        asked, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    ).returncode:
        pytest.skip(f"{' '.join(command)}: it does not know this dialect")
    return command


def complaints(command: Sequence[str], files: Sequence[Path], folder: Path) -> str:
    """What the compiler says of the files: empty if they are without fault."""
    whole = [*command, *FLAGS, "-I", str(CORE / "include"), "-c", *map(str, files)]
    done = subprocess.run(whole, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize(("name", "choose", "dialect"), COMPILERS)
def test_the_core_compiles_without_a_warning(name: str, choose: object, dialect: str, tmp_path: Path) -> None:
    files = sorted((CORE / "src").glob("*.cpp"))
    assert len(files) > 10
    assert complaints(compiler(name, choose, dialect), files, tmp_path) == ""


@pytest.mark.parametrize(("name", "choose", "dialect"), COMPILERS)
def test_a_warning_would_be_told(name: str, choose: object, dialect: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.cpp"
    wrong.write_text("int f(int n) { int unused; return n; }\n")
    assert "unused" in complaints(compiler(name, choose, dialect), [wrong], tmp_path)

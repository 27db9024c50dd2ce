"""The device core under the dialects of the oldest and the newest ESP-IDF, with ESP-IDF's flags, without a warning.

ESP-IDF 5.3 compiles with gnu++2b, 6.0 with gnu++26; a warning that is new in one of them ends the build of everybody
who updates (-Werror=all). What a machine has of compilers near theirs is used: the oldest GCC, the newest clang.

The core needs nothing of ESP-IDF. For the ports, the engines and app_main, HIL_FIRMWARE_BUILDS names build folders of
idf.py (configured is enough), separated as in PATH: their compile_commands.json has the headers and the definitions.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

FIRMWARE = ROOT / "firmware"
CORE = FIRMWARE / "core"
FLAGS = (
    *("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-enum-conversion"),
    *("-O2", "-fno-exceptions", "-fno-rtti", "-ffunction-sections", "-fdata-sections", "-fno-jump-tables"),
)
"""Those of ESP-IDF's build.cmake that both compilers know; here all warnings are errors."""
COMPILERS = (("g++", min, "gnu++23"), ("clang++", max, "gnu++26"))
DIALECTS = (("gcc", "gnu++23"), ("clang", "gnu++26"))
BUILDS = [Path(name) for name in os.environ.get("HIL_FIRMWARE_BUILDS", "").split(os.pathsep) if name]
OURS = ("main/*.cpp", "ports/esp/src/*.cpp", "engines/*/*.cpp")


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


def compiled(build: Path) -> dict[str, list[str]]:
    """Of our files that a build compiles, the words of the command, with this checkout's folder for the build's."""
    table = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    names = [path.relative_to(FIRMWARE).as_posix() for pattern in OURS for path in FIRMWARE.glob(pattern)]
    # what a build fetched lies beside its links to our folders, and stays there
    return {
        name: [_here(word, entry["file"].removesuffix(f"/{name}")) for word in shlex.split(entry["command"])]
        for entry in table
        for name in names
        if entry["file"].endswith(f"/{name}")
    }


def _here(word: str, project: str) -> str:
    return re.sub(rf"^-I{re.escape(project)}(?=/(?:core|ports|engines|main)(?:/|$))", f"-I{FIRMWARE}", word)


def headers_of(program: str) -> list[str]:
    """Where a compiler looks for headers of its own."""
    asked = [program, "-E", "-v", "-x", "c++", os.devnull]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stderr
    return said.partition("search starts here:\n#include <...>")[2].partition("End of")[0].split()[3:]


def strictly(words: Sequence[str], kind: str, dialect: str) -> list[str]:
    """The command of a build in another dialect, all of our warnings errors, those of others' headers none."""
    program = words[0]
    if kind == "clang":
        machine = Path(program).name.partition("-")[0]
        if not machine.startswith("riscv32"):
            pytest.skip(f"clang has no {machine}")
        command = [
            *compiler("clang++", max, dialect),
            f"--target={machine}-unknown-elf",
            "-nostdinc",
            "-nostdinc++",
        ]
        headers = headers_of(program)
    else:
        command, headers = [program, f"-std={dialect}"], []
    for word in words[1:]:
        if word.startswith(("-D", "-m")):
            command.append(word)
        elif word.startswith("-I"):
            command += ["-I" if word.startswith(f"-I{FIRMWARE}") else "-isystem", word[2:]]
    return [*command, *(part for path in headers for part in ("-isystem", path)), *FLAGS, "-fsyntax-only"]


@pytest.mark.skipif(not BUILDS, reason="no configured build at hand: HIL_FIRMWARE_BUILDS names their folders")
@pytest.mark.parametrize("build", BUILDS, ids=lambda path: path.name)
@pytest.mark.parametrize(("kind", "dialect"), DIALECTS)
def test_ports_engine_and_application_compile_without_a_warning(build: Path, kind: str, dialect: str) -> None:
    commands = compiled(build)
    assert {"main/app_main.cpp", "ports/esp/src/board.cpp"} < commands.keys()
    told = {}
    for name, words in sorted(commands.items()):
        command = [*strictly(words, kind, dialect), str(FIRMWARE / name)]
        done = subprocess.run(command, cwd=build, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            told[name] = done.stderr
    assert told == {}

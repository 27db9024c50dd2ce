"""Where ESP-IDF is, which version, and the environment that its programs need.

It is found as people install it: an activated shell (IDF_PATH), Espressif's installation manager
(eim_idf.json), the folders of the manuals (~/esp/...), the Docker image. An activated one is used as it is;
for the others idf_tools.py says what activation would have set.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from esp_hil.errors import BuildError
from esp_hil.json_text import read_json

LOG = logging.getLogger(__name__)

MINIMUM = (5, 3)
"""Oldest ESP-IDF that ESP-DL 3.3 and the firmware's drivers compile with."""

EXPORT_SECONDS = 60
EIM_FILES = (".espressif/tools/eim_idf.json", ".espressif/eim_idf.json")
"""Where the installation manager keeps its list, below the home folder; on Windows in C:/Espressif/tools."""

_FOLDERS = ("esp/esp-idf", "esp/*/esp-idf", "esp-idf", ".espressif/*/esp-idf")
_FIXED = ("/opt/esp/idf",)
_VERSION = re.compile(r"set\(IDF_VERSION_(MAJOR|MINOR|PATCH) (\d+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Idf:
    """An ESP-IDF that can build.

    Attributes:
        path: its folder.
        version: such as 5.3.5.
        python: the interpreter of its Python environment.
        environment: everything its programs need, PATH with the toolchains included.
    """

    path: Path
    version: str
    python: str
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> list[str]:
        """The command line of idf.py with these arguments."""
        return [self.python, str(self.path / "tools" / "idf.py"), *arguments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place where ESP-IDF may be, and who says so."""

    path: Path
    source: str
    tools: str = ""  # IDF_TOOLS_PATH of this installation, "" for the default


def find_idf(environ: Mapping[str, str] | None = None, home: Path | None = None) -> Idf:
    """The ESP-IDF to build with: the activated one, else the first installed one that is new enough.

    Args:
        environ: environment variables; default: this process's.
        home: the home folder; default: the user's.

    Raises:
        BuildError: none is there, or the activated one is too old, or its Python environment is missing; the
            message says where was looked, the hint how to install or activate one.
    """
    environ = os.environ if environ is None else environ
    home = Path.home() if home is None else home
    looked = []
    for candidate in candidates(environ, home):
        version = version_of(candidate.path)
        if version is not None and _numbers(version) >= MINIMUM:
            return _activated(candidate, version, environ, home)
        looked.append(
            f"{candidate.path} ({candidate.source}: {f'version {version}' if version else 'not there'})"
        )
        if candidate.source == "IDF_PATH":
            break  # another one than the user activated would be a surprise
    wanted = ".".join(map(str, MINIMUM))
    seen = f"looked at {', '.join(looked)}" if looked else "found no folder to look in"
    raise BuildError(
        f"no ESP-IDF {wanted} or newer; {seen}",
        hint=f"activate one with `. <esp-idf>/export.sh`, or install: {_HOW}; a prebuilt image needs none: "
        "--build-dir",
        step="build",
    )


_HOW = "git clone -b v5.3.5 --recursive https://github.com/espressif/esp-idf.git && esp-idf/install.sh"


def candidates(environ: Mapping[str, str], home: Path) -> Iterator[Candidate]:
    """The places to look at, the most certain first."""
    if named := environ.get("IDF_PATH"):
        yield Candidate(path=Path(named), source="IDF_PATH", tools=environ.get("IDF_TOOLS_PATH", ""))
    tools = environ.get("IDF_TOOLS_PATH", "")
    listed = [Path(tools) / "eim_idf.json", Path(tools) / "tools" / "eim_idf.json"] if tools else []
    for file in (*listed, *(home / name for name in EIM_FILES), Path("C:/Espressif/tools/eim_idf.json")):
        yield from _installed_by_eim(file)
    for pattern in _FOLDERS:
        for folder in sorted(home.glob(pattern), reverse=True):
            yield Candidate(path=folder, source="home folder")
    for fixed in map(Path, _FIXED):
        if fixed.is_dir():
            # its tools lie beside it; the image's entry point would have said so, `docker exec` and CI do not use it
            yield Candidate(path=fixed, source="Docker image", tools=tools or str(fixed.parent))


def _installed_by_eim(file: Path) -> Iterator[Candidate]:
    try:
        listed = read_json(file)
    except (OSError, ValueError):
        return  # most machines have none
    entries = listed.get("idfInstalled", []) if isinstance(listed, dict) else []
    selected = listed.get("idfSelectedId") if isinstance(listed, dict) else None
    for entry in sorted(entries, key=lambda entry: entry.get("id") != selected):
        if entry.get("path"):
            yield Candidate(path=Path(entry["path"]), source=str(file), tools=entry.get("idfToolsPath", ""))


def version_of(path: Path) -> str | None:
    """The version of the ESP-IDF in a folder, or None if there is none."""
    try:
        text = (path / "tools" / "cmake" / "version.cmake").read_text(encoding="utf-8")
    except OSError:
        return None
    parts = dict(_VERSION.findall(text))
    if not {"MAJOR", "MINOR"} <= parts.keys():
        return None
    return f"{parts['MAJOR']}.{parts['MINOR']}.{parts.get('PATCH', '0')}"


def chips_of(path: Path) -> frozenset[str] | None:
    """The chips that the ESP-IDF in a folder can build for, previews included; None: it does not say."""
    try:
        text = (path / "tools" / "idf_py_actions" / "constants.py").read_text(encoding="utf-8")
    except OSError:
        return None
    return frozenset(re.findall(r"'(esp32\w*)'", text)) or None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _activated(candidate: Candidate, version: str, environ: Mapping[str, str], home: Path) -> Idf:
    environment = dict(environ)
    if not (candidate.source == "IDF_PATH" and environ.get("IDF_PYTHON_ENV_PATH")):
        environment |= _exported(candidate, environ, _own_python(candidate, version, environ, home))
    environment["IDF_PATH"] = str(candidate.path)
    python = Path(environment.get("IDF_PYTHON_ENV_PATH", "")) / _SCRIPTS
    if not python.is_file():
        raise _not_installed(candidate, version, f"no Python environment at {python}")
    return Idf(path=candidate.path, version=version, python=str(python), environment=environment)


_SCRIPTS = Path("Scripts/python.exe") if os.name == "nt" else Path("bin/python")


def _own_python(candidate: Candidate, version: str, environ: Mapping[str, str], home: Path) -> Path | None:
    """The Python environment that install.sh made for this ESP-IDF, the newest Python first; None: none is there.

    Its folder has the version of the Python that made it in its name, and idf_tools.py looks for the one of the
    Python that runs it: ours may be another one.
    """
    tools = Path(candidate.tools or environ.get("IDF_TOOLS_PATH") or home / ".espressif")
    release = ".".join(version.split(".")[:2])
    found = [
        (int(minor[1]), folder)
        for folder in (tools / "python_env").glob(f"idf{release}_py3.*_env")
        if (folder / _SCRIPTS).is_file() and (minor := re.search(r"_py3\.(\d+)_env$", folder.name))
    ]
    return max(found)[1] if found else None


def _exported(candidate: Candidate, environ: Mapping[str, str], own: Path | None) -> dict[str, str]:
    """What activation would set: `idf_tools.py export --format key-value`, asked with ESP-IDF's own Python."""
    base = {**environ, "IDF_PATH": str(candidate.path)}
    if own is not None:
        base["IDF_PYTHON_ENV_PATH"] = str(own)
    if candidate.tools:
        base["IDF_TOOLS_PATH"] = candidate.tools
    tools = candidate.path / "tools" / "idf_tools.py"
    command = [str(own / _SCRIPTS) if own else sys.executable, str(tools), "export", "--format", "key-value"]
    LOG.info("$ %s", shlex.join(command))
    try:
        done = subprocess.run(
            command, env=base, capture_output=True, text=True, timeout=EXPORT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise _not_installed(candidate, "", said[-1] if said else "no output") from None
    set_ = {"IDF_TOOLS_PATH": candidate.tools} if candidate.tools else {}
    for line in done.stdout.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.isidentifier():
            set_[name] = re.sub(r"\$PATH|%PATH%", lambda _: base.get("PATH", ""), value)
    if own is not None:
        set_["IDF_PYTHON_ENV_PATH"] = str(own)
    return set_


def _not_installed(candidate: Candidate, version: str, why: str) -> BuildError:
    return BuildError(
        f"the ESP-IDF {version} at {candidate.path} is not installed completely: {why}".replace("  ", " "),
        hint=f"run {candidate.path / 'install.sh'} once, and try again",
        step="build",
    )

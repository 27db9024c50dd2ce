"""What the machine says: environment variables (all are read here), the user's folders, where the package lies.

    python -m esp_hil.settings

prints the table of docs/settings.md. The options of a run have variables too (docs/options.md); those are read where
pytest's options are, in `esp_hil.session.option_rows`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from esp_hil.errors import ConfigError

VERSION: Final = "0.1.0"
"""Of the package; pyproject.toml says the same."""

Name = Literal[
    "HIL_BAUD_MODEL",
    "HIL_BOARDS",
    "HIL_BUILDS",
    "HIL_CACHE",
    "HIL_DATA",
    "HIL_EMULATOR_ARGS",
    "HIL_ESPTOOL",
    "HIL_ESP_EMU",
    "HIL_GOLDEN",
    "HIL_HISTORY",
    "HIL_LABGRID",
    "HIL_LABGRID_CLIENT",
    "HIL_LOCKS",
    "HIL_MICROPYTHON",
    "HIL_MLPERF_TINY",
    "HIL_QEMU",
    "HIL_SHARED",
    "HIL_STATE",
    "HIL_ZOO",
]
VARIABLES: Mapping[Name, tuple[str, str]] = MappingProxyType(
    {
        "HIL_BAUD_MODEL": (
            "the lines of virtual boards take time, as `hil virtual --baud-model`",
            "they take none",
        ),
        "HIL_BOARDS": ("file of boards", "`boards.toml` here, else the packaged one"),
        "HIL_BUILDS": (
            "folder of build folders of the firmware",
            "`firmware/build`; of an installed package in the cache",
        ),
        "HIL_CACHE": (
            "folder of what can be made again: lowered graphs, esp-ppq's graphs, the best rates of lines, an installed "
            "package's firmware",
            "the user's cache folder",
        ),
        "HIL_DATA": ("folder of the models' data sets", "the model's own folder only"),
        "HIL_EMULATOR_ARGS": ("further options of an emulator, such as `-icount 3`", "none"),
        "HIL_ESPTOOL": ("command that starts esptool 5.6 or newer", "the installed one"),
        "HIL_ESP_EMU": ("esp-emu, or the folder that it lies in", "`PATH`"),
        "HIL_GOLDEN": (
            "folders of models, separated as in `PATH`",
            "the nearest `golden/`, and the packaged one",
        ),
        "HIL_HISTORY": ("SQLAlchemy URL of the history, or an SQLite file", "`reports/history.sqlite`"),
        "HIL_LABGRID": ("HOST:PORT of labgrid's coordinator", "`LG_COORDINATOR`, else `127.0.0.1:20408`"),
        "HIL_LABGRID_CLIENT": (
            "labgrid-client, in an environment of its own; it switches the power of places",
            "`PATH`; without it their power is not switched",
        ),
        "HIL_LOCKS": (
            "folder of the leases of boards, the same for all users, sessions and containers of a host",
            "`/tmp/hil-locks`",
        ),
        "HIL_MICROPYTHON": ("`micropython.mjs` for virtual MicroPython boards", "`node_modules`"),
        "HIL_MLPERF_TINY": ("folder with MLPerf Tiny's .tflite models", "they need `--hil-mlperf-tiny`"),
        "HIL_QEMU": ("Espressif's QEMU, or the folder that it lies in", "`PATH`, then ESP-IDF's tools"),
        "HIL_SHARED": ("folder of ground truth for the harness's own tests", "those tests are skipped"),
        "HIL_STATE": ("folder of the quarantine", "the user's state folder"),
        "HIL_ZOO": ("folder with ESP-DL's own models", "tasks need `--zoo`"),
    }
)
"""Meaning, and what holds without it."""
_OLD = {"HIL_CACHE_DIR": "HIL_CACHE"}

PACKAGE = Path(__file__).resolve().parent
"""The folder `esp_hil`."""


def checkout() -> Path | None:
    """The checkout of esp-hil that the package lies in (`harness/esp_hil` below it); None if it is installed."""
    root = PACKAGE.parent.parent
    return root if (root / "firmware" / "core").is_dir() and (root / "suites").is_dir() else None


def shipped(name: str) -> Path | None:
    """A folder that comes with the package: inside it in a wheel, beside `harness/` in a checkout; None if nowhere.

    Args:
        name: firmware, golden or suites.
    """
    root = checkout()
    places = [PACKAGE / name, *([root / name] if root is not None else [])]
    return next((place for place in places if place.is_dir()), None)


def variable(name: Name) -> str:
    """What an environment variable says; "" if it is not set.

    Raises:
        ConfigError: it is set under the name that it had before.
    """
    for old, new in _OLD.items():
        if new == name and os.environ.get(old):
            raise ConfigError(f"{old} is {new} now", hint=f"unset {old} and set {new} to the same folder")
    return os.environ.get(name, "")


def variable_path(name: Name) -> Path | None:
    """The file or folder that a variable names; None if it is not set."""
    said = variable(name)
    return Path(said).expanduser() if said else None


def labgrid_coordinator() -> str:
    """HOST:PORT of labgrid's coordinator: HIL_LABGRID, else as labgrid's own programs are told."""
    return variable("HIL_LABGRID") or os.environ.get("LG_COORDINATOR", "") or "127.0.0.1:20408"


def in_ci() -> bool:
    """Whether this is a job of a CI: GitHub, GitLab and most others set CI."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}


def ci_job() -> str:
    """The job of GitHub, GitLab or Jenkins that this is; "" outside one."""
    jobs = (("GITHUB_WORKFLOW", "GITHUB_RUN_ID"), ("CI_JOB_NAME", "CI_JOB_ID"), ("JOB_NAME", "BUILD_NUMBER"))
    for names in jobs:
        if all(os.environ.get(name) for name in names):
            return " ".join(os.environ[name] for name in names)
    return ""


def cache_folder() -> Path:
    """Where to keep what can be made again: HIL_CACHE, else the user's cache folder.

    Raises:
        ConfigError: see `variable`.
    """
    named = variable_path("HIL_CACHE")
    if named is not None:
        return named
    import platformdirs

    return Path(platformdirs.user_cache_dir("esp-hil"))


def state_folder() -> Path:
    """Where to keep what must last: HIL_STATE, else the user's state folder."""
    named = variable_path("HIL_STATE")
    if named is not None:
        return named
    import platformdirs

    return Path(platformdirs.user_state_dir("esp-hil"))


def table() -> str:
    """All variables as Markdown."""
    lines = ["| variable | meaning | without it |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{name}` | {told} | {without} |" for name, (told, without) in VARIABLES.items())]
    )


if __name__ == "__main__":
    print(table())

"""Finding model files by path: Espressif's weights are not part of this project.

A folder given with `--zoo` or HIL_ZOO is searched for a file of the right name in the places where one finds
it: beside each other, below the chip's name, or as the ESP component registry unpacks a component; each also one
folder deeper, so that a zoo can hold several versions of ESP-DL. What counts is the SHA-256: a file of the right name
and another digest is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.settings import variable_path

_SHORT = {"esp32s3": "s3", "esp32p4": "p4"}


def zoo_folder(given: Path | None) -> Path:
    """The folder of `--zoo`, else of HIL_ZOO.

    Raises:
        ConfigError: neither was given, or there is no such folder.
    """
    named = given or variable_path("HIL_ZOO")
    if named is None:
        raise ConfigError(
            "the weights of ESP-DL's models are not part of this project",
            hint="give --zoo DIR (pytest: --hil-zoo DIR) or HIL_ZOO; docs/tasks.md tells where to get them",
        )
    if not named.is_dir():
        raise ConfigError(f"zoo {named} is not a folder", hint="give the folder that has the .espdl files")
    return named


def find_file(folder: Path, name: str, family: str, sha256: str, component: str) -> Path:
    """A model file for a numeric family.

    Args:
        folder: of the zoo.
        name: of the file.
        family: esp32s3 or esp32p4.
        sha256: that it must have.
        component: of the ESP component registry that has it, for the hint.

    Raises:
        ConfigError: it is not there.
        GoldenError: it is unreadable or another one.
    """
    seen: list[Path] = []
    for path in dict.fromkeys(_places(folder, name, family)):
        if not path.is_file():
            continue
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise GoldenError(f"{path} cannot be read: {error.strerror}") from None
        if digest == sha256:
            return path
        seen.append(path)
    if seen:
        raise GoldenError(
            f"{seen[0]} is not the file that is expected: its SHA-256 is not {sha256[:12]}...",
            hint=f"it belongs to {component}; docs/tasks.md tells how to get that version",
        )
    raise ConfigError(
        f"no {name} for {family} in {folder}",
        hint=f"it is part of {component} of the ESP component registry; docs/tasks.md tells how to get it",
    )


def _places(folder: Path, name: str, family: str) -> Iterator[Path]:
    short = _SHORT.get(family, family)
    yield from _places_in(folder, name, family, short)
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _places_in(inner, name, family, short)


def _places_in(folder: Path, name: str, family: str, short: str) -> Iterator[Path]:
    yield folder / family / name
    yield folder / short / name
    yield folder / name
    yield from sorted(folder.glob(f"*/models/{short}/{name}"))
    yield from sorted(folder.glob(f"models/*/models/{short}/{name}"))
    yield from sorted(folder.glob(f"models/{short}/{name}"))

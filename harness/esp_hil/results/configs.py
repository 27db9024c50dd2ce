"""Configurations of firmware beside the rows that it made: a row has their digest, this folder what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from esp_hil.errors import ConfigError, ReportError
from esp_hil.esp.sdkconfig import EFFECTS, Value, differences, read_build_config
from esp_hil.json_text import read_json
from esp_hil.results.record import Run

FOLDER = "sdkconfig"
"""Of a results folder; one file a configuration, named by its digest."""

Config = Mapping[str, Value]


def keep_config(results: Path, build_dir: Path) -> None:
    """Copy the configuration of a build folder beside the rows; nothing where the build does not tell it.

    Raises:
        ReportError: the results folder cannot be written.
    """
    try:
        config = read_build_config(build_dir)
    except ConfigError:
        return  # an image from elsewhere: its rows have the digest, and a report says that it knows no more
    path = results / FOLDER / f"{config.sha256}.json"
    if path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(config.values), indent=1, sort_keys=True), encoding="utf-8")
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}", step="record") from None


def kept_configs(results: Path) -> dict[str, Config]:
    """The configurations beside some rows, by their digest.

    Args:
        results: a results folder, or a file of rows in it.

    Raises:
        ReportError: a file there is not what `keep_config` writes.
    """
    folder = (results if results.is_dir() else results.parent) / FOLDER
    found: dict[str, Config] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            values = read_json(path)
        except (OSError, ValueError) as error:
            raise ReportError(f"cannot read {path}: {error}", step="report") from None
        if not isinstance(values, dict):
            raise ReportError(f"{path} is not a configuration", hint="remove it", step="report")
        found[path.stem] = values
    return found


def config_changes(base: Iterable[Run], new: Iterable[Run], configs: Mapping[str, Config]) -> list[str]:
    """What differs between the configurations of two sets of rows, one line an entry; what matters most first.

    Only rows of one identity are held against each other, and only configurations that are known.
    """
    before = {(run.target, run.runtime): run.device.sdkconfig_sha256 for run in base if run.device}
    after = {(run.target, run.runtime): run.device.sdkconfig_sha256 for run in new if run.device}
    lines: list[str] = []
    for key in sorted(before.keys() & after.keys()):
        pair = configs.get(before[key]), configs.get(after[key])
        if before[key] == after[key] or pair[0] is None or pair[1] is None:
            continue
        found = differences(pair[0], pair[1])
        for name in sorted(found, key=lambda name: (name not in EFFECTS, name)):
            old, new_value = (_shown(value) for value in found[name])
            why = f"  ({EFFECTS[name]})" if name in EFFECTS else ""
            lines.append(f"{key[0]} {key[1]}: CONFIG_{name} {old} -> {new_value}{why}")
    return lines


def _shown(value: Value | None) -> str:
    if value is None or isinstance(value, bool):
        return "on" if value else "off"
    return str(value)

"""Environment variables: read in one place, documented in one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esp_hil.errors import ConfigError
from esp_hil.session.option_rows import ROWS
from esp_hil.settings import VARIABLES, cache_folder, state_folder, table, variable, variable_path
from tests.conftest import ROOT

PACKAGE = ROOT / "harness" / "esp_hil"
OF_THE_FIRMWARE = {"HIL_PROFILE", "HIL_ENGINE", "HIL_MODEL", "HIL_EMULATED"}
"""Handed to CMake or set in its configuration, not read from the environment."""


def test_the_table_of_the_documentation_is_the_code_s() -> None:
    assert table() in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_only_two_modules_read_our_variables() -> None:
    """The options of a run are read by the plugin; others take an environment as an argument."""
    readers = {"settings.py", "boards/emulator.py", "boards/runner.py"}
    reading = re.compile(
        r"""environ(\.get\(|\[)\s*f?["'](HIL_\w+)|getenv\(["'](HIL_\w+)|environ\[[A-Z_]+\]\s*="""
    )
    guilty = [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if reading.search(path.read_text(encoding="utf-8"))
    ]
    assert set(guilty) <= readers


def test_every_variable_that_the_code_names_is_in_a_table() -> None:
    known = {*VARIABLES, *(row.variable for row in ROWS.values()), *OF_THE_FIRMWARE, "HIL_CACHE_DIR"}
    named = {
        (name, path.relative_to(PACKAGE).as_posix())
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in re.findall(r"""["'](HIL_[A-Z_]+)["']""", path.read_text(encoding="utf-8"))
    }
    assert {(name, path) for name, path in named if name not in known} == set()


def test_the_old_name_of_a_variable_is_refused_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIL_CACHE", raising=False)
    monkeypatch.setenv("HIL_CACHE_DIR", "somewhere")
    with pytest.raises(ConfigError, match="HIL_CACHE_DIR is HIL_CACHE now"):
        cache_folder()


def test_folders_are_those_of_the_variables_or_the_user_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, folder in (("HIL_CACHE", cache_folder), ("HIL_STATE", state_folder)):
        monkeypatch.delenv(name, raising=False)
        assert folder().name == "esp-hil"
        monkeypatch.setenv(name, str(tmp_path))
        assert folder() == tmp_path
    monkeypatch.delenv("HIL_ZOO", raising=False)
    assert variable("HIL_ZOO") == ""
    assert variable_path("HIL_ZOO") is None

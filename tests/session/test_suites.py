"""A person's own folder: nothing but golden/, and `pytest --target CHIP --hil-board virtual` runs the suites."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from esp_hil.session import suites
from tests.conftest import ROOT


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with one model and one test of its own."""
    shutil.copytree(ROOT / "golden" / "mnist", tmp_path / "golden" / "mnist")
    (tmp_path / "test_mine.py").write_text("def test_mine() -> None:\n    assert True\n", encoding="utf-8")
    return tmp_path


def collected(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    ).stdout


def test_the_suites_and_the_folder_s_own_tests_are_collected(own: Path) -> None:
    told = collected(own, "--target", "esp32s3", "--hil-board", "virtual")
    assert "test_mine.py::test_mine" in told
    assert "test_the_device_answers_what_the_exact_reference_says[mnist-w8a8-esp32s3]" in told


@pytest.mark.parametrize(
    "arguments",
    [(), ("--target", "esp32s3", "--hil-board", "virtual", "test_mine.py")],
    ids=["no target", "named"],
)
def test_what_was_named_is_all_that_is_collected(own: Path, arguments: tuple[str, ...]) -> None:
    told = collected(own, *arguments)
    assert "test_mine.py::test_mine" in told
    assert "test_numerics" not in told


@pytest.mark.parametrize("option", ["--port", "--hil-board", "--hil-data", "--hil-results", "--build-dir"])
def test_a_value_that_exists_as_a_path_is_no_folder_of_tests(
    own: Path, tmp_path_factory: pytest.TempPathFactory, option: str
) -> None:
    """As /dev/ttyUSB0 does: pytest would take /dev for the root, and read no configuration."""
    (own / "pytest.ini").write_text("[pytest]\ntestpaths = only\n", encoding="utf-8")
    (own / "only").mkdir()
    (own / "only" / "test_this.py").write_text(
        "def test_this() -> None:\n    assert True\n", encoding="utf-8"
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    told = collected(own, "--target", "esp32s3", "--skip-autoflash", "y", option, str(elsewhere))
    assert "only/test_this.py::test_this" in told
    assert "test_mine" not in told
    assert "warning" not in told
    assert "test_mine" in collected(own, "--target", "esp32s3", option, str(elsewhere), "test_mine.py")


def test_of_other_people_s_suites_the_command_line_stays_as_it_is(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = only\n", encoding="utf-8")
    (tmp_path / "test_theirs.py").write_text(
        "def test_theirs() -> None:\n    assert True\n", encoding="utf-8"
    )
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert "test_theirs" in collected(tmp_path, "--target", "esp32s3", "--port", str(elsewhere))


def test_without_models_nothing_is_added_beside_anything_else(tmp_path: Path) -> None:
    (tmp_path / "main.c").touch()
    told = collected(tmp_path, "--target", "esp32s3", "--hil-board", "virtual")
    assert "no tests collected" in told
    asked = collected(tmp_path, "--target", "esp32s3", "--hil-board", "virtual", "--hil-suites")
    assert "test_numerics" in asked


def test_in_an_empty_folder_the_suites_run_on_the_models_that_come_with_the_package(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").touch()
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    told = collected(tmp_path, "--target", "esp32s3", "--hil-board", "virtual")
    assert "test_the_device_answers_what_the_exact_reference_says[mnist-w8a8-esp32s3]" in told
    assert "no tests collected" in collected(tmp_path)


def test_the_wheel_has_the_suites_where_they_are_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["scikit-build"]["wheel"]["packages"]
    for name in ("suites", "golden", "firmware"):
        assert packages[f"esp_hil/{name}"] == name
    assert suites.folder() == ROOT / "suites"
    assert (ROOT / "suites" / "test_numerics.py").is_file()

"""A sample of `tox run -e proof-install`: what is in the wheel, and that an empty folder needs nothing else.

The wheel is made without its compiled module, which takes a compiler and minutes; that is lent from this environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from esp_hil import _device
from tests.conftest import ROOT
from tests.install.__main__ import copy_of_the_checkout

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("scikit_build_core") is None or not (ROOT / ".git").exists(),
    reason="needs scikit-build-core and a git checkout to make a wheel of (pip install 'scikit-build-core>=1,<2')",
)

# The import hook of an editable install would find the checkout instead of the wheel.
_SITE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "ScikitBuildRedirectingFinder"]
"""


def run(*words: str, cwd: Path, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HIL_", "IDF_"))}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=kept | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    checkout = copy_of_the_checkout(folder / "checkout")
    words = ("-q", "--no-deps", "--no-build-isolation", "-C", "wheel.cmake=false", "-w", str(folder))
    run("-m", "pip", "wheel", *words, str(checkout), cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder for PYTHONPATH with nothing but the wheel."""
    folder = wheel.parent / "installed"
    run("-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(wheel), cwd=wheel.parent)
    compiled = Path(_device.__file__)
    shutil.copyfile(compiled, folder / "esp_hil" / compiled.name)
    (folder / "sitecustomize.py").write_text(_SITE, encoding="utf-8")
    return folder


def test_the_wheel_has_what_a_board_needs_and_no_tests_of_ours(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "__init__.py",
        "py.typed",
        "_device.pyi",
        "targets.toml",
        "suites/test_numerics.py",
        "golden/mnist/model.toml",
        "golden/mnist/manifest.json",
        "firmware/CMakeLists.txt",
        "firmware/engines/espdl/idf_component.yml",
        "firmware/profiles/perf",
        "report/templates/report.html.j2",
    ):
        assert f"esp_hil/{name}" in files, name
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"esp_hil"}
    unwanted = ("esp_hil/firmware/tests/", "esp_hil/firmware/fuzz/", "esp_hil/firmware/bindings/", "tests/")
    assert [name for name in files if name.startswith(unwanted) or "__pycache__" in name] == []


def test_every_tracked_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    package = wheel.parent / "checkout" / "harness" / "esp_hil"
    missing = [
        name
        for path in package.rglob("*")
        if path.is_file() and (name := f"esp_hil/{path.relative_to(package).as_posix()}") not in files
    ]
    assert missing == []


def test_an_empty_folder_has_models_suites_and_firmware_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import json, esp_hil
from esp_hil.boards.build import firmware_folder
from esp_hil.models import catalogue
model = esp_hil.load_model("mnist")
print(json.dumps([esp_hil.__file__, str(model.artifact("w8a8", "esp32s3")), str(firmware_folder()), catalogue.names()]))
"""
    empty = tmp_path / "empty"
    empty.mkdir()
    cache = tmp_path / "cache"
    told = run("-c", code, cwd=empty, PYTHONPATH=str(installed), HIL_CACHE=str(cache))
    package, artifact, firmware, names = json.loads(told)
    assert Path(package).is_relative_to(installed)
    assert Path(artifact).is_relative_to(installed)
    assert Path(firmware).is_relative_to(cache)
    assert (Path(firmware) / "main" / "CMakeLists.txt").is_file()
    assert {"mnist", "gesture", "fashion", "cat_or_not"} <= set(names)


def test_pytest_in_an_empty_folder_collects_the_suites_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    words = ("--hil-suites", "--target", "esp32s3", "--hil-board", "virtual", "--hil-model", "mnist")
    told = run("-m", "pytest", "-q", "--collect-only", *words, cwd=tmp_path, PYTHONPATH=str(installed))
    collected = [line for line in told.splitlines() if "::" in line]
    assert any("test_numerics.py::" in line and "mnist" in line for line in collected)

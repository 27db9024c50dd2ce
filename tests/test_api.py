"""The front door: the names that other programs may build on, each loaded when it is asked for."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib

import pytest

import esp_hil
from tests.conftest import ROOT

SOURCE = (ROOT / "harness" / "esp_hil" / "__init__.py").read_text(encoding="utf-8")


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded beyond those of its own start."""
    told = "import sys, json; before = set(sys.modules); " + code
    told += "; print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout))


def test_import_esp_hil_loads_the_version_and_the_standard_library() -> None:
    loaded = loaded_by("import esp_hil")
    others = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert others == {"esp_hil"}
    assert {name for name in loaded if name.startswith("esp_hil")} == {
        "esp_hil",
        "esp_hil.errors",
        "esp_hil.settings",
    }


def test_a_light_name_loads_nothing_heavy() -> None:
    assert not loaded_by("import esp_hil; esp_hil.target('esp32s3'); esp_hil.HilError") & {
        "numpy",
        "pandas",
        "onnx",
    }


@pytest.mark.parametrize("name", esp_hil.__all__)
def test_each_name_resolves_to_what_type_checkers_see(name: str) -> None:
    seen: dict[str, tuple[str | None, str]] = {}
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.ImportFrom):
            seen |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    module, original = seen[name]
    found = getattr(esp_hil, name)
    assert found is getattr(sys.modules[str(module)], original)
    assert found.__doc__
    assert name in dir(esp_hil)


def test_no_name_hides_a_module_of_the_package() -> None:
    package = ROOT / "harness" / "esp_hil"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.name for path in package.iterdir() if path.is_dir()
    }
    assert modules.isdisjoint(esp_hil.__all__)


def test_another_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'esp_hil' has no attribute 'Modle'"):
        _ = esp_hil.Modle


def test_nothing_inside_the_package_comes_in_by_the_front_door() -> None:
    """It would load by name what it should import from its layer, where the layers can be checked."""
    names = {*esp_hil.__all__, "__version__"}
    guilty = [
        f"{path.relative_to(ROOT)}: {alias.name}"
        for path in (ROOT / "harness").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "esp_hil"
        for alias in node.names
        if alias.name in names
    ]
    assert guilty == []


def test_the_documented_api_is_the_api() -> None:
    text = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
    table = text.partition("## The Python API")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == sorted(esp_hil.__all__)


def test_the_version_is_the_package_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert esp_hil.__version__ == project["version"]

"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from hypothesis import settings

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "harness").rglob("*.py"))
# the processes in which esp-ppq works, and what only the training scripts import
TORCH = {
    "harness/esp_hil/goldens/esp_ppq_worker.py",
    "benchmarks/_quantized_executor.py",
    "harness/esp_hil/goldens/training.py",
}
HEAVY = (
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "serial",
    "torch",
    "esp_ppq",
    "rich",
    "jinja2",
    "pyarrow",
    "cbor2",
)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules() -> dict[str, Path]:
    """The package's modules by their dotted names."""
    found = {}
    for path in SOURCES:
        parts = path.relative_to(ROOT / "harness").with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The package's own modules that a file imports anywhere: at its top, in a function, for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno} imports by a relative name"
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= within & known.keys() or {str(node.module)}
    return found & known.keys()


def circle(imports: dict[str, set[str]]) -> list[str]:
    """One circle of modules that import each other, or []."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports in functions and for type checking count: a circle is one idea torn apart, whenever it is imported."""
    # the front door names everything, for type checkers; nothing inside comes in by it (tests/test_api.py)
    known = {name: path for name, path in modules().items() if name != "esp_hil"}
    assert circle({name: imported(path, known) - {name} for name, path in known.items()}) == []


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_report_imports_pandas_and_only_the_ports_import_pyserial(path: Path) -> None:
    name = relative(path)
    allowed = {
        "pandas": name.startswith("harness/esp_hil/report/") or name == "harness/esp_hil/results/frames.py",
        # the second: a port's other end, by pyserial's server half of RFC 2217
        "serial": name in {"harness/esp_hil/device/ports.py", "harness/esp_hil/micropython/virtual/usb.py"},
        "torch": name in TORCH,
        "esptool": False,  # GPL: run as a program
    }
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.append(node.module)
        for module in modules:
            assert allowed.get(module.split(".")[0], True), f"{name} imports {module}"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from esp_hil.cli import build_parser; build_parser().format_help();"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_the_plugin_loads_nothing_heavy_at_start() -> None:
    heavy = [module for module in HEAVY if module != "rich"]  # pytest plugins of others may load rich
    code = f"import sys, esp_hil.plugin; print([m for m in {heavy!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert loaded.stdout.strip() == "[]"


def test_no_property_test_fails_for_being_slow() -> None:
    assert settings().deadline is None
    own = re.compile(r"settings\([^)]*\bdeadline\s*=")
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != ROOT / "tests/conftest.py"]
    assert [relative(path) for path in tests if own.search(path.read_text(encoding="utf-8"))] == []


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing says which files are the project's")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_place_on_somebody_s_machine() -> None:
    machine = re.compile(rb"(?<![\w./-])/(?:home|root|work|Users)/\w")
    guilty = [
        relative(path)
        for path in tracked_files()
        if path.suffix
        in {".py", ".md", ".toml", ".ini", ".json", ".jsonl", ".cpp", ".h", ".txt", ".yml", ".cmake"}
        and machine.search(path.read_bytes())
    ]
    assert guilty == []


def test_no_tracked_file_is_larger_than_a_model_needs_to_be() -> None:
    large = [relative(path) for path in tracked_files() if path.stat().st_size > 2_000_000]
    assert large == []


def test_what_running_makes_is_not_tracked() -> None:
    """Results and databases that `.gitignore` names, and any database beside them."""
    ignored = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    listed = subprocess.run(ignored, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert listed.split() == []
    databases = {".sqlite", ".sqlite3", ".db"}
    assert [relative(path) for path in tracked_files() if path.suffix in databases] == []


# Names that are not ours to choose: ESP-DL's own MicroPython classes, which a virtual board has as well.
FOREIGN_NAMES = "harness/esp_hil/micropython/virtual/lib/"


MOST_LAYERS = 12
MOST_LOOSE = 10


def test_the_contract_has_few_layers_and_every_module_stands_in_one() -> None:
    """`lint-imports` keeps the contract; this keeps the contract from growing holes."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = tool["contracts"]
    assert contract["exhaustive"] is True
    assert contract["containers"] == ["esp_hil"]
    assert contract["exhaustive_ignores"] == ["_device"]
    assert contract["ignore_imports"] == ["esp_hil -> esp_hil.**"]
    assert len(contract["layers"]) <= MOST_LAYERS
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for layer in contract["layers"]:
        for name in re.findall(r"\w+", layer):
            assert re.search(rf"\b{name}\b", page), f"docs/ARCHITECTURE.md does not draw {name}"


def test_few_modules_lie_loose_on_the_top_floor() -> None:
    """The ground and the two doors, cli and plugin; everything else has a room."""
    package = ROOT / "harness" / "esp_hil"
    loose = {path.stem for path in package.glob("*.py")} - {"__init__", "cli", "plugin"}
    assert len(loose) <= MOST_LOOSE, sorted(loose)


def test_no_two_classes_of_the_package_have_the_same_name() -> None:
    """One meaning a word: who reads `Tensor` or `Session` knows which without looking at the imports."""
    where: dict[str, list[str]] = {}
    for path in SOURCES:
        if relative(path).startswith(FOREIGN_NAMES):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where.setdefault(node.name, []).append(f"{relative(path)}:{node.lineno}")
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


# Values in the making: each is filled in by one owner, and read when it is done.
FILLED_IN = {
    "device/replaying.py:Replayed",
    "device/rfc2217.py:Telnet",
    "goldens/from_onnx.py:_State",
    "micropython/faults.py:Findings",
    "results/regress/series.py:Series",  # frozen; without slots, because it remembers what it worked out
    "session/publishing.py:Publication",
    "session/run_builder.py:Attempt",
    "wire/calls.py:Statistics",
    "wire/transfer.py:_Flight",
}


def test_dataclasses_are_frozen_and_slotted_but_for_those_that_are_filled_in() -> None:
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            made = next((mark for mark in marks if mark.partition("(")[0].endswith("dataclass")), None)
            if made is not None and not ("frozen=True" in made and "slots=True" in made):
                found.add(f"{relative(path).removeprefix('harness/esp_hil/')}:{node.name}")
    assert found == FILLED_IN

"""Which tests a change meets, narrow ones first: a change that dies should die in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "harness/esp_hil"

# Beside the tests that mirror a module and those that import it: the ones that know it by what it does.
ALSO = {
    "wire/cobs": ("tests/test_native.py",),
    "wire/frame": ("tests/test_native.py", "tests/wire/test_session.py"),
    "wire/transfer": ("tests/wire/test_session.py",),
    "wire/transfers": (
        "tests/wire/test_session.py",
        "tests/device/test_device.py",
        "tests/wire/test_transfer.py",
    ),
    "wire": ("tests/device/test_device.py", "tests/test_native_server.py", "tests/virtual/test_engine.py"),
    "device": ("tests/device/test_device.py", "tests/virtual/test_virtual_board.py"),
    "verdict": ("tests/verdict/test_diverge.py", "tests/verdict/test_verdict.py"),
    "results/timing": (
        "tests/results/timing/test_instructions.py",
        "tests/results/timing/test_forecast.py",
        "tests/results/timing/test_predict.py",
    ),
    "results/regress": ("tests/results/regress/test_comparing.py",),
    "results": ("tests/results/test_record.py", "tests/results/test_frames.py"),
    "results/history": ("tests/results/history/test_store.py",),
    "exact/operators": (
        "tests/exact/test_vectors.py",
        "tests/exact/test_operators.py",
        "tests/exact/test_simd_kernels.py",
        "tests/exact/test_saturation.py",
    ),
}

EVERY = (
    "tests/test_house_rules.py::test_dataclasses_are_frozen_and_slotted_but_for_those_that_are_filled_in",
)
"""What every module meets."""

# What follows the tests of a module's own folder.
WIDER = {
    "wire": ("tests/device", "tests/virtual"),
    "device": ("tests/virtual", "tests/session/test_board_session.py", "tests/boards"),
    "verdict": ("tests/lint", "tests/commands", "tests/session/test_run_builder.py"),
    "results": (
        "tests/report",
        "tests/session/test_baseline.py",
        "tests/virtual/test_pace.py",
        "tests/commands",
    ),
    "exact": ("tests/lint", "tests/verdict", "tests/goldens", "tests/commands"),
}

CORE = (
    ("tests/test_native.py", "tests/test_native_server.py"),
    ("tests/wire", "tests/device", "tests/virtual"),
)
"""After the C++ tests, with a module made of the changed core."""


def stages(root: Path, file: str) -> Iterator[tuple[str, ...]]:
    """The tests that a change of a Python file meets, one step after the other; none twice."""
    parts = Path(file).relative_to(PACKAGE).with_suffix("").parts
    folders = [Path("tests", *parts[:-1]), *Path("tests", *parts[:-1]).parents]
    mirrored = [folder for folder in folders if len(folder.parts) > 1]
    own = [f"{folder}/test_{parts[-1]}.py" for folder in mirrored]
    keys = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
    also = [test for key in keys for test in ALSO.get(key, ())]
    layer = f"tests/{parts[0]}/"
    importing = [test for test in importers(root).get(".".join(parts), ()) if test.startswith(layer)]
    first = dict.fromkeys((*own, *importing, *EVERY, *also))
    yield tuple(test for test in first if (root / test.partition("::")[0]).is_file())
    yield tuple(str(folder) for folder in mirrored[-1:] if (root / folder).is_dir())
    yield tuple(test for test in WIDER[parts[0]] if (root / test).exists())


@cache
def importers(root: Path) -> dict[str, tuple[str, ...]]:
    """Module (dotted, within the package) -> the test files that import it."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for module, names in re.findall(r"^\s*from esp_hil\.([\w.]+) import (\([^)]*\)|.*)$", text, re.M):
            for name in ("", *re.findall(r"\w+", names)):
                found.setdefault(f"{module}.{name}".rstrip("."), []).append(path.relative_to(root).as_posix())
        for module in re.findall(r"^\s*import esp_hil\.([\w.]+)", text, re.M):
            found.setdefault(module, []).append(path.relative_to(root).as_posix())
    return {module: tuple(dict.fromkeys(tests)) for module, tests in found.items()}

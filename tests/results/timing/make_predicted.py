"""Makes predicted.json: what is predicted of this project's own models today, node by node.

    python -m tests.results.timing.make_predicted

A prediction should change on purpose only: with a number of a fit, a formula, a published figure. Whoever does so
remakes the file, and its diff shows by how much the predictions moved. These are no latencies of anything.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from esp_hil.models import catalogue
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.timing.errors_table import print_errors
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target
from tests.conftest import ROOT

FILE = Path(__file__).with_name("predicted.json")
PAGE = ROOT / "docs" / "predictions.md"
"""Its table is remade as well."""

CASES: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    ("mnist", "w8a8", "esp32p4", {}),
    ("mnist", "w8a8", "esp32s31", {}),
    ("mnist", "w8a8", "esp32c3", {}),
    ("mnist", "w8a8", "esp32", {"cores": 2}),
    ("mnist", "w8a8", "esp32s3", {"param_copy": False, "flash": "qio40"}),
    ("mnist", "w8a8", "esp32s3", {"psram": "none"}),
    ("mnist", "w8a8", "esp32p4", {"cores": 2, "clock_hz": 100_000_000, "optimize": "Os"}),
    ("gesture", "w8a8", "esp32s3", {}),
    ("gesture", "w16a16", "esp32s3", {"psram": "quad80", "cache_bytes": 32_768}),
    ("gesture", "mixed", "esp32p4", {"cache_bytes": 131_072}),
    ("gesture", "equalized", "esp32s3", {"cores": 2}),
    ("fashion", "int8", "esp32s3", {}),
    ("fashion", "int8", "esp32p4", {}),
    ("cat_or_not", "int8", "esp32s3", {"clock_hz": 80_000_000}),
    ("cat_or_not", "int8", "esp32", {}),
)


def file_of(model: str, recipe: str, chip: str) -> DeviceFile:
    """A device file of golden/."""
    found = catalogue.load(model)
    return open_device_file(found.artifact(recipe, target(chip).family_of(found.recipe(recipe).runtime)))


def predicted(model: str, recipe: str, chip: str, changes: dict[str, object]) -> dict[str, Any]:
    """Everything that a prediction says, in numbers."""
    found = forecast(file_of(model, recipe, chip), target(chip), setup=setup_of(target(chip), **changes))
    return {
        "ms": found.ms,
        "low_ms": found.low_ms,
        "high_ms": found.high_ms,
        "said": [found.summary, found.dominant, found.setup.summary, *found.reasons],
        "nodes": {
            f"{number} {node.op}": [
                node.instructions,
                node.bytes,
                node.compute_ms,
                node.weights_ms,
                node.activations_ms,
                node.cpp_ms,
                len(node.kernels),
                node.why,
            ]
            for number, node in enumerate(found.nodes)
        },
    }


def errors_table() -> list[str]:
    """The lines of `hil predict --error`."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        print_errors()
    return said.getvalue().splitlines()


def title(case: tuple[str, str, str, dict[str, object]]) -> str:
    """Of a case."""
    model, recipe, chip, changes = case
    return " ".join([model, recipe, chip, *(f"{name}={value}" for name, value in changes.items())])


def main() -> int:
    """Remake the file."""

    def short(value: object) -> object:
        return float(f"{value:.7g}") if isinstance(value, float) else value

    rows = []
    for case in CASES:
        said = predicted(*case)
        said["nodes"] = {name: [short(value) for value in row] for name, row in said["nodes"].items()}
        rows.append(f"{json.dumps(title(case))}: {json.dumps({k: short(v) for k, v in said.items()})}")
    lines = errors_table()
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("```text\n")
    PAGE.write_text(
        before + "```text\n" + "\n".join(lines[1:]) + "\n```" + rest.partition("```")[2], encoding="utf-8"
    )
    table = ",\n".join(json.dumps(line) for line in lines)
    FILE.write_text('{\n"errors": [\n' + table + "\n],\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"{len(rows)} predictions, {FILE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes executed.json: how many instructions ESP-DL's assembly took, for the models that a clean clone has.

    HIL_SHARED=... python -m tests.results.timing.make_executed

Case -> a row a node: [name, executed, farthest]: the instructions that were executed, and how far from it the formula
may lie, in thousandths rounded up. The second is what it came to when this was made: a formula may become better, and
only this script makes it worse. Cases are those of suites/operators and of this project's own networks.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.formats.espdl.shapes import propagate
from esp_hil.models.operators import case_of
from esp_hil.results.timing.instructions import kernel_calls
from tests.conftest import ROOT, shared_folder

FILE = Path(__file__).with_name("executed.json")

FORCED = ("_w_", "_shift0")
"""Cases with shifts that esp-ppq never exports: there the S3's kernels leave out their rounding."""


def cases(folder: Path) -> Iterator[tuple[str, EspdlModel, list[tuple[str, int]]]]:
    """Of the ground truth: the case's name, its model, and what each node took: (name, executed)."""
    for case in sorted((folder / "vectors" / "simd").iterdir()):
        path = case / "meta.json"
        if not path.is_file() or any(word in case.name for word in FORCED):
            continue
        meta = json.loads(path.read_text(encoding="utf-8"))
        name = meta.get("model") or meta.get("origin") or f"{case.name.split('zoo_')[-1]}.espdl"
        places = [case / "model.espdl", folder / "zoo" / meta["target"] / Path(name).name, ROOT / name]
        image = next((place for place in places if place.is_file()), None)
        if image is not None:
            yield case.name, read_espdl(image.read_bytes()), _executed(meta)


def _executed(meta: dict[str, object]) -> list[tuple[str, int]]:
    listed = meta.get("instructions") or meta["nodes"]
    assert isinstance(listed, list)
    if meta["target"] == "esp32s3":
        return [
            (row["node"], sum(row["instructions"][kind] for kind in ("vec", "scalar", "fpu")))
            for row in listed
        ]
    return [(row["name"], sum(kernel["n"] for kernel in row["kernels"].values())) for row in listed]


def by_formula(case: str, model: EspdlModel) -> dict[str, tuple[str, float]]:
    """Node -> its operator and the instructions that the formulas give it, of all nodes."""
    shapes, chip = propagate(model.graph), "s3" if case.startswith("s3") else "p4"
    return {
        node.name: (
            node.op_type,
            sum(made.instructions for made in kernel_calls(model.graph, node, shapes, chip)),
        )
        for node in model.graph.nodes
    }


def cloned(case: str) -> EspdlModel | None:
    """The model of a case, if a clean clone has it."""
    if "_proj_" in case:
        _, _, name, recipe = case.split("_", maxsplit=3)
        chip = "esp32s3" if case.startswith("s3") else "esp32p4"
        found = ROOT / "golden" / name / recipe / f"{chip}.espdl"
        return read_espdl(found.read_bytes()) if found.is_file() else None
    found_case = case_of("esp32s3" if case.startswith("s3") else "esp32p4", case)
    return read_espdl(found_case.image) if found_case is not None else None


def away(formula: float, executed: int) -> float:
    """How far a formula lies from what was executed, as a share of it."""
    return abs(formula / executed - 1) if executed else float(formula != 0)


def main() -> int:
    """Remake the file."""
    folder = shared_folder()
    if folder is None:
        print("no ground truth: set HIL_SHARED to a folder with vectors/simd", file=sys.stderr)
        return 1
    made = {}
    for case, _, executed in cases(folder):
        model = cloned(case)
        if model is None:
            continue
        formula = by_formula(case, model)
        made[case] = [
            [name, count, math.ceil(1000 * away(formula[name][1], count) - 1e-9)] for name, count in executed
        ]
    rows = ",\n".join(f"{json.dumps(case)}: {json.dumps(nodes)}" for case, nodes in made.items())
    FILE.write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")
    print(f"{len(made)} cases, {sum(map(len, made.values()))} nodes, {FILE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

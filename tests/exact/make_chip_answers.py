"""Makes the chips' answers of a clean clone: what ESP-DL answers with its own assembly to models of this project.

    HIL_SHARED=... python -m tests.exact.make_chip_answers

Takes cases of vectors/simd, exported by esp-ppq from graphs of this project, whose answers came from ESP-DL 3.3.9's
ESP32-S3 and ESP32-P4 assembly, executed instruction by instruction. Of every chip, width and set of operators the
smallest cases are kept, one run each, and every case that tells the chip from the portable kernels and is small
enough. All of them are chip_answers.npz: `<case>/model` (the .espdl's bytes), `<case>/in0__NAME`,
`<case>/out0__NAME` (integers in ESP-DL's layout) and `origin` (text).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import HilError
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import target
from esp_hil.tensors import Arrays
from tests.exact.simd_cases import not_truth, runs, simd_cases

FILE = Path(__file__).parent / "chip_answers.npz"
MOST_MODEL_BYTES = 7_500
EACH = 2
ORIGIN = (
    "ESP-DL 3.3.9 (12c0616d) with its own assembly for ESP32-S3 and ESP32-P4, executed instruction by instruction; "
    "models exported by esp-ppq 1.3.12 from random graphs of this project"
)


def main() -> int:
    """Remake the file."""
    found = [case for case in simd_cases() if (case / "model.espdl").is_file()]
    if not found:
        print("no ground truth: set HIL_SHARED to a folder with vectors/simd", file=sys.stderr)
        return 1
    doubted = not_truth(found[0].parent)
    kept: dict[tuple[str, ...], int] = {}
    arrays: dict[str, NDArray[np.generic]] = {"origin": np.array(ORIGIN)}
    for case in sorted(found, key=lambda path: (path / "model.espdl").stat().st_size):
        meta = json.loads((case / "meta.json").read_text(encoding="utf-8"))
        size = (case / "model.espdl").stat().st_size
        if case.name in doubted or size > MOST_MODEL_BYTES:
            continue
        model = read_espdl(case / "model.espdl")
        kind = (meta["target"], str(meta.get("bits")), *sorted({node.op_type for node in model.graph.nodes}))
        with np.load(case / "io.npz") as archive:
            chosen = next((run for run in runs(archive) if _tells(case, meta["target"], run)), None)
            if chosen is None and kept.get(kind, 0) >= EACH:
                continue
            _, given, wanted = chosen or next(iter(runs(archive)))
        kept[kind] = kept.get(kind, 0) + 1
        arrays[f"{case.name}/model"] = np.frombuffer((case / "model.espdl").read_bytes(), np.uint8)
        arrays |= {f"{case.name}/in0__{name}": values for name, values in given.items()}
        arrays |= {f"{case.name}/out0__{name}": values for name, values in wanted.items()}
    np.savez_compressed(FILE, **arrays)  # type: ignore[arg-type]
    print(f"{sum(kept.values())} cases, {FILE.stat().st_size} bytes")
    return 0


def _tells(case: Path, chip: str, run: tuple[int, Arrays, Arrays]) -> bool:
    """Whether the portable kernels answer otherwise."""
    _, given, wanted = run
    try:
        reference = ExactReference(
            read_espdl(case / "model.espdl"), target(chip).family, threads=1, kernels="portable"
        )
        answers = reference.run(given, tensors=list(wanted))
    except HilError:
        return False
    return any(not np.array_equal(answers[name], values, equal_nan=True) for name, values in wanted.items())


if __name__ == "__main__":
    sys.exit(main())

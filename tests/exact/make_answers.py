"""Makes the answers of a clean clone: what ESP-DL's own C++ answers to models that this project exported.

    HIL_SHARED=... python -m tests.exact.make_answers

Takes the cases of the ground truth that are small enough: the model as esp-ppq exported it from a graph of this
project, the first inputs, and the numbers that ESP-DL 3.3.9, compiled for a PC, gave for them. Each becomes
answers/<case>.npz: `model` (the .espdl's bytes), `in0__NAME`, `out0__NAME` (integers in ESP-DL's layout), and
`one_lsb` (0-d bool: the numbers hang on the last bit of float32 sums, which compilers order in their own ways).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.models.operators import read_cases
from tests.conftest import shared_folder

FOLDER = Path(__file__).parent / "answers"
MOST_BYTES = 16_000
"""Of a case: small ones of every operator say more than a network."""

ONE_LSB_OPERATORS = {"GRU", "LSTM", "LayerNormalization"}


def main() -> int:
    """Remake all answers."""
    shared = shared_folder()
    if shared is None:
        print("no ground truth: set HIL_SHARED to a folder with vectors/", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.npz"):
        old.unlink()
    elsewhere = {
        case.name for case in read_cases("c")
    }  # of the conformance suite: one set of models, one place
    for case in sorted(path.parent for path in shared.glob("vectors/ops/*/meta.json")):
        if case.name in elsewhere:
            continue
        meta = json.loads((case / "meta.json").read_text(encoding="utf-8"))
        arrays: dict[str, NDArray[np.generic]] = {
            "model": np.frombuffer((case / "model.espdl").read_bytes(), np.uint8),
            "one_lsb": np.array(meta["bits"] == 16 and bool(ONE_LSB_OPERATORS & set(meta["espdl_nodes"]))),
        }
        with np.load(case / "io.npz") as archive:
            arrays |= {key: archive[key] for key in archive.files if key.startswith(("in0__", "out0__"))}
        file = FOLDER / f"{case.name}.npz"
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        if file.stat().st_size > MOST_BYTES:
            file.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())

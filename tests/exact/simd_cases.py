"""Cases of what ESP-DL answers with its own ESP32-S3 and ESP32-P4 assembly, and how the reference agrees.

    python -m tests.exact.simd_cases [NAME_PART ...]

prints cases that differ, and how many of each operator agree.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import HilError
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import Family, target
from esp_hil.tensors import Array
from tests.conftest import ROOT, shared_folder

FLOAT_TOLERANCE = 1e-6
CHIPS: dict[str, Family] = {"s3": "esp32s3", "p4": "esp32p4", "p4x": "esp32p4"}
"""Family by the first part of a case's name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One tensor that is not as recorded; `worst` in LSB, None where only its checksum is recorded."""

    run: int
    tensor: str
    unequal: int
    worst: float | None

    def __str__(self) -> str:
        size = "its checksum" if self.worst is None else f"{self.unequal} elements, by up to {self.worst:g}"
        return f"run {self.run}, {self.tensor!r}: {size}"


@dataclass(slots=True)
class Outcome:
    """What a case gave: operators by tensor, differences, or why the reference refused it."""

    operators: dict[str, str]
    tensors: int = 0
    differences: list[Difference] = field(default_factory=list)
    refused: str = ""

    @property
    def agrees(self) -> bool:
        """Whether every recorded tensor came out."""
        return not self.differences and not self.refused

    def __str__(self) -> str:
        first = ", ".join(
            f"{difference} ({self.operators.get(difference.tensor, '?')})"
            for difference in self.differences[:4]
        )
        return self.refused or f"{len(self.differences)} of {self.tensors} tensors differ: {first}"


def simd_cases(part: int = 0, of: int = 1) -> list[Path]:
    """Folders of all recorded cases, or of every `of`th one."""
    shared = shared_folder()
    folder = shared / "vectors" / "simd" if shared else None
    if folder is None or not folder.is_dir():
        return []
    return sorted(path.parent for path in folder.glob("*/meta.json"))[part::of]


def not_truth(folder: Path) -> dict[str, str]:
    """Cases that are no truth, and the kind of doubt, as those say who recorded them."""
    listed: dict[str, str] = json.loads((folder / "not_truth.json").read_text(encoding="utf-8"))
    return listed


def model_path(case: Path, meta: dict[str, Any]) -> Path:
    """The case's own file, that of Espressif's zoo, or one of our golden models."""
    own = case / "model.espdl"
    if own.is_file():
        return own
    said = str(meta["model"])
    if said.startswith("golden/"):
        return ROOT / said
    return case.parents[2] / "zoo" / str(meta["target"]) / said


def runs(archive: Any) -> Iterator[tuple[int, dict[str, Array], dict[str, Array]]]:
    """Number, inputs and recorded tensors of each run of an io.npz."""
    keys = [key.split("__", 1) for key in archive.files]
    count = len({prefix for prefix, _ in keys if prefix.startswith("in")})
    for run in range(count):
        given = {name: archive[f"{p}__{name}"] for p, name in keys if p == f"in{run}"}
        yield (
            run,
            given,
            {name: archive[f"{p}__{name}"] for p, name in keys if p in (f"out{run}", f"mid{run}")},
        )


def judge(case: Path) -> Outcome:
    """Run a case with its family given and compare every recorded tensor and checksum."""
    meta = json.loads((case / "meta.json").read_text(encoding="utf-8"))
    model = read_espdl(model_path(case, meta))
    outcome = Outcome({name: node.op_type for node in model.graph.nodes for name in node.outputs})
    checksums = meta.get("nodes_crc") or (meta["nodes"] if _is_checksums(meta.get("nodes")) else [])
    try:
        reference = ExactReference(model, target(meta["target"]).family, threads=1)
        with np.load(case / "io.npz") as archive:
            for run, given, wanted in runs(archive):
                sums = checksums[run] if run < len(checksums) else []
                names = dict.fromkeys([*wanted, *(row[0] for row in sums)])
                answers = reference.run(given, tensors=list(names))
                _compare(outcome, run, answers, wanted)
                _compare_checksums(outcome, run, answers, [row for row in sums if row[0] not in wanted])
    except HilError as error:
        outcome.refused = f"{type(error).__name__}: {error}"
    return outcome


def _is_checksums(nodes: Any) -> bool:
    return bool(nodes) and isinstance(nodes[0], list)


def _compare(outcome: Outcome, run: int, answers: dict[str, Array], wanted: dict[str, Array]) -> None:
    for name, values in wanted.items():
        outcome.tensors += 1
        answer = answers[name]
        if (answer.dtype, answer.shape) != (values.dtype, values.shape):
            outcome.refused = f"{name!r} is {answer.dtype} {answer.shape}, not {values.dtype} {values.shape}"
            continue
        apart = np.abs(answer.astype(np.float64) - values.astype(np.float64))
        apart[(answer == values) | (np.isnan(answer) & np.isnan(values))] = 0
        wrong = ~(apart <= (FLOAT_TOLERANCE if values.dtype.kind == "f" else 0))
        if wrong.any():
            outcome.differences.append(Difference(run, name, int(wrong.sum()), float(apart.max())))


def _compare_checksums(outcome: Outcome, run: int, answers: dict[str, Array], rows: list[Any]) -> None:
    for name, dtype, _exponent, shape, checksum in rows:
        answer = answers[name]
        if answer.dtype.kind == "f":  # 1e-6 apart is no difference, and has another checksum
            continue
        outcome.tensors += 1
        same = (str(answer.dtype), list(answer.shape)) == (dtype, shape)
        if not same or zlib.crc32(np.ascontiguousarray(answer).tobytes()) != checksum:
            outcome.differences.append(Difference(run, name, 0, None))


def main(parts: list[str]) -> int:
    """Print what differs, the count by operator, and say whether all truth came out."""
    cases = [case for case in simd_cases() if not parts or any(part in case.name for part in parts)]
    doubted = not_truth(cases[0].parent) if cases else {}
    wrong: dict[str, Outcome] = {}
    seen: Counter[str] = Counter()
    agree: Counter[str] = Counter()
    for case in cases:
        outcome = judge(case)
        if not outcome.agrees:
            print(f"{case.name} [{doubted.get(case.name, 'TRUTH')}]: {outcome}", flush=True)
            wrong[case.name] = outcome
        for kind in set(outcome.operators.values()):
            seen[kind] += 1
            agree[kind] += outcome.agrees
    for kind, count in sorted(seen.items()):
        print(f"{kind:24} {agree[kind]:4} of {count:4}")
    truth = [name for name in wrong if name not in doubted]
    print(
        f"{len(cases) - len(wrong)} of {len(cases)} agree; {len(truth)} of {len(cases) - len(doubted)} that are truth "
        f"differ: {', '.join(truth) or 'none'}"
    )
    return 1 if truth else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Random graphs against esp-ppq's executor, every difference put down to a rule by which chips compute otherwise.

    python -m tests.exact.compare_graphs --count 500 [--first 0] [--work FOLDER]

Where an output differs, every tensor that esp-ppq knows is computed again from esp-ppq's own integers, so that one
difference does not hide another. A difference is explained by a rule if the reference, with that rule turned off, gives
esp-ppq's integers, all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import onnx
from numpy.typing import NDArray

from esp_hil.errors import HilError
from esp_hil.exact import ExactReference
from esp_hil.exact.arithmetic import round_array
from esp_hil.exact.reference import run_once
from esp_hil.exact.subgraph import activations_read, computed_infos, part_of
from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.targets import Family, rounding_of
from tests.conftest import ROOT
from tests.exact.random_graphs import CHANNELS, HEIGHT, WIDTH, RandomGraph

FAMILIES: tuple[Family, ...] = ("c", "esp32s3", "esp32p4")
RUNS = 3
Bits = Literal["w8a8", "w16a16"]


@dataclass(frozen=True, slots=True)
class Case:
    """One random graph: which, for which chips, in which integers."""

    seed: int
    family: Family
    bits: Bits

    @property
    def name(self) -> str:
        """For files and reports."""
        return f"{self.family}_{self.bits}_{self.seed}"


def cases(first: int, count: int) -> list[Case]:
    """`count` for each family, int8 and int16 in turn."""
    kinds: tuple[Bits, Bits] = ("w8a8", "w16a16")
    return [
        Case(seed, family, kinds[seed % 2]) for seed in range(first, first + count) for family in FAMILIES
    ]


def quantized(some: list[Case], folder: Path) -> None:
    """Write NAME.espdl and NAME.npz of every case, or NAME.refused, by one process of esp-ppq."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for case in some:
        base = folder / case.name
        if base.with_suffix(".npz").exists() or base.with_suffix(".refused").exists():
            continue
        onnx.save(RandomGraph(case.seed, resizes=case.bits == "w8a8").model(), base.with_suffix(".onnx"))
        random = np.random.default_rng(case.seed)
        scale = 2.0 ** random.integers(-3, 3)
        x = (random.normal(size=(RUNS, CHANNELS, HEIGHT, WIDTH)) * scale).astype(np.float32)
        np.savez(base.with_suffix(".floats.npz"), x=x)
        jobs.append(
            {
                "onnx": str(base.with_suffix(".onnx")),
                "floats": str(base.with_suffix(".floats.npz")),
                "target": case.family,
                "quant_type": case.bits,
                "espdl": str(base.with_suffix(".espdl")),
                "answers": str(base.with_suffix(".npz")),
            }
        )
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "tests.exact.ppq_worker", str(folder / "jobs.json")],
        env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        check=True,
        capture_output=True,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one case.

    Attributes:
        case: which.
        outcome: "equal", "explained", "unexplained" or "refused".
        rules: names of the rules that explain its differences.
        words: what differs without an explanation, or who refused the graph and why.
    """

    case: Case
    outcome: str
    rules: tuple[str, ...] = ()
    words: str = ""


def compared(case: Case, folder: Path) -> Verdict:
    """Our answers beside esp-ppq's."""
    base = folder / case.name
    if base.with_suffix(".refused").exists():
        return Verdict(case, "refused", (), "esp-ppq: " + base.with_suffix(".refused").read_text()[:200])
    model = read_espdl(base.with_suffix(".espdl"))
    try:
        reference = ExactReference(model, case.family, threads=1)
    except HilError as error:
        return Verdict(case, "refused", (), f"esp-hil: {error}")
    with np.load(base.with_suffix(".npz")) as archive:
        answers = {name: archive[name] for name in archive.files}
    runs = [_of_run(answers, run) for run in range(RUNS)]
    if all(_same(reference.run({"x": run["x"]}), run) for run in runs):
        return Verdict(case, "equal")
    rules: dict[str, None] = {}
    for run in runs:
        for words in _differences(case, model, run, rules):
            return Verdict(case, "unexplained", tuple(rules), words)
    if not rules:
        return Verdict(case, "unexplained", (), "the whole differs, no part of it does")
    return Verdict(case, "explained", tuple(rules))


def _of_run(answers: Mapping[str, NDArray[Any]], run: int) -> dict[str, NDArray[Any]]:
    """Every tensor of one run by its name."""
    prefixes = tuple(f"{kind}{run}__" for kind in ("in", "mid", "out"))
    return {name.split("__", 1)[1]: array for name, array in answers.items() if name.startswith(prefixes)}


def _same(ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]]) -> bool:
    return all(np.array_equal(value, theirs[name]) for name, value in ours.items())


def _differences(
    case: Case, model: EspdlModel, known: Mapping[str, NDArray[Any]], rules: dict[str, None]
) -> Iterator[str]:
    """Tensors that differ from their own inputs on and that no rule explains; `rules` gathers those that do."""
    infos = computed_infos(model, case.family)
    for stop, node in enumerate(model.graph.nodes, 1):
        name = node.outputs[0]
        if name not in known:
            continue
        start = _start(model, stop, known)
        part = part_of(model, start, stop, infos=infos, outputs=[name])
        inputs = {value.name: known[value.name] for value in part.graph.inputs}
        ours = run_once(part, case.family, inputs, "chip")[name]
        if np.array_equal(ours, known[name]):
            continue
        found = _Difference(case, part, inputs, ours, known[name])
        rule = next((rule for rule, explains in RULES.items() if explains(found)), "")
        if rule:
            rules[rule] = None
        else:
            apart = np.abs(ours.astype(np.int64) - known[name].astype(np.int64))
            kinds = "+".join(part_node.op_type for part_node in part.graph.nodes)
            yield f"{kinds} -> {name}: {int((apart > 0).sum())} of {apart.size} differ by up to {int(apart.max())}"


def _start(model: EspdlModel, stop: int, known: Mapping[str, NDArray[Any]]) -> int:
    """The last node from which everything up to `stop` is made of tensors that esp-ppq knows."""
    for start in range(stop - 1, -1, -1):
        nodes = model.graph.nodes[start:stop]
        made = {name for node in nodes for name in node.outputs}
        read = {name for node in nodes for name in activations_read(model.graph, node)}
        if (read - made) <= known.keys():
            return start
    raise AssertionError("the graph's inputs are known")


@dataclass(frozen=True, slots=True)
class _Difference:
    """A part of a graph that answers otherwise than esp-ppq does for the same inputs."""

    case: Case
    part: EspdlModel
    inputs: Mapping[str, NDArray[Any]]
    ours: NDArray[Any]
    theirs: NDArray[Any]


@contextmanager
def _wide_accumulators() -> Iterator[None]:
    with (
        patch("esp_hil.exact.operators.conv.accumulators_of", return_value=None),
        patch("esp_hil.exact.operators.gemm.accumulators_of", return_value=None),
    ):
        yield


def _rounded_once() -> AbstractContextManager[object]:
    return patch("esp_hil.exact.operators.arith._multiplies_integers", return_value=True)


def _gone_without(switch: Callable[[], AbstractContextManager[object]]) -> Callable[[_Difference], bool]:
    """Whether the reference gives esp-ppq's integers once something that only chips do is switched off."""

    def explains(found: _Difference) -> bool:
        with switch():
            (other,) = run_once(found.part, found.case.family, found.inputs, "chip").values()
        return np.array_equal(other, found.theirs)

    return explains


def _moved(found: _Difference) -> bool:
    """Whether nodes that ESP-DL takes for copies were given another exponent, to which esp-ppq rescales."""
    if not {node.op_type for node in found.part.graph.nodes} <= _COPIES or len(found.inputs) != 1:
        return False
    given = found.part.graph.inputs[0].exponents[0]
    return given != _exponent_of(found) and _are_theirs(found, np.ldexp(found.ours.astype(np.float64), given))


def _added_as_they_are(found: _Difference) -> bool:
    """Whether integers of different exponents were added or subtracted; esp-ppq first puts both on the output grid."""
    if (operands := _operands(found, {"Add", "Sub"})) is None:
        return False
    first, second = (np.ldexp(_on_grid(found, real), _exponent_of(found)) for real in operands)
    adds = found.part.graph.nodes[0].op_type == "Add"
    return _are_theirs(found, first + second if adds else first - second)


def _quotient_of_32_bits(found: _Difference) -> bool:
    """Whether a quotient lies so near a tie that float32 rounds it the other way; int16 is float64 in esp-ppq here."""
    if (operands := _operands(found, {"Div"})) is None or not np.all(operands[1]):
        return False
    apart = np.abs(found.ours.astype(np.int64) - found.theirs.astype(np.int64))
    return int(apart.max()) == 1 and _are_theirs(found, operands[0] / operands[1])


def _operands(found: _Difference, of: Set[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What the two operands of the part's only node stand for; None if it is another one."""
    graph = found.part.graph
    if len(graph.nodes) != 1 or graph.nodes[0].op_type not in of:
        return None
    exponents = {value.name: value.exponents[0] for value in graph.inputs}
    exponents |= {name: tensor.exponents[0] for name, tensor in graph.initializers.items()}
    held = {**{name: tensor.data for name, tensor in graph.initializers.items()}, **found.inputs}
    first, second = (
        np.ldexp(held[name].astype(np.float64), exponents[name]) for name in graph.nodes[0].inputs[:2]
    )
    return first, second


def _exponent_of(found: _Difference) -> int:
    return found.part.graph.outputs[0].exponents[0]


def _are_theirs(found: _Difference, real: NDArray[np.float64]) -> bool:
    """Whether real values, put on the output's grid, are esp-ppq's integers."""
    return np.array_equal(_on_grid(found, real), found.theirs)


def _on_grid(found: _Difference, real: NDArray[np.float64]) -> NDArray[np.float64]:
    limits = np.iinfo(found.theirs.dtype)
    rounded = round_array(np.ldexp(real, -_exponent_of(found)), rounding_of(found.case.family))
    on_grid: NDArray[np.float64] = np.clip(rounded, limits.min, limits.max)
    return on_grid


_COPIES = frozenset(
    ["InsertZeros", "Pad", "Slice", "Split", "Transpose", "Reshape", "Flatten", "DepthToSpace", "MaxPool"]
)

RULES: dict[str, Callable[[_Difference], bool]] = {
    "accumulators saturate (simd.md D2, D3, D4; espdl.md 1: 20 bits on the S3)": _gone_without(
        _wide_accumulators
    ),
    "products of short runs and of portable kernels are rounded to float32 first (simd.md D1)": _gone_without(
        _rounded_once
    ),
    "copies do not rescale (espdl.md 4.1): esp-ppq gave the output an exponent of its own": _moved,
    "sums do not rescale (dl_base_add.cpp:35): esp-ppq gave the operands different exponents": _added_as_they_are,
    "quotients are float32 (espdl.md, dl_base_div.cpp), and int16 is float64 in esp-ppq here": _quotient_of_32_bits,
}
"""What chips do and esp-ppq's executor does not, and whether that is why one part of a graph differs."""


def main(argv: list[str]) -> int:
    """Compare many graphs; 1 if a difference has no explanation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="graphs for each family (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--work", type=Path, default=Path("build/random_graphs"), help="folder for files")
    args = parser.parse_args(argv)
    outcomes: Counter[tuple[str, str, str]] = Counter()
    rules: Counter[str] = Counter()
    some = cases(args.first, args.count)
    for start in range(0, len(some), 50):
        quantized(some[start : start + 50], args.work)
        for case in some[start : start + 50]:
            verdict = compared(case, args.work)
            outcomes[case.family, case.bits, verdict.outcome] += 1
            rules.update(verdict.rules)
            if verdict.outcome in ("unexplained", "refused"):
                print(f"{case.name}: {verdict.outcome}: {verdict.words}", flush=True)
    for (family, bits, outcome), count in sorted(outcomes.items()):
        print(f"{family} {bits}: {count} {outcome}")
    for rule, count in rules.most_common():
        print(f"{count} graphs: {rule}")
    return int(any(outcome == "unexplained" for _, _, outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Ground truth: what ESP-DL's own C++ answers, and what a clean clone has of it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.exact import ExactReference, Kernels
from esp_hil.exact.filters import has_old_name
from esp_hil.exact.registry import operator_names, operator_of
from esp_hil.formats.espdl import Node, read_espdl
from esp_hil.models.operators import OperatorCase, read_cases
from esp_hil.targets import Family
from tests.conftest import shared_folder

OWN = Path(__file__).parent / "vectors"
ANSWERS = Path(__file__).parent / "answers"
PORTABLE = [case for case in read_cases("c") if case.origin == "portable"]
# written out by hand in test_operators.py, or compared with onnxruntime on random graphs; nothing of ESP-DL's
NOT_ANSWERED = {"streaming"}
NOT_ANSWERED_OPERATORS = {
    "DequantizeLinear",
    "Gelu",
    "Identity",
    "Less",
    "Log",
    "LogSoftmax",
    "Pow",
    "RMSNormalization",
    "ReduceL1",
    "ReduceLogSumExp",
    "ReverseSequence",
    "ScatterND",
    "Sqrt",
    "StreamingCache",
    "Unsqueeze",
}
FAMILIES: dict[str, Family] = {"c": "c", "p4": "esp32p4", "s3": "esp32s3"}
FLOAT_TOLERANCE = 1e-6
# int16: these round float32 sums whose last bits depend on the C library (notes of the ground truth)
ONE_LSB_OPERATORS = {"GRU", "LSTM", "LayerNormalization"}


def cases(folder: Path | None) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder and folder.is_dir() else []


def truth(*parts: str) -> list[Any]:
    """Cases of the shared ground truth, or one that is skipped with the reason."""
    folder = shared_folder()
    found = cases(folder.joinpath("vectors", *parts)) if folder else []
    reason = "no ground truth: set HIL_SHARED to a folder with vectors/"
    return [pytest.param(path, id=path.name) for path in found] or [
        pytest.param(None, marks=pytest.mark.skip(reason=reason))
    ]


def runs(archive: Any, case: str) -> Iterator[tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]]:
    """Inputs and wanted tensors of each run of an io.npz."""
    keys = [key.split("__", 1) for key in archive.files if "__" in key]
    count = len({prefix for prefix, _ in keys if prefix.startswith("in")})
    assert count, f"{case} has no inputs"
    for run in range(count):
        given = {name: archive[f"{prefix}__{name}"] for prefix, name in keys if prefix == f"in{run}"}
        wanted = {name: archive[f"{p}__{name}"] for p, name in keys if p in (f"out{run}", f"mid{run}")}
        yield given, wanted


def check(case: Path, family: Family, *, one_lsb: bool) -> None:
    with np.load(case / "io.npz") as archive:
        check_archive(case / "model.espdl", archive, family, one_lsb=one_lsb)


def check_archive(source: Path | bytes, archive: Any, family: Family, *, one_lsb: bool) -> None:
    # the ground truth is ESP-DL compiled for a PC: its portable kernels
    model = read_espdl(source)
    reference = ExactReference(model, family, threads=1, kernels="portable")
    # and `hil exact` says of every node, once, why it is exact
    assert sorted(proof.node for proof in reference.proofs) == sorted(node.name for node in model.graph.nodes)
    for given, wanted in runs(archive, str(source)[:80]):
        answers = reference.run(given, tensors=list(wanted))
        for name, values in wanted.items():
            answer = answers[name]
            assert (answer.dtype, answer.shape) == (values.dtype, values.shape), name
            if values.dtype.kind == "f":
                assert np.abs(answer - values).max(initial=0) <= FLOAT_TOLERANCE, name
            else:
                lsb = np.abs(answer.astype(np.int64) - values.astype(np.int64)).max(initial=0)
                assert lsb <= (1 if one_lsb else 0), name


@pytest.mark.parametrize("case", [pytest.param(path, id=path.name) for path in cases(OWN)])
def test_own_vectors_come_out_as_esp_ppq_computed_them(case: Path) -> None:
    check(case, FAMILIES[case.name.split("_")[0]], one_lsb=False)


@pytest.mark.parametrize("case", [pytest.param(path, id=path.stem) for path in sorted(ANSWERS.glob("*.npz"))])
def test_small_operators_come_out_as_esp_dl_computed_them_in_a_clean_clone(case: Path) -> None:
    with np.load(case) as archive:
        family = FAMILIES[case.name.split("_")[0]]
        check_archive(archive["model"].tobytes(), archive, family, one_lsb=bool(archive["one_lsb"]))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in PORTABLE])
def test_operators_of_the_conformance_suite_come_out_as_esp_dl_computed_them(case: OperatorCase) -> None:
    archive = {f"in0__{name}": values for name, values in case.inputs.items()}
    archive |= {f"out0__{name}": values for name, values in case.expected.items()}
    check_archive(case.image, _Archive(archive), "c", one_lsb=case.tolerance_lsb == 1)


class _Archive(dict[str, NDArray[Any]]):
    """Arrays as numpy.load gives them."""

    @property
    def files(self) -> list[str]:
        return list(self)


def test_a_clean_clone_has_an_answer_for_every_family_of_operators() -> None:
    models = [read_espdl(case / "model.espdl") for case in cases(OWN)]
    for path in ANSWERS.glob("*.npz"):
        with np.load(path) as archive:
            models.append(read_espdl(archive["model"].tobytes()))
    models += [read_espdl(case.image) for case in PORTABLE]
    answered = {node.op_type for model in models for node in model.graph.nodes}
    families: dict[str, set[str]] = {}
    for name in operator_names():
        op = Node(name="n", op_type=name, inputs=(), outputs=(), attributes={})
        families.setdefault(operator_of(op).lower.__module__.rsplit(".", 1)[-1], set()).add(name)
    assert {family for family, names in families.items() if not names & answered} == NOT_ANSWERED
    assert set().union(*families.values()) - answered == NOT_ANSWERED_OPERATORS


@pytest.mark.parametrize("case", truth("ops"))
def test_operators_come_out_as_esp_dl_computed_them(case: Path) -> None:
    meta = json.loads((case / "meta.json").read_text(encoding="utf-8"))
    one_lsb = meta["bits"] == 16 and bool(ONE_LSB_OPERATORS & set(meta["espdl_nodes"]))
    check(case, FAMILIES[meta["name"].split("_")[0]], one_lsb=one_lsb)


@pytest.mark.parametrize("case", truth("zoo", "esp32p4") + truth("zoo", "esp32s3"))
def test_every_tensor_of_espressif_s_zoo_has_the_right_checksum(case: Path) -> None:
    meta = json.loads((case / "meta.json").read_text(encoding="utf-8"))
    model = read_espdl(case.parents[3] / "zoo" / case.parent.name / meta["model"])
    family: Family = meta["target"]
    reference = ExactReference(model, family, threads=1, kernels="portable")
    with np.load(case / "io.npz") as archive:
        for (given, wanted), nodes in zip(runs(archive, case.name), meta["nodes"], strict=True):
            answers = reference.run(given, tensors=[node[0] for node in nodes] + list(wanted))
            for name, dtype, _, shape, checksum in nodes:
                answer = answers[name]
                assert (str(answer.dtype), list(answer.shape)) == (dtype, shape), name
                assert zlib.crc32(np.ascontiguousarray(answer).tobytes()) == checksum, name
            for name, values in wanted.items():
                assert np.array_equal(answers[name], values), name


@pytest.mark.parametrize("family", ["esp32s3", "esp32p4"])
def test_the_answers_that_espressif_stored_under_kernels_are_those_of_the_chips(
    shared: Path, family: Family
) -> None:
    """ESP-DL compiled for a PC does not reproduce them: its portable kernels do not read blocks."""
    model = read_espdl(shared / "zoo" / family / "tutorial.espdl")
    assert any(has_old_name(tensor) for tensor in model.graph.initializers.values())
    shapes = {value.name: value.shape for value in model.graph.inputs}
    given = {name: tensor.data.reshape(shapes[name]) for name, tensor in model.graph.test_inputs.items()}
    stored = model.graph.test_outputs
    readings: tuple[tuple[Kernels, bool], ...] = (("chip", True), ("portable", False))
    for kernels, right in readings:
        answers = ExactReference(model, family, threads=1, kernels=kernels).run(given)
        assert all(np.array_equal(answers[n].ravel(), stored[n].data.ravel()) for n in stored) is right

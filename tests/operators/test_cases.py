"""The conformance suite's cases: all operators, both ends of the range, files that are what they say."""

from __future__ import annotations

import os

import numpy as np
import pytest

from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.models.operators import ORIGINS, OperatorCase, read_cases, write_cases
from esp_hil.targets import FAMILIES, Family
from tests.operators.make_cases import bits_of, ends_of, subject
from tests.operators.own_models import FUNCTIONS, GENERAL, own_models, saturating_models

WIDTHS = {"S8": 8, "S16": 16}
EVERY = 1 if os.environ.get("HIL_PROOF") else 6
# their results cannot lie there: above 0, within the divisor, between -1 and 1, or of an integer that has a partner
_FROM_ZERO = (
    "Clip",
    "Exp",
    "HardSigmoid",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "Relu",
    "Sigmoid",
    "Sqrt",
)
NEVER_LOWEST = {*_FROM_ZERO, "GRU", "Gelu", "HardSwish", "LSTM", "Mod", "Neg", "PRelu", "Swish"}
NEVER_HIGHEST = {"Div", "GRU", "LSTM"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_that_esp_dl_registers_has_a_case_in_each_of_its_widths(family: Family) -> None:
    have = {(case.operator, case.bits) for case in read_cases(family)}
    wanted = {
        (name, bits)
        for name, row in REGISTERED.items()
        for kind, bits in WIDTHS.items()
        if kind in row.quant_types
    }
    assert wanted <= have, f"no case of {sorted(wanted - have)}"
    assert {name for name, _ in have} <= set(REGISTERED)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_kernel_that_loses_an_end_of_the_range_cannot_hide(family: Family) -> None:
    reached: dict[tuple[str, int], set[str]] = {}
    for case in read_cases(family):
        if case.bits != 32 and any(values.dtype.kind == "i" for values in case.expected.values()):
            reached.setdefault((case.operator, case.bits), set()).update(ends_of(case))
    lost = {
        (operator, bits, end)
        for (operator, bits), found in reached.items()
        for end, never in (("low", NEVER_LOWEST), ("high", NEVER_HIGHEST))
        if end not in found and operator not in never
    }
    assert not lost


@pytest.mark.parametrize("family", FAMILIES)
def test_a_case_is_what_its_file_says(family: Family) -> None:
    names = [case.name for case in read_cases(family)]
    assert len(names) == len(set(names))
    for case in read_cases(family):
        file = case.file
        given = {tensor.name: (tensor.dtype, tensor.shape) for tensor in file.inputs}
        made = {tensor.name: (tensor.dtype, tensor.shape) for tensor in file.outputs}
        assert {n: (v.dtype.name, v.shape) for n, v in case.inputs.items()} == given, case.name
        assert {n: (v.dtype.name, v.shape) for n, v in case.expected.items()} == made, case.name
        model = read_espdl(case.image)
        node = subject(model)
        assert node is not None
        assert (node.op_type, bits_of(node, model)) == (case.operator, case.bits)
        assert case.origin in ORIGINS
        assert bool(case.why) == bool(case.tolerance_lsb or case.tolerance_abs)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_our_reference_are_still_its_answers_and_none_is_uncertain(family: Family) -> None:
    cases = [case for case in read_cases(family) if case.origin == "reference"][::EVERY]
    assert cases
    for case in cases:
        reference = ExactReference(read_espdl(case.image), family, threads=1)
        answers = reference.run(case.inputs)
        assert reference.doubts == (), case.name
        for name, values in case.expected.items():
            assert np.array_equal(answers[name], values, equal_nan=True), case.name


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_ours_come_from_the_script_byte_for_byte(family: Family) -> None:
    made = {name: image for name, image, _ in (*own_models(family, {}), *saturating_models(family))}
    own = [case for case in read_cases(family) if case.origin == "reference"]
    assert own
    for case in own:
        assert case.image == made[case.name.removesuffix("_columns")], case.name


def test_every_operator_has_a_general_model_of_ours_where_no_answer_was_recorded() -> None:
    assert set(REGISTERED) == set(GENERAL) | set(FUNCTIONS)


def test_what_was_written_is_read(tmp_path: object) -> None:
    from pathlib import Path

    from esp_hil.models import operators

    assert isinstance(tmp_path, Path)
    some = [*read_cases("c")[:3], *read_cases("c")[-3:]]
    write_cases(tmp_path / "c.npz", some)
    twice = tmp_path / "again.npz"
    write_cases(twice, some)
    assert twice.read_bytes() == (tmp_path / "c.npz").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "folder", lambda: tmp_path)
        again: tuple[OperatorCase, ...] = operators.read_cases.__wrapped__("c")
    for before, after in zip(some, again, strict=True):
        assert (before.name, before.image, before.what, before.why) == (
            after.name,
            after.image,
            after.what,
            after.why,
        )
        for name, values in before.expected.items():
            assert after.expected[name].dtype == values.dtype
            assert np.array_equal(after.expected[name], values, equal_nan=True)

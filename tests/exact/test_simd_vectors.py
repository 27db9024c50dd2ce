"""What ESP-DL answers with its own ESP32-S3 and ESP32-P4 assembly: every tensor bit for bit.

A sample here; all of it by `tox run -e proof-simd`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.models.operators import OperatorCase, folder, read_cases
from esp_hil.targets import Family
from tests.exact.simd_cases import CHIPS as FAMILIES
from tests.exact.simd_cases import FLOAT_TOLERANCE, judge, not_truth, simd_cases

SAMPLED = 9
CHIPS: tuple[Family, ...] = ("esp32s3", "esp32p4")


def sampled() -> list[Any]:
    every = 1 if os.environ.get("HIL_PROOF") else SAMPLED
    found = [path for path in simd_cases() if path.name not in not_truth(path.parent)][::every]
    reason = "no ground truth: set HIL_SHARED to a folder with vectors/simd"
    return [pytest.param(path, id=path.name) for path in found] or [
        pytest.param(None, marks=pytest.mark.skip(reason=reason))
    ]


@pytest.mark.parametrize("case", sampled())
def test_the_reference_answers_as_the_chip(case: Path) -> None:
    outcome = judge(case)
    assert outcome.agrees, str(outcome)
    assert outcome.tensors


CLONED = [case for chip in CHIPS for case in read_cases(chip) if case.origin == "assembly"]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CLONED])
def test_the_reference_answers_as_the_chip_in_a_clean_clone(case: OperatorCase) -> None:
    model = read_espdl(case.image)
    answers = ExactReference(model, FAMILIES[case.name.split("_", maxsplit=1)[0]], threads=1).run(
        case.inputs, tensors=list(case.expected)
    )
    for name, values in case.expected.items():
        assert (answers[name].dtype, answers[name].shape) == (values.dtype, values.shape), name
        tolerance = FLOAT_TOLERANCE if values.dtype.kind == "f" else 0
        assert np.allclose(answers[name], values, rtol=0, atol=tolerance, equal_nan=True), name


def test_the_clean_clone_has_both_chips_both_widths_and_all_committed_answers_are_small() -> None:
    kinds = {tuple(case.name.split("_")[:2]) for case in CLONED}
    assert {(chip, bits) for chip in ("s3", "p4") for bits in ("s8", "s16")} <= kinds
    here = Path(__file__).parent
    committed = [*folder().glob("*.npz"), *(here / "vectors").rglob("*.*"), *(here / "answers").iterdir()]
    assert sum(path.stat().st_size for path in committed if path.is_file()) <= 2_000_000

"""What ESP-DL answers with its own ESP32-S3 and ESP32-P4 assembly: every tensor bit for bit.

A sample here; all of it by `tox run -e proof-simd`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.exact.simd_cases import judge, not_truth, simd_cases

SAMPLED = 9


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

"""Random graphs of two to eight operators against esp-ppq's executor; `tox run -e proof-graphs` takes 1,500."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.exact.compare_graphs import Case, cases, compared, quantized

TELLING = [Case(seed, "esp32s3", "w16a16") for seed in (195, 253, 261)]
"""Sums of operands with different exponents, a float32 quotient beside a tie, a chain of copies."""

SOME = [*cases(0, int(os.environ.get("HIL_RANDOM_GRAPHS", "4"))), *TELLING]

needs_ppq = pytest.mark.skipif(
    find_spec("esp_ppq") is None or find_spec("torch") is None,
    reason="no esp-ppq: pip install 'esp-hil[quantize]'",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With every case's files, all made by one process of esp-ppq."""
    made = tmp_path_factory.mktemp("random_graphs")
    quantized(SOME, made)
    return made


@pytest.mark.quantize
@needs_ppq
@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
def test_a_random_graph_comes_out_as_esp_ppq_computed_it_or_differs_by_a_rule(
    folder: Path, case: Case
) -> None:
    verdict = compared(case, folder)
    if verdict.outcome == "refused":
        pytest.skip(verdict.words)
    assert verdict.outcome in ("equal", "explained"), verdict.words

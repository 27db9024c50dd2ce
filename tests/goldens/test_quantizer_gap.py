"""What `hil new` says of a model whose integers are not the quantizer's, and what it allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.goldens.litert import LiteRt
from esp_hil.goldens.new_inputs import GivenInputs
from esp_hil.goldens.new_model import Wish, create
from esp_hil.goldens.quantizer_gap import ExactAnswers, gap_of
from esp_hil.goldens.references import DeviceFileReference, LiteRtReference
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.verdict.difference import IntegerDiff, compare_answers
from tests.conftest import ROOT


def classifier() -> bytes:
    """As MLPerf Tiny's keyword spotting ends: FULLY_CONNECTED in int8, then SOFTMAX, which enlarges what it rounds."""
    from tests.formats.tflite.graphs import Graphs

    file, random = Graphs(), np.random.default_rng(3)
    main = file.graph("main")
    x = main.tensor("x", (1, 8), "INT8", quantized=(0.05, 3))
    weights = random.integers(-127, 128, (12, 8)).astype(np.int8)
    w = main.tensor("w", (12, 8), "INT8", weights, quantized=(0.0031, 0))
    b = main.tensor("b", (12,), "INT32", np.zeros(12, "<i4"), quantized=(0.05 * 0.0031, 0))
    logits = main.tensor("logits", (1, 12), "INT8", quantized=(0.25, 14))
    main.operator("FULLY_CONNECTED", [x, w, b], [logits], "FullyConnectedOptions")
    scores = main.tensor("scores", (1, 12), "INT8", quantized=(1 / 256, -128))
    main.operator("SOFTMAX", [logits], [scores], "SoftmaxOptions", beta=1.0)
    main.ends([x], [scores])
    return file.image()


@pytest.fixture
def made(tmp_path: Path) -> tuple[Model, list[str]]:
    """A model made of it, and what was said."""
    for package in ("tflite_micro", "ai_edge_litert"):
        pytest.importorskip(package, reason="pip install 'esp-hil[tflm]'")
    (tmp_path / "net.tflite").write_bytes(classifier())
    values = np.random.default_rng(0).integers(-128, 128, (300, 8)).astype(np.int8)
    np.savez(tmp_path / "net.npz", x=values)
    said: list[str] = []
    wish = Wish(name="mine", files=(tmp_path / "net.tflite",), given=GivenInputs(npz=tmp_path / "net.npz"))
    create(wish, tmp_path / "golden", said.append)
    return catalogue.load("mine", (tmp_path / "golden",)), said


def worst(model: Model) -> int:
    golden = model.golden()
    exact = DeviceFileReference(model, "given", "tflm").run(golden.arrays)["scores"]
    diff = compare_answers(exact.values, LiteRtReference(model, "given").run(golden.arrays)["scores"].values)
    assert isinstance(diff, IntegerDiff)
    return diff.max_lsb


def test_a_tflite_is_allowed_what_its_rounding_explains_and_no_more(made: tuple[Model, list[str]]) -> None:
    model, said = made
    assert worst(model) > 1
    assert model.tolerance.exact_vs_quantized_lsb == worst(model)
    assert "FULLY_CONNECTED (#0): TFLM rounds" in model.tolerance.reason
    assert "SOFTMAX" not in model.tolerance.reason
    assert any("exact is not what the quantizer believed: output scores" in line for line in said)
    assert any(f"model.toml allows {worst(model)} LSB" in line for line in said)


def answered(model: Model, recipe: str, family: Any) -> ExactAnswers:
    reference = DeviceFileReference(model, recipe, family)
    golden = model.golden()
    answers, whole = reference.run_whole(golden.arrays, golden.starts)
    return ExactAnswers(recipe=recipe, family=family, reference=reference, answers=answers, whole=whole)


def test_what_no_rule_explains_stays_an_error() -> None:
    """A Conv net of eight bits: the executor is known to be exact there, so a difference is nobody's rounding."""
    model = catalogue.load("mnist", (ROOT / "golden",))
    exact = answered(model, "w8a8", "c")
    assert gap_of(model, model.golden(), exact) is None
    (name, right), *_ = exact.answers.items()
    wrong = right.values.copy()
    wrong[2, 3] += 1
    gap = gap_of(model, model.golden(), replace(exact, answers={name: replace(right, values=wrong)}))
    assert gap is not None
    assert (gap.lsb, gap.reason) == (1, "")
    assert "1 of" in gap.words


def test_the_operator_is_found_in_which_the_kernels_part_not_the_one_that_shows_it(
    made: tuple[Model, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT's SOFTMAX made wrong: then it is named as well."""
    model, _ = made
    true = LiteRt.run

    def wrong(self: LiteRt, inputs: Any, starts: Any = None) -> Any:
        answers = true(self, inputs, starts)
        return [a - 5 for a in answers] if self.model.operators[0].name == "SOFTMAX" else answers

    monkeypatch.setattr(LiteRt, "run", wrong)
    gap = gap_of(model, model.golden(), answered(model, "given", "tflm"))
    assert gap is not None
    assert "SOFTMAX (#1): TFLM's kernel answers otherwise" in gap.reason

"""Does the device compute the right numbers?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from esp_hil.session.session import Measured


def test_the_device_answers_what_the_exact_reference_says(hil_measured: Measured) -> None:
    """The port: integer for integer, on every golden input."""
    if not hil_measured.verdict.ok:
        pytest.fail(hil_measured.story, pytrace=False)


def test_the_exact_reference_answers_what_the_quantizer_believed(hil_measured: Measured) -> None:
    """The quantizer's honesty: what it predicted is what the chip must answer."""
    recipe = hil_measured.model.recipe(hil_measured.run.recipe)
    if hil_measured.verdict.honest is None and recipe.given:
        pytest.skip("the device file was given: there is no quantizer's belief beside it")
    if hil_measured.verdict.honest is None:
        pytest.skip("no answers of the quantizer for these inputs: hil golden build makes them")
    worst = hil_measured.verdict.worst_quantized_lsb
    if worst > hil_measured.model.tolerance_of(hil_measured.run.recipe).exact_vs_quantized_lsb:
        pytest.fail(hil_measured.verdict.text(), pytrace=False)


@pytest.mark.usefixtures("right_answers")
def test_every_output_is_as_good_as_the_model_asks(hil_measured: Measured) -> None:
    """The gates of model.toml: the device against the float model and against what is expected, by meaning."""
    verdict, model = hil_measured.verdict, hil_measured.model
    asked = [gate for output in model.outputs for gate in output.gates]
    asked += model.pipeline.gates if model.pipeline else ()
    known = {(one.output, one.against, one.name) for one in verdict.measures if one.limit is not None}
    if not asked:
        pytest.skip(
            "nothing is asked of its outputs: [outputs.against_float] and against_expected of model.toml can"
        )
    if not known:
        pytest.skip(
            "no float model, labels or expected answers to hold the outputs against: gates not checked"
        )
    if verdict.missed:
        wrong = [
            f"output {one.output}: {one.title} is {one.words}, the model asks for {one.asked}"
            for one in verdict.missed
        ]
        pytest.fail("\n".join([*wrong, verdict.text()]), pytrace=False)

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
    if hil_measured.verdict.honest is None:
        pytest.skip("no answers of the quantizer for these inputs: hil golden build makes them")
    worst = hil_measured.verdict.worst_quantized_lsb
    if worst > hil_measured.model.tolerance_of(hil_measured.run.recipe).exact_vs_quantized_lsb:
        pytest.fail(hil_measured.verdict.text(), pytrace=False)


@pytest.mark.usefixtures("right_answers")
def test_quantization_costs_no_more_than_the_model_allows(hil_measured: Measured) -> None:
    """The price of quantization: top-1 agreement with the float model, and accuracy over the labels."""
    verdict, least = hil_measured.verdict, hil_measured.model.thresholds
    agreement = verdict.agreements.get("device/float")
    accuracy = verdict.accuracies.get("device")
    if agreement is None and accuracy is None:
        pytest.skip("the model's outputs are not class scores: there is no top-1")
    wrong = [
        f"{name} {share.summary}, the model asks for at least {limit:.1%}"
        for name, share, limit in (
            ("top-1 agreement with float", agreement, least.top1_agreement),
            ("accuracy", accuracy, least.accuracy),
        )
        if share is not None and share.share < limit
    ]
    if wrong:
        pytest.fail("\n".join([*wrong, verdict.text()]), pytrace=False)

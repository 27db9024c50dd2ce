"""Panics in the middle of calls: a few here, every call with `tox run -e proof-panics`."""

from __future__ import annotations

import os

import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError
from esp_hil.micropython.virtual import missing
from tests.micropython.prove_panics import CLASSES, TRANSPORTS, Case, cases, outcomes

SAMPLE = {
    ("FaceDetector()", "memory"),
    ("FaceRecognizer.enroll", "pointer"),
    ("jpeg.Decoder.decode", "memory"),
    ("CatDetector(model=99).run", "not in the image"),
    ("COCODetector()", "2 MB of PSRAM"),
    ("upload of 900 kB", "reset button"),
}


def in_sample(case: Case) -> bool:
    return (case.name, case.kind) in SAMPLE


def test_every_class_and_both_kinds_of_panic_are_among_the_cases() -> None:
    made = list(cases())
    names = {case.name for case in made}
    assert {f"{name}()" for name in CLASSES} | {f"{name}.run" for name in CLASSES} <= names
    planted = [case for case in made if case.operation not in {"", "button"}]
    for name in {case.name for case in planted}:
        assert {case.kind for case in planted if case.name == name} == {"pointer", "memory"}, name
    assert sum(map(in_sample, made)) == len(SAMPLE)


@pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_next_call_after_a_panic_is_answered(transport: str) -> None:
    try:
        zoo = tasks.zoo_folder(None)
    except ConfigError as error:
        pytest.skip(f"no weights: {error}")
    wanted = (lambda _: True) if os.environ.get("HIL_PROOF") else in_sample
    found = list(outcomes(zoo, transport, wanted))
    if not found or any("has no" in one.error for one in found):
        pytest.skip("the zoo has not the weights that this needs")
    assert [f"{one.case.name}: {one.error}" for one in found if not one.noticed] == []

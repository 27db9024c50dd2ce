"""Each rule finds its hazard, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import InputError
from esp_hil.lint import RULES, Finding, Subject, lint_file, run_rules
from esp_hil.models.operators import read_cases
from esp_hil.targets import FAMILIES, target
from tests.exact.test_vectors import ANSWERS
from tests.formats.espdl.examples import tiny_graph
from tests.lint.builders import on_file
from tests.lint.cases import CASES

FLAT = [(name, *case) for name, cases in CASES.items() for case in cases]
IDS = [f"{name}-{index}" for name, cases in CASES.items() for index in range(len(cases))]


def _of(rule: str, subject: Subject) -> list[Finding]:
    return [finding for finding in run_rules(subject) if finding.rule == rule]


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize(("rule", "bad", "says", "good"), FLAT, ids=IDS)
def test_rule_finds_its_hazard(rule: str, bad: Subject, says: str, good: Subject) -> None:
    del good
    found = _of(rule, bad)
    assert any(says in finding.why for finding in found), [finding.why for finding in found]
    assert all(finding.todo for finding in found)


@pytest.mark.parametrize(("rule", "bad", "says", "good"), FLAT, ids=IDS)
def test_rule_is_silent_without_its_hazard(rule: str, bad: Subject, says: str, good: Subject) -> None:
    del bad, says
    assert _of(rule, good) == []


def test_errors_come_first() -> None:
    severities = [finding.severity for finding in run_rules(CASES["prelu"][0][0])]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert set(severities) >= {"error", "warning"}


def test_data_for_an_unknown_input_are_refused() -> None:
    with pytest.raises(InputError, match="no input 'q'"):
        run_rules(on_file(tiny_graph(), inputs={"q": np.zeros(4)}))


# What is known to be wrong with files of the ground truth (facts: notes in their meta.json).
KNOWN_ERRORS = {
    ("c_s8_skip_from_graph_input", "two-exponents-of-input"),
    ("c_s16_prelu", "prelu"),
}

# Of the chips' cases, which were recorded to show what their kernels do wrong; no other rule may speak there.
KNOWN_OF_CHIPS = {
    "bias-40-bits",
    "native-matmul",
    "prelu",
    "passive-on-input",
    "float-node",
}


def test_models_that_answer_as_esp_dl_does_have_no_errors_in_a_clean_clone(tmp_path: Path) -> None:
    """The committed models whose answers are known: no false alarm, and the known errors are found."""
    found, count = set(), 0
    for name, image in _cloned():
        path = tmp_path / f"{name}.espdl"
        path.write_bytes(image)
        report = lint_file(path, target=target(_chip(name)))
        count += 1
        found |= {(name, finding.rule) for finding in report.findings if finding.severity == "error"}
    assert count >= 250
    portable = {(case, rule) for case, rule in found if case.startswith("c_")}
    assert portable == KNOWN_ERRORS
    assert {(case, rule) for case, rule in found - portable if rule not in KNOWN_OF_CHIPS} == set()
    assert {rule for _, rule in found - portable} == KNOWN_OF_CHIPS


def _cloned() -> Iterator[tuple[str, bytes]]:
    for path in sorted(ANSWERS.glob("*.npz")):
        with np.load(path) as archive:
            yield path.stem, archive["model"].tobytes()
    for family in FAMILIES:
        for case in read_cases(family):
            if case.origin != "reference":
                yield case.name, case.image


def test_ground_truth_has_no_errors_but_the_known_ones(shared: Path) -> None:
    """Cases of ESP-DL that answer as esp-ppq says, and models that Espressif ships: no false alarm."""
    found = set()
    for path in sorted(shared.glob("vectors/ops/*/model.espdl")):
        report = lint_file(path, target=target(_chip(path.parent.name)))
        found |= {
            (path.parent.name, finding.rule) for finding in report.findings if finding.severity == "error"
        }
    assert found == KNOWN_ERRORS
    for path in sorted(shared.glob("zoo/esp32*/*.espdl")):
        assert lint_file(path, target=target(path.parent.name)).passed, path


def _chip(case: str) -> str:
    return {"c_": "esp32", "p4": "esp32p4", "s3": "esp32s3"}[case[:2]]

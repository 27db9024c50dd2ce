"""`hil bench divergence`: what it counts as found, and the page that it writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks import divergence
from benchmarks.divergence import Outcome, Planted, faults_for, of_catalogue, search, write
from esp_hil.cli import main
from esp_hil.errors import ConfigError
from esp_hil.virtual.faults import NodeFault


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    network = of_catalogue("mnist", "esp32p4")
    return [search(network, planted) for planted in faults_for(network)]


def test_each_kind_of_fault_is_planted_once_and_found(outcomes: list[Outcome]) -> None:
    kinds = [outcome.planted.kind for outcome in outcomes]
    assert kinds == ["rounding", "shift", "layout", "parameter", "saturation", "padding"]
    assert all(outcome.right for outcome in outcomes)
    assert all(outcome.requests <= outcome.budget == 6 for outcome in outcomes)


@pytest.mark.parametrize(
    "change", [{"found": "/fc2/Gemm"}, {"kind": "unknown"}, {"certain": False}, {"requests": 7}]
)
def test_what_is_not_found_or_not_named_is_not_right(
    outcomes: list[Outcome], change: dict[str, object]
) -> None:
    assert not dataclasses.replace(outcomes[0], **change).right  # type: ignore[arg-type]


def test_a_fault_that_reaches_no_output_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "INPUTS", 1)
    harmless = NodeFault(node="/conv1/Conv", fault="accumulator", amount=30)
    planted = Planted(title="none", kind="saturation", node="/conv1/Conv", fault=harmless)
    with pytest.raises(ConfigError, match="reaches no output"):
        search(of_catalogue("mnist", "c"), planted)


def test_the_page_has_a_row_for_each_fault(outcomes: list[Outcome], tmp_path: Path) -> None:
    missed = dataclasses.replace(outcomes[0], found="", requests=6)
    text = write([*outcomes, missed], tmp_path / "page.md").read_text(encoding="utf-8")
    assert "6 of 7 faults were found" in text
    assert text.count("| mnist | 8 |") == 7
    assert "| nowhere | 6 | 6 |" in text
    with pytest.raises(ConfigError, match="cannot write"):
        write(outcomes, tmp_path)


def test_an_unknown_family_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "divergence", "--family", "esp32x9"]) != 0
    assert "unknown family 'esp32x9'" in capsys.readouterr().err

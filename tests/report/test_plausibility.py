"""A known model stands beside what others published for its chip, and a simulated latency is not judged by it."""

from __future__ import annotations

import dataclasses

from esp_hil.report.cards import card_of
from esp_hil.report.view import line_of
from esp_hil.results.record import Run
from esp_hil.results.timing.published import published_of
from tests.report.samples import sample_run


def told(run: Run) -> dict[str, str]:
    """What the run's card says of its plausibility."""
    return dict(dict(card_of(1, line_of(run)).facts).get("Plausibility", ()))


def known(**changes: object) -> Run:
    """A run of MNIST as it is published."""
    (first, *_) = published_of("mnist", "esp32p4", "espdl", 4_241_152)
    return dataclasses.replace(sample_run(median_ms=first.latency_ms), macs=first.macs, **changes)  # type: ignore[arg-type]


def test_a_known_model_is_held_against_its_published_figures_with_their_sources() -> None:
    said = told(known())
    assert "ms (" in said["published"]
    assert "this run" in said["published"]
    assert said["source 1"]
    assert said["prediction"].startswith("predicted ")


def test_a_run_far_from_all_published_figures_says_how_far() -> None:
    cycles = tuple(10 * count for count in known().cycles)
    assert "times as long as the slowest" in told(known(cycles=cycles))["published"]


def test_another_model_of_that_name_has_no_published_figures() -> None:
    assert "published" not in told(dataclasses.replace(known(), macs=1_000))


def test_a_simulated_latency_is_not_judged() -> None:
    said = told(known(kind="virtual"))
    assert "this run" not in said["published"]

"""Recipes beside each other: which are compared, and which are on the front."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from esp_hil.counters import MODEL_FLASH
from esp_hil.report import write_reports
from esp_hil.report.tradeoff import front_of, signal_to_noise_db, tradeoffs
from esp_hil.results.provenance import INPUTS
from esp_hil.results.record import Run
from tests.report.samples import sample_run, sample_verdict


def recipe(
    name: str, *, flash: int, median_ms: float, wrong: int = 0, kind: str = "silicon", model: str = "mnist"
) -> Run:
    """A recipe whose device has so many wrong scores of a thousand: the more, the lower its top-1."""
    return sample_run(
        kind=kind,
        model=model,
        recipe=name,
        median_ms=median_ms,
        verdict=sample_verdict(wrong=wrong),
        predicted={MODEL_FLASH: (flash, "bytes")},
    )


RUNS = [
    recipe("w8a8", flash=70_000, median_ms=2.0, wrong=300),
    recipe("w16a16", flash=110_000, median_ms=5.0),
    recipe("worse", flash=120_000, median_ms=6.0, wrong=300),
]


def test_a_point_is_on_the_front_unless_another_is_as_good_and_cheaper_or_as_cheap_and_better() -> None:
    assert front_of([1, 2, 3], [10, 20, 30]) == [0, 1, 2]
    assert front_of([1, 2, 3], [10, 10, 30]) == [0, 2]
    assert front_of([3, 1, 1], [30, 10, 20]) == [2, 0]
    assert front_of([1, 1], [5, 5]) == [0, 1], "equal points are both on it"


def test_recipes_of_one_model_and_chip_stand_in_one_table() -> None:
    other = recipe("w8a8", flash=1, median_ms=1, model="fashion")
    (trade,) = tradeoffs([*RUNS, other])
    assert trade.title == "mnist on esp32p4"
    assert [row.recipe for row in trade.rows] == ["w8a8", "w16a16", "worse"]
    assert [row.front for row in trade.rows] == [True, True, False]
    assert trade.rows[1].bytes == "110,000"
    assert trade.rows[1].accuracies[0].startswith("100.00 % (96.3..100.0)")
    assert [panel.title for panel in trade.panels] == ["top-1 over model file", "top-1 over latency"]
    assert trade.panels[0].ends == ("68.4 KiB", "117.2 KiB")


def test_where_all_have_the_same_top1_the_noise_is_drawn() -> None:
    runs = [recipe("a", flash=1000, median_ms=1), recipe("b", flash=2000, median_ms=1)]
    (trade,) = tradeoffs(runs)
    assert {panel.title.split(" over ")[0] for panel in trade.panels} == {"signal to noise"}
    found = signal_to_noise_db(sample_verdict())
    assert found is not None
    assert trade.rows[0].noise == f"{found:.1f} dB"
    (dots,) = ([dot.names for dot in panel.dots] for panel in trade.panels if "model file" in panel.title)
    assert sorted(dots) == ["1", "2"]


def test_recipes_in_the_same_place_share_a_dot() -> None:
    runs = [
        recipe("a", flash=1000, median_ms=1),
        recipe("b", flash=1000, median_ms=2),
        recipe("c", flash=2000, median_ms=2),
    ]
    (trade,) = tradeoffs(runs)
    assert [dot.names for dot in trade.panels[0].dots] == ["1, 2", "3"]
    assert trade.panels[0].dots[0].summary.startswith("a; b: ")


def test_other_inputs_make_another_table_and_it_says_which() -> None:
    moved = []
    for run in RUNS:
        source = dataclasses.replace(
            run.provenance, golden_sha256="ab" * 32, tools={INPUTS: "344 test images of hands.npz"}
        )
        moved.append(dataclasses.replace(run, provenance=source))
    tables = tradeoffs([*RUNS, *moved])
    assert [table.inputs for table in tables] == ["100 golden inputs", "344 test images of hands.npz"]


def test_broken_runs_and_single_recipes_make_no_table() -> None:
    assert tradeoffs(RUNS[:1]) == []
    broken = dataclasses.replace(RUNS[1], verdict=None)
    assert tradeoffs([RUNS[0], broken]) == []


@pytest.mark.parametrize("kind", ["silicon", "virtual"])
def test_page_and_markdown_show_the_table_and_mark_what_is_simulated(tmp_path: Path, kind: str) -> None:
    runs = [
        recipe("w8a8", flash=70_000, median_ms=2.0, wrong=300, kind=kind),
        recipe("w16a16", flash=110_000, median_ms=5.0, kind=kind),
    ]
    write_reports(runs, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    told = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert '<div class="dots"><svg class="plot"' in page
    assert "top-1 over latency" in page
    assert "### mnist on esp32p4: recipes, 100 golden inputs" in told
    table = told.split("### mnist on esp32p4: recipes")[1]
    assert ("SIM" in table) == (kind == "virtual")


def test_simulated_latency_puts_no_recipe_on_the_front() -> None:
    runs = [
        recipe("small", flash=1000, median_ms=9, kind="virtual"),
        recipe("fast", flash=2000, median_ms=1, kind="virtual"),
    ]
    assert [row.front for row in tradeoffs(runs)[0].rows] == [True, False]
    chips = [recipe("small", flash=1000, median_ms=9), recipe("fast", flash=2000, median_ms=1)]
    assert [row.front for row in tradeoffs(chips)[0].rows] == [True, True]

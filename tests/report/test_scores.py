"""Scores of shown inputs on the page: raw numbers and shares as bars, and MLPerf Tiny's figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from esp_hil.report import write_reports
from esp_hil.report.cards import card_of
from esp_hil.report.mlperf import mlperf_rows
from esp_hil.report.view import line_of
from esp_hil.results.record import ClassScore, Run, ShownInput
from tests.report.samples import sample_run


def shown(*scores: tuple[str, float | None, float], chosen: str, label: str = "seven") -> ShownInput:
    return ShownInput(
        input="drawn 7",
        label=label,
        scores=tuple(
            ClassScore(
                label=name,
                raw=raw,
                real=None if raw is None else raw / 4,
                share=share,
                chosen=name == chosen,
            )
            for name, raw, share in scores
        ),
    )


LOGITS = shown(("one", -60.0, 0.01), ("seven", 100.0, 0.99), ("nine", 20.0, 0.0), chosen="seven")


def test_raw_bars_reach_from_the_lowest_to_the_highest_number_and_shares_from_nothing_to_all() -> None:
    (found,) = card_of(1, line_of(sample_run(shown=(LOGITS,)))).scores
    assert found.right
    assert [row.raw_bar for row in found.rows] == [0.0, 100.0, 50.0]
    assert [row.share for row in found.rows] == [1.0, 99.0, 0.0]
    assert [row.real for row in found.rows] == ["-15", "25", "5"]


def test_a_class_without_a_number_of_its_own_has_a_share_only() -> None:
    sigmoid = shown(("cat", None, 0.75), ("not", -64.0, 0.25), chosen="cat", label="not")
    (found,) = card_of(1, line_of(sample_run(shown=(sigmoid,)))).scores
    assert found.right is False
    assert (found.rows[0].raw, found.rows[0].raw_bar, found.rows[0].share) == ("", 0.0, 75.0)


def test_the_page_draws_both_bars_and_says_where_the_class_is_another(tmp_path: Path) -> None:
    wrong = dataclasses.replace(LOGITS, label="<one>")
    write_reports([sample_run(shown=(wrong,))], tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<i class="raw"') == 3
    assert "another class" in page
    assert "label &lt;one&gt;" in page


def test_shown_inputs_survive_the_row() -> None:
    run = sample_run(shown=(LOGITS,))
    assert Run.from_json(run.to_json()) == run


def test_a_benchmark_stands_beside_what_others_published_for_that_chip() -> None:
    counters = {
        "mlperf_window_s": (10.0, "s"),
        "mlperf_median_per_s": (30.5, "1/s"),
        "mlperf_quality": (0.91, ""),
        "mlperf_quality_target": (0.9, ""),
    }
    kws = sample_run(
        model="mlperf-tiny-kws", target_name="esp32s3", runtime="tflm", macs=2_656_768, counters=counters
    )
    (row,) = mlperf_rows([sample_run(), kws])
    assert (row.run, row.benchmark, row.per_second, row.quality, row.least) == (
        2, "kws", "30.50", "91.0 %", "90.0 %",
    )  # fmt: skip
    assert row.published.startswith("27.1")
    other = dataclasses.replace(kws, macs=5_000_000)
    assert mlperf_rows([other])[0].published == "", "another network of that name"

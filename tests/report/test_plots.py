"""Plots: shapes where the figures say, within their box, whatever the figures."""

from __future__ import annotations

import re
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.report.plots import LogAxis, latency_row, lsb_bins, lsb_histogram, repetitions
from esp_hil.results.timing.latency import statistics
from esp_hil.verdict.difference import compare_integers

CLOCK_HZ = 1_000_000


@given(st.lists(st.lists(st.integers(1, 10**11), min_size=1, max_size=9), min_size=1, max_size=6))
def test_every_latency_is_on_the_axis_and_ticks_are_few_and_inside(series: list[list[int]]) -> None:
    latencies = [statistics(cycles, CLOCK_HZ) for cycles in series]
    axis = LogAxis.over(latencies)
    for latency in latencies:
        for ms in (latency.min_ms, latency.median_ms, latency.max_ms):
            assert 0 <= axis.place(ms) <= 100
        xml.fromstring(latency_row(latency, axis, simulated=False))
    assert axis.ticks() or axis.high_ms / axis.low_ms < 2
    assert len(axis.ticks()) <= max(7, np.log10(axis.high_ms / axis.low_ms) + 1)
    assert all(0 <= axis.place(tick) <= 100 for tick in axis.ticks())


def test_ticks_are_round() -> None:
    assert LogAxis(low_ms=2.0, high_ms=52.0).ticks() == (2, 5, 10, 20, 50)
    assert LogAxis(low_ms=0.9, high_ms=12_000.0).ticks() == (1, 10, 100, 1000, 10_000)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=300))
def test_the_histogram_of_repetitions_holds_each_of_them(cycles: list[int]) -> None:
    svg = xml.fromstring(repetitions(cycles, simulated=False))
    heights = [float(bar.get("height", 0)) for bar in svg]
    assert max(heights) == 56
    assert all(0 < height <= 56 for height in heights)


def test_the_error_histogram_has_a_bar_for_each_difference_there_is() -> None:
    expected = np.zeros((4, 5), np.int8)
    got = expected.copy()
    got[0, 0], got[1, 1], got[1, 2], got[2, 2], got[3, 3] = 1, -3, -3, 17, -128
    diff = compare_integers(got, expected)
    bins = dict(lsb_bins(diff))
    assert (bins["0"], bins["+1"], bins["-3"], bins["> +16"], bins["< -16"]) == (15, 1, 2, 1, 1)
    svg = xml.fromstring(lsb_histogram(diff))
    bars = [bar.get("class") for bar in svg if bar.tag == "rect"]
    assert sorted(map(str, bars)) == ["right", "wrong", "wrong", "wrong", "wrong"]


@pytest.mark.parametrize("reach", [0, 1, 16])
def test_without_overflow_there_are_no_overflow_bars(reach: int) -> None:
    got = np.array([[reach, 0]], np.int8)
    labels = [label for label, _ in lsb_bins(compare_integers(got, np.zeros_like(got)))]
    assert labels[0] == f"-{max(8, reach)}"
    assert labels[-1] == f"+{max(8, reach)}"


def test_plots_hold_no_text_and_no_colours_of_their_own() -> None:
    diff = compare_integers(np.ones((2, 2), np.int8), np.zeros((2, 2), np.int8))
    latency = statistics([1, 2, 3], CLOCK_HZ)
    for svg in (
        lsb_histogram(diff),
        repetitions([1, 2, 3], simulated=True),
        latency_row(latency, LogAxis.over([latency]), simulated=True),
    ):
        assert not re.search(r"<text|fill=|stroke=|style=", svg)

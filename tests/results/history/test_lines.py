"""Figures over time: one line for each thing, with its steps in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from esp_hil.results.history import lines_of
from esp_hil.results.record import Run
from tests.report.samples import failed_run, sample_run


def nights(count: int, slower_from: int, **changes: Any) -> list[Run]:
    """A run a night, 5 % slower from one night on."""
    rng = np.random.default_rng(1)
    return [
        dataclasses.replace(
            sample_run(
                median_ms=2.5 * (1.05 if day >= slower_from else 1.0) * (1 + 0.002 * rng.standard_normal())
            ),
            run_id=str(day),
            started_utc=f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T02:00:00Z",
            provenance=dataclasses.replace(sample_run().provenance, git_sha=f"{day:040d}"),
            **changes,
        )
        for day in range(count)
    ]


def test_a_slower_night_is_a_step_with_its_date_and_commit() -> None:
    (line,) = lines_of(nights(40, 25), ["latency_ms"])
    (step,) = line.steps
    assert step.at == 25
    assert line.worse(step) is True
    words = line.summary(step)
    assert words.startswith("mnist w8a8 espdl on esp32p4 @ esp32p4-a: latency_ms worse: 2.5")
    assert "(+5.0 %)" in words or "(+4.9 %)" in words or "(+5.1 %)" in words
    assert "on 2026-01-26 since 0000000000" in words


def test_boards_kinds_and_models_have_lines_of_their_own() -> None:
    runs = (
        nights(5, 9) + nights(5, 9, board="other") + nights(5, 9, kind="virtual") + nights(5, 9, model="kws")
    )
    lines = lines_of(runs, ["latency_ms"])
    assert len(lines) == 4
    assert {len(line.points) for line in lines} == {5}


def test_what_was_changed_between_two_nights_is_noted() -> None:
    runs = nights(12, 6)
    for number in range(6, 12):
        device = runs[number].device
        assert device is not None
        runs[number] = dataclasses.replace(
            runs[number], device=dataclasses.replace(device, engine_version="3.4.0")
        )
    (line,) = lines_of(runs, ["latency_ms"])
    assert [point.note for point in line.points][5:8] == ["", "espdl 3.3.9 -> 3.4.0", ""]
    assert "(espdl 3.3.9 -> 3.4.0)" in line.summary(line.steps[0])


def test_failed_repeated_and_invalid_rows_have_no_points() -> None:
    good = nights(3, 9)
    others = [
        failed_run(),
        dataclasses.replace(good[0], attempt=2),
        dataclasses.replace(good[0], cycles=(10**6,) * 3),
    ]
    (line,) = lines_of(good + others, ["latency_ms"])
    assert len(line.points) == 3
    arenas = lines_of(good + others, ["arena_bytes"])
    assert [len(line.points) for line in arenas] == [4]  # the rules of measuring are about time


def test_all_gated_figures_are_lines_by_default() -> None:
    names = {line.metric for line in lines_of(nights(2, 9))}
    assert {"latency_ms", "top1_device_pct", "arena_bytes", "link_errors"} <= names

"""Figures over time as the page draws them: a line, its levels, and its steps in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esp_hil.report.plots import Svg
from esp_hil.report.view import MARKS, milliseconds
from esp_hil.results.history import HistoryLine
from esp_hil.results.history.lines import Point
from esp_hil.results.text import clean

HEIGHT = 96
MOST_LINES = 60
"""Lines drawn; those with steps for the worse come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One line of history.

    Attributes:
        title: what was measured where.
        mark: of MARKS.
        model: for the page's filter.
        board: likewise.
        svg: points, levels and steps; shapes only.
        first: date and value of the first point.
        last: likewise of the last.
        steps: each step in words, with whether it was for the worse.
    """

    title: str
    mark: str
    model: str
    board: str
    svg: Svg
    first: str
    last: str
    steps: Sequence[tuple[str, str]]


def timelines(lines: Sequence[HistoryLine]) -> list[Timeline]:
    """The lines worth drawing: those that ever changed, the ones that got worse first."""
    moved = [line for line in lines if len({point.value for point in line.points}) > 1]
    ranked = sorted(moved, key=lambda line: (not _worse(line), not line.steps, line.title))
    return [_timeline(line) for line in ranked[:MOST_LINES]]


def _worse(line: HistoryLine) -> bool:
    return any(line.worse(step) for step in line.steps)


def _timeline(line: HistoryLine) -> Timeline:
    looks = {True: "worse", False: "better", None: "other"}
    return Timeline(
        title=clean(line.title),
        mark=MARKS[line.kind],
        model=clean(line.identity.model),
        board=clean(line.board),
        svg=_svg(line),
        first=_end(line, line.points[0]),
        last=_end(line, line.points[-1]),
        steps=[(looks[line.worse(step)], clean(line.summary(step))) for step in line.steps],
    )


def _end(line: HistoryLine, point: Point) -> str:
    value = (
        milliseconds(point.value)
        if line.unit == "ms" and point.value > 0
        else f"{point.value:.5g} {line.unit}"
    )
    return clean(f"{point.started_utc[:10]}  {value.strip()}")


def _svg(line: HistoryLine) -> Svg:
    """A box of 100 x HEIGHT, stretched to the width: x is the number of the point, y its value."""
    values = [point.value for point in line.points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    wide = 100 / max(1, len(values) - 1)

    def y(value: float) -> float:
        return 6 + (HEIGHT - 12) * (1 - (value - low) / span)

    path = " ".join(f"{i * wide:.2f},{y(value):.2f}" for i, value in enumerate(values))
    shapes = [f'<polyline class="series" points="{path}" vector-effect="non-scaling-stroke"/>']
    edges = [0, *(step.at for step in line.steps), len(values) - 1]
    levels = [line.steps[0].before, *(step.after for step in line.steps)] if line.steps else []
    for level, left, right in zip(levels, edges[:-1], edges[1:], strict=False):
        shapes.append(
            f'<line class="level" x1="{left * wide:.2f}" y1="{y(level):.2f}" x2="{right * wide:.2f}" '
            f'y2="{y(level):.2f}" vector-effect="non-scaling-stroke"/>'
        )
    for step in line.steps:
        look = "worse" if line.worse(step) else "better"
        x = f"{(step.at - 0.5) * wide:.2f}"
        shapes.append(
            f'<line class="step {look}" x1="{x}" y1="0" x2="{x}" y2="{HEIGHT}" vector-effect="non-scaling-stroke"/>'
        )
    box = f'viewBox="0 0 100 {HEIGHT}" height="{HEIGHT}" preserveAspectRatio="none"'
    return f'<svg class="plot" aria-hidden="true" focusable="false" {box}>{"".join(shapes)}</svg>'

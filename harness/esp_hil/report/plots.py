"""Plots as inline SVG: shapes only, stretched to the width of their box; all text around them is HTML.

Text inside an SVG shrinks with it on a phone, and a name inside one needs escaping of its own: here is
neither. Colours are classes of the page's style sheet, so that light and dark need one plot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from esp_hil.energy.figures import Sketch
from esp_hil.results.timing.latency import Latency
from esp_hil.verdict.verdict import HISTOGRAM_REACH_LSB, IntegerDiff

Svg = str

STRIP_BINS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAxis:
    """A logarithmic axis in ms; places are in percent of its length.

    Attributes:
        low_ms: its left end.
        high_ms: its right end.
    """

    low_ms: float
    high_ms: float

    @staticmethod
    def over(latencies: Sequence[Latency]) -> LogAxis:
        """The axis from the fastest to the slowest, a fifth of room on both sides."""
        return LogAxis(
            low_ms=min(latency.min_ms for latency in latencies) / 1.25,
            high_ms=max(latency.max_ms for latency in latencies) * 1.25,
        )

    def place(self, ms: float) -> float:
        """Where a latency lies, 0..100."""
        return 100 * math.log(ms / self.low_ms) / math.log(self.high_ms / self.low_ms)

    def ticks(self) -> tuple[float, ...]:
        """Round values on the axis, at most seven if it is not longer than seven decades."""
        decades = range(math.floor(math.log10(self.low_ms)), math.ceil(math.log10(self.high_ms)) + 1)
        inside: list[float] = []
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            ticks = [step * 10.0**decade for decade in decades for step in steps]
            finer = [tick for tick in ticks if self.low_ms <= tick <= self.high_ms]
            if inside and len(finer) > 7:
                break
            inside = finer
        return tuple(inside)


def latency_row(latency: Latency, axis: LogAxis, *, simulated: bool) -> Svg:
    """One row of the latency plot: a line from minimum to p99, a thick mark at the median."""
    left, right, middle = (axis.place(ms) for ms in (latency.min_ms, latency.p99_ms, latency.median_ms))
    look = "simulated" if simulated else "measured"
    grid = "".join(_line(axis.place(tick), 0, axis.place(tick), 24, "grid") for tick in axis.ticks())
    spread = _line(left, 12, max(right, left + 0.3), 12, f"spread {look}")
    return _svg(24, grid + spread + _line(middle, 4, middle, 20, f"median {look}"))


def repetitions(cycles: Sequence[int], *, simulated: bool) -> Svg:
    """Histogram of the repetitions, fastest to slowest, in STRIP_BINS bars; the fullest is 100 % high."""
    low, high = min(cycles), max(cycles)
    counts = [0] * STRIP_BINS
    for count in cycles:
        counts[min(STRIP_BINS - 1, (count - low) * STRIP_BINS // max(1, high - low))] += 1
    look = "simulated" if simulated else "measured"
    wide, most = 100 / STRIP_BINS, max(counts)
    bars = (
        _bar(i * wide, 56 * (1 - n / most), wide * 0.86, 56 * n / most, look)
        for i, n in enumerate(counts)
        if n
    )
    return _svg(56, "".join(bars))


def lsb_bins(diff: IntegerDiff) -> tuple[tuple[str, int], ...]:
    """Label and count of every bar of an LSB histogram: overflow, -reach ... reach, overflow.

    The reach is that of the largest difference, at least 8, so that small ones do not leave it mostly empty.
    """
    outside = max((abs(lsb) for lsb, n in diff.histogram_lsb.items() if n), default=0)
    reach = HISTOGRAM_REACH_LSB if diff.below or diff.above else max(8, outside)
    bins = [(f"{lsb:+d}" if lsb else "0", diff.histogram_lsb.get(lsb, 0)) for lsb in range(-reach, reach + 1)]
    if diff.below or diff.above:
        return ((f"< -{reach}", diff.below), *bins, (f"> +{reach}", diff.above))
    return tuple(bins)


def lsb_histogram(diff: IntegerDiff) -> Svg:
    """Bars of `lsb_bins`, logarithmic, so that one wrong value shows beside a thousand right ones."""
    bins = lsb_bins(diff)
    wide, most = 100 / len(bins), math.log1p(max(n for _, n in bins))
    shapes = [_line(0, 71.5, 100, 71.5, "grid")]
    for i, (label, n) in enumerate(bins):
        if n:
            tall = max(4.0, 70 * math.log1p(n) / most)
            look = "right" if label == "0" else "wrong"
            shapes.append(_bar(i * wide + wide * 0.08, 71 - tall, wide * 0.84, tall, look))
    return _svg(72, "".join(shapes))


def _svg(height: int, shapes: str) -> Svg:
    box = f'viewBox="0 0 100 {height}" height="{height}" preserveAspectRatio="none"'
    return f'<svg class="plot" aria-hidden="true" focusable="false" {box}>{shapes}</svg>'


def _line(x1: float, y1: float, x2: float, y2: float, look: str) -> str:
    ends = f'x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"'
    return f'<line class="{look}" {ends} vector-effect="non-scaling-stroke"/>'


def _bar(x: float, y: float, width: float, height: float, look: str) -> str:
    return f'<rect class="{look}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"/>'


def current_trace(sketch: Sketch) -> Svg:
    """Current over time, mean and peak of each point, from 0 to the largest; the timed window stands behind it."""
    count, most = len(sketch.mean_ma), max((*sketch.peak_ma, *sketch.mean_ma), default=0.0)
    if count < 2 or most <= 0 or sketch.step_s <= 0:
        return ""
    whole_s = sketch.step_s * count
    ends = [[min(100.0, max(0.0, 100 * at_s / whole_s)) for at_s in window] for window in sketch.windows]
    shapes = [_bar(begin, 0, max(0.0, end - begin), 72, "window") for begin, end in ends]
    for look, values in (("peak", sketch.peak_ma), ("series", sketch.mean_ma)):
        points = " ".join(
            f"{100 * (place + 0.5) / count:.2f},{71 - 69 * max(0.0, value) / most:.2f}"
            for place, value in enumerate(values)
        )
        shapes.append(f'<polyline class="{look}" points="{points}" vector-effect="non-scaling-stroke"/>')
    return _svg(72, "".join(shapes))


def sparkline(values: Sequence[float]) -> Svg:
    """A line through the values from the lowest to the highest, and a mark at the last; stretched to its box."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    wide = 100 / (len(values) - 1)
    points = [(place * wide, 22 - 20 * (value - low) / span) for place, value in enumerate(values)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        '<svg class="plot spark" viewBox="0 0 100 24" height="24" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline class="series" points="{path}" vector-effect="non-scaling-stroke"/></svg>'
    )

"""Recipes of one model on one chip beside each other: what each costs, what it loses, and which are worth it.

A recipe is on the front if no other is at least as good and at least as cheap, and better in one of the two
(Pareto). Which quality is drawn: top-1 over the labels; where all recipes have the same, how far the scores lie
above their quantization noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from esp_hil.counters import MODEL_FLASH
from esp_hil.report.memory import arena_of
from esp_hil.report.plots import Svg
from esp_hil.report.view import mark_of, milliseconds, port_words, size
from esp_hil.results.metrics import latency_of
from esp_hil.results.outcome import status_of
from esp_hil.results.provenance import INPUTS
from esp_hil.results.record import Run
from esp_hil.results.text import clean
from esp_hil.verdict.verdict import Accuracy, Verdict

HEIGHT = 160
ROOM = 0.08
"""Part of a panel's width and height that is left free at each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    """One recipe as printed; "" where the run has no such figure.

    Attributes:
        number: of the recipe in this table, from 1; names it in the panels.
        run: the number of the run on the page.
        accuracies: top-1 of float, quantized and device, each with its 95 % interval.
        noise: signal to quantization noise of the device's scores against the float model's.
        front: it is on the front of one of the panels; that of simulated latency does not count.
    """

    number: int
    run: int
    recipe: str
    runtime: str
    mark: str
    port: str
    accuracies: tuple[str, str, str]
    noise: str
    bytes: str
    latency: str
    memory: str
    front: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A recipe, or several in the same place: from the left and from below, in percent of the panel."""

    names: str
    left: float
    bottom: float
    front: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Quality over one cost: the line is the front, shapes only; `ends` are the axes' ends as printed."""

    title: str
    mark: str
    svg: Svg
    dots: Sequence[Dot]
    ends: tuple[str, str]
    heights: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """All recipes of a model on a chip over the same inputs."""

    title: str
    inputs: str
    rows: Sequence[TradeRow]
    panels: Sequence[Panel]


Figure = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """A figure that should be small."""

    name: str
    of: Figure
    words: Callable[[float], str]
    simulated: bool


def _latency(run: Run) -> float | None:
    found = latency_of(run)
    return found.median_ms if found else None


def model_bytes(run: Run) -> int | None:
    """Bytes that the device file takes in flash; None if it was not predicted."""
    return int(run.predicted[MODEL_FLASH][0]) if MODEL_FLASH in run.predicted else None


COSTS = (
    _Cost(name="model file", of=model_bytes, words=size, simulated=False),
    _Cost(name="latency", of=_latency, words=milliseconds, simulated=True),
    _Cost(name="arena", of=arena_of, words=size, simulated=True),
)


def signal_to_noise_db(verdict: Verdict) -> float | None:
    """-10 log10 of the worst output's noise-to-signal ratio, device against float; None if there is none.

    A device without any noise is infinitely far above it.
    """
    ratios = [output.device_vs_float.nsr for output in verdict.outputs if output.device_vs_float is not None]
    if not ratios:
        return None
    return -10 * math.log10(max(ratios)) if max(ratios) > 0 else math.inf


def tradeoffs(runs: Sequence[Run]) -> list[Tradeoff]:
    """One table for each model, chip, board and set of inputs that has two recipes or more.

    Broken runs are left out; of runs that differ in nothing the last one counts. Runs are numbered from 1.
    """
    groups: dict[tuple[str, str, str, str], dict[tuple[str, str], tuple[int, Run]]] = {}
    for number, run in enumerate(runs, start=1):
        if run.verdict is None or status_of(run) == "broken":
            continue
        key = (run.model, run.target, run.board, run.provenance.golden_sha256)
        groups.setdefault(key, {})[run.recipe, run.runtime] = (number, run)
    return [_tradeoff(list(group.values())) for group in groups.values() if len(group) > 1]


def _tradeoff(numbered: Sequence[tuple[int, Run]]) -> Tradeoff:
    runs = [run for _, run in numbered]
    qualities, name, words = _quality(runs)
    panels, fronts = [], set()
    for cost in COSTS:
        values = [cost.of(run) for run in runs]
        if len({value for value in values if value is not None}) > 1:
            panel, on_front = _panel(cost, values, qualities, name=name, words=words, runs=runs)
            panels.append(panel)
            if cost.of is not _latency or not any(run.simulated for run in runs):
                fronts |= on_front  # simulated time is this machine's and puts no recipe before another
    first = runs[0]
    return Tradeoff(
        title=clean(f"{first.model} on {first.target}"),
        inputs=clean(first.provenance.tools.get(INPUTS, f"{first.inputs} golden inputs")),
        rows=[
            _row(place, number, run, front=place in fronts)
            for place, (number, run) in enumerate(numbered, start=1)
        ],
        panels=panels,
    )


def _quality(runs: Sequence[Run]) -> tuple[list[float | None], str, Callable[[float], str]]:
    shares = [_device_share(run) for run in runs]
    if len({share for share in shares if share is not None}) > 1:
        return shares, "top-1", lambda value: f"{value:.2f} %"
    levels = [signal_to_noise_db(run.verdict) if run.verdict else None for run in runs]
    finite = [None if level is None or math.isinf(level) else level for level in levels]
    return finite, "signal to noise", lambda value: f"{value:.1f} dB"


def _device_share(run: Run) -> float | None:
    found = run.verdict.accuracies.get("device") if run.verdict else None
    return 100 * found.share if found else None


def _row(place: int, number: int, run: Run, *, front: bool) -> TradeRow:
    assert run.verdict is not None
    latency, arena, flash = latency_of(run), arena_of(run), model_bytes(run)
    noise = signal_to_noise_db(run.verdict)
    device, float_, quantized = (run.verdict.accuracies.get(key) for key in ("device", "float", "quantized"))
    return TradeRow(
        number=place,
        run=number,
        recipe=clean(run.recipe),
        runtime=clean(run.runtime),
        mark=mark_of(run),
        port=port_words(run),
        accuracies=(share_words(float_), share_words(quantized), share_words(device)),
        noise="" if noise is None else "none" if math.isinf(noise) else f"{noise:.1f} dB",
        bytes="" if flash is None else f"{flash:,}",
        latency=milliseconds(latency.median_ms) if latency else "",
        memory=size(arena) if arena is not None else "",
        front=front,
    )


def share_words(share: Accuracy | None) -> str:
    """As `98.26 % (96.2..99.2)`; "" without one."""
    if share is None:
        return ""
    low, high = share.interval
    return f"{100 * share.share:.2f} % ({100 * low:.1f}..{100 * high:.1f})"


def front_of(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Indexes of the points that no other beats, by rising cost; of equal points all."""
    points = list(zip(costs, qualities, strict=True))
    kept = [
        index
        for index, (cost, quality) in enumerate(points)
        if not any(c <= cost and q >= quality and (c, q) != (cost, quality) for c, q in points)
    ]
    return sorted(kept, key=lambda index: points[index])


def _panel(
    cost: _Cost,
    values: Sequence[float | None],
    qualities: Sequence[float | None],
    *,
    name: str,
    words: Callable[[float], str],
    runs: Sequence[Run],
) -> tuple[Panel, set[int]]:
    """The panel, and the numbers of the recipes on its front."""
    known = [
        (place, x, y)
        for place, (x, y) in enumerate(zip(values, qualities, strict=True), start=1)
        if x is not None and y is not None
    ]
    xs, ys = [x for _, x, _ in known], [y for _, _, y in known]
    best = front_of(xs, ys)
    places = [
        (_percent(math.log(x), [*map(math.log, xs)]), _percent(y, ys)) for x, y in zip(xs, ys, strict=True)
    ]
    merged: dict[tuple[float, float], list[int]] = {}
    for index, place in enumerate(places):
        merged.setdefault(place, []).append(index)
    dots = [
        Dot(
            names=", ".join(str(known[index][0]) for index in indexes),
            left=left,
            bottom=bottom,
            front=indexes[0] in best,
            summary=clean("; ".join(runs[known[i][0] - 1].recipe for i in indexes))
            + f": {cost.words(xs[indexes[0]])}, {words(ys[indexes[0]])}",
        )
        for (left, bottom), indexes in merged.items()
    ]
    line = " ".join(f"{places[i][0]:.2f},{HEIGHT * (1 - places[i][1] / 100):.2f}" for i in best)
    box = f'viewBox="0 0 100 {HEIGHT}" height="{HEIGHT}" preserveAspectRatio="none"'
    svg = (
        f'<svg class="plot" aria-hidden="true" focusable="false" {box}>'
        f'<polyline class="front" points="{line}" vector-effect="non-scaling-stroke"/></svg>'
    )
    panel = Panel(
        title=f"{name} over {cost.name}",
        mark=" ".join(sorted({mark_of(run) for run in runs} - {""})) if cost.simulated else "",
        svg=svg,
        dots=dots,
        ends=(cost.words(min(xs)), cost.words(max(xs))),
        heights=(words(min(ys)), words(max(ys))),
    )
    return panel, {known[index][0] for index in best}


def _percent(value: float, among: Sequence[float]) -> float:
    """Where a value lies between the least and the greatest, ROOM from both ends, in percent."""
    low, high = min(among), max(among)
    share = 0.5 if high == low else (value - low) / (high - low)
    return 100 * (ROOM + (1 - 2 * ROOM) * share)

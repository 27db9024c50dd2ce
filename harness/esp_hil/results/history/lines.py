"""Rows to lines of a figure over time, one line for each thing that was measured again and again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from esp_hil.results.history.store import History, Where
from esp_hil.results.metrics import BY_NAME, METRICS, Better, Metric
from esp_hil.results.record import BoardKind, Run
from esp_hil.results.regress.comparable import Identity, identity_of
from esp_hil.results.regress.gates import GATES, Gate
from esp_hil.results.regress.steps import LevelStep, steps_of
from esp_hil.results.validity import check


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value: when, of which session and commit; `note` names what was changed since the one before."""

    started_utc: str
    value: float
    session_id: str
    git_sha: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One figure of one identity on one board over time.

    Attributes:
        identity: what was run.
        board: where.
        kind: what answered.
        metric: name of the figure.
        unit: as printed.
        better: which way it improves.
        points: oldest first.
        steps: where the level changed; `at` counts points.
    """

    identity: Identity
    board: str
    kind: BoardKind
    metric: str
    unit: str
    better: Better
    points: tuple[Point, ...]
    steps: tuple[LevelStep, ...]

    @property
    def title(self) -> str:
        """As `mnist w8a8 espdl on esp32s3 @ s3-a: latency_ms`."""
        return f"{self.identity.summary} @ {self.board}: {self.metric}"

    def worse(self, step: LevelStep) -> bool | None:
        """Whether a step was for the worse; None for a figure without a better side."""
        if self.better is Better.NONE:
            return None
        return (step.after > step.before) is (self.better is Better.LOWER)

    def summary(self, step: LevelStep) -> str:
        """One line that says when, how much, and since which commit."""
        point = self.points[step.at]
        unit = f" {self.unit}" if self.unit else ""
        way = {True: "worse", False: "better", None: "other"}[self.worse(step)]
        since = f" since {point.git_sha[:10]}" if point.git_sha else ""
        note = f" ({point.note})" if point.note else ""
        return (
            f"{self.title} {way}: {step.before:.5g} -> {step.after:.5g}{unit} "
            f"({100 * step.share:+.1f} %) on {point.started_utc[:10]}{since}{note}"
        )


def lines_of(runs: Iterable[Run], metrics: Sequence[str] | None = None) -> tuple[HistoryLine, ...]:
    """All lines of the rows.

    Args:
        runs: in any order; failed rows and repeated attempts are left out, and so is a latency that breaks
            a rule of measuring.
        metrics: names of figures, or of gates of several (`arena`, `size`); None: all that are gated.

    Returns:
        Lines with at least two points, sorted by identity, board and figure.
    """
    figures = _figures(metrics)
    found: dict[tuple[Identity, str, BoardKind, str], list[tuple[Run, float]]] = {}
    units: dict[str, tuple[str, Better]] = {}
    for run in sorted(runs, key=lambda run: run.started_utc):
        if run.failure is not None or run.attempt > 1:
            continue
        for name, unit, better, value in _values(run, figures):
            key = (identity_of(run), run.board, run.kind, name)
            found.setdefault(key, []).append((run, value))
            units[name] = (unit, better)
    return tuple(
        _line(key, points, *units[key[3]])
        for key, points in sorted(found.items(), key=lambda item: item[0])
        if len(points) > 1
    )


def lines_about(history: History, runs: Iterable[Run]) -> tuple[HistoryLine, ...]:
    """Lines of what some rows are about: everything in the history of the same identities."""
    wanted = sorted({identity_of(run) for run in runs})
    return lines_of(history.last_runs(where_of(identity) for identity in wanted))


def where_of(identity: Identity) -> Where:
    """The rows of an identity."""
    return Where(
        model=identity.model, recipe=identity.recipe, runtime=identity.runtime, target=identity.target
    )


Figure = tuple[str, str, Better, Callable[[Run], dict[str, float]]]


def _figures(names: Sequence[str] | None) -> list[Figure]:
    def gated(gate: Gate) -> Callable[[Run], dict[str, float]]:
        return lambda run: dict(gate.of(run))

    if names is None:
        return [(gate.name, gate.unit, gate.better, gated(gate)) for gate in GATES]
    wanted = frozenset(names)
    metrics = [_figure(metric) for metric in METRICS if metric.name in wanted]
    gates = [_chosen(gate, wanted) for gate in GATES if gate.name not in BY_NAME]
    return [*metrics, *gates, *(_counter(name) for name in sorted(wanted - BY_NAME.keys()))]


def figure_names(runs: Iterable[Run]) -> frozenset[str]:
    """Names that `lines_of` takes for some rows: every metric and gate, and what gates and counters these rows have."""
    found = {*BY_NAME, *(gate.name for gate in GATES)}
    for run in runs:
        found.update(*(gate.of(run) for gate in GATES), run.counters)
    return frozenset(found)


def _figure(metric: Metric) -> Figure:
    def of(run: Run) -> dict[str, float]:
        value = metric.of(run)
        return {} if value is None else {metric.name: value}

    return metric.name, metric.unit, metric.better, of


def _chosen(gate: Gate, names: Collection[str]) -> Figure:
    """Of a gate of several figures those that are named, by its own name all of them."""

    def of(run: Run) -> dict[str, float]:
        return {name: value for name, value in gate.of(run).items() if gate.name in names or name in names}

    return gate.name, gate.unit, gate.better, of


def _counter(name: str) -> Figure:
    """A counter that no gate knows: with neither unit nor better side."""

    def of(run: Run) -> dict[str, float]:
        if name not in run.counters or any(name in gate.of(run) for gate in GATES):
            return {}
        return {name: run.counters[name][0]}

    return name, "", Better.NONE, of


def _values(run: Run, figures: Sequence[Figure]) -> list[tuple[str, str, Better, float]]:
    believed = check(run).valid is not False
    return [
        (name, unit, better, float(value))
        for key, unit, better, of in figures
        for name, value in of(run).items()
        if believed or not key.startswith("latency_")
    ]


def _line(
    key: tuple[Identity, str, BoardKind, str], values: Sequence[tuple[Run, float]], unit: str, better: Better
) -> HistoryLine:
    identity, board, kind, metric = key
    points = []
    for number, (run, value) in enumerate(values):
        before = values[number - 1][0] if number else None
        points.append(
            Point(
                started_utc=run.started_utc,
                value=value,
                session_id=run.session_id,
                git_sha=run.provenance.git_sha,
                note=_note(before, run),
            )
        )
    return HistoryLine(
        identity=identity,
        board=board,
        kind=kind,
        metric=metric,
        unit=unit,
        better=better,
        points=tuple(points),
        steps=steps_of([point.value for point in points]),
    )


def _note(before: Run | None, run: Run) -> str:
    """What a person changed between two points, in words."""
    if before is None or before.device is None or run.device is None:
        return ""
    pairs = {
        "ESP-IDF": (before.device.idf, run.device.idf),
        run.device.engine: (before.device.engine_version, run.device.engine_version),
        "sdkconfig": (before.device.sdkconfig_sha256[:8], run.device.sdkconfig_sha256[:8]),
        "model": (before.provenance.model_sha256[:8], run.provenance.model_sha256[:8]),
    }
    return ", ".join(f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new)

"""What is gated: one row of GATES each. A device counter of a known name needs a row here to be gated."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from esp_hil.errors import ConfigError, did_you_mean
from esp_hil.results.metrics import AGAINST, BY_NAME, Better, Number, measure_column, measures_of
from esp_hil.results.record import Run
from esp_hil.results.regress.comparable import Group
from esp_hil.verdict.measures import MEASURES, Against


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A figure that must not get worse.

    Attributes:
        name: of the figure; of a family of counters, a pattern's name.
        group: decides which conditions must agree, and whether simulated rows have it.
        unit: as printed.
        better: which way it improves.
        of: figures of a row by their names; empty if it has none.
        share: a change is worth telling beyond this share of the base ...
        absolute: ... and beyond this many units: the larger of both allowances counts.
        repetitions: of a row, where the figure is their median and less is better: the change must be beyond chance
            as well. None: it is one number.
        in_a_row: whether repetitions follow each other without a pause, so that neighbours may be alike.
    """

    name: str
    group: Group
    unit: str
    better: Better
    of: Callable[[Run], Mapping[str, int | float]]
    share: float = 0.0
    absolute: float = 0.0
    repetitions: Callable[[Run], Sequence[float]] | None = None
    in_a_row: bool = True

    @property
    def statistical(self) -> bool:
        """Whether repetitions exist."""
        return self.repetitions is not None

    def repetitions_of(self, run: Run) -> Sequence[float]:
        """Those of a row; empty if it has none."""
        return self.repetitions(run) if self.repetitions else ()

    def allowance(self, base: float) -> float:
        """How much worse than `base` the figure may be."""
        return max(self.share * abs(base), self.absolute)


def _metric(name: str, group: Group, *, share: float = 0.0, absolute: float = 0.0) -> Gate:
    metric = BY_NAME[name]

    def of(run: Run) -> Mapping[str, int | float]:
        figure: Number = metric.of(run)
        return {} if figure is None else {name: figure}

    return Gate(
        name=name,
        group=group,
        unit=metric.unit,
        better=metric.better,
        of=of,
        share=share,
        absolute=absolute,
        repetitions=_REPETITIONS.get(name),
        # each window of energy has idle times of its own beside it, and ten values cannot tell how alike they are
        in_a_row=name != "energy_mj",
    )


def _latencies_ms(run: Run) -> Sequence[float]:
    if run.device is None:
        return ()
    return [1e3 * cycles / run.device.clock_hz for cycles in run.cycles]


def _energies_mj(run: Run) -> Sequence[float]:
    found = run.energy
    return [window.energy_mj for window in found.windows] if found is not None and found.valid else ()


_REPETITIONS: Mapping[str, Callable[[Run], Sequence[float]]] = {
    "latency_ms": _latencies_ms,
    "energy_mj": _energies_mj,
}


def _counters(name: str, pattern: str, better: Better, *, share: float, absolute: float) -> Gate:
    """Counters of memory whose whole name matches."""
    whole = re.compile(pattern)

    def of(run: Run) -> Mapping[str, int | float]:
        return {counter: value for counter, (value, _) in run.counters.items() if whole.fullmatch(counter)}

    return Gate(name=name, group="memory", unit="bytes", better=better, of=of, share=share, absolute=absolute)


_ALLOWED = {"r2": 1e-4, "cosine": 1e-4}
"""Of figures without unit, in their own; shares may not change, errors by a thousandth of what they were."""


def _measure(name: str, against: Against) -> Gate:
    """A figure by meaning, of each output."""
    kind, column = MEASURES[name], measure_column(name, against)

    def of(run: Run) -> Mapping[str, int | float]:
        found = measures_of(run, name, against)
        if name == "top1" and len(found) == 1:
            return {}  # it has gates of its own
        return {f"{column} of {output}": value for output, value in found.items()}

    return Gate(
        name=column,
        group="accuracy",
        unit="%" if kind.share else "",
        better=Better.HIGHER if kind.higher else Better.LOWER,
        of=of,
        share=0.0 if kind.higher else 1e-3,
        absolute=_ALLOWED.get(name, 1e-9),
    )


def _sizes(run: Run) -> Mapping[str, int | float]:
    return {f"size_{section}": count for section, count in run.sizes.items()}


GATES: tuple[Gate, ...] = (
    _metric("latency_ms", "latency", share=0.02),
    _metric("energy_mj", "energy", share=0.03),
    _metric("idle_mw", "energy", share=0.05, absolute=0.2),
    _metric("port_different", "accuracy"),
    _metric("port_max_lsb", "accuracy"),
    _metric("quantizer_max_lsb", "accuracy"),
    _metric("agreement_device_exact_pct", "accuracy", absolute=1e-9),
    _metric("agreement_device_float_pct", "accuracy", absolute=1e-9),
    _metric("top1_device_pct", "accuracy", absolute=1e-9),
    _metric("quantization_cosine", "accuracy", absolute=1e-4),
    _metric("quantization_rmse", "accuracy", share=1e-3),
    *(_measure(name, against) for against in AGAINST for name in MEASURES),
    _counters("arena", r"arena_.*|tensor_arena.*", Better.LOWER, share=0.0, absolute=0),
    _counters(
        "parameters",
        r"parameters?_.*|model_(internal|psram|flash)(_bytes)?",
        Better.LOWER,
        share=0,
        absolute=0,
    ),
    _counters(
        "heap_free", r"heap_.*_(free|minimum|largest)(_bytes)?", Better.HIGHER, share=0.01, absolute=512
    ),
    _counters("stack_left", r"stack_.*_left(_bytes)?", Better.HIGHER, share=0.0, absolute=256),
    _metric("leak_bytes", "memory"),
    Gate(
        name="size",
        group="size",
        unit="bytes",
        better=Better.LOWER,
        of=_sizes,
        share=0.01,
        absolute=256,
    ),
    # not link_bytes_per_s: its time is the wall's, with what the PC computed between the frames in it
    _metric("link_errors", "link", share=0.25, absolute=20),
    _metric("link_retransmissions", "link", share=0.25, absolute=20),
)


def with_thresholds(given: Sequence[str], gates: Sequence[Gate] = GATES) -> tuple[Gate, ...]:
    """The gates with other allowances.

    Args:
        given: each `NAME=5%` (share of the base) or `NAME=200` (units of the figure).
        gates: that they change.

    Raises:
        ConfigError: no such gate, or no such number.
    """
    found = {gate.name: gate for gate in gates}
    for text in given:
        name, _, number = text.partition("=")
        if name not in found:
            hint = did_you_mean(name, found) or f"one of: {', '.join(found)}"
            raise ConfigError(f"no gate {name!r}", hint=hint)
        try:
            value = float(number.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ConfigError(f"threshold {text}: not a number", hint=f"{name}=5% or {name}=200")
        is_share = number.endswith("%")
        found[name] = replace(
            found[name], share=value / 100 if is_share else 0.0, absolute=0.0 if is_share else value
        )
    return tuple(found.values())

"""Where a window begins and ends in a trace: by the gate channel, or by a marker in the power itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp_hil.energy.figures import EnergyFinding
from esp_hil.energy.meter import Flags, PowerTrace, Values
from esp_hil.energy.windows import Done, MeterRecording

SKEW_SHARE = 0.02
"""How far the clocks of board and meter may disagree about the length of a window."""

LEAP_STEPS = 3.5
"""A polled meter comes late now and then; beyond so many steps something is missing."""

SKEW_SAMPLES = 3.0
"""And this many samples more: an edge lies somewhere between two."""

BURST_SHARE = 0.04
"""The same for a window without gate: the request and the answer around it are work, too."""

CONTRAST = 6.0
"""Work must stand out of idle by so many times the noise for its edges to be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A stretch of the trace.

    Attributes:
        first: index of its first sample.
        end: of the first one after it.
        begin_s: edge before it.
        end_s: edge behind it.
        margin: so many samples at each end may belong to what is beside it.
    """

    first: int
    end: int
    begin_s: float
    end_s: float
    margin: int = 1

    @property
    def seconds(self) -> float:
        """From edge to edge."""
        return self.end_s - self.begin_s


def find(recorded: MeterRecording) -> tuple[Pulse, ...] | EnergyFinding:
    """The windows in the trace, in their order, or why they are not there."""
    trace, plan = recorded.trace, recorded.plan
    if len(trace) < 2:
        return EnergyFinding(code="too_few_samples", summary=f"the meter gave {len(trace)} samples")
    found = _by_gate(recorded) if plan.edges == "gate" else _by_marker(recorded)
    if isinstance(found, EnergyFinding) and (lost := lost_in(trace)):
        # an edge among them would be no wonder
        return EnergyFinding(code="missing_samples", summary=f"{lost} samples were lost; {found.summary}")
    return found


def lost_in(trace: PowerTrace) -> int:
    """Samples that the meter knows of, and those that must lie where its times leap."""
    known = int(np.isnan(trace.current_a).sum())
    steps = np.diff(trace.times_s)
    leaps = steps / np.median(steps) if len(steps) else steps
    return known + int(np.sum(np.round(leaps[leaps > LEAP_STEPS]) - 1))


def _by_gate(recorded: MeterRecording) -> tuple[Pulse, ...] | EnergyFinding:
    gate = recorded.trace.gate
    if gate is None:
        return EnergyFinding(code="no_edges", summary="the meter has no gate channel")
    if gate[0] or gate[-1]:
        when = "before the first" if gate[0] else "after the last"
        said = f"the gate is high {when} window: is another pin wired?"
        return EnergyFinding(code="no_edges", summary=said)
    return _matched(_pulses(recorded.trace, gate), recorded.windows, "the gate shows", SKEW_SHARE)


def _pulses(trace: PowerTrace, level: Flags, margin: int = 1) -> list[Pulse]:
    """Stretches of a level that is low at both ends."""
    steps = np.flatnonzero(np.diff(level.astype(np.int8)))
    edges_s = (trace.times_s[steps] + trace.times_s[steps + 1]) / 2
    return [
        Pulse(
            first=int(steps[at]) + 1,
            end=int(steps[at + 1]) + 1,
            begin_s=float(edges_s[at]),
            end_s=float(edges_s[at + 1]),
            margin=margin,
        )
        for at in range(0, len(steps) - 1, 2)
    ]


def _matched(
    pulses: Sequence[Pulse], wanted: Sequence[Done], says: str, share: float, slack_s: float = 0.0
) -> tuple[Pulse, ...] | EnergyFinding:
    """The pulses, if they are as many and as long as the board says."""
    if len(pulses) != len(wanted):
        said = f"{says} {len(pulses)} windows, the board made {len(wanted)}"
        return EnergyFinding(code="no_edges", summary=said)
    for pulse, done in zip(pulses, wanted, strict=True):
        step_s = pulse.seconds / max(1, pulse.end - pulse.first)
        if abs(pulse.seconds - done.seconds) > share * done.seconds + SKEW_SAMPLES * step_s + slack_s:
            said = f"a window takes {pulse.seconds:.4g} s by the meter and {done.seconds:.4g} s by the board"
            return EnergyFinding(code="clock_skew", summary=said)
    return tuple(pulses)


def _by_marker(recorded: MeterRecording) -> tuple[Pulse, ...] | EnergyFinding:
    """Work stands out of idle; its bursts must be those of the marker and the windows, all of them and no other."""
    trace, plan = recorded.trace, recorded.plan
    step_s = float(np.median(np.diff(trace.times_s)))
    smooth_s = plan.marker_s / 5
    wide = max(1, round(smooth_s / step_s))
    power = _filled(trace.power_w)
    smooth = _smoothed(power, wide)
    low, high = (float(np.quantile(smooth, share)) for share in (0.1, 0.9))
    quiet = smooth[smooth < low + 0.25 * (high - low)]
    noise = float(np.std(quiet)) if len(quiet) else 0.0
    if high - low <= max(CONTRAST * noise, 1e-9):
        said = f"work does not stand out of idle ({1e3 * low:.4g} and {1e3 * high:.4g} mW): a gate is needed"
        return EnergyFinding(code="no_edges", summary=said)
    level = _with_hysteresis(smooth, low + 0.35 * (high - low), low + 0.65 * (high - low))
    if level[0] or level[-1]:
        return EnergyFinding(code="no_edges", summary="the trace begins or ends with work")
    wanted = (*recorded.markers, *recorded.windows)
    slack_s = 2 * smooth_s if wide > 1 else 0.0
    found = _matched(_pulses(trace, level, wide + 1), wanted, "the trace shows", BURST_SHARE, slack_s)
    if isinstance(found, EnergyFinding):
        return EnergyFinding(code="no_edges", summary=f"{found.summary}; without a gate that is no window")
    return found[len(recorded.markers) :]


def _filled(values: Values) -> Values:
    """Lost samples take the value before them; where they count, `method` refuses the window."""
    lost = np.isnan(values)
    if not lost.any():
        return values
    known = np.flatnonzero(~lost)
    if not len(known):
        return np.zeros_like(values)
    filled: Values = np.interp(np.arange(len(values)), known, values[known])
    return filled


def _smoothed(values: Values, wide: int) -> Values:
    """Centred moving mean over an odd number of samples."""
    reach = wide // 2
    if not reach:
        return values
    padded = np.concatenate([np.full(reach + 1, values[0]), values, np.full(reach, values[-1])])
    sums = np.cumsum(padded)
    means: Values = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
    return means


def _with_hysteresis(values: Values, low: float, high: float) -> Flags:
    """High from where a value exceeds `high` until one falls below `low`."""
    state = np.where(values > high, 1, np.where(values < low, 0, -1)).astype(np.int8)
    known = np.flatnonzero(state >= 0)
    if not len(known):
        return np.zeros(len(values), np.bool_)
    last = np.maximum.accumulate(np.where(state >= 0, np.arange(len(values)), known[0]))
    level: Flags = state[last] == 1
    return level

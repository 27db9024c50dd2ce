"""From a trace and what the board says of its windows to figures; or the rules that were broken, and no figure.

Energy of a window = mean power between its edges times its length on the board's clock. The board's crystal is the
better clock, and a sample more or less at an edge moves a mean hardly at all. The idle share is the mean power
before and after, times the same length.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from esp_hil.energy.edges import LEAP_STEPS, Pulse, find, lost_in
from esp_hil.energy.figures import Energy, EnergyFinding, EnergyWindow, Sketch, VoltageSource
from esp_hil.energy.meter import MeterInfo, PowerTrace, Values
from esp_hil.energy.windows import LEAST_S, LEAST_SAMPLES, Done, MeterRecording, Plan

GUARD = (0.2, 0.9)
"""Part of an idle time that is looked at, from the edge before it on: the answer has left by then, and the next
request has not come, whatever the two clocks think of a second."""

DRIFT_SHARE = 0.02
"""Idle before and after may differ by this share of what the work adds: it moves the figure by half of that."""

LEAST_LOAD_SHARE = 0.02
"""What the work adds must be at least this share of idle, or the figure is a difference of two equals."""

UNSTEADY_SHARE = 0.003
"""Standard error of the figure, from how far the windows of a run lie apart or from the noise within them: three times
as much is one per cent."""

SUPPLY_SHARE = 0.05
"""A measured voltage may differ from the one in boards.toml by this share."""

LEAN = 0.02
"""How far samples may lean to one phase of an inference: about as far the mean may be off, in shares of its swing."""

ORDERS = 41
"""Harmonics of an inference that are looked at: fewer phases than these are a comb that a short peak falls through."""

BLOCKS = 10
"""Noise of an idle time is seen in the means of so many parts of it."""

NORMAL_975 = 1.959964

SKETCH_POINTS = 360


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What else the row says of a measurement; see `Energy` for the fields.

    `supply_v`: of the board, as boards.toml or the option says; None: not told.
    """

    info: MeterInfo
    supply_v: float | None = None
    voltage_from: VoltageSource = "measured"
    gate_gpio: int | None = None
    state: str = ""
    temperature_c: float | None = None


def judge(recorded: MeterRecording, setting: Setting) -> Energy:
    """Figures of every window, or what was wrong."""
    trace, info = recorded.trace, setting.info
    empty = Energy(
        meter=info.kind,
        serial=info.serial,
        sample_hz=info.sample_hz,
        range_ma=1e3 * info.range_a,
        calibration=info.calibration,
        voltage_v=float(np.nanmean(trace.voltage_v)) if len(trace) else 0.0,
        voltage_from=setting.voltage_from,
        edges=recorded.plan.edges,
        gate_gpio=setting.gate_gpio,
        simulated=info.simulated,
        state=setting.state,
        temperature_c=setting.temperature_c,
        lost=lost_in(trace),
    )
    pulses = find(recorded)
    if isinstance(pulses, EnergyFinding):
        return replace(empty, findings=(pulses,))
    parts = _parts(trace, recorded, pulses)
    findings = tuple(_findings(parts, recorded, setting))
    if not findings:
        windows = tuple(_window(part) for part in parts)
        findings = tuple(_of_all(windows, parts))
    sketch = _sketch(trace, pulses, recorded.plan)
    return replace(empty, windows=() if findings else windows, findings=findings, sketch=sketch)


def refused(setting: Setting, plan: Plan, finding: EnergyFinding) -> Energy:
    """What is known where nothing was recorded."""
    nothing = np.zeros(0)
    trace = PowerTrace.regular(nothing, sample_hz=setting.info.sample_hz, voltage_v=nothing)
    found = judge(MeterRecording(trace=trace, markers=(), windows=(), plan=plan), setting)
    return replace(found, findings=(finding,), voltage_v=setting.supply_v or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A window with the idle times around it, as slices of the trace.

    `inner` leaves out the samples that an edge may cut through.
    """

    trace: PowerTrace
    pulse: Pulse
    done: Done
    before: slice
    after: slice

    @property
    def inner(self) -> slice:
        begin, end = self.pulse.first + self.pulse.margin, self.pulse.end - self.pulse.margin
        samples = (self.pulse.end - self.pulse.first) / self.done.inferences
        if self.pulse.margin > 1 and end - begin > samples:
            # a part of an inference would count for a whole one: its power is not the same all the time
            end = begin + round((end - begin) // samples * samples)
        return slice(begin, max(begin + 1, end))

    @property
    def whole(self) -> slice:
        return slice(self.pulse.first, self.pulse.end)

    @property
    def slices(self) -> tuple[slice, ...]:
        return self.before, self.whole, self.after

    def mw(self, where: slice) -> float:
        """Mean power, each sample by the time that it stands for."""
        return 1e3 * _mean(self.trace.power_w[where], self.trace.times_s[where])


def _mean(values: Values, times_s: Values) -> float:
    if len(values) < 3:
        return float(np.mean(values))
    return float(np.average(values, weights=np.gradient(times_s)))


def _parts(trace: PowerTrace, recorded: MeterRecording, pulses: Sequence[Pulse]) -> list[_Part]:
    idle_s = recorded.plan.idle_s

    def idle(from_s: float) -> slice:
        ends = (from_s + share * idle_s for share in GUARD)
        begin, end = (int(np.searchsorted(trace.times_s, at)) for at in ends)
        return slice(begin, end)

    # before the first window: behind the marker where there is one, else from the first sample on
    first = pulses[0].begin_s - idle_s if recorded.markers else float(trace.times_s[0])
    befores = [idle(first), *(idle(pulse.end_s) for pulse in pulses[:-1])]
    return [
        _Part(trace=trace, pulse=pulse, done=done, before=before, after=idle(pulse.end_s))
        for pulse, done, before in zip(pulses, recorded.windows, befores, strict=True)
    ]


def _window(part: _Part) -> EnergyWindow:
    current_a = part.trace.current_a
    return EnergyWindow(
        inferences=part.done.inferences,
        seconds=part.done.seconds,
        meter_s=part.pulse.seconds,
        samples=part.pulse.end - part.pulse.first,
        mean_mw=part.mw(part.inner),
        idle_before_mw=part.mw(part.before),
        idle_after_mw=part.mw(part.after),
        mean_ma=1e3 * _mean(current_a[part.inner], part.trace.times_s[part.inner]),
        peak_ma=1e3 * float(np.max(current_a[part.whole])),
    )


# rules, window by window: the first finding of each kind is told


def _findings(parts: Sequence[_Part], recorded: MeterRecording, setting: Setting) -> Iterable[EnergyFinding]:
    for rule in _RULES:
        found = (rule(part, setting) for part in parts)
        if told := next((finding for finding in found if finding is not None), None):
            yield told
            if told.code in {"too_few_samples", "missing_samples"}:
                return


def _too_few(part: _Part, setting: Setting) -> EnergyFinding | None:
    least = min(where.stop - where.start for where in part.slices)
    if least >= LEAST_SAMPLES:
        return None
    said = (
        f"{least} samples in a window or idle time, need {LEAST_SAMPLES}: {setting.info.sample_hz:g} a second"
    )
    return EnergyFinding(code="too_few_samples", summary=said)


def _missing(part: _Part, setting: Setting) -> EnergyFinding | None:
    for where in part.slices:
        lost = int(np.isnan(part.trace.current_a[where]).sum())
        steps_s = np.diff(part.trace.times_s[where])
        wide = float(steps_s.max()) * setting.info.sample_hz
        if lost or wide > LEAP_STEPS:
            what = f"{lost} samples" if lost else f"some {round(wide) - 1} samples in a row"
            return EnergyFinding(
                code="missing_samples", summary=f"{what} of a window or its idle time were lost"
            )
    return None


def _saturated(part: _Part, setting: Setting) -> EnergyFinding | None:
    for where in part.slices:
        beyond = part.trace.saturated[where] | (np.abs(part.trace.current_a[where]) >= setting.info.range_a)
        if beyond.any():
            said = f"{int(beyond.sum())} samples are at the end of the range, {1e3 * setting.info.range_a:.4g} mA"
            return EnergyFinding(code="saturated", summary=said)
    return None


def _too_short(part: _Part, setting: Setting) -> EnergyFinding | None:
    if part.done.seconds >= LEAST_S:
        return None
    return EnergyFinding(
        code="too_short", summary=f"a window takes {part.done.seconds:.3g} s, need {LEAST_S:g}"
    )


def _no_load(part: _Part, setting: Setting) -> EnergyFinding | None:
    idle = (part.mw(part.before) + part.mw(part.after)) / 2
    added = part.mw(part.inner) - idle
    if added > LEAST_LOAD_SHARE * abs(idle) and added > 0:
        return None
    said = (
        f"a window takes {added:+.3g} mW more than idle ({idle:.4g} mW): is the meter in the board's supply?"
    )
    return EnergyFinding(code="no_load", summary=said)


def _drift(part: _Part, setting: Setting) -> EnergyFinding | None:
    before, after = part.mw(part.before), part.mw(part.after)
    added = part.mw(part.inner) - (before + after) / 2
    chance = 3 * math.hypot(_error(part, part.before), _error(part, part.after))
    if abs(after - before) <= DRIFT_SHARE * abs(added) + chance:
        return None
    said = f"idle goes from {before:.4g} to {after:.4g} mW, beside {added:.4g} mW of work"
    return EnergyFinding(code="idle_drift", summary=said)


def _aliased(part: _Part, setting: Setting) -> EnergyFinding | None:
    """Samples of moments must fall on all phases of an inference, or they tell of a part of it only.

    An inference lasts what the board's clock says, or what the edges say: without a gate these are off by more than
    a meter's clock, with one a meter's clock may be. Neither may have the samples meet a part of it only.
    """
    if setting.info.averages:
        return None
    times_s = part.trace.times_s[part.whole]
    begun = part.done.inferences * (times_s - part.pulse.begin_s)
    lean = max(
        float(abs(np.mean(np.exp(2j * np.pi * order * begun / lasted_s)))) / order
        for lasted_s in (part.pulse.seconds, part.done.seconds)
        for order in range(1, ORDERS)
    )
    if lean <= max(LEAN, 3 / len(times_s)):
        return None
    said = (
        f"the meter samples moments, and leans by {100 * lean:.0f} % to a part of an inference: another rate"
    )
    return EnergyFinding(code="aliased", summary=said)


def _supply(part: _Part, setting: Setting) -> EnergyFinding | None:
    if setting.supply_v is None or setting.voltage_from != "measured":
        return None
    measured = float(np.mean(part.trace.voltage_v[part.whole]))
    if abs(measured / setting.supply_v - 1) <= SUPPLY_SHARE:
        return None
    said = f"the board has {measured:.3g} V, boards.toml says {setting.supply_v:g}"
    return EnergyFinding(code="supply", summary=said)


_RULES: tuple[Callable[[_Part, Setting], EnergyFinding | None], ...] = (
    _too_few,
    _missing,
    _saturated,
    _too_short,
    _supply,
    _no_load,
    _drift,
    _aliased,
)


def _of_all(windows: Sequence[EnergyWindow], parts: Sequence[_Part]) -> Iterable[EnergyFinding]:
    """What only all windows together can say."""
    energies = [window.energy_mj for window in windows]
    within = statistics.median(_noise(part) for part in parts)
    apart = 0.0
    if len(windows) > 2:
        from scipy.stats import t

        # few windows tell their spread badly
        few = float(t.ppf(0.975, len(windows) - 1)) / NORMAL_975
        apart = few * statistics.stdev(energies) / statistics.median(energies)
    share = max(within, apart) / math.sqrt(len(windows))
    if share > UNSTEADY_SHARE:
        said = f"{len(windows)} windows leave the energy uncertain by {100 * share:.2g} % (standard error)"
        yield EnergyFinding(code="unsteady", summary=said)


def _noise(part: _Part) -> float:
    """Standard error of what the work adds, as a share of it, by the noise of the idle times.

    A window's own power goes up and down with the work; its noise is taken for that of idle in proportion to power.
    """
    before, after = _error(part, part.before), _error(part, part.after)
    idle_mw = (part.mw(part.before) + part.mw(part.after)) / 2
    active_mw = part.mw(part.inner)
    idle_samples = part.before.stop - part.before.start
    longer = max(1, part.inner.stop - part.inner.start) / max(1, idle_samples)
    active = max(before, after) * abs(active_mw / idle_mw) / math.sqrt(longer) if idle_mw else 0.0
    return math.hypot(math.hypot(before, after) / 2, active) / (active_mw - idle_mw)


def _error(part: _Part, where: slice) -> float:
    """Standard error of the mean power of an idle time, in mW, by the means of its parts."""
    blocks = np.array_split(part.trace.power_w[where], BLOCKS)
    means = [float(np.mean(block)) for block in blocks if len(block)]
    return 1e3 * statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0


def _sketch(trace: PowerTrace, pulses: Sequence[Pulse], plan: Plan) -> Sketch:
    """The first window with idle time on both sides."""
    begin_s = max(0.0, pulses[0].begin_s - plan.idle_s)
    begin, end = (int(np.searchsorted(trace.times_s, at)) for at in (begin_s, pulses[0].end_s + plan.idle_s))
    current_ma = 1e3 * np.nan_to_num(trace.current_a[begin:end])
    points = [block for block in np.array_split(current_ma, SKETCH_POINTS) if len(block)]
    span_s = float(trace.times_s[min(end, len(trace)) - 1] - trace.times_s[begin])
    return Sketch(
        step_s=float(f"{span_s / len(points):.6g}"),
        mean_ma=tuple(float(f"{block.mean():.4g}") for block in points),
        peak_ma=tuple(float(f"{block.max():.4g}") for block in points),
        windows=((float(f"{pulses[0].begin_s - begin_s:.5g}"), float(f"{pulses[0].end_s - begin_s:.5g}")),),
    )

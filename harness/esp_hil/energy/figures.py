"""What is known of the energy of a run: raw figures of each window, or the rules that were broken; no number then."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

EnergyCode = Literal[
    "too_short",
    "too_few_samples",
    "missing_samples",
    "saturated",
    "no_edges",
    "clock_skew",
    "idle_drift",
    "no_load",
    "aliased",
    "unsteady",
    "supply",
    "not_silicon",
    "failed",
]
"""Why there is no figure; docs/energy.md says what each of them means and what to do."""

Edges = Literal["gate", "marker"]
VoltageSource = Literal["measured", "supplied", "told"]

WH_MJ = 3.6e6
"""One watt-hour in mJ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyFinding:
    """One rule of measuring that was broken."""

    code: EnergyCode
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyWindow:
    """One window: so many inferences one after the other, with idle time before and after.

    Attributes:
        inferences: in it.
        seconds: its length on the device's clock.
        meter_s: the same on the meter's, from edge to edge.
        samples: between the edges.
        mean_mw: power.
        idle_before_mw: power before it, the board waiting for a request.
        idle_after_mw: likewise.
        mean_ma: current.
        peak_ma: largest sample of current.
    """

    inferences: int
    seconds: float
    meter_s: float
    samples: int
    mean_mw: float
    idle_before_mw: float
    idle_after_mw: float
    mean_ma: float
    peak_ma: float

    @property
    def idle_mw(self) -> float:
        """Mean of before and after."""
        return (self.idle_before_mw + self.idle_after_mw) / 2

    @property
    def whole_mj(self) -> float:
        """Energy of one inference with the idle share in it: what a supply delivers."""
        return self.mean_mw * self.seconds / self.inferences

    @property
    def idle_share_mj(self) -> float:
        """What the board would have taken in the time of one inference without making it."""
        return self.idle_mw * self.seconds / self.inferences

    @property
    def energy_mj(self) -> float:
        """Energy of one inference without the idle share: what it costs to make it."""
        return self.whole_mj - self.idle_share_mj


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A trace in a few hundred points, for a plot.

    Attributes:
        step_s: time of a point.
        mean_ma: by point.
        peak_ma: likewise.
        windows: begin and end of each, s.
    """

    step_s: float
    mean_ma: tuple[float, ...]
    peak_ma: tuple[float, ...]
    windows: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Windows that were measured, by which meter and how; without windows, what stood in the way.

    Attributes:
        meter: its kind.
        serial: of the meter.
        sample_hz: of its samples.
        range_ma: the largest current that it can tell.
        calibration: where its scale comes from.
        voltage_v: mean at the board.
        voltage_from: whether it was measured, supplied by the meter, or told in boards.toml.
        edges: how the windows were found.
        gate_gpio: of the board; None: no gate.
        simulated: whether the meter is: nothing was measured.
        state: of the board between the windows, for people.
        lost: samples that the meter lost, wherever.
        temperature_c: of the chip after the last window; None if it does not tell.
        windows: in the order of their making; empty if `findings` is not.
        findings: rules that were broken.
        sketch: of the first window and its idle time.
    """

    meter: str
    serial: str = ""
    sample_hz: float
    range_ma: float
    calibration: str = ""
    voltage_v: float
    voltage_from: VoltageSource
    edges: Edges
    gate_gpio: int | None = None
    simulated: bool = False
    state: str = ""
    lost: int = 0
    temperature_c: float | None = None
    windows: tuple[EnergyWindow, ...] = ()
    findings: tuple[EnergyFinding, ...] = ()
    sketch: Sketch | None = None

    @property
    def valid(self) -> bool:
        """Whether there is a figure."""
        return bool(self.windows) and not self.findings

    @property
    def codes(self) -> tuple[EnergyCode, ...]:
        """Of the findings, each once."""
        return tuple(dict.fromkeys(finding.code for finding in self.findings))

    @property
    def summary(self) -> str:
        """One clause."""
        return "; ".join(finding.summary for finding in self.findings) or "valid"

    @property
    def energy_mj(self) -> float:
        """Of one inference without the idle share: median of the windows. Only if `valid`."""
        return self.median(lambda window: window.energy_mj)

    def median(self, of: Callable[[EnergyWindow], float]) -> float:
        """Median over the windows."""
        return statistics.median(of(window) for window in self.windows)


def battery_days(energy: Energy, *, battery_wh: float, every_s: float) -> float:
    """How long a battery lasts, if one inference is made every so many seconds and the board idles in between.

    No self-discharge, no losses of a converter, nothing asleep: docs/energy.md says what is missing.

    Args:
        energy: valid.
        battery_wh: what the battery gives, in Wh.
        every_s: from one inference to the next; what is shorter than an inference is continuous work.
    """
    seconds = energy.median(lambda window: window.seconds / window.inferences)
    idle_mw = energy.median(lambda window: window.idle_mw)
    mean_mw = idle_mw + energy.energy_mj / max(every_s, seconds)
    return battery_wh * 1e3 / mean_mw / 24

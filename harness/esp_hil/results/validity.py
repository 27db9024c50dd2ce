"""Whether a figure of latency can be believed.

Every rule looks at the raw repetitions of one run. A run that breaks a rule keeps its figures, with the
rule's code beside them: it is told, not repaired, and takes no part in a comparison of latency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from esp_hil.errors import UnknownTarget
from esp_hil.results.metrics import figure_of
from esp_hil.results.record import Run
from esp_hil.results.timing.latency import Latency, floor_ms, statistics
from esp_hil.results.timing.series import DRIFT_SHARE, MODES_SHARE, STEP_SHARE, drift_of, modes_of, step_in
from esp_hil.targets import Target, target

__all__ = ["Latency", "SeriesFinding", "Validity", "check", "floor_ms", "problems", "statistics"]

MIN_REPETITIONS = 30
MIN_SECONDS = 10.0
"""Fewer repetitions than MIN_REPETITIONS are enough if together they took this long."""

MIN_CYCLES = 2_000
"""Reading the counter twice costs some 20 cycles: a shorter repetition is 1 % measuring."""

TIMER_SHARE = 0.01
TIMER_LEAST_US = 100_000
"""How far the device's cycle counter and its timer may disagree, and over how long at least: both are read one
after the other, some 100 us apart."""

CLOCK_SHARE = 0.05
CLOCK_SLACK_S = 0.5
"""How far the device's clock and the host's may disagree on a timed job: a share of it, and this much for the
line and the scheduler of the host. A job must be ten times the slack for a slow clock to be seen."""

SHAPELESS_SHARE = min(DRIFT_SHARE, MODES_SHARE, STEP_SHARE)
"""Repetitions within this share of each other have no shape that would count."""

Code = Literal["too_few", "too_short", "drifting", "bimodal", "throttled", "clock_mismatch", "below_floor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFinding:
    """One rule of measuring that a series breaks."""

    code: Code
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """What the rules of measuring say of one run.

    Attributes:
        findings: the rules that it breaks.
        not_applied: why the rules were not applied at all, or "".
    """

    findings: tuple[SeriesFinding, ...] = ()
    not_applied: str = ""

    @property
    def valid(self) -> bool | None:
        """Whether the latency can be believed; None if the rules do not apply."""
        return None if self.not_applied else not self.findings

    @property
    def codes(self) -> tuple[Code, ...]:
        """The codes of the findings."""
        return tuple(finding.code for finding in self.findings)

    @property
    def summary(self) -> str:
        """One clause."""
        if self.not_applied:
            return f"not checked: {self.not_applied}"
        return "; ".join(finding.summary for finding in self.findings) or "valid"


def check(run: Run, macs: int | None = None) -> Validity:
    """Apply the rules of measuring to the latency of a run.

    too_few: fewer than MIN_REPETITIONS repetitions that took less than MIN_SECONDS together.
    too_short: the median repetition is so short that reading the counter is a visible part of it.
    throttled: at some repetition the speed changed by 5 % or more, and stayed; or the device's clock ran
        slower than it claims, so that the host waited longer than the cycles explain.
    drifting: from the first to the last repetition the latency rises or falls by 2 % or more.
    bimodal: the repetitions have two speeds.
    clock_mismatch: the device claims a clock that the chip does not reach, or that its own timer refutes; or its
        cycles at its clock took longer than the host waited for them.
    below_floor: the fastest repetition is faster than the chip can multiply.

    Args:
        run: the run.
        macs: multiply-accumulates of one inference if `run.macs` is None.
    """
    if run.kind == "emulated":
        return Validity(not_applied="the cycles of an emulator are not a latency")
    if run.simulated:
        return Validity(not_applied=f"latency is {figure_of(run)} on {run.kind} boards")
    if run.device is None or not run.cycles:
        return Validity(not_applied="nothing was timed")
    try:
        chip = target(run.target)
    except UnknownTarget as error:
        return Validity(not_applied=error.message)
    known = run.macs if run.macs is not None else macs
    timed = _Timed(run=run, chip=chip, clock_hz=run.device.clock_hz, macs=known)
    found = (rule(timed) for rule in _RULES)
    return Validity(findings=tuple(finding for finding in found if finding is not None))


def problems(run: Run, macs: int | None = None) -> tuple[str, ...]:
    """The findings of `check` in words; empty for a simulated run, whose latency no rule is applied to."""
    return tuple(f"{finding.code}: {finding.summary}" for finding in check(run, macs).findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """A run whose repetitions were timed on a chip that we know."""

    run: Run
    chip: Target
    clock_hz: int
    macs: int | None

    @property
    def cycles(self) -> tuple[int, ...]:
        return self.run.cycles

    def ms(self, cycles: float) -> float:
        return 1e3 * cycles / self.clock_hz

    @property
    def seconds(self) -> float:
        """Of all recorded repetitions on the device's clock."""
        return sum(self.cycles) / self.clock_hz

    @property
    def job_s(self) -> float:
        """Of all runs of the timed job, those of the warm-up taken for median ones."""
        median = sorted(self.cycles)[len(self.cycles) // 2]
        cold = self.run.cold_cycles or 0
        others = max(0, self.run.warmup - bool(cold))
        return self.seconds + (others * median + cold) / self.clock_hz


def _too_few(timed: _Timed) -> SeriesFinding | None:
    n, seconds = len(timed.cycles), timed.seconds
    if n >= MIN_REPETITIONS or seconds >= MIN_SECONDS:
        return None
    wanted = f"need {MIN_REPETITIONS}, or {MIN_SECONDS:g} s"
    return SeriesFinding(code="too_few", summary=f"{n} repetitions in {seconds:.2g} s, {wanted}")


def _too_short(timed: _Timed) -> SeriesFinding | None:
    median = sorted(timed.cycles)[len(timed.cycles) // 2]
    if median >= MIN_CYCLES:
        return None
    said = f"a repetition takes {median} cycles: below {MIN_CYCLES}, reading the counter is a visible part"
    return SeriesFinding(code="too_short", summary=said)


def _shape(timed: _Timed) -> SeriesFinding | None:
    """The one word for the shape of the series; a step would look like a drift and like two modes as well."""
    if max(timed.cycles) - min(timed.cycles) < SHAPELESS_SHARE * min(timed.cycles):
        return None
    if step := step_in(timed.cycles):
        said = (
            f"from repetition {step.at + 1} of {len(timed.cycles)} on it takes "
            f"{100 * (step.ratio - 1):+.1f} % ({timed.ms(step.before):.4g} -> {timed.ms(step.after):.4g} ms)"
        )
        return SeriesFinding(code="throttled", summary=said)
    if drift := drift_of(timed.cycles):
        said = f"the latency changes by {100 * drift:+.1f} % from the first to the last repetition"
        return SeriesFinding(code="drifting", summary=said)
    if modes := modes_of(timed.cycles):
        said = (
            f"two speeds: {timed.ms(modes.fast):.4g} ms, and {timed.ms(modes.slow):.4g} ms in "
            f"{100 * modes.slow_share:.0f} % of the repetitions"
        )
        return SeriesFinding(code="bimodal", summary=said)
    return None


def _claimed_clock(timed: _Timed) -> SeriesFinding | None:
    if timed.clock_hz <= timed.chip.fastest_hz:
        return None
    claimed, most = timed.clock_hz / 1e6, timed.chip.fastest_hz / 1e6
    said = f"device claims {claimed:g} MHz, {timed.chip.name} has {most:g}"
    return SeriesFinding(code="clock_mismatch", summary=said)


def _timer(timed: _Timed) -> SeriesFinding | None:
    """The device's crystal against the clock of its CPU."""
    both = timed.run.clock
    if both is None or both.timer_us < TIMER_LEAST_US:
        return None
    true_hz = 1e6 * both.cycles / both.timer_us
    if abs(true_hz / timed.clock_hz - 1) <= TIMER_SHARE:
        return None
    said = f"by its timer the CPU ran at {true_hz / 1e6:.4g} MHz, it claims {timed.clock_hz / 1e6:g}"
    return SeriesFinding(code="clock_mismatch", summary=said)


def _host_clock(timed: _Timed) -> SeriesFinding | None:
    """The host's clock against the device's: the only one that a wrong clock of the device does not move."""
    host_s = timed.run.timed_s
    if host_s is None:
        if timed.seconds <= timed.run.duration_s:
            return None
        run_s = timed.run.duration_s
        said = f"repetitions took {timed.seconds:.3g} s on the device's clock, the run {run_s:.3g} s"
        return SeriesFinding(code="clock_mismatch", summary=said)
    both = f"{timed.job_s:.3g} s on the device's clock, {host_s:.3g} s on the host's"
    if timed.seconds > host_s * (1 + CLOCK_SHARE / 5):
        return SeriesFinding(
            code="clock_mismatch", summary=f"the timed job took {both}: the clock is not what it says"
        )
    if host_s >= 10 * CLOCK_SLACK_S and timed.job_s < host_s * (1 - CLOCK_SHARE) - CLOCK_SLACK_S:
        return SeriesFinding(
            code="throttled", summary=f"the timed job took {both}: the clock ran slower than it says"
        )
    return None


def _below_floor(timed: _Timed) -> SeriesFinding | None:
    if timed.macs is None:
        return None
    floor = floor_ms(timed.macs, timed.chip, cores=timed.run.cores_used, clock_hz=timed.clock_hz)
    fastest = timed.ms(min(timed.cycles))
    if fastest >= floor:
        return None
    said = (
        f"fastest repetition took {fastest:.4g} ms, {timed.macs} MACs take at least {floor:.4g} ms "
        f"on {timed.chip.name}"
    )
    return SeriesFinding(code="below_floor", summary=said)


_RULES: tuple[Callable[[_Timed], SeriesFinding | None], ...] = (
    _too_few,
    _too_short,
    _shape,
    _claimed_clock,
    _timer,
    _host_clock,
    _below_floor,
)

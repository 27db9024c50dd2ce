"""Whether a figure of latency can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import UnknownTarget
from harness.latency import Latency, floor_ms, statistics
from harness.record import Run
from harness.targets import Target, target

__all__ = ["Finding", "Latency", "Validity", "check", "floor_ms", "problems", "statistics"]

MIN_REPETITIONS = 30
MIN_SECONDS = 10.0
"""Fewer repetitions than MIN_REPETITIONS are enough if together they took this long."""

Code = Literal["too_few", "below_floor", "clock_mismatch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule of measuring that a series breaks."""

    code: Code
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """What the rules of measuring say of one run.

    Attributes:
        findings: the rules that it breaks.
        not_applied: why the rules were not applied at all, or "".
    """

    findings: tuple[Finding, ...] = ()
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
    def words(self) -> str:
        """One clause."""
        if self.not_applied:
            return f"not checked: {self.not_applied}"
        return "; ".join(finding.words for finding in self.findings) or "valid"


def check(run: Run, macs: int | None = None) -> Validity:
    """Apply the rules of measuring to the latency of a run.

    too_few: fewer than MIN_REPETITIONS repetitions that took less than MIN_SECONDS together.
    below_floor: the fastest repetition is faster than the chip can multiply.
    clock_mismatch: the device claims a clock that the chip does not reach, or its cycles at its clock took
        longer than the whole run did on the host's clock.

    Args:
        run: the run.
        macs: multiply-accumulates of one inference if `run.macs` is None.
    """
    if run.kind == "emulated":
        return Validity(not_applied="the cycles of an emulator are no latency")
    if run.simulated:
        return Validity(not_applied=f"latency is simulated on {run.kind} boards")
    if run.device is None or not run.cycles:
        return Validity(not_applied="nothing was timed")
    try:
        chip = target(run.target)
    except UnknownTarget as error:
        return Validity(not_applied=error.message)
    found = (
        _too_few(run),
        _below_floor(run, chip, run.macs if run.macs is not None else macs),
        _clock(run, chip),
    )
    return Validity(findings=tuple(finding for finding in found if finding is not None))


def problems(run: Run, macs: int | None = None) -> tuple[str, ...]:
    """The findings of `check` in words; empty for a simulated run, whose latency no rule is applied to."""
    return tuple(f"{finding.code}: {finding.words}" for finding in check(run, macs).findings)


def _timed_s(run: Run) -> float:
    """Seconds of all repetitions on the device's clock; 0 without a device."""
    return sum(run.cycles) / run.device.clock_hz if run.device else 0.0


def _too_few(run: Run) -> Finding | None:
    n, seconds = len(run.cycles), _timed_s(run)
    if n >= MIN_REPETITIONS or seconds >= MIN_SECONDS:
        return None
    wanted = f"need {MIN_REPETITIONS}, or {MIN_SECONDS:g} s"
    return Finding(code="too_few", words=f"{n} repetitions in {seconds:.2g} s, {wanted}")


def _below_floor(run: Run, chip: Target, macs: int | None) -> Finding | None:
    if macs is None or run.device is None:
        return None
    clock_hz = run.device.clock_hz
    floor, fastest = (
        floor_ms(macs, chip, cores=run.cores_used, clock_hz=clock_hz),
        1e3 * min(run.cycles) / clock_hz,
    )
    if fastest >= floor:
        return None
    said = (
        f"fastest repetition took {fastest:.4g} ms, {macs} MACs take at least {floor:.4g} ms on {chip.name}"
    )
    return Finding(code="below_floor", words=said)


def _clock(run: Run, chip: Target) -> Finding | None:
    if run.device is None:
        return None
    if run.device.clock_hz > chip.clock_hz:
        claimed, most = run.device.clock_hz / 1e6, chip.clock_hz / 1e6
        return Finding(
            code="clock_mismatch", words=f"device claims {claimed:g} MHz, {chip.name} has {most:g}"
        )
    if _timed_s(run) > run.duration_s:
        said = f"repetitions took {_timed_s(run):.3g} s on the device's clock, the run {run.duration_s:.3g} s"
        return Finding(code="clock_mismatch", words=said)
    return None

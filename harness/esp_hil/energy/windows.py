"""Lets a board work beside a meter: idle, window, idle, window, ..., idle.

The host waits between the windows while the board waits for a request: that is the idle state. What goes over the
line lies outside the windows, and outside the parts of the idle time that are looked at (`method.GUARD`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from esp_hil.energy.figures import Edges
from esp_hil.energy.meter import Clock, Meter, MeterInfo, PowerTrace
from esp_hil.errors import HilError, MeterError

LEAST_SAMPLES = 50
"""Of a window, and of each idle time."""

LEAST_S = 1.0
LEAST_IDLE_S = 0.5
MARKER_S = 0.1
MARKER = (1, 2, 1, 3)
"""A marker is four bursts of so many times its unit, with one unit of rest after each: no other work looks so."""

MARKED = 60
"""Inferences of a window without gate, at least: its ends are not known to the sample."""

FIRST_SAMPLE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What the board says of one job: inferences of it, and their time on its own clock in s."""

    inferences: int
    seconds: float


Job = Callable[[int], Done]
"""Makes so many inferences at once, with the gate raised for exactly these where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes:
        edges: by which windows are found in the trace.
        windows: how many.
        window_s: length of each.
        idle_s: before, between and after.
        inference_s: of one inference, to know how many make a window.
        marker_s: unit of the marker.
    """

    edges: Edges
    windows: int
    window_s: float
    idle_s: float
    inference_s: float
    marker_s: float = MARKER_S

    @staticmethod
    def beside(
        info: MeterInfo, *, edges: Edges, windows: int, inference_s: float, window_s: float = LEAST_S
    ) -> Plan:
        """A plan that gives the meter enough samples, by a fifth more than the least ones."""
        enough_s = 1.2 * LEAST_SAMPLES / info.sample_hz
        return Plan(
            edges=edges,
            windows=windows,
            window_s=max(1.05 * window_s, enough_s, 0.0 if edges == "gate" else MARKED * inference_s),
            idle_s=max(LEAST_IDLE_S, enough_s / 0.6),
            inference_s=inference_s,
            marker_s=max(MARKER_S, 12 / info.sample_hz, 2 * inference_s),
        )

    def inferences(self, seconds: float) -> int:
        """How many take so long, at least one."""
        return max(1, -int(-seconds // self.inference_s))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeterRecording:
    """What meter and board say of the same time.

    Attributes:
        trace: of the meter.
        markers: bursts before the first window; () with a gate.
        windows: in the order of their making.
        plan: by which they were made.
    """

    trace: PowerTrace
    markers: tuple[Done, ...]
    windows: tuple[Done, ...]
    plan: Plan


def record(meter: Meter, job: Job, plan: Plan, clock: Clock) -> MeterRecording:
    """Make the windows of a plan, with the meter looking on.

    Raises:
        MeterError: the meter failed.
        HilError: the board did.
    """
    meter.start()
    try:
        with _pumping(meter, clock):
            _wait_for_samples(meter, clock)
            clock.sleep(plan.idle_s)
            markers = _mark(job, plan, clock) if plan.edges == "marker" else ()
            windows: list[Done] = []
            for _ in range(plan.windows):
                windows.append(job(plan.inferences(plan.window_s)))
                clock.sleep(plan.idle_s)
    except BaseException:
        # what happened first counts, not what the meter says afterwards
        with suppress(HilError):
            meter.stop()
        raise
    return MeterRecording(trace=meter.stop(), markers=markers, windows=tuple(windows), plan=plan)


def _mark(job: Job, plan: Plan, clock: Clock) -> tuple[Done, ...]:
    done = []
    for length in MARKER:
        done.append(job(plan.inferences(length * plan.marker_s)))
        clock.sleep(plan.marker_s)
    clock.sleep(plan.idle_s)
    return tuple(done)


def _wait_for_samples(meter: Meter, clock: Clock) -> None:
    """A meter begins a moment after it was told to: the first idle time counts from its first sample."""
    if not clock.real:
        return
    until_s = clock.now_s() + FIRST_SAMPLE_S
    while not meter.received:
        if clock.now_s() > until_s:
            raise MeterError(
                f"{meter.info.kind} gave no sample within {FIRST_SAMPLE_S:g} s",
                hint="hil meter METER shows what it says",
            )
        clock.sleep(0.005)


@contextmanager
def _pumping(meter: Meter, clock: Clock) -> Iterator[None]:
    """A thread takes in samples meanwhile: what waits in the system's buffers for a second is lost."""
    if not clock.real:
        yield
        return
    failed: list[HilError] = []
    ended = threading.Event()

    def pump() -> None:
        try:
            while not ended.is_set():
                meter.pump()
        except HilError as error:
            failed.append(error)
        except Exception as error:
            # a thread that dies in silence would cut the trace
            failed.append(MeterError(f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=pump, name="meter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise failed[0]

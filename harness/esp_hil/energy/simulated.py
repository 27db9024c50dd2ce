"""A board with a known power model and a meter beside it, on a simulated clock: the truth is known exactly.

    board = SimulatedBoard(PowerModel(idle_w=0.08, phases=((0.7, 0.30), (0.3, 0.15))), SimulatedClock())
    meter = SimulatedMeter(board, MeterModel(sample_hz=10_000, noise=0.01))
    board.work(300, 0.004)                      what `windows.record` makes a board do
    meter.stop()                                what a meter would have seen of it

Everything beside a board that is asked for its power gets it from here: the simulated meter of `--hil-meter
simulated`, and the tests' models of PPK2, Joulescope, INA chips and programs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from esp_hil.energy.meter import Clock, Flags, MeterInfo, PowerTrace, Values
from esp_hil.energy.windows import Done
from esp_hil.errors import ConfigError


class SimulatedClock:
    """Time that passes when somebody says so."""

    real = False

    def __init__(self) -> None:
        self._now_s = 0.0
        self._watch: tuple[float, Callable[[], None]] | None = None
        self._watching = False

    def watch(self, period_s: float, what: Callable[[], None]) -> None:
        """Have `what` called so often while time passes: a meter that is asked for each sample."""
        self._watch = (period_s, what)

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self._now_s + seconds
        if self._watch is not None and not self._watching:
            period_s, what = self._watch
            self._watching = True
            while self._now_s + period_s <= end_s:
                self._now_s += period_s
                what()
            self._watching = False
        self._now_s = max(self._now_s, end_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerModel:
    """What a board takes.

    Attributes:
        idle_w: power while it waits.
        phases: of an inference, in their order: share of its time, power in W. The shares sum to 1.
        drift_w_per_s: how fast idle power rises.
    """

    idle_w: float = 0.08
    phases: tuple[tuple[float, float], ...] = ((0.7, 0.30), (0.3, 0.18))
    drift_w_per_s: float = 0.0

    @property
    def active_w(self) -> float:
        """Mean power of an inference."""
        return sum(share * power for share, power in self.phases)

    def energy_mj(self, inference_s: float) -> float:
        """Of one inference, without the idle share: the truth."""
        return 1e3 * (self.active_w - self.idle_w) * inference_s


@dataclass(frozen=True, slots=True)
class _Work:
    """Inferences one after the other: where they begin and end, s, and the length of one."""

    begin_s: float
    end_s: float
    inference_s: float
    gated: bool


class SimulatedBoard:
    """A board that keeps what it did, on a simulated clock or on the wall's.

    Args:
        model: what it takes.
        clock: that passes while it works.
        overhead_s: between request and window, and between window and answer; it idles there.
        warmup: inferences before each window, outside the gate.
        gated: whether a gate is raised for windows.
    """

    def __init__(
        self,
        model: PowerModel,
        clock: Clock,
        *,
        overhead_s: float = 0.002,
        warmup: int = 0,
        gated: bool = True,
    ) -> None:
        self.model = model
        self.clock = clock
        self._overhead_s, self._warmup, self._gated = overhead_s, warmup, gated
        self._works: list[_Work] = []

    def work(self, inferences: int, inference_s: float) -> Done:
        """Make so many inferences; what passes before and after them is the line's."""
        self.clock.sleep(self._overhead_s)
        if self._warmup:
            self._pass(self._warmup * inference_s, inference_s, gated=False)
        self._pass(inferences * inference_s, inference_s, gated=self._gated)
        self.clock.sleep(self._overhead_s)
        return Done(inferences=inferences, seconds=inferences * inference_s)

    def _pass(self, seconds: float, inference_s: float, *, gated: bool) -> None:
        begin_s = self.clock.now_s()
        self._works.append(_Work(begin_s, begin_s + seconds, inference_s, gated))
        self.clock.sleep(seconds)

    def joules(self, times_s: Values) -> Values:
        """Energy from the beginning until each time, exactly."""
        model = self.model
        total: Values = model.idle_w * times_s + model.drift_w_per_s * times_s**2 / 2
        shares = np.cumsum([0.0, *(share for share, _ in model.phases)])
        sums = np.cumsum([0.0, *(share * (power - model.idle_w) for share, power in model.phases)])
        for work in self._works:
            turns = np.clip((times_s - work.begin_s) / work.inference_s, 0.0, None)
            turns = np.minimum(turns, (work.end_s - work.begin_s) / work.inference_s)
            whole = np.floor(turns)
            total += work.inference_s * (whole * sums[-1] + np.interp(turns - whole, shares, sums))
        return total

    def watts(self, begin_s: Values, end_s: Values) -> Values:
        """Mean power between two times."""
        mean: Values = (self.joules(end_s) - self.joules(begin_s)) / (end_s - begin_s)
        return mean

    def gate(self, times_s: Values) -> Flags:
        """Level of the gate at each time."""
        level = np.zeros(len(times_s), np.bool_)
        for work in self._works:
            if work.gated:
                level |= (times_s >= work.begin_s) & (times_s < work.end_s)
        return level


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """What a simulated meter is like, and what is wrong with it.

    Attributes:
        sample_hz: its rate.
        noise: of a sample, standard deviation as a share of its value.
        floor_a: of a sample, standard deviation in A.
        gain: of its scale: 1.05 tells 5 % too much.
        skew: how much faster its clock runs: 0.001 is 0.1 %.
        range_a: the largest current that it can tell.
        supply_v: at the board.
        averages: whether a sample is a mean over its time.
        gate: whether it has a gate channel.
        lost: share of samples that it loses, and knows of.
        gap_s: length of one gap, without notice.
        gap_at_s: when, from the start on.
        seed: of its noise.
    """

    sample_hz: float = 10_000.0
    noise: float = 0.005
    floor_a: float = 0.0
    gain: float = 1.0
    skew: float = 0.0
    range_a: float = 1.0
    supply_v: float = 3.3
    averages: bool = True
    gate: bool = True
    lost: float = 0.0
    gap_s: float = 0.0
    gap_at_s: float = 1.0
    seed: int = 0


class SimulatedMeter:
    """A meter beside a simulated board; see `Meter`.

    Args:
        board: whose power it sees.
        model: what it is like.
    """

    def __init__(self, board: SimulatedBoard, model: MeterModel) -> None:
        self.board = board
        self.model = model
        self._began_s = 0.0
        self._runs = 0

    @property
    def info(self) -> MeterInfo:
        """What it says that it is."""
        model = self.model
        return MeterInfo(
            kind="simulated",
            sample_hz=model.sample_hz,
            range_a=model.range_a,
            averages=model.averages,
            calibration="a model of the board's power: nothing was measured",
            has_gate=model.gate,
            simulated=True,
        )

    @property
    def received(self) -> int:
        """Samples since `start`."""
        return int((self.board.clock.now_s() - self._began_s) * self.model.sample_hz)

    def start(self) -> None:
        """Begin anew."""
        self._began_s = self.board.clock.now_s()
        self._runs += 1

    def pump(self) -> None:
        """Nothing comes by itself."""

    def stop(self) -> PowerTrace:
        """What it has seen since `start`."""
        model = self.model
        rng = np.random.default_rng([model.seed, self._runs])
        true_hz = model.sample_hz / (1 + model.skew)
        count = int((self.board.clock.now_s() - self._began_s) * true_hz)
        times_s = np.asarray(self._began_s + (np.arange(count) + rng.random()) / true_hz, np.float64)
        step_s = (1 if model.averages else 1e-3) / true_hz
        current = self.board.watts(times_s - step_s, times_s) / model.supply_v
        current *= model.gain * (1 + model.noise * rng.standard_normal(count))
        current += model.floor_a * rng.standard_normal(count)
        beyond = np.abs(current) >= model.range_a
        current = np.clip(current, -model.range_a, model.range_a)
        if model.lost:
            current[rng.random(count) < model.lost] = np.nan
        trace = PowerTrace.regular(
            current,
            sample_hz=model.sample_hz,
            voltage_v=model.supply_v,
            gate=self.board.gate(times_s) if model.gate else None,
            saturated=beyond,
        )
        return _with_gap(trace, model) if model.gap_s else trace

    def close(self) -> None:
        """Nothing to let go of."""


def _with_gap(trace: PowerTrace, model: MeterModel) -> PowerTrace:
    kept = (trace.times_s < model.gap_at_s) | (trace.times_s >= model.gap_at_s + model.gap_s)
    return PowerTrace(
        times_s=trace.times_s[kept],
        current_a=trace.current_a[kept],
        voltage_v=trace.voltage_v[kept],
        gate=None if trace.gate is None else trace.gate[kept],
        saturated=trace.saturated[kept],
    )


def read_model(text: str) -> tuple[PowerModel, MeterModel]:
    """The models that `simulated:idle_w=0.08,active_w=0.3,noise=0.01` names, the part after the colon.

    `active_w` is one power for the whole of an inference; the other names are those of `MeterModel`, `idle_w` and
    `drift_w_per_s`.

    Raises:
        ConfigError: an unknown name, or no number.
    """
    power: dict[str, float] = {}
    meter: dict[str, float | bool | int] = {}
    defaults = asdict(MeterModel())
    for part in filter(None, text.split(",")):
        name, _, given = part.partition("=")
        try:
            value = float(given)
        except ValueError:
            raise ConfigError(f"simulated meter: {part}: not a number", hint="simulated:noise=0.01") from None
        if name in {"idle_w", "active_w", "drift_w_per_s"}:
            power[name] = value
        elif name in defaults:
            meter[name] = type(defaults[name])(value)
        else:
            known = ", ".join(["active_w", "idle_w", "drift_w_per_s", *defaults])
            raise ConfigError(f"simulated meter has no {name!r}", hint=f"one of: {known}")
    model = PowerModel(
        idle_w=power.get("idle_w", PowerModel().idle_w), drift_w_per_s=power.get("drift_w_per_s", 0.0)
    )
    if "active_w" in power:
        model = PowerModel(
            idle_w=model.idle_w, drift_w_per_s=model.drift_w_per_s, phases=((1.0, power["active_w"]),)
        )
    return model, MeterModel(**meter)  # type: ignore[arg-type]  # each has the type of its field

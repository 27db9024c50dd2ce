"""What two rows must have in common before their figures may be compared.

A row says what was run (its identity) and under which conditions. A condition stands in the way of the groups
of figures that it changes: another clock makes two latencies incomparable, two accuracies it does not.
Whoever wants to see the effect of a condition (a new ESP-DL, another PSRAM speed) declares it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from esp_hil.errors import ConfigError, did_you_mean
from esp_hil.results.record import DeviceRow, Run

Group = Literal["latency", "energy", "accuracy", "memory", "size", "link"]
GROUPS: tuple[Group, ...] = get_args(Group)

Value = str | int | None


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Identity:
    """What was run: rows of one identity belong together."""

    model: str
    recipe: str
    runtime: str
    target: str

    @property
    def summary(self) -> str:
        """As `mnist w8a8 espdl on esp32s3`."""
        return f"{self.model} {self.recipe} {self.runtime} on {self.target}"


def identity_of(run: Run) -> Identity:
    """What the row is about."""
    return Identity(model=run.model, recipe=run.recipe, runtime=run.runtime, target=run.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that two comparable rows share.

    Attributes:
        name: as it is declared with `--across` (pytest: `--hil-across`).
        of: its value in a row; None if the row does not know it, which equals only None.
        groups: the figures that it changes.
    """

    name: str
    of: Callable[[Run], Value]
    groups: frozenset[Group]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A condition that two rows do not share."""

    name: str
    base: Value
    new: Value

    @property
    def summary(self) -> str:
        """As `clock_hz 240000000 -> 160000000`; long digests are cut."""
        return f"{self.name} {_short(self.base)} -> {_short(self.new)}"


def _short(value: Value) -> str:
    text = "unknown" if value in (None, "") else str(value)
    return text[:12] if len(text) == 64 else text


def _device(pick: Callable[[DeviceRow], Value]) -> Callable[[Run], Value]:
    return lambda run: pick(run.device) if run.device else None


def _board(run: Run) -> Value:
    """Which piece of hardware: by MAC where it has one of its own, which a virtual board has not."""
    if run.kind != "virtual" and run.device and run.device.mac:
        return run.device.mac
    return run.board


def _row(name: str, of: Callable[[Run], Value], groups: str) -> Condition:
    chosen = GROUPS if groups == "all" else tuple(group for group in GROUPS if group in groups.split())
    return Condition(name=name, of=of, groups=frozenset(chosen))


def _meter(run: Run) -> Value:
    """Which piece, and how windows were found: two meters differ by more than a board does from night to night."""
    if run.energy is None:
        return None
    return " ".join(filter(None, (run.energy.meter, run.energy.serial, run.energy.edges)))


def _supply(run: Run) -> Value:
    """A voltage that was measured is in the energy already; one that was told or supplied is a setting."""
    if run.energy is None:
        return None
    measured = run.energy.voltage_from == "measured"
    return "measured" if measured else f"{run.energy.voltage_v:.4g} {run.energy.voltage_from}"


CONDITIONS: tuple[Condition, ...] = (
    _row("kind", lambda run: run.kind, "all"),
    # a model that was trained again is asked first of all whether it got worse; its speed is another model's
    _row("model_sha256", lambda run: run.provenance.model_sha256, "latency energy memory size link"),
    _row("golden_sha256", lambda run: run.provenance.golden_sha256, "accuracy"),
    _row("inputs", lambda run: run.inputs, "accuracy"),
    _row("board", _board, "latency energy link"),
    _row("machine", lambda run: run.provenance.machine if run.simulated else "", "latency link"),
    _row("cores_used", lambda run: run.cores_used, "latency energy memory"),
    _row("location", lambda run: run.location, "latency energy memory"),
    _row("revision", _device(lambda device: device.revision), "latency energy"),
    _row("clock_hz", _device(lambda device: device.clock_hz), "latency energy"),
    _row("psram_bytes", _device(lambda device: device.psram_bytes), "latency energy memory"),
    _row("flash_bytes", _device(lambda device: device.flash_bytes), "latency energy"),
    _row("idf", _device(lambda device: device.idf), "latency energy memory size"),
    _row("engine", _device(lambda device: device.engine), "latency energy accuracy memory size"),
    _row(
        "engine_version", _device(lambda device: device.engine_version), "latency energy accuracy memory size"
    ),
    _row("sdkconfig_sha256", _device(lambda device: device.sdkconfig_sha256), "latency energy memory size"),
    _row("meter", _meter, "energy"),
    _row("supply_v", _supply, "energy"),
    _row("protocol", _device(lambda device: device.protocol), "link"),
)
"""All conditions, the weightiest first."""

_BY_NAME: Mapping[str, Condition] = {condition.name: condition for condition in CONDITIONS}


def check_names(names: Collection[str]) -> frozenset[str]:
    """Names of conditions that may differ, checked.

    Raises:
        ConfigError: there is no such condition.
    """
    for name in names:
        if name not in _BY_NAME:
            hint = did_you_mean(name, _BY_NAME) or f"one of: {', '.join(_BY_NAME)}"
            raise ConfigError(f"no condition {name!r}", hint=hint)
    return frozenset(names)


def differences(base: Run, new: Run, group: Group, *, across: Collection[str] = ()) -> tuple[Difference, ...]:
    """Conditions of a group of figures that the rows do not share, those in `across` left out."""
    return tuple(
        Difference(name=condition.name, base=condition.of(base), new=condition.of(new))
        for condition in CONDITIONS
        if group in condition.groups
        and condition.name not in across
        and condition.of(base) != condition.of(new)
    )

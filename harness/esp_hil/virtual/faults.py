r"""Faults to plant in a virtual board, so that tests can see the harness notice them.

A plan is JSON or TOML (a file, or the JSON text itself):

    seed = 7                                     # of everything random here

    [engine]
    delay_s = 0.5                                # each inference takes so much longer
    cycles_factor = 2.0                          # its reported cycles, likewise
    cycles_per_mac = 0.5                         # they follow from the model, not from this machine's time
    cycles_noise = 0.01                          # relative, of each inference
    cycles_seed = 1                              # of that noise
    reset_at_run = 3                             # the chip restarts in the middle of it (1: the first)
    panic_at_run = 3                             # the same with a crash on the console
    panic_again = true                           # after each restart as well, not only after power-on
    kernels = "esp-nn 1.2.3"                     # TFLM: with the known faults of that version of ESP-NN
                                                 # "esp-dl 3.3.5": answers as that version of ESP-DL, and says so
    crash = "brownout"                           # which: panic (the default), stack_overflow, out_of_memory,
                                                 # task_watchdog, brownout

    [[engine.output]]                            # one integer of an output or captured tensor is off
    tensor = "output"
    index = 4                                    # in C order
    add_lsb = 1

    [[engine.parameter]]                         # one integer of an initializer is off
    tensor = "conv1.bias"
    index = 0
    add_lsb = 64

    [[engine.bit]]                               # one bit of an initializer is flipped
    tensor = "conv1.weight"
    index = 17                                   # in file order
    bit = 6

    [[engine.node]]                              # a layer computes, or leaves, something else
    node = "/conv1/Conv"                         # its name; for layout and stale also a tensor or graph input
    fault = "rounding"                           # or exponent, padding, accumulator, layout, stale
    mode = "half_even"                           # rounding: half_up, half_even, floor, toward_zero
    amount = 0                                   # exponent: shifts by so much more; padding: windows begin so
                                                 # many pixels too early; accumulator: its bits

    [[engine.operator]]                          # every layer of a type computes, or does, something else
    operator = "Mul"                             # its type
    bits = 8                                     # only of this width (8, 16); 0: of all
    fault = "rounding"                           # the other half: up where it should be to even, and the reverse
                                                 # minimum: 127 (32767) where -128 (-32768) belongs
                                                 # broken: every bit of its output is turned round
                                                 # crash: the chip panics; refused: the model is not loaded

    [line.to_device]                             # and [line.to_host]; rates are per byte of that direction
    bit_error_rate = 1e-5                        # per bit
    drop_rate = 1e-4
    duplicate_rate = 1e-4
    reorder_rate = 1e-5                          # packets of 62 bytes that come after their successor
    text = "W (99) wifi: noise\n"                # console text put in every so many bytes
    text_every_bytes = 1000
    stall_after_bytes = 5000                     # once: nothing moves for stall_s
    stall_s = 0.3
    disconnect_after_bytes = 9000                # once: the port vanishes and comes back
    reset_after_bytes = 9000                     # once: the chip restarts
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from esp_hil.errors import ConfigError
from esp_hil.json_text import parse_json, read_json
from esp_hil.toml_table import read_toml

T = TypeVar("T")

NODE_FAULTS = ("rounding", "exponent", "padding", "accumulator", "layout", "stale")
CRASH_KINDS = ("panic", "stack_overflow", "out_of_memory", "task_watchdog", "brownout")
OPERATOR_FAULTS = ("rounding", "minimum", "broken", "crash", "refused")
ROUNDING_MODES = ("half_up", "half_even", "floor", "toward_zero")

_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OffByLsb:
    """An integer of a tensor that is off, saturated at its type's ends."""

    tensor: str
    index: int
    add_lsb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlippedBit:
    """A bit of an initializer that is another."""

    tensor: str
    index: int
    bit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFault:
    """A layer that goes wrong; see the plan above for the fields. Only ESP-DL's engine can have it."""

    node: str
    fault: str
    amount: int = 0
    mode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFault:
    """A type of layer whose kernel is wrong, in every model; see the plan above. Only ESP-DL's engine can have it."""

    operator: str
    fault: str
    bits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFaults:
    """What is wrong with the engine; runs are counted from 1, since the board was started."""

    delay_s: float = 0.0
    cycles_factor: float = 1.0
    cycles_per_mac: float = 0.0
    cycles_noise: float = 0.0
    cycles_seed: int = 0
    reset_at_run: int = 0
    panic_at_run: int = 0
    panic_again: bool = False
    crash: str = "panic"
    kernels: str = ""
    output: tuple[OffByLsb, ...] = ()
    parameter: tuple[OffByLsb, ...] = ()
    bit: tuple[FlippedBit, ...] = ()
    node: tuple[NodeFault, ...] = ()
    operator: tuple[OperatorFault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFaults:
    """What is wrong with one direction of the line; 0 means never."""

    bit_error_rate: float = 0.0
    drop_rate: float = 0.0
    duplicate_rate: float = 0.0
    reorder_rate: float = 0.0
    text: str = ""
    text_every_bytes: int = 0
    stall_after_bytes: int = 0
    stall_s: float = 0.0
    disconnect_after_bytes: int = 0
    reset_after_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """All faults of a virtual board."""

    seed: int = 0
    engine: EngineFaults = field(default_factory=EngineFaults)
    to_device: LineFaults = field(default_factory=LineFaults)
    to_host: LineFaults = field(default_factory=LineFaults)

    def to_json(self) -> str:
        """The plan as `parse_plan` reads it."""
        table = asdict(self)
        line = {"to_device": table.pop("to_device"), "to_host": table.pop("to_host")}
        return json.dumps(table | {"line": line})


def load_plan(source: str) -> FaultPlan:
    """The plan in a .toml or .json file, or in JSON text.

    Raises:
        ConfigError: it cannot be read, or holds a key or a value that has no meaning.
    """
    try:
        if source.lstrip().startswith("{"):
            table = parse_json(source)
        elif source.endswith(".toml"):
            table = read_toml(Path(source))
        else:
            table = read_json(Path(source))
    except (OSError, ValueError) as error:
        raise ConfigError(f"fault plan {source[:60]}: {error}", hint="a .toml or .json file") from error
    if not isinstance(table, dict):
        raise ConfigError(f"fault plan {source[:60]}: not a table", hint='as {"engine": {"reset_at_run": 3}}')
    return parse_plan(table)


def parse_plan(table: Mapping[str, Any]) -> FaultPlan:
    """The plan in a table.

    Raises:
        ConfigError: a key or a value has no meaning; the message names it.
    """
    engine = _table(table, "engine")
    line = _table(table, "line")
    _known({"seed", "engine", "line"}, table, "the plan")
    _known({"to_device", "to_host"}, line, "line")
    kinds = {
        "output": OffByLsb,
        "parameter": OffByLsb,
        "bit": FlippedBit,
        "node": NodeFault,
        "operator": OperatorFault,
    }
    offs: dict[str, tuple[Any, ...]] = {
        name: tuple(_record(kind, row, f"engine.{name}") for row in engine.get(name, ()))
        for name, kind in kinds.items()
    }
    for row in offs["node"]:
        _check_node_fault(row)
    for row in offs["operator"]:
        if row.fault not in OPERATOR_FAULTS or row.bits not in {0, 8, 16, 32}:
            raise ConfigError(
                f"fault plan: engine.operator has no fault {row.fault!r} of {row.bits} bits",
                hint=f"one of: {', '.join(OPERATOR_FAULTS)}; bits 8, 16, 32 or 0",
            )
    crash = engine.get("crash", CRASH_KINDS[0])
    if crash not in CRASH_KINDS:
        raise ConfigError(f"fault plan: engine.crash is {crash!r}", hint=f"one of: {', '.join(CRASH_KINDS)}")
    _check_kernels(str(engine.get("kernels", "")))
    return FaultPlan(
        seed=_seed(table),
        engine=_record(EngineFaults, {**engine, **offs}, "engine"),
        to_device=_record(LineFaults, _table(line, "to_device"), "line.to_device"),
        to_host=_record(LineFaults, _table(line, "to_host"), "line.to_host"),
    )


def _seed(table: Mapping[str, Any]) -> int:
    seed = table.get("seed", 0)
    if type(seed) is not int:
        raise ConfigError(f"fault plan: seed should be int, got {seed!r}")
    return seed


def _check_kernels(kernels: str) -> None:
    """`kernels` is empty, or "esp-nn" or "esp-dl" and a version."""
    name, _, version = kernels.partition(" ")
    if kernels and (name not in {"esp-nn", "esp-dl"} or not version):
        raise ConfigError(
            f"fault plan: engine.kernels is {kernels!r}", hint="such as esp-nn 1.2.3 or esp-dl 3.3.5"
        )
    # numpy: not for every --help
    if name == "esp-nn":
        from esp_hil.exact.esp_nn import version_of as esp_nn_version

        esp_nn_version(version)
    elif kernels:
        from esp_hil.formats.espdl.versions import version_of as esp_dl_version

        esp_dl_version(version)


def _check_node_fault(fault: NodeFault) -> None:
    if fault.fault not in NODE_FAULTS:
        raise ConfigError(
            f"fault plan: engine.node has no fault {fault.fault!r}", hint=f"one of: {', '.join(NODE_FAULTS)}"
        )
    if (fault.mode in ROUNDING_MODES) != (fault.fault == "rounding"):
        raise ConfigError(
            f"fault plan: engine.node.mode is {fault.mode!r}", hint=f"one of: {', '.join(ROUNDING_MODES)}"
        )
    if bool(fault.amount) != (fault.fault in {"exponent", "padding", "accumulator"}):
        raise ConfigError(f"fault plan: engine.node.amount is {fault.amount} for {fault.fault}")


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"fault plan: {name} should be a table")
    return value


def _known(names: set[str], table: Mapping[str, Any], where: str) -> None:
    for name in table:
        if name not in names:
            raise ConfigError(
                f"fault plan: {where} has no {name!r}", hint=f"one of: {', '.join(sorted(names))}"
            )


def _record(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    known = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]  # kinds are dataclasses
    _known(set(known), table, where)
    for name, value in table.items():
        wanted = _PLAIN.get(str(known[name]))
        if wanted and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted == (bool,))):
            raise ConfigError(f"fault plan: {where}.{name} should be {known[name]}, got {value!r}")
    try:
        return kind(**table)
    except TypeError as error:
        raise ConfigError(f"fault plan: {where}: {error}") from error

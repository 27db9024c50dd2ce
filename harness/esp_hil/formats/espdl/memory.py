"""The memory that ESP-DL takes for a model: its greedy planner replayed, and the parameters beside it.

ESP-DL plans once, before the first run: it walks the nodes in order, frees at each step the values whose last
user is past, and gives each new value the smallest free chunk that holds it, or the end of the arena. Values
may share memory: an operator that works in place writes over its input. Graph inputs and outputs live in the
same arena.
Source: ESP-DL 3.3.9, dl/model/src/dl_memory_manager_greedy.cpp, dl_memory_manager.cpp and dl_model_base.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from esp_hil.errors import ConfigError, UnsupportedOperator
from esp_hil.formats.espdl.chunks import ALIGNMENT, Pool, aligned
from esp_hil.formats.espdl.lifetimes import Lifetime, lifetimes
from esp_hil.formats.espdl.model import EspdlModel, Graph
from esp_hil.targets import Target

MemoryKind = Literal["internal", "psram", "flash"]

_BIAS_OWNERS = frozenset({"Conv", "Gemm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySizes:
    """Bytes by memory."""

    internal_bytes: int = 0
    psram_bytes: int = 0
    flash_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Sum over the memories."""
        return self.internal_bytes + self.psram_bytes + self.flash_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a value lives.

    Attributes:
        first_step: index of the node that makes it (0 for a graph input).
        end_step: index of the first node that no longer needs it; None if it lives to the end.
        shares: name of the value whose memory it writes over or looks at, "" if it has memory of its own.
    """

    name: str
    memory: MemoryKind
    offset_bytes: int
    size_bytes: int
    first_step: int
    end_step: int | None
    shares: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """What `dl::Model::get_memory_info()` will say.

    `others` (objects, tables, heap overhead) is not planned: it depends on the compiler.

    Attributes:
        variable: the arena. Internal RAM is `max_internal_bytes` as a whole, used or not.
        parameter: parameters read where they lie in the file.
        parameter_copy: parameters copied to RAM at load.
        fbs_model: the file's FlatBuffer.
        placements: every value of the arena, in the order of its making.
        peak_step: index of the node at which most bytes are alive, and `peak_live_bytes` how many; the arena
            exceeds that by what the greedy order cannot fill.
    """

    target: str
    variable: MemorySizes
    parameter: MemorySizes
    parameter_copy: MemorySizes
    fbs_model: MemorySizes
    placements: tuple[Placement, ...]
    peak_step: int
    peak_live_bytes: int

    def needed_bytes(self, memory: MemoryKind) -> int:
        """Arena, copies and file together in one memory."""
        return sum(
            int(getattr(part, f"{memory}_bytes"))
            for part in (self.variable, self.parameter_copy, self.fbs_model)
        )


def plan_memory(
    model: EspdlModel,
    target: Target,
    *,
    max_internal_bytes: int = 0,
    psram: bool | None = None,
    param_copy: bool = True,
) -> MemoryPlan:
    """Replay ESP-DL's planner.

    Args:
        model: what is loaded, from a flash partition or rodata.
        target: the chip.
        max_internal_bytes: as the constructor of `dl::Model` takes it: internal RAM for values when there is
            PSRAM.
        psram: whether the board has PSRAM; None takes the usual module of `target`.
        param_copy: as the constructor of `dl::Model` takes it.

    Raises:
        ConfigError: `max_internal_bytes` is negative or no multiple of 16.
        UnsupportedOperator: an operator that ESP-DL does not register, so that nothing says how it uses
            memory.
    """
    if max_internal_bytes < 0 or max_internal_bytes % ALIGNMENT:
        raise ConfigError(
            f"max internal size is {max_internal_bytes} bytes",
            hint=f"a multiple of {ALIGNMENT}: ESP-DL's planner loses track of chunks otherwise",
        )
    has_psram = target.psram_bytes > 0 if psram is None else psram
    values = lifetimes(model.graph)
    pools = _pools(has_psram, max_internal_bytes)
    _simulate(values, len(model.graph.nodes), pools)
    copies = param_copy or model.container == "EDL1"
    read, copied = _parameters(model.graph, target, copies)
    ram: MemoryKind = "psram" if has_psram else "internal"
    peak_step, peak_bytes = _peak(values, len(model.graph.nodes))
    return MemoryPlan(
        target=target.name,
        variable=_arena(pools),
        parameter=_sizes("flash", read + (copied if copies else 0)),
        parameter_copy=_sizes(ram, copied),
        fbs_model=_sizes("flash", model.size_bytes - (12 if model.container == "EDL1" else 16)),
        placements=tuple(_placement(value) for value in values),
        peak_step=peak_step,
        peak_live_bytes=peak_bytes,
    )


def leftovers(graph: Graph, name: str) -> list[tuple[str, int]]:
    """What lies in a value's memory before its node writes there, element by element.

    Args:
        graph: the whole graph, in an arena of one memory.
        name: a value that a node makes.

    Returns:
        For each element the value that wrote these bytes last in the same inference, and the number of its element;
        ("", 0) where none did, or one of another type.
    """
    values = lifetimes(graph)
    pool = Pool("internal")
    _simulate(values, len(graph.nodes), (pool,))
    given = {value.name for value in graph.inputs}
    kinds = {**graph.values, **{value.name: value for value in graph.inputs}}
    wanted = next(value for value in values if value.name == name)
    width = np.dtype(kinds[name].dtype).itemsize
    start, count = wanted.root().offset_bytes, wanted.size_bytes // width
    found: list[tuple[str, int]] = [("", 0)] * count
    written = [value for value in values if value.name in given or value.begin < wanted.begin]
    for value in sorted(written, key=lambda value: (value.name not in given, value.begin)):
        offset, size = value.root().offset_bytes - start, value.size_bytes // width
        same = kinds[value.name].dtype == kinds[name].dtype and offset % width == 0
        for element in range(max(0, offset // width), min(count, -(-(offset + value.size_bytes) // width))):
            index = element - offset // width
            found[element] = (value.name, index) if same and index < size else ("", 0)
    return found


def _sizes(memory: MemoryKind, size_bytes: int) -> MemorySizes:
    return MemorySizes(**{f"{memory}_bytes": size_bytes})


def _pools(has_psram: bool, max_internal_bytes: int) -> tuple[Pool, ...]:
    """Where values go, first choice first. One alignment unit of internal RAM or less counts as none."""
    if not has_psram:
        return (Pool("internal"),)
    if max_internal_bytes > ALIGNMENT:
        return (Pool("internal", fixed_bytes=max_internal_bytes), Pool("psram"))
    return (Pool("psram"),)


def _simulate(values: list[Lifetime], steps: int, pools: tuple[Pool, ...]) -> None:
    """Free, then allocate, step by step; within a step in the order in which the nodes first name them."""
    own = [value for value in values if value.leader is None]
    for step in range(steps):
        for value in own:
            if value.end == step and value.pool is not None:
                value.pool.free(value)
        for value in own:
            if value.begin == step and not any(pool.place(value) for pool in pools):
                raise UnsupportedOperator(f"no memory takes {value.name!r}")


def _arena(pools: tuple[Pool, ...]) -> MemorySizes:
    by_kind = {pool.memory: pool.size_bytes for pool in pools}
    return MemorySizes(internal_bytes=by_kind.get("internal", 0), psram_bytes=by_kind.get("psram", 0))


def _placement(value: Lifetime) -> Placement:
    root = value.root()
    if root.pool is None:
        raise UnsupportedOperator(f"value {value.name!r} is never placed")
    return Placement(
        name=value.name,
        memory=root.pool.memory,
        offset_bytes=root.offset_bytes,
        size_bytes=value.size_bytes,
        first_step=value.begin,
        end_step=None if root.end < 0 else root.end,
        shares=value.leader.name if value.leader is not None else "",
    )


def _peak(values: list[Lifetime], steps: int) -> tuple[int, int]:
    """The step at which the values alive (shared memory counted once, rounded to chunks) are largest."""
    live = np.zeros(max(steps, 1), np.int64)
    for value in values:
        if value.leader is None:
            live[value.begin : value.end if value.end >= 0 else steps] += aligned(value.size_bytes)
    step = int(live.argmax())
    return step, int(live[step])


def _parameters(graph: Graph, target: Target, copies: bool) -> tuple[int, int]:
    """Bytes of the initializers that nodes take as inputs: read in place, and copied to RAM.

    Lookup tables are named by an attribute; the module keeps them, so ESP-DL counts them under `others`.
    On esp32s3 a Conv or Gemm packs its bias to 20 or 40 bits at the first run, into RAM: a copy in any case.
    """
    used = {name for node in graph.nodes for name in node.inputs if name in graph.initializers}
    sizes = {name: _parameter_bytes(graph, name) for name in used}
    if copies:
        return 0, sum(sizes.values())
    packed = _packed_biases(graph) if target.family == "esp32s3" else frozenset()
    copied = sum(size for name, size in sizes.items() if name in packed)
    return sum(sizes.values()) - copied, copied


def _parameter_bytes(graph: Graph, name: str) -> int:
    tensor = graph.initializers[name]
    return aligned(math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize)


def _packed_biases(graph: Graph) -> frozenset[str]:
    return frozenset(
        node.inputs[2] for node in graph.nodes if node.op_type in _BIAS_OWNERS and len(node.inputs) > 2
    )


def as_rows(plan: MemoryPlan) -> Mapping[str, MemorySizes]:
    """The plan under the names of `get_memory_info()`."""
    return {
        "fbs_model": plan.fbs_model,
        "parameter": plan.parameter,
        "parameter_copy": plan.parameter_copy,
        "variable": plan.variable,
    }

"""How long each value of a graph must live, and which values share memory, by the rules of ESP-DL's planner.

Source: ESP-DL 3.3.9, `MemoryManagerGreedy::get_tensor_info_from_fbs` and `TensorInfo`
(dl_memory_manager*.cpp).
"""

from __future__ import annotations

import math

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl.chunks import Pool
from esp_hil.formats.espdl.model import Graph, Node, ValueInfo
from esp_hil.formats.espdl.operators import REGISTERED, refusal
from esp_hil.formats.espdl.shapes import propagate

FOREVER = -1

# The planner's own table: types that it does not list (bool, float16) count one byte.
_ELEMENT_BYTES = {
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "int16": 2,
    "uint16": 2,
    "float64": 8,
    "int64": 8,
    "uint64": 8,
}


class Lifetime:
    """One value of the arena while it is planned.

    `begin` is the step (node index) that makes it, `end` the step at whose start it is freed, or FOREVER. A
    value that shares memory has a `leader`, whose life it prolongs. A value remembers one follower that
    overwrites it (`dirty`) and whether it has one that only looks at it (`clean`).
    """

    __slots__ = ("begin", "clean", "dirty", "end", "leader", "name", "offset_bytes", "pool", "size_bytes")

    def __init__(self, value: ValueInfo, shape: tuple[int, ...], begin: int) -> None:
        self.name = value.name
        self.size_bytes = math.prod(shape) * _ELEMENT_BYTES.get(value.dtype, 1)
        self.begin, self.end = begin, FOREVER
        self.leader: Lifetime | None = None
        self.dirty: Lifetime | None = None
        self.clean = False
        self.pool: Pool | None = None
        self.offset_bytes = 0

    def root(self) -> Lifetime:
        """The value whose memory this one uses in the end."""
        return self if self.leader is None else self.leader.root()

    def prolong(self, end: int) -> None:
        """Live until `end` at least; FOREVER is the end of the run, until a later use says otherwise."""
        if self.leader is not None:
            self.leader.prolong(end)
            self.end = self.leader.end
        elif end == FOREVER or end > self.end:
            self.end = end

    def follow(self, leader: Lifetime) -> None:
        """Share the memory of `leader`."""
        self.leader = leader
        if leader.end < self.end or self.end == FOREVER:
            leader.prolong(self.end)

    def drop_dirty(self) -> None:
        """Someone else still needs this value: who would overwrite it gets memory of its own."""
        if self.dirty is not None:
            self.dirty.leader = None
            self.dirty = None


def lifetimes(graph: Graph) -> list[Lifetime]:
    """All values that get memory, in the order in which the nodes first name them (inputs before outputs).

    Raises:
        UnsupportedOperator: an operator that ESP-DL does not register, or a node that leaves out an output.
    """
    outputs = frozenset(value.name for value in graph.outputs)
    _check_nodes(graph)
    shapes = propagate(graph)
    lives = {value.name: Lifetime(value, value.shape, 0) for value in graph.inputs}
    order: dict[str, None] = {}
    for step, node in enumerate(graph.nodes):
        variables = [name for name in node.inputs if name in lives]
        for name in variables:
            lives[name].drop_dirty()
            if name not in outputs:
                lives[name].prolong(step + 1)
        for name in node.outputs:
            lives[name] = Lifetime(graph.values[name], shapes[name], step)
        order.update(dict.fromkeys((*variables, *node.outputs)))
        if len(node.outputs) == 1:
            _share(node, lives, variables, outputs)
    return [lives[name] for name in order]


def _check_nodes(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type not in REGISTERED:
            raise UnsupportedOperator(
                f"node {node.name!r}: {refusal(node.op_type)}",
                hint="hil lint lists all such nodes and what to do",
            )
        if not all(node.outputs):
            raise UnsupportedOperator(
                f"node {node.name!r} leaves out an output, for which ESP-DL still takes memory",
                hint="name every output when exporting",
            )


def _share(node: Node, lives: dict[str, Lifetime], variables: list[str], outputs: frozenset[str]) -> None:
    """Put the output of an in-place operator on the first input that is large enough and no graph output."""
    mode = REGISTERED[node.op_type].in_place
    if mode == "no":
        return
    made = lives[node.outputs[0]]
    leader = next(
        (
            lives[name]
            for name in variables
            if lives[name].size_bytes >= made.size_bytes and name not in outputs
        ),
        None,
    )
    if leader is None:
        return
    leader.drop_dirty()
    made.follow(leader)
    if mode == "unchanged":
        leader.clean = True
    elif leader.clean:
        made.leader = None  # the look-alike still needs the bytes; the life it prolonged stays prolonged
    else:
        leader.dirty = made

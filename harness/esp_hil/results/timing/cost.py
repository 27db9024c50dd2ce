"""What an inference costs, node by node: instructions, cycles of C++, and bytes that memory has to give.

Instructions are those of ESP-DL's SIMD kernels (`esp_hil.results.timing.instructions`). What ESP-DL does in C++ is
told in cycles for an element: coarse figures, and `c_share` says how much of a prediction rests on them.

Weights: a kernel reads all weights of its node for every output position. Where they fit into the cache that
happens once; where they do not, they come from memory again for every position, and that is what most of a
large network's time on an ESP32-S3 is (MobileNetV2: 3.5 MB of weights, 77 MB read).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl.attributes import text
from esp_hil.formats.espdl.model import EspdlModel, Graph, Node
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.formats.espdl.shapes import Shape, propagate
from esp_hil.models.device_file import DeviceFile
from esp_hil.results.timing.instructions import kernel_calls, simd_chip
from esp_hil.results.timing.setup import Setup
from esp_hil.results.timing.work import LayerWork, work_of
from esp_hil.targets import Family

_C_CYCLES: Mapping[str, float] = {
    "Softmax": 90,
    "LogSoftmax": 90,
    "Div": 20,
    "Pow": 60,
    "Mul": 15,
    "Add": 6,
    "Sub": 6,
    "Neg": 6,
    "Clip": 6,
    "Relu": 6,
    "Transpose": 12,
    "DepthToSpace": 10,
    "SpaceToDepth": 10,
    "Gather": 8,
    "LayerNormalization": 35,
    "Resize": 40,
    "LSTM": 60,
    "GRU": 60,
    "Sigmoid": 80,
    "Tanh": 80,
    "Exp": 80,
    "Sqrt": 30,
    "Log": 80,
    "RequantizeLinear": 15,
    "QuantizeLinear": 15,
    "DequantizeLinear": 8,
}
"""Cycles of C++ at -O2 for an output element of an operator without a kernel."""

_C_CYCLES_READ: Mapping[str, float] = {"AveragePool": 4, "GlobalAveragePool": 4, "MaxPool": 6}
"""Cycles for an element that is read, where more are read than written; every Reduce* takes 5."""

_OTHER_C_CYCLES = 10.0
"""For an element of an operator that is not in the tables."""

PORTABLE_MAC_CYCLES = {"xtensa": 11.6, "riscv": 8.0}
"""For an int8 multiply-accumulate of ESP-DL's portable C++, by instruction set: the medians of what its
operator_performance.md tells of six convolutions in ANSI C (esp32s3 6.3 to 16, esp32p4 4.3 to 13)."""

_PORTABLE_BITS = {8: 1.0, 16: 1.3, 32: 1.7}
"""How much longer wider operands take there: coarse, no figure tells."""

C_FACTOR = {"O2": 1.0, "Os": 1.3, "Og": 2.5}
"""How much longer C++ takes than at -O2."""

_DISPATCH_CYCLES = 40.0
"""Of C++ around one call of a kernel at -O2: window arithmetic and the call through std::function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCost:
    """What one node costs.

    Attributes:
        name: in the file.
        op: its operator.
        macs: multiply-accumulates.
        instructions: of SIMD kernels; 0 where there are none.
        kernels: their names.
        c_cycles: of C++ (calls of kernels among them).
        known_c: False if the C++ is only guessed, because no figure is known for this operator.
        weight_bytes: parameters, read once.
        streamed_bytes: parameters read again because they leave the cache between output positions.
        activation_bytes: read and written in the arena, beyond what a cache keeps from the node before.
        parallel: whether ESP-DL splits the node where it may use both cores.
    """

    name: str
    op: str
    macs: int
    instructions: float
    kernels: tuple[str, ...]
    c_cycles: float
    known_c: bool
    weight_bytes: int
    streamed_bytes: int
    activation_bytes: int
    parallel: bool

    @property
    def bytes(self) -> int:
        """All bytes that memory has to give or take."""
        return self.weight_bytes + self.streamed_bytes + self.activation_bytes


def costs_of(file: DeviceFile, family: Family, setup: Setup, *, isa: str = "xtensa") -> tuple[NodeCost, ...]:
    """The cost of each node of an `.espdl`, in the file's order.

    Args:
        file: the device file.
        family: whose kernels run.
        setup: what to count for.
        isa: of the chip, for what has no kernel: as in targets.toml.

    Raises:
        UnsupportedOperator: an operator that ESP-DL does not have (all are named), or a shape that is not known.
    """
    assert isinstance(file.content, EspdlModel), "a .tflite has no nodes of ESP-DL"
    graph = file.content.graph
    unknown = sorted({node.op_type for node in graph.nodes if node.op_type not in REGISTERED})
    if unknown:
        raise UnsupportedOperator(
            f"no prediction: ESP-DL has no {', '.join(unknown)}",
            hint="hil lint tells which operators it has, and what to use instead",
        )
    shapes, chip = propagate(graph), simd_chip(family)
    mac_cycles = PORTABLE_MAC_CYCLES["xtensa" if isa.startswith("xtensa") else "riscv"]
    return tuple(
        _cost(graph, node, shapes, work=work, chip=chip, setup=setup, mac_cycles=mac_cycles)
        for node, work in zip(graph.nodes, work_of(file), strict=True)
    )


def _cost(
    graph: Graph,
    node: Node,
    shapes: Mapping[str, Shape],
    *,
    work: LayerWork,
    chip: str | None,
    setup: Setup,
    mac_cycles: float,
) -> NodeCost:
    calls = () if chip is None else kernel_calls(graph, node, shapes, chip)
    cycles, known = _c_cycles(node, shapes, work, mac_cycles=0.0 if calls else mac_cycles)
    cycles += _DISPATCH_CYCLES * sum(call.calls for call in calls)
    made = shapes.get(node.output(0), ())
    return NodeCost(
        name=node.name,
        op=node.op_type,
        macs=work.macs,
        instructions=sum(call.instructions for call in calls),
        kernels=tuple(call.kernel for call in calls),
        c_cycles=cycles * C_FACTOR[setup.optimize],
        known_c=known,
        weight_bytes=work.parameter_bytes,
        streamed_bytes=_streamed(node, work, made, setup.cache_bytes),
        activation_bytes=_moved(work, setup.cache_bytes),
        parallel=_splits(node, shapes),
    )


_THRASH = 0.125
"""Weights this share of the cache larger than the cache are all read again; those that exceed it less, partly."""


def _streamed(node: Node, work: LayerWork, made: Shape, cache_bytes: int) -> int:
    """Weights beyond the cache are read again for every output position but the first.

    A cache keeps the lines used last, and a loop longer than the cache never finds what it comes back for.
    """
    beyond = work.parameter_bytes - cache_bytes
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or beyond <= 0:
        return 0
    missed = min(1.0, beyond / (_THRASH * cache_bytes))
    return int(missed * work.parameter_bytes * (math.prod(made[:-1]) - 1))


def _moved(work: LayerWork, cache_bytes: int) -> int:
    """Activations that leave the cache: none, if all that a node touches is a small part of it."""
    touched = work.activation_bytes + work.parameter_bytes
    return 0 if touched <= cache_bytes // 4 else work.activation_bytes


def _splits(node: Node, shapes: Mapping[str, Shape]) -> bool:
    """ESP-DL splits a convolution by rows if its input is more than four filters high (dl_base.hpp)."""
    before = shapes.get(node.input(0), ())
    if node.op_type != "Conv" or len(before) != 4:
        return False
    dilations = node.attributes.get("dilations")
    dilation = dilations[0] if isinstance(dilations, tuple) and isinstance(dilations[0], int) else 1
    return before[1] > 4 * dilation * shapes[node.input(1)][0]


def _c_cycles(
    node: Node, shapes: Mapping[str, Shape], work: LayerWork, *, mac_cycles: float
) -> tuple[float, bool]:
    """Cycles of C++ beside the kernels, and whether they are known at all; `mac_cycles` is 0 where kernels multiply."""
    counted = mac_cycles == 0
    made = math.prod(shapes.get(node.output(0), ()))
    read = math.prod(shapes.get(node.input(0), ()))
    registered = REGISTERED[node.op_type]
    if registered.in_place == "unchanged":
        return 0.0, True
    if node.op_type in {"LSTM", "GRU"}:
        return _C_CYCLES[node.op_type] * 4 * made + (0 if counted else 8.0 * work.macs), counted
    if counted:
        return 0.0, True
    if work.macs:
        return _PORTABLE_BITS[min(work.bits, 32)] * mac_cycles * work.macs, False
    if "lut" in node.attributes:
        return 5.0 * made, True
    return _element_cycles(node, made, read)


def _element_cycles(node: Node, made: int, read: int) -> tuple[float, bool]:
    floats = 2.0 if text(node, "quant_type", "S8") == "F32" else 1.0
    if node.op_type in _C_CYCLES_READ:
        return floats * (_C_CYCLES_READ[node.op_type] * read + 20 * made), True
    if node.op_type.startswith("Reduce"):
        return floats * 5.0 * read, True
    each = _C_CYCLES.get(node.op_type)
    return floats * (_OTHER_C_CYCLES if each is None else each) * made, each is not None

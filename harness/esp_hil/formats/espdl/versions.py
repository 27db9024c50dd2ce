"""Versions of ESP-DL as an axis: what each registers and computes, as far as it differs from the newest that is known.

Source: `register_module` in dl_module_creator.hpp of each release's tag, and the history of dl/base, dl/module,
dl/tensor and dl/tool; of 3.1.x, which have no tags, of the commit that set the version.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from esp_hil.errors import ConfigError
from esp_hil.formats.espdl.model import Graph, Node

Version = tuple[int, ...]

NEWEST = "3.3.9"
OLDEST = "3.1.0"

_NEW_IN: tuple[tuple[str, str], ...] = (
    ("3.1.0", "Equal Gather Greater GreaterOrEqual Identity Less LessOrEqual ReverseSequence"),
    ("3.1.5", "Swish"),
    (
        "3.2.0",
        "GRU LSTM Neg Pow ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin",
    ),
    ("3.2.0", "ReduceProd ReduceSum ReduceSumSquare"),
    ("3.2.1", "DepthToSpace ScatterND SpaceToDepth StreamingCache"),
    ("3.2.2", "InsertZeros LayerNormalization"),
    ("3.3.0", "LogSoftmax Mod"),
    ("3.3.6", "LpNormalization RMSNormalization"),
)

SINCE: Mapping[str, str] = MappingProxyType(
    {name: version for version, names in _NEW_IN for name in names.split()}
)
"""The first version that registers an operator; those that are not here came before 3.1."""


def version_of(text: str) -> Version:
    """A version as numbers: "3.3.9" or "v3.3.9" as (3, 3, 9).

    Raises:
        ConfigError: it is none.
    """
    parts = text.removeprefix("v").split("~")[0].split("-")[0].split(".")
    if not all(part.isdigit() for part in parts):
        raise ConfigError(f"{text!r} is no version of ESP-DL", hint=f"such as {NEWEST}")
    return tuple(int(part) for part in parts)


def esp_dl_of(engine_version: str) -> str:
    """ESP-DL's version in the words of our firmware; "" if they tell none: a virtual board tells ours, below 3."""
    found = re.match(r"v?((\d+)\.\d+(?:\.\d+)*)", engine_version)
    return found[1] if found and int(found[2]) >= 3 else ""


def known(text: str) -> bool:
    """Whether a version lies between the oldest and the newest that were looked into."""
    return version_of(OLDEST) <= version_of(text) <= version_of(NEWEST)


def before(text: str, since: str) -> bool:
    """Whether a version is older than `since`; "", the newest known, is older than none."""
    return bool(text) and version_of(text) < version_of(since)


LUT_NEAREST = "3.3.8"
S31_EVEN = "3.3.4"
"""Since when esp32s31 rounds half to even (dl_define_private.hpp, 0631a577)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticChange:
    """Something that ESP-DL has computed as it does today since one version, and otherwise or not at all before.

    Attributes:
        since: the first version that computes as today.
        applies: whether a node is one of those that came out otherwise.
        before: what older versions make of it.
        modelled: the exact reference gives their answer when told the version.
        source: file and commit.
    """

    since: str
    applies: Callable[[Graph, Node], bool]
    before: str
    modelled: bool = False
    source: str


def changes_since(version: str, graph: Graph) -> Iterator[tuple[Node, ArithmeticChange]]:
    """The nodes that ESP-DL of a version computes otherwise than the newest known, and how; none for ""."""
    older = [change for change in CHANGES if before(version, change.since)]
    for node in graph.nodes:
        yield from ((node, change) for change in older if change.applies(graph, node))


def _input_shape(graph: Graph, node: Node) -> tuple[int, ...]:
    value = graph.values.get(node.input(0))
    return value.shape if value is not None else ()


def _constant_integers(graph: Graph, name: str) -> list[int]:
    tensor = graph.initializers.get(name)
    return [] if tensor is None else [int(value) for value in tensor.data.reshape(-1)]


def _coarse_table(graph: Graph, node: Node) -> bool:
    table = graph.initializers.get(str(node.attributes.get("lut", "")))
    return table is not None and table.dtype == "int16" and table.data.size < 65536


def _steps_over_blocks(graph: Graph, node: Node) -> bool:
    """A step other than 1 on the last axis that is sliced, with more axes behind it."""
    shape = _input_shape(graph, node)
    starts, axes, steps = (_constant_integers(graph, node.input(index)) for index in (1, 3, 4))
    if node.op_type != "Slice" or not shape or not steps:
        return False
    axes = [axis % len(shape) for axis in axes] or list(range(len(starts)))
    last = max(axes, default=0)
    stepped = any(axis == last and abs(step) != 1 for axis, step in zip(axes, steps, strict=False))
    return stepped and math.prod(shape[last + 1 :]) > 1


def _per_channel(graph: Graph, node: Node) -> bool:
    tensor = graph.initializers.get(node.input(1))
    return node.op_type in ("Conv", "Gemm", "MatMul") and tensor is not None and len(tensor.exponents) > 1


def _large_average(graph: Graph, node: Node) -> bool:
    """Sums of int16 that float32 does not hold, in which they were summed."""
    shape, value = _input_shape(graph, node), graph.values.get(node.input(0))
    if node.op_type not in ("AveragePool", "GlobalAveragePool") or value is None or value.dtype != "int16":
        return False
    window = node.attributes.get("kernel_shape", shape[1:-1])
    return isinstance(window, tuple) and math.prod(int(size) for size in window) * 32768 > 2**24


def _one_dimensional(*op_types: str) -> Callable[[Graph, Node], bool]:
    return lambda graph, node: node.op_type in op_types and len(_input_shape(graph, node)) == 3


def _wide_bias(graph: Graph, node: Node) -> bool:
    bias = graph.initializers.get(node.input(2))
    return node.op_type in ("Conv", "Gemm") and bias is not None and bias.dtype == "int64"


def _generic_resize(graph: Graph, node: Node) -> bool:
    given, made = _input_shape(graph, node), graph.values.get(node.output(0))
    twice = len(given) == 4 and made is not None and made.shape[1:3] == (2 * given[1], 2 * given[2])
    return node.op_type == "Resize" and not (twice and node.attributes.get("mode") == "nearest")


CHANGES: tuple[ArithmeticChange, ...] = (
    ArithmeticChange(
        since=LUT_NEAREST,
        applies=_coarse_table,
        before="interpolates between the entries of an int16 table and cuts off, instead of taking the nearest",
        modelled=True,
        source="dl_module_lut.hpp, 1def9a2d",
    ),
    ArithmeticChange(
        since="3.3.7",
        applies=_steps_over_blocks,
        before="steps over single elements instead of whole blocks",
        source="dl_tensor_base.cpp: _slice, 6b02eb91",
    ),
    ArithmeticChange(
        since="3.3.1",
        applies=_per_channel,
        before="reads one exponent for all output channels",
        source="isa/esp32p4/dl_esp32p4_s8_conv2d.S, 49d0f341",
    ),
    ArithmeticChange(
        since="3.2.2",
        applies=_large_average,
        before="sums in float32, which does not hold these sums",
        source="dl_base_avg_pool2d.cpp, 2aec3331",
    ),
    ArithmeticChange(
        since="3.1.4",
        applies=_one_dimensional("MaxPool", "AveragePool", "GlobalAveragePool"),
        before="has no 1-D pools",
        source="dl_base_pool2d.hpp, aefbd95c",
    ),
    ArithmeticChange(
        since="3.1.3",
        applies=_one_dimensional("Conv"),
        before="has no 1-D convolution",
        source="dl_module_conv.hpp, 56626d22",
    ),
    ArithmeticChange(
        since="3.1.2",
        applies=_generic_resize,
        before="resizes by 2x2 in mode nearest only",
        source="dl_module_resize.hpp, 858ba753 and fc99a5f1",
    ),
    ArithmeticChange(
        since="3.1.2",
        applies=_wide_bias,
        before="wants the bias of 16-bit operators in int32, and stops",
        source="dl_tensor_base.cpp, d4a3d583",
    ),
)
"""By how versions differ in what they compute, newest first; esp32s31's rounding apart (`S31_EVEN`)."""

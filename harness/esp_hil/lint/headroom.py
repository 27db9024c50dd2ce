"""The 20-bit accumulators of esp32s3: which layers can leave their range.

The int8 kernels of esp32s3 sum in 16 lanes of 20 bits that saturate (ESP-DL 3.3.9,
isa/tie728/dl_tie728_s8.S). Output channels are taken in groups of 16; those of an incomplete last group are
summed in 40 bits. esp-ppq does not model it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl.model import Graph, Node, TensorData
from esp_hil.lint.finding import Finding, Subject, rule

LANE_LIMIT = (1 << 19) - 1
_LANES = 16
_OWNERS = frozenset({"Conv", "Gemm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightHeadroom:
    """What the weights say about the accumulators of one layer.

    Attributes:
        worst: largest magnitude that any running sum can reach, over channels, for any input in range.
        constant: largest magnitude of the final sum when the whole input sits at one end of its range.
    """

    node: str
    worst: int
    constant: int


def headroom(graph: Graph) -> Iterator[WeightHeadroom]:
    """Headroom of each int8 Conv and Gemm with packed filters."""
    for node in graph.nodes:
        if node.op_type not in _OWNERS or node.attributes.get("quant_type") != "S8":
            continue
        weights = graph.initializers.get(node.input(1))
        if weights is None or "16" not in weights.layout or weights.dtype != "int8":
            continue
        lanes = _lanes(weights, depthwise=node.attributes.get("group", 1) != 1)
        bias = graph.initializers.get(node.input(2))
        if lanes.size and (bias is None or bias.data.size >= len(lanes)):
            yield _layer(graph, node, lanes)


@rule("s3-accumulator")
def s3_accumulator(subject: Subject) -> Iterator[Finding]:
    """Sums that leave the 20-bit accumulators of esp32s3."""
    if not subject.may_be("esp32s3"):
        return
    layers = list(headroom(subject.graph))
    for layer in layers:
        if layer.constant > LANE_LIMIT:
            yield Finding(
                severity="warning",
                node=layer.node,
                why=f"an input at the end of its range sums to {layer.constant:,}; the accumulators of "
                "esp32s3 stop at "
                f"{LANE_LIMIT:,}, and esp-ppq does not know",
                todo="check with hil exact --inputs; if it saturates, scale the weights down or split the "
                "layer",
            )
    tight = [layer for layer in layers if layer.worst > LANE_LIMIT >= layer.constant]
    if tight:
        worst = max(tight, key=lambda layer: layer.worst)
        yield Finding(
            severity="note",
            node=worst.node,
            why=f"{len(tight)} of {len(layers)} layers could leave the 20-bit accumulators of esp32s3 with "
            "an adversarial "
            f"input; most so this one, {worst.worst / LANE_LIMIT:.1f} times the range",
            todo="check with hil exact --inputs, which counts what saturates on your data",
        )


def _lanes(weights: TensorData, *, depthwise: bool) -> NDArray[np.int64]:
    """Weights of the complete groups of 16 output channels: (groups * 16, weights per channel).

    Packed filters hold, for each group, all taps of all input channels, with the 16 output channels
    innermost.
    """
    channels = weights.shape[-2] if depthwise else weights.shape[-1]
    groups = channels // _LANES
    taps = weights.data.size // max(channels, 1)
    packed = weights.data[: groups * _LANES * taps].astype(np.int64)
    return packed.reshape(groups, taps, _LANES).transpose(0, 2, 1).reshape(groups * _LANES, taps)


def _layer(graph: Graph, node: Node, lanes: NDArray[np.int64]) -> WeightHeadroom:
    low, high = _input_range(graph, node.input(0))
    bias = _bias(graph, node, len(lanes))
    ends = np.stack([lanes * low, lanes * high])
    above = np.maximum(ends.max(axis=0), 0).sum(axis=1) + bias
    below = np.minimum(ends.min(axis=0), 0).sum(axis=1) + bias
    sums = ends.sum(axis=2) + bias
    worst = max(int(above.max()), -int(below.min()))
    return WeightHeadroom(node=node.name, worst=worst, constant=int(np.abs(sums).max()))


def _bias(graph: Graph, node: Node, count: int) -> NDArray[Any]:
    bias = graph.initializers.get(node.input(2))
    return np.zeros(count, np.int64) if bias is None else bias.data[:count].astype(np.int64)


def _input_range(graph: Graph, name: str) -> tuple[int, int]:
    """Smallest and largest integer that the value can take, from the operator that makes it."""
    maker = next((node for node in graph.nodes if name in node.outputs), None)
    if maker is None:
        return -128, 127
    table = graph.initializers.get(str(maker.attributes.get("lut", "")))
    if table is not None and table.data.size:
        return int(table.data.min()), int(table.data.max())
    if maker.op_type == "Relu" or maker.attributes.get("activation") == "Relu":
        return 0, 127
    return -128, 127

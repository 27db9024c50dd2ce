"""Bounds of the 20-bit accumulators of esp32s3, against sums taken one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from esp_hil.formats.espdl import Graph
from esp_hil.lint.headroom import headroom
from tests.formats.espdl.writer import graph, node, tensor, value

TAPS, CHANNELS = 6, 35


def _gemm(
    *, relu: bool = False, table: bool = False, bias: bool = True
) -> tuple[Graph, np.ndarray, np.ndarray]:
    """A Gemm of 35 output channels, two groups of 16 and 3 over, with weights and biases of the groups."""
    chance = np.random.default_rng(5)
    weights = chance.integers(-128, 128, (CHANNELS, TAPS)).astype(np.int8)
    biases = chance.integers(-1000, 1000, CHANNELS).astype(np.int32)
    groups = weights[:32].reshape(2, 16, TAPS).transpose(0, 2, 1)
    packed = np.concatenate([groups.reshape(-1), weights[32:].reshape(-1)])
    kernel = tensor(
        "w", packed, exponents=(-7,), layout="(N/16)HWC16_UNALIGNED", shape=(1, 1, TAPS, CHANNELS)
    )
    constants = [kernel, tensor("t", np.arange(-100, 156).clip(-100, 50).astype(np.int8))]
    if bias:
        constants.append(tensor("b", biases))
    first = node("Neg", ("x",), ("h",))
    if relu:
        first = node("Relu", ("x",), ("h",))
    if table:
        first = node("Tanh", ("x",), ("h",), lut="t")
    nodes = [first, node("Gemm", ("h", "w", "b") if bias else ("h", "w"), ("y",))]
    values = [value("x", (1, TAPS)), value("h", (1, TAPS)), value("y", (1, CHANNELS))]
    return (
        graph(nodes, values, initializers=constants),
        weights[:32].astype(np.int64),
        biases[:32].astype(np.int64) if bias else np.zeros(32, np.int64),
    )


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [({}, -128, 127), ({"relu": True}, 0, 127), ({"table": True}, -100, 50), ({"bias": False}, -128, 127)],
)
def test_bounds_are_the_largest_running_sums_over_the_lanes(
    options: dict[str, bool], low: int, high: int
) -> None:
    written, weights, biases = _gemm(**options)
    (layer,) = headroom(written)
    worst = 0
    for row, start in zip(weights, biases, strict=True):
        up = start + sum(max(0, w * low, w * high) for w in row)
        down = start + sum(min(0, w * low, w * high) for w in row)
        worst = max(worst, abs(up), abs(down))
    assert layer.worst == worst
    ends = [abs(int((weights * end).sum(axis=1)[i] + biases[i])) for end in (low, high) for i in range(32)]
    assert layer.constant == max(ends)


def test_channels_of_an_incomplete_group_do_not_count() -> None:
    """They are summed in 40 bits."""
    written, _, _ = _gemm()
    few = tensor("w", np.full((1, 1, TAPS, 15), 127, np.int8), layout="(N/16)HWC16_UNALIGNED")
    constants = {**written.initializers, "w": few}
    assert list(headroom(replace(written, initializers=constants))) == []

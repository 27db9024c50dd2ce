"""Slow, literal answers to compare with: int64 integers, one function for each rule of ESP-DL."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.targets import Rounding
from tests.formats.espdl.writer import edl, graph, node, tensor, value

Integers = NDArray[np.int64]


def shifted(sums: Integers, shift: int, rounding: Rounding) -> Integers:
    """`tool::shift_and_round`: a right shift that rounds, a left shift that does not."""
    if shift <= 0:
        return sums << -shift
    half = 1 << (shift - 1)
    down, rest = sums >> shift, sums & ((1 << shift) - 1)
    if rounding == "half_up":
        return (sums + half) >> shift
    up = (rest > half) | ((rest == half) & (down & 1 == 1))
    return np.asarray(down + up)


def wrapped(sums: Integers) -> Integers:
    """As a 32-bit accumulator holds it."""
    return sums.astype(np.int32).astype(np.int64)


def patches(x: NDArray[Any], size: int, pad: int, stride: int) -> Integers:
    """(rows, columns, taps) of an NHWC input, taps in the order row, column, channel."""
    padded = np.pad(x[0].astype(np.int64), ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))[::stride, ::stride]
    return windows.transpose(0, 1, 3, 4, 2).reshape(*windows.shape[:2], -1)


def saturating_sums(taps: Integers, weights: Integers, bias: Integers) -> tuple[Integers, int]:
    """Bias first, then product by product, every sum cut to 20 bits; and how often one was cut."""
    low, high = -(2**19), 2**19 - 1
    held = np.broadcast_to(bias, (*taps.shape[:-1], weights.shape[1])).copy()
    hits = 0
    for k in range(taps.shape[-1]):
        total = held + taps[..., k : k + 1] * weights[k]
        held = np.clip(total, low, high)
        hits += int((held != total).sum())
    return held, hits


def gemm_model(
    weights: NDArray[Any],
    bias: NDArray[Any],
    *,
    layout: str = "NHWC",
    exponents: tuple[int, int, int] = (-7, -7, -7),
    activation: str = "Linear",
    per_channel: tuple[int, ...] = (),
) -> EspdlModel:
    """x (1, K) times weights (N, K): exponents are those of x, weights and y."""
    outputs, depth = weights.shape
    dtype = weights.dtype.name
    kind = "S8" if dtype == "int8" else "S16"
    data = packed(weights, layout)
    written = graph(
        [node("Gemm", ("x", "w", "b"), ("y",), activation=activation, quant_type=kind)],
        (value("x", (1, depth), exponents[0], dtype), value("y", (1, outputs), exponents[2], dtype)),
        initializers=(
            tensor(
                "w",
                data,
                exponents=per_channel or (exponents[1],),
                layout=layout,
                shape=(1, 1, depth, outputs),
            ),
            tensor("b", bias, exponents=tuple(exponents[0] + e for e in (per_channel or (exponents[1],)))),
        ),
    )
    return read_espdl(edl(written))


def conv_model(
    weights: NDArray[Any],
    bias: NDArray[Any],
    *,
    layout: str,
    size: int,
    exponents: tuple[int, int, int],
    depthwise: bool,
) -> EspdlModel:
    """x (1, size, size, C), 3x3 weights (N, 3, 3, C) (depthwise (C, 3, 3, 1)), pads 1."""
    outputs, channels = weights.shape[0], weights.shape[3]
    dtype = weights.dtype.name
    kind = "S8" if dtype == "int8" else "S16"
    shape = (3, 3, outputs, 1) if depthwise else (3, 3, channels, outputs)
    inputs = outputs if depthwise else channels
    written = graph(
        [
            node(
                "Conv",
                ("x", "w", "b"),
                ("y",),
                activation="Linear",
                quant_type=kind,
                group=outputs if depthwise else 1,
                strides=(1, 1),
                dilations=(1, 1),
                pads=(1, 1, 1, 1),
                kernel_shape=(3, 3),
            )
        ],
        (
            value("x", (1, size, size, inputs), exponents[0], dtype),
            value("y", (1, size, size, outputs), exponents[2], dtype),
        ),
        initializers=(
            tensor("w", packed(weights, layout), exponents=(exponents[1],), layout=layout, shape=shape),
            tensor("b", bias, exponents=(exponents[0] + exponents[1],)),
        ),
    )
    return read_espdl(edl(written))


def packed(weights: NDArray[Any], layout: str) -> NDArray[Any]:
    """(N, ..., C) in file order."""
    if layout == "NHWC":
        return weights.reshape(-1)
    if layout == "HWCN":
        return np.moveaxis(weights, 0, -1).reshape(-1)
    width = 16 if weights.dtype == np.int8 else 8
    whole = len(weights) // width * width
    blocks = np.moveaxis(weights[:whole].reshape(-1, width, *weights.shape[1:]), 1, -1).reshape(-1)
    return np.concatenate([blocks, weights[whole:].reshape(-1)])

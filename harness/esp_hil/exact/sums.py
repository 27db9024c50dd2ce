"""Sums of products by ONNX Conv and Gemm that provably do not round.

ESP-DL sums int8 products in int32 and int16 products in int64. Here the factors are floats that hold
integers:

- "float32": one kernel, with scale, bias and half-up's 1/2 folded into weights and bias, while the sum of |w|
  max|x| + |bias| + 1/2 stays within 2**24 units of the last place;
- "float32-split": several kernels, each over part of the taps (and over the high or low bytes of int16
  factors) and each within 2**24; their results are added in float64, which holds 2**53. An int32 accumulator
  that can overflow wraps, as on the device.

The choice is made per output channel: a channel whose scale is far from the others' does not slow them down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact import saturation
from esp_hil.exact.arithmetic import clipped, round_array, rounded, rounded_and_clipped
from esp_hil.exact.kernels import Integers, Kernel
from esp_hil.exact.lowering import Lowering
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.proof import FLOAT32_LIMIT, FLOAT64_LIMIT, LANE_BITS, Bounds, Headroom
from esp_hil.formats.espdl.model import Node

_BIAS_CEILING = 2**51
_INT32_REACH = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """A layer's sums of products and what becomes of them.

    Attributes:
        weights: (N, C, ...) integers; N output channels.
        bias: (N,) integers in units of the products.
        shifts: (N,) right shifts of the accumulator, `e_out - e_filter - e_in` (dl_base.hpp:260).
        inputs: bounds of the input's integers, padding included.
        outputs: bounds that the result saturates to, ReLU included.
        wraps: the accumulator is an int32 that wraps.
        accumulators: in which the channels are summed, where those of a chip saturate; None: they hold any sum.
    """

    weights: Integers
    bias: Integers
    shifts: Integers
    inputs: Bounds
    outputs: Bounds
    wraps: bool
    accumulators: saturation.Accumulators | None = None

    @property
    def taps(self) -> Integers:
        """(N,) largest magnitude of any partial sum of products."""
        flat: Integers = np.abs(self.weights).reshape(self.weights.shape[0], -1).sum(axis=1)
        return flat * self.inputs.magnitude

    @property
    def ends(self) -> tuple[Integers, Integers]:
        """(N,) smallest and largest partial sum, bias included."""
        return saturation.extremes(self.weights, self.bias, self.inputs)

    @property
    def bounds(self) -> Integers:
        """(N,) largest magnitude of any partial sum, with bias and rounding offset or without."""
        half = np.where(self.shifts > 0, np.int64(1) << np.maximum(self.shifts - 1, 0), 0)
        low, high = saturation.extremes(self.weights, np.zeros_like(self.bias), self.inputs)
        total: Integers = np.maximum(-low, high) + np.abs(self.bias) + half
        return total

    def of(self, channels: Integers) -> Products:
        """The same for some of the output channels."""
        return replace(
            self,
            weights=self.weights[channels],
            bias=self.bias[channels],
            shifts=self.shifts[channels],
            accumulators=None if self.accumulators is None else self.accumulators.of(channels),
        )


def emit(lowering: Lowering, node: Node, products: Products, kernel: Kernel) -> str:
    """Emit the sums, shifted, rounded and saturated, and record the layer's proof.

    Args:
        lowering: where to append nodes.
        node: the layer.
        products: what to sum.
        kernel: emits the Conv or Gemm.

    Returns:
        The ONNX value: float32 that holds integers, in the kernel's layout.
    """
    products, risky = accumulated(lowering, node, products)
    if not lowering.careful:
        guard_lanes(lowering, node, products, risky, kernel)
        risky = np.zeros_like(risky)
    x = kernel.input(node.inputs[0])
    within = (products.bounds <= FLOAT32_LIMIT) & ~risky
    parts: list[tuple[Integers, str]] = []
    bound, notes = 0, []
    for mask, name in ((within, "float32"), (~within & ~risky, "float32-split"), (risky, "saturating")):
        if not mask.any():
            continue
        channels = np.flatnonzero(mask)
        some = products if mask.all() else products.of(channels)
        which = None if mask.all() else channels
        if name == "float32":
            value, most = _folded(lowering, some, x, kernel, which), int(some.bounds.max())
        elif name == "float32-split":
            value, most = _split(lowering, some, x, kernel, which)
        else:
            lanes = _lanes(products, kernel, channels)
            value, most = _saturating(lowering, node, some, x, lanes), lanes.accumulators.bounds.magnitude
        parts.append((channels, value))
        bound = max(bound, most)
        notes.append(name if mask.all() else f"{name}: {channels.size} of {mask.size} channels")
    path = notes[0].split(":")[0] if len(notes) == 1 else "mixed"
    lowering.prove(
        node, path, bound=bound, limit=FLOAT32_LIMIT, note=", ".join(notes) if len(notes) > 1 else ""
    )
    return _joined(lowering, parts, kernel.axis)


def _joined(lowering: Lowering, parts: list[tuple[Integers, str]], axis: int) -> str:
    """The channels in their order again."""
    if len(parts) == 1:
        return parts[0][1]
    joined = lowering.onnx.op("Concat", [value for _, value in parts], axis=axis)
    order = np.argsort(np.concatenate([channels for channels, _ in parts]))
    return lowering.onnx.op("Gather", [joined, lowering.onnx.constant(order, "order")], axis=axis)


def accumulated(lowering: Lowering, node: Node, products: Products) -> tuple[Products, NDArray[np.bool_]]:
    """The products as the chip's accumulators sum them, and which channels some input can make saturate.

    The bias is cut to the accumulator's width, and settled channels are made constant.
    """
    held = products.accumulators
    if held is None:
        return products, np.zeros(products.weights.shape[0], bool)
    products = replace(products, bias=held.packed(products.bias))
    low, high = saturation.extremes(products.weights, products.bias, products.inputs)
    risky = held.limited & ((low < held.bounds.low) | (high > held.bounds.high))
    if held.bits == LANE_BITS:
        worst = np.maximum(-low, high)[held.limited]
        lowering.headroom[node.name] = Headroom(
            node=node.name,
            lanes=int(held.limited.sum()),
            risky=int(risky.sum()),
            worst=int(worst.max(initial=0)),
        )
    return _settled(lowering, products, risky, (low, high))


def _settled(
    lowering: Lowering, products: Products, risky: NDArray[np.bool_], ends: tuple[Integers, Integers]
) -> tuple[Products, NDArray[np.bool_]]:
    """Channels with large sums and yet one output only, made constant; and which others can saturate.

    With saturation in whatever order, a final sum lies between the bias plus all negative products and the bias plus
    all positive ones, and within the accumulator; the output does not fall where the sum rises.
    """
    held = products.accumulators
    assert held is not None
    low, high = (np.where(held.limited, np.clip(end, held.bounds.low, held.bounds.high), end) for end in ends)
    first, last = (_output(lowering, products, sums) for sums in (low, high))
    settled = (risky | (products.bounds > FLOAT32_LIMIT)) & (first == last)
    if not settled.any():
        return products, risky
    same_shift = lowering.rounding == "half_up"
    weights, bias, shifts = products.weights.copy(), products.bias.copy(), products.shifts.copy()
    weights[settled] = 0
    bias[settled] = first[settled] << np.maximum(shifts[settled], 0) if same_shift else first[settled]
    shifts[settled & ((not same_shift) | (shifts < 0))] = 0
    return replace(products, weights=weights, bias=bias, shifts=shifts), risky & ~settled


def _output(lowering: Lowering, products: Products, sums: Integers) -> Integers:
    """(N,) what the layer answers for these sums."""
    scaled = np.ldexp(sums.astype(np.float64), -products.shifts)  # exact: 41 bits
    limits = products.outputs
    answer: Integers = np.clip(round_array(scaled, lowering.rounding), limits.low, limits.high).astype(
        np.int64
    )
    return answer


def guard_lanes(
    lowering: Lowering, node: Node, products: Products, risky: NDArray[np.bool_], kernel: Kernel
) -> None:
    """Watch lanes that can saturate."""
    if risky.any():
        lanes = _lanes(products, kernel, np.flatnonzero(risky))
        lowering.guards.append(saturation.guard(lowering, node.inputs[0], lanes))


def _lanes(products: Products, kernel: Kernel, channels: Integers) -> saturation.Lanes:
    some = products.of(channels)
    assert some.accumulators is not None
    return saturation.Lanes(
        kernel=kernel,
        weights=some.weights,
        bias=some.bias,
        accumulators=some.accumulators,
        channels=channels,
    )


def _saturating(lowering: Lowering, node: Node, products: Products, x: str, lanes: saturation.Lanes) -> str:
    """The sums of channels that can saturate, with saturation; `products` are those of the channels."""
    together = lanes.accumulators.together
    parts: list[tuple[Integers, str]] = []
    for count in np.unique(together):
        which = np.flatnonzero(together == count)
        value = _saturating_alike(lowering, node, products.of(which), x, lanes.of(which))
        parts.append((which, value))
    return _joined(lowering, parts, lanes.kernel.axis)


def _saturating_alike(
    lowering: Lowering, node: Node, products: Products, x: str, lanes: saturation.Lanes
) -> str:
    """The same for channels that add as many products at once."""
    onnx, kernel, real = lowering.onnx, lanes.kernel, saturation.carrier(lanes)
    total, hits = saturation.saturating_sums(lowering, x, lanes)
    lowering.saturations.append((node.name, hits))
    shape = [-1 if axis == kernel.axis else 1 for axis in range(kernel.rank)]
    scales = np.ldexp(1.0, -products.shifts).astype(real).reshape(shape)
    value = onnx.op("Mul", [total, onnx.constant(scales, "scale")])
    value = rounded_and_clipped(lowering, value, products.outputs, dtype=real)
    return value if real == "float32" else onnx.op("Cast", [value], to=element_type("float32"))


def _folded(lowering: Lowering, products: Products, x: str, kernel: Kernel, channels: Integers | None) -> str:
    scales = np.ldexp(1.0, -products.shifts)
    shape = (-1, *[1] * (products.weights.ndim - 1))
    weights = (products.weights * scales.reshape(shape)).astype(np.float32)
    half_up = lowering.rounding == "half_up"
    halves = np.where(products.shifts > 0, 0.5, 0.0) if half_up else 0.0
    bias = (products.bias * scales + halves).astype(np.float32)
    within = clipped(lowering, kernel.sums(x, weights, bias, channels), products.outputs)
    if not (products.shifts > 0).any():
        return within
    return rounded(lowering, within, half_added=True)


def _split(
    lowering: Lowering,
    products: Products,
    x: str,
    kernel: Kernel,
    channels: Integers | None,
) -> tuple[str, int]:
    onnx = lowering.onnx
    broadcast = tuple(-1 if axis == kernel.axis else 1 for axis in range(kernel.rank))
    total = ""
    worst = 0
    for x_part, x_factor, x_bounds in _byte_parts(lowering, x, products.inputs):
        for w_part, w_factor in _weight_parts(products.weights):
            for taps, bound in _chunks(w_part, x_bounds):
                worst = max(worst, bound)
                value = kernel.sums(x_part, taps.astype(np.float32), None, channels)
                value = onnx.op("Cast", [value], to=element_type("float64"), hint=f"{x}:part")
                if x_factor * w_factor != 1:
                    factor = onnx.constant(np.float64(x_factor * w_factor), "factor")
                    value = onnx.op("Mul", [value, factor], hint=f"{x}:part")
                total = onnx.op("Add", [total, value], hint=f"{x}:sum") if total else value
    assert int(products.taps.max(initial=0)) < FLOAT64_LIMIT // 4, "more than 2**21 full-scale int16 products"
    bias = np.clip(
        products.bias, -_BIAS_CEILING, _BIAS_CEILING
    )  # beyond it every output saturates either way
    total = onnx.op("Add", [total, onnx.constant(bias.astype(np.float64).reshape(broadcast), "bias")])
    if products.wraps and int((products.taps + np.abs(products.bias)).max(initial=0)) >= _INT32_REACH:
        total = _wrapped(lowering, total)
    scales = np.ldexp(1.0, -products.shifts)
    total = onnx.op("Mul", [total, onnx.constant(scales.reshape(broadcast), "scale")])
    value = rounded_and_clipped(lowering, total, products.outputs, dtype="float64")
    return onnx.op("Cast", [value], to=element_type("float32")), worst


def _wrapped(lowering: Lowering, total: str) -> str:
    """A float64 integer as an int32 accumulator holds it."""
    onnx = lowering.onnx
    turns = onnx.op("Add", [total, onnx.constant(np.float64(_INT32_REACH), "half_turn")])
    turns = onnx.op("Floor", [onnx.op("Mul", [turns, onnx.constant(np.float64(2.0**-32), "1/turn")])])
    return onnx.op("Sub", [total, onnx.op("Mul", [turns, onnx.constant(np.float64(2.0**32), "turn")])])


def _byte_parts(lowering: Lowering, x: str, bounds: Bounds) -> list[tuple[str, int, Bounds]]:
    """The input as high * 256 + low, each a byte, if it needs more than one byte."""
    if bounds.magnitude <= 256:
        return [(x, 1, bounds)]
    onnx = lowering.onnx
    inverse = onnx.constant(np.float32(1 / 256), "1/256")
    high = onnx.op("Floor", [onnx.op("Mul", [x, inverse])], hint=f"{x}:high")
    back = onnx.op("Mul", [high, onnx.constant(np.float32(256), "256")])
    low = onnx.op("Sub", [x, back], hint=f"{x}:low")
    return [(high, 256, Bounds(bounds.low >> 8, bounds.high >> 8)), (low, 1, Bounds(0, 255))]


def _weight_parts(weights: Integers) -> list[tuple[Integers, int]]:
    if np.abs(weights).max(initial=0) <= 256:
        return [(weights, 1)]
    return [(weights >> 8, 256), (weights & 255, 1)]


def _chunks(weights: Integers, inputs: Bounds) -> Iterator[tuple[Integers, int]]:
    """Weights cut into summands, over disjoint taps, each of whose sums stays within 2**24."""
    outputs = weights.shape[0]
    flat = weights.reshape(outputs, -1)
    costs = np.abs(flat) * inputs.magnitude
    start = 0
    while start < flat.shape[1]:
        running = np.cumsum(costs[:, start:], axis=1).max(axis=0)
        count = max(1, int(np.searchsorted(running, FLOAT32_LIMIT, side="right")))
        part = np.zeros_like(flat)
        part[:, start : start + count] = flat[:, start : start + count]
        yield part.reshape(weights.shape), int(running[count - 1])
        start += count


def as_integers(values: NDArray[Any]) -> Integers:
    """int64 copy."""
    return values.astype(np.int64)

"""MatMul: ESP-DL runs its Conv kernel on each matrix and reads the second operand as a packed filter.

Packed is (N, K) on the c targets; on esp32s3 and esp32p4 blocks of 16 (int16: 8) columns as (N / 16, K, 16),
the columns that remain as (N % 16, K). A constant is packed by the exporter, an activation by Transpose and
Reshape nodes in the graph. `input1_layout` is not read by ESP-DL 3.3.9: an operand that a newer esp-ppq left
in its natural order ("native_kn") is misread by the device, and so it is here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import sums
from esp_hil.exact.arithmetic import rounded_and_clipped
from esp_hil.exact.kernels import Integers
from esp_hil.exact.lowering import Lowering, attribute_text, quantized_dtype
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.operators.conv import accumulator_shifts, output_bounds
from esp_hil.exact.operators.gemm import lower_products
from esp_hil.exact.proof import FLOAT32_LIMIT, FLOAT64_LIMIT
from esp_hil.exact.registry import operator
from esp_hil.exact.saturation import Accumulators, accumulators_of, cut_sums
from esp_hil.formats.espdl.model import Node

_MAX_RANK = 4


def _keeps_batch(lowering: Lowering, node: Node) -> bool:
    """Activations of at least two axes.

    Two of them must both have more, or axis 0 would be rows of one and depth of the other.
    """
    names = [name for name in node.inputs[:2] if name not in lowering.graph.initializers]
    ranks = [len(lowering.shape(name)) for name in names]
    return lowering.batch_axis_kept(node) and min(ranks) >= 2 and (len(names) == 1 or min(ranks) >= 3)


@operator("MatMul", batches=_keeps_batch)
def lower_matmul(lowering: Lowering, node: Node) -> None:
    """Acc = sum(a b); shift, round, [ReLU], saturate."""
    a, b = node.inputs[:2]
    dtype = quantized_dtype(node, floats=False)
    rank = max(len(lowering.shape(a)), len(lowering.shape(b)))
    if rank > _MAX_RANK:
        raise UnsupportedOperator(
            f"MatMul {node.name!r}: {rank} dimensions", hint="ESP-DL multiplies up to 4-D"
        )
    limits = output_bounds(node, dtype)
    depth, columns = _matrix(lowering.shape(b))
    if (
        lowering.constant(b) is not None
        and math.prod(lowering.shape(b)) == depth * columns
        and len(lowering.shape(a)) > 1
    ):
        products = sums.Products(
            weights=_columns(lowering, b, depth, columns),
            bias=np.zeros(columns, np.int64),
            shifts=accumulator_shifts(lowering, node, columns),
            inputs=lowering.bounds(a),
            outputs=limits,
            wraps=dtype == "int8" and not lowering.simd,
            accumulators=accumulators_of(lowering.family, lowering.kernels, dtype, columns, depthwise=False),
        )
        if len(lowering.shape(b)) > 1:
            lower_products(lowering, node, products)
            return
    onnx, y = lowering.onnx, node.outputs[0]
    bound = depth * lowering.bounds(a).magnitude * lowering.bounds(b).magnitude
    carrier = "float32" if bound <= FLOAT32_LIMIT else "float64"
    first, second = lowering.read(a), _unpacked(lowering, b, depth, columns)
    if carrier == "float64":
        first, second = (onnx.op("Cast", [value], to=element_type(carrier)) for value in (first, second))
    factors = _Factors(first, second, depth, columns, carrier)
    held = accumulators_of(lowering.family, lowering.kernels, dtype, columns, depthwise=False)
    fits = held is None or bound <= held.bounds.high or len(lowering.shape(b)) == 1
    value = _sums(lowering, node, factors, None if fits else held)
    shift = int(accumulator_shifts(lowering, node, 1)[0])
    value = onnx.op("Mul", [value, onnx.constant(np.asarray(2.0**-shift, carrier), "scale")])
    value = rounded_and_clipped(lowering, value, limits, dtype=carrier)
    if carrier == "float64":
        value = onnx.op("Cast", [value], to=element_type("float32"))
    if len(lowering.shape(a)) == len(lowering.shape(b)) == 1:
        value = onnx.op("Reshape", [value, onnx.constant(np.array([1]), "shape")])
    lowering.write(y, value, bounds=limits)
    limit = FLOAT32_LIMIT if carrier == "float32" else FLOAT64_LIMIT
    misread = attribute_text(node, "input1_layout", "") == "native_kn"
    note = "the operand is in its natural order; ESP-DL 3.3.9 reads it as packed" if misread else ""
    lowering.prove(node, carrier, bound=bound, limit=limit, note=note)


@dataclass(frozen=True, slots=True)
class _Factors:
    """Two ONNX values to multiply, (..., M, K) and (..., K, N), with K and N, in floats that hold every sum."""

    first: str
    second: str
    depth: int
    columns: int
    carrier: str


def _sums(lowering: Lowering, node: Node, factors: _Factors, held: Accumulators | None) -> str:
    """Sums of products, in accumulators that may saturate if any are given.

    No partial sum exceeds the sum of all magnitudes: where that fits, nothing saturates. The graph carries this as a
    guard; only the careful one saturates after every addition.
    """
    onnx = lowering.onnx
    if held is None or not held.limited.any():
        return onnx.op("MatMul", [factors.first, factors.second], hint=f"{node.outputs[0]}:matmul")
    if lowering.careful:
        return _saturating(lowering, node, factors, held)
    if not held.limited.all():
        columns = onnx.constant(np.flatnonzero(held.limited), "limited")
        second = onnx.op("Gather", [factors.second, columns], axis=-1)
    else:
        second = factors.second
    magnitudes = onnx.op("MatMul", [onnx.op("Abs", [value]) for value in (factors.first, second)])
    peak = onnx.op("ReduceMax", [magnitudes], keepdims=0)
    limit = onnx.constant(np.asarray(held.bounds.high, factors.carrier), "limit")
    lowering.guards.append(onnx.op("Greater", [peak, limit], hint="may_saturate"))
    return onnx.op("MatMul", [factors.first, factors.second], hint=f"{node.outputs[0]}:matmul")


def _saturating(lowering: Lowering, node: Node, factors: _Factors, held: Accumulators) -> str:
    """The same, saturated after every addition in the columns that can."""
    onnx, parts, order = lowering.onnx, [], []
    for together in sorted({int(count) for count in held.together}):
        for limited in (False, True):
            which = np.flatnonzero((held.together == together) & (held.limited == limited))
            if not which.size:
                continue
            order.append(which)
            second = onnx.op("Gather", [factors.second, onnx.constant(which, "columns")], axis=-1)
            some = replace(factors, second=second, columns=which.size)
            if limited:
                value, hits = _scanned(lowering, some, together, held)
                lowering.saturations.append((node.name, hits))
            else:
                value = onnx.op("MatMul", [some.first, some.second])
            parts.append(value)
    joined = onnx.op("Concat", parts, axis=-1) if len(parts) > 1 else parts[0]
    back = np.argsort(np.concatenate(order))
    return onnx.op(
        "Gather", [joined, onnx.constant(back, "order")], axis=-1, hint=f"{node.outputs[0]}:matmul"
    )


def _scanned(lowering: Lowering, factors: _Factors, together: int, held: Accumulators) -> tuple[str, str]:
    """Sums of `together` products at a time, cut after each; and how often one was cut (int64 scalar)."""
    onnx, real = lowering.onnx, factors.carrier
    first, second = (
        _steps(lowering, factors, value, axis, together)
        for value, axis in ((factors.first, -1), (factors.second, -2))
    )
    zero = onnx.constant(np.asarray(0, real), "zero")
    start = onnx.op("Mul", [onnx.op("MatMul", [factors.first, factors.second]), zero])
    return cut_sums(onnx, start, (first, second), product="MatMul", bounds=held.bounds, real=real)


def _steps(lowering: Lowering, factors: _Factors, value: str, axis: int, together: int) -> str:
    """The depth, an axis from the end, cut into steps that stand in front; zeros behind the last product."""
    onnx, steps = lowering.onnx, -(-factors.depth // together)
    missing = steps * together - factors.depth
    if missing:
        pads, axes = onnx.constant(np.array([0, missing]), "pads"), onnx.constant(np.array([axis]), "axis")
        value = onnx.op("Pad", [value, pads, "", axes])
    front = onnx.constant(np.array([0]), "axis")
    parts = onnx.ops("Split", [value], hints=["step"] * steps, axis=axis, num_outputs=steps)
    parts = [onnx.op("Unsqueeze", [part, front]) for part in parts]
    return onnx.op("Concat", parts, axis=0)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Depth and columns of the second operand; a vector is one column."""
    return (shape[-2], shape[-1]) if len(shape) > 1 else (shape[0], 1)


def block_width(lowering: Lowering, dtype: str) -> int:
    """Columns that a SIMD kernel computes at once; 0 on the c targets."""
    if lowering.family == "c":
        return 0
    return 16 if dtype == "int8" else 8


def _columns(lowering: Lowering, name: str, depth: int, columns: int) -> Integers:
    """(N, K) of one constant matrix."""
    tensor = lowering.constant_tensor(name)
    assert tensor is not None
    flat = np.asarray(tensor.data).astype(np.int64)
    width = block_width(lowering, tensor.dtype)
    whole = columns // width * width if width else 0
    blocks = flat[: whole * depth].reshape(-1, depth, width) if whole else np.zeros((0, depth, 1), np.int64)
    aligned = blocks.transpose(0, 2, 1).reshape(whole, depth)
    return np.concatenate([aligned, flat[whole * depth :].reshape(columns - whole, depth)])


def _unpacked(lowering: Lowering, name: str, depth: int, columns: int) -> str:
    """float32 ONNX value of shape (..., K, N) from the packed operand."""
    onnx, shape = lowering.onnx, lowering.shape(name)
    value = lowering.read(name)
    if len(shape) == 1:
        return value
    width = block_width(lowering, lowering.dtype(name))
    whole = columns // width * width if width else 0
    outer = [-1, *shape[1:-2]] if len(shape) > 2 else []
    axes = list(range(len(outer)))
    flat = _reshaped(lowering, value, [*outer, depth * columns])
    parts = []
    if whole:
        part = _cut(lowering, flat, 0, whole * depth)
        part = _reshaped(lowering, part, [*outer, whole // width, depth, width])
        n = len(axes)
        part = onnx.op("Transpose", [part], perm=[*axes, n + 1, n, n + 2])
        parts.append(_reshaped(lowering, part, [*outer, depth, whole]))
    if whole != columns:
        part = _cut(lowering, flat, whole * depth, depth * columns)
        part = _reshaped(lowering, part, [*outer, columns - whole, depth])
        parts.append(onnx.op("Transpose", [part], perm=[*axes, len(axes) + 1, len(axes)]))
    return parts[0] if len(parts) == 1 else onnx.op("Concat", parts, axis=-1)


def _reshaped(lowering: Lowering, value: str, shape: list[int]) -> str:
    return lowering.onnx.op("Reshape", [value, lowering.onnx.constant(np.array(shape), "shape")])


def _cut(lowering: Lowering, value: str, start: int, end: int) -> str:
    limits = [lowering.onnx.constant(np.array([number]), "cut") for number in (start, end, -1)]
    return lowering.onnx.op("Slice", [value, *limits])

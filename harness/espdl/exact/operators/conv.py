"""Conv: 2-D and 1-D, ordinary (group 1) and depthwise, bias, fused ReLU, one exponent or one per output channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UnsupportedOperator
from harness.espdl.exact import sums
from harness.espdl.exact.filters import filter_oihw
from harness.espdl.exact.lowering import (
    CHANNEL_FIRST,
    Lowering,
    attribute_int,
    attribute_ints,
    attribute_text,
    quantized_dtype,
)
from harness.espdl.exact.proof import DTYPE_BOUNDS, Bounds
from harness.espdl.exact.registry import operator
from harness.espdl.model import Node, Tensor


@operator("Conv", batches=True)
def lower_conv(lowering: Lowering, node: Node) -> None:
    """acc = sum(w x) + bias; shift, round, [ReLU], saturate (dl_base_activate_buffer.hpp)."""
    x, y = node.inputs[0], node.outputs[0]
    dtype = quantized_dtype(node, floats=False)
    group = attribute_int(node, "group", 1)
    weights = filter_oihw(_filter(lowering, node), depthwise=group != 1)
    rank = weights.ndim - 2
    strides, dilations, pads = _geometry(node, rank)
    products = sums.Products(
        weights=sums.as_integers(weights),
        bias=bias_of(lowering, node, weights.shape[0]),
        shifts=accumulator_shifts(lowering, node, weights.shape[0]),
        inputs=with_zero(lowering.bounds(x)) if any(pads) else lowering.bounds(x),
        outputs=output_bounds(node, dtype),
    )

    def kernel(value: str, part: NDArray[np.float32], bias: NDArray[np.float32] | None) -> str:
        inputs = [value, lowering.onnx.constant(part, node.inputs[1])]
        if bias is not None:
            inputs.append(
                lowering.onnx.constant(bias, node.inputs[2] if len(node.inputs) > 2 else f"{y}:bias")
            )
        return lowering.onnx.op(
            "Conv",
            inputs,
            hint=f"{y}:conv",
            kernel_shape=list(weights.shape[2:]),
            strides=list(strides),
            dilations=list(dilations),
            pads=list(pads),
            group=weights.shape[0] if group != 1 else 1,
        )

    read = lowering.read(x, CHANNEL_FIRST)
    value, path = sums.emit(lowering, products, read, kernel, broadcast=(1, -1, *[1] * rank))
    lowering.write(y, value, CHANNEL_FIRST, bounds=products.outputs)
    lowering.prove(node, path.name, bound=path.bound, limit=path.limit)


def _filter(lowering: Lowering, node: Node) -> Tensor:
    tensor = lowering.constant_tensor(node.inputs[1])
    if tensor is None:
        raise UnsupportedOperator(
            f"Conv {node.name!r}: filter {node.inputs[1]!r} is not a constant",
            hint="the exporter packs filters of constants only",
        )
    return tensor


def _geometry(node: Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Strides, dilations and pads in ONNX's order.

    Raises:
        UnsupportedOperator: ESP-DL gives strides and dilations no default and crashes without them.
    """
    strides = attribute_ints(node, "strides", ())
    dilations = attribute_ints(node, "dilations", ())
    pads = attribute_ints(node, "pads", ()) or (0,) * (2 * rank)
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise UnsupportedOperator(
            f"Conv {node.name!r}: strides {strides}, dilations {dilations} and pads {pads} for {rank} dimensions",
            hint="ESP-DL gives missing attributes no default; write them all into the float model",
        )
    return strides, dilations, pads


def bias_of(lowering: Lowering, node: Node, outputs: int) -> sums.Integers:
    """(N,) bias in units of the products; zeros if there is none."""
    values = lowering.constant_input(node, 2)
    if values is None:
        return np.zeros(outputs, np.int64)
    return sums.as_integers(values.reshape(-1))


def accumulator_shifts(lowering: Lowering, node: Node, outputs: int) -> sums.Integers:
    """(N,) right shifts of the accumulator.

    Raises:
        UnsupportedOperator: one exponent per channel on a family whose kernels have only one shift.
    """
    exponents = filter_exponents(lowering, node.inputs[1])
    if len(exponents) > 1 and lowering.family != "esp32p4":
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: one exponent per output channel",
            hint="only esp32p4 and esp32s31 have that; quantize for this target again",
        )
    shifts = lowering.exponent(node.outputs[0]) - lowering.exponent(node.inputs[0]) - np.asarray(exponents)
    return np.broadcast_to(shifts.astype(np.int64), (outputs,)).copy()


def filter_exponents(lowering: Lowering, name: str) -> tuple[int, ...]:
    """Exponents of a filter, one or one per output channel."""
    tensor = lowering.constant_tensor(name)
    return tensor.exponents if tensor is not None else (lowering.exponent(name),)


def output_bounds(node: Node, dtype: str) -> Bounds:
    """What the result saturates to: the type's range, from 0 with a fused ReLU."""
    activation = attribute_text(node, "activation", "Linear")
    limits = DTYPE_BOUNDS[dtype]
    if activation == "Linear":
        return limits
    if activation == "Relu":
        return Bounds(0, limits.high)
    raise UnsupportedOperator(
        f"{node.op_type} {node.name!r}: activation {activation!r}", hint="ESP-DL fuses only Relu"
    )


def with_zero(bounds: Bounds) -> Bounds:
    """Bounds that admit zero padding."""
    return Bounds(min(bounds.low, 0), max(bounds.high, 0))


Array = NDArray[Any]

"""Conv: 2-D and 1-D, ordinary and depthwise, bias, fused ReLU, one exponent or one per output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import integer, sums
from esp_hil.exact.filters import filter_oihw
from esp_hil.exact.kernels import ConvKernel, GemmKernel, Integers
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    OFFSET,
    POSITIVE,
    Lowering,
    attribute_int,
    attribute_ints,
    attribute_text,
    quantized_dtype,
)
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, Bounds
from esp_hil.exact.registry import operator
from esp_hil.exact.saturation import accumulators_of
from esp_hil.formats.espdl.model import Node, TensorData


@operator("Conv", batches=True)
def lower_conv(lowering: Lowering, node: Node) -> None:
    """Acc = sum(w x) + bias; shift, round, [ReLU], saturate (dl_base_activate_buffer.hpp)."""
    x, y = node.inputs[0], node.outputs[0]
    dtype = quantized_dtype(node, floats=False)
    group = attribute_int(node, "group", 1)
    weights = filter_oihw(_filter(lowering, node), depthwise=group != 1, kernels=lowering.kernels)
    rank = weights.ndim - 2
    strides, dilations = attribute_ints(node, "strides", ()), attribute_ints(node, "dilations", ())
    pads = attribute_ints(node, "pads", ()) or (0,) * (2 * rank)
    if group not in (1, lowering.shape(x)[-1]) or (group != 1 and weights.shape[0] != group):
        raise UnsupportedOperator(
            f"Conv {node.name!r}: group {group} of {lowering.shape(x)[-1]} channels, {len(weights)} outputs",
            hint="ESP-DL computes it as depthwise, wrongly; use group 1, or depthwise without multiplier",
        )
    products = sums.Products(
        weights=sums.as_integers(weights),
        bias=bias_of(lowering, node, weights.shape[0]),
        shifts=accumulator_shifts(lowering, node, weights.shape[0], depthwise=group != 1),
        inputs=with_zero(lowering.bounds(x)) if any(pads) else lowering.bounds(x),
        outputs=output_bounds(node, dtype),
        wraps=dtype == "int8" and not lowering.simd,
        accumulators=accumulators_of(
            lowering.family, lowering.kernels, dtype, weights.shape[0], depthwise=group != 1
        ),
    )
    doubt_shifts(lowering, node, products)
    kernel = ConvKernel(
        lowering=lowering,
        names=(node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else f"{y}:bias", y),
        size=lowering.shape(x)[1:-1],
        kernel=weights.shape[2:],
        strides=strides,
        dilations=dilations,
        pads=pads,
        depthwise=group != 1,
    )
    if lower_by_integers(lowering, node, products, kernel):
        return
    lowering.read(x, CHANNEL_FIRST)
    value = sums.emit(lowering, node, products, kernel)
    lowering.write(y, value, CHANNEL_FIRST, bounds=products.outputs)


def lower_by_integers(
    lowering: Lowering, node: Node, products: sums.Products, kernel: ConvKernel | GemmKernel
) -> bool:
    """Emit the layer with integer kernels, if they are wanted and proved exact; whether that was so."""
    if lowering.integer is None or quantized_dtype(node, floats=False) != "int8":
        return False
    cut, risky = sums.accumulated(lowering, node, products)
    if lowering.careful and risky.any():
        return False
    out = POSITIVE if cut.outputs.low >= 0 else OFFSET
    requantize = integer.requantization(lowering, cut, out)
    if requantize is None or (not cut.wraps and bool((~_guarded(cut) & _can_wrap(cut)).any())):
        return False
    x, y = node.inputs[0], node.outputs[0]
    form, weights = lowering.bytes_form(x), cut.weights.astype(np.int8)
    value = lowering.read(x, form)
    if isinstance(kernel, ConvKernel):
        value = integer.conv(lowering, kernel, (value, form), weights, requantize)
    else:
        shape = lowering.shape(x)
        if len(shape) != 2:
            value = lowering.onnx.op(
                "Reshape", [value, lowering.onnx.constant(np.array([-1, shape[-1]]), "rows")]
            )
        value = integer.gemm(lowering, kernel, (value, form), weights, requantize)
        if len(shape) != 2:
            back = lowering.onnx.constant(np.array([-1, *shape[1:-1], len(weights)]), "shape")
            value = lowering.onnx.op("Reshape", [value, back], hint=f"{y}:shape")
    lowering.write(y, integer.saturated(lowering, value, cut.outputs, out, y), out, bounds=cut.outputs)
    sums.guard_lanes(lowering, node, cut, risky, kernel)
    bound = int(cut.bounds.max(initial=0))
    beyond = bound > FLOAT32_LIMIT
    note = "what float32 rounds off saturates or reaches no tie" if beyond else ""
    lowering.prove(node, "integer", bound=bound, limit=2**32 if beyond else FLOAT32_LIMIT, note=note)
    return True


def _guarded(products: sums.Products) -> NDArray[np.bool_]:
    """(N,) channels whose sums a guard keeps within the chip's accumulator, which is no wider than 32 bits."""
    held = products.accumulators
    if held is None or held.bits > 32:
        return np.zeros(products.bias.size, bool)
    return held.limited


def _can_wrap(products: sums.Products) -> NDArray[np.bool_]:
    """(N,) channels whose sums may leave the int32 of the integer kernels."""
    beyond: NDArray[np.bool_] = np.abs(products.bias) + products.taps > DTYPE_BOUNDS["int32"].high
    return beyond


def _filter(lowering: Lowering, node: Node) -> TensorData:
    tensor = lowering.constant_tensor(node.inputs[1])
    if tensor is None:
        raise UnsupportedOperator(
            f"Conv {node.name!r}: filter {node.inputs[1]!r} is not a constant",
            hint="the exporter packs filters of constants only",
        )
    return tensor


def bias_of(lowering: Lowering, node: Node, outputs: int) -> Integers:
    """(N,) bias in units of the products; zeros if there is none."""
    values = lowering.constant_input(node, 2)
    if values is None:
        return np.zeros(outputs, np.int64)
    return sums.as_integers(values.reshape(-1))


def accumulator_shifts(lowering: Lowering, node: Node, outputs: int, *, depthwise: bool = False) -> Integers:
    """(N,) right shifts of the accumulator.

    Raises:
        UnsupportedOperator: one exponent per channel on a family whose kernels have only one shift; or a shift by
            more bits than a sum has, which C leaves open and the chips' kernels mask.
    """
    exponents = filter_exponents(lowering, node.inputs[1])
    if len(exponents) > 1 and lowering.family != "esp32p4":
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: one exponent per output channel",
            hint="only esp32p4 and esp32s31 have that; quantize for this target again",
        )
    shifts = lowering.exponent(node.outputs[0]) - lowering.exponent(node.inputs[0]) - np.asarray(exponents)
    shifts = np.broadcast_to(shifts.astype(np.int64), (outputs,)).copy()
    bits = _sum_bits(node)
    if int(shifts.min(initial=0)) <= -bits or (int(shifts.max(initial=0)) >= bits and not lowering.simd):
        worst = shifts[np.abs(shifts).argmax()]
        raise UnsupportedOperator(f"{node.op_type} {node.name!r}: shifts a {bits}-bit sum by {worst}")
    if lowering.simd and lowering.family == "esp32s3":
        return _masked(shifts, bits, depthwise=depthwise)
    return shifts


def _sum_bits(node: Node) -> int:
    """Bits of ESP-DL's type for sums."""
    return 32 if attribute_text(node, "quant_type", "") == "S8" else 64


def _masked(shifts: Integers, bits: int, *, depthwise: bool) -> Integers:
    """(N,) what esp32s3's kernels shift by.

    They shift by one bit less, add 1 and shift by that bit. The first shift is taken modulo 32 for the lanes of
    int8, modulo 64 elsewhere (isa/tie728/dl_tie728_s8.S: EE.SRCMB.S8.QACC, EE.SRS.ACCX).
    """
    outputs = shifts.size
    in_lanes = np.arange(outputs) < (outputs if depthwise else outputs // 16 * 16)
    modulus = np.where(in_lanes, 32, 64) if bits == 32 else 64
    masked: Integers = np.where(shifts > 0, (shifts - 1) % modulus + 1, shifts)
    return masked


def doubt_shifts(lowering: Lowering, node: Node, products: sums.Products) -> None:
    """Say where esp32p4 would shift by more bits than a sum has: nobody knows what it makes of that."""
    beyond = products.shifts >= _sum_bits(node)
    if not lowering.simd or lowering.family != "esp32p4" or not beyond.any():
        return
    flat = products.weights.reshape(len(products.weights), -1)
    if (flat[beyond] != 0).any() or (products.bias[beyond] != 0).any():
        worst = int(products.shifts.max())
        lowering.doubt(
            node, f"shifts sums by up to {worst} bits; how many of them esp32p4 takes is not known"
        )


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

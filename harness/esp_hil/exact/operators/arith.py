"""Add, Sub, Mul, Div, Mod, Pow and the comparisons, with broadcasting of both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import clipped, dl_rescale, dl_scale, quantize_array, rounded_and_clipped
from esp_hil.exact.integer import saturated
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    OFFSET,
    POSITIVE,
    Form,
    Lowering,
    quantized_dtype,
)
from esp_hil.exact.onnx_graph import MICROSOFT, element_type
from esp_hil.exact.operators.table import lower_table
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT, Bounds
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node

Shape = tuple[int, ...]


def common_form(lowering: Lowering, names: list[str]) -> Form:
    """Channel-first if an input is only held so and all have the same rank; else the device's order."""
    ranks = {len(lowering.shape(name)) for name in names}
    held = any(lowering.held_channel_first(name) for name in names)
    return CHANNEL_FIRST if held and len(ranks) == 1 else DEVICE_FLOAT


@dataclass(frozen=True, slots=True)
class Operands:
    """Both inputs of a node as float32 in the form they share."""

    first: str
    second: str
    form: Form


def operands(lowering: Lowering, node: Node) -> Operands:
    """Read both inputs; refuses what ESP-DL's loops do not reach."""
    names = list(node.inputs[:2])
    innermost(*(lowering.shape(name) for name in names))
    form = common_form(lowering, names)
    return Operands(lowering.read(names[0], form), lowering.read(names[1], form), form)


def innermost(first: Shape, second: Shape) -> tuple[int, int]:
    """Length of both inputs' innermost axis after ESP-DL has merged axes (get_elemwise_operation_args).

    Neighbouring axes merge while both inputs have the same lengths, or while one input has length 1 on all of
    them. A 1 here makes ESP-DL take its scalar kernel, which for Div rounds in another place.

    Raises:
        UnsupportedOperator: more than four axes remain; ESP-DL asserts.
    """
    rank = max(len(first), len(second))
    a, b = [1] * (rank - len(first)) + list(first), [1] * (rank - len(second)) + list(second)
    if rank == 0:
        return 1, 1
    merged = rank
    for axis in range(rank):
        other = axis + 1
        while other < rank and _merge(a, b, axis, other):
            other += 1
        if other == rank:
            merged = axis + 1
            break
    if merged > 4:
        raise UnsupportedOperator(f"broadcasting {first} with {second} needs {merged} loops; ESP-DL has 4")
    return a[merged - 1], b[merged - 1]


def _merge(a: list[int], b: list[int], axis: int, other: int) -> bool:
    same = a[axis] == b[axis] and a[other] == b[other]
    if not (same or a[axis] == a[other] == 1 or b[axis] == b[other] == 1):
        return False
    a[axis], a[other] = a[axis] * a[other], 1
    b[axis], b[other] = b[axis] * b[other], 1
    return True


def _float(lowering: Lowering, node: Node, value: str, form: Form) -> None:
    lowering.write(node.outputs[0], value, form)
    lowering.prove(node, "float")


@operator("Add", "Sub", batches=Lowering.batch_axis_kept)
def lower_add(lowering: Lowering, node: Node) -> None:
    """Saturating sum or difference of the integers.

    No rescaling, whatever the exponents (dl_base_add.cpp:35).
    """
    dtype = quantized_dtype(node)
    if node.op_type == "Add" and _by_integers(lowering, node, "QLinearAdd", np.float32(1)):
        return
    both = operands(lowering, node)
    y = node.outputs[0]
    value = lowering.onnx.op(node.op_type, [both.first, both.second], hint=f"{y}:sum")
    if dtype == "float32":
        _float(lowering, node, value, both.form)
        return
    first, second = (lowering.bounds(name) for name in node.inputs[:2])
    if node.op_type == "Sub":
        second = Bounds(-second.high, -second.low)
    total = Bounds(first.low + second.low, first.high + second.high)
    limits = DTYPE_BOUNDS[dtype]
    if total.clipped(limits) != total:
        value = clipped(lowering, value, limits)
    lowering.write(y, value, both.form, bounds=total)
    same = len({lowering.exponent(name) for name in (*node.inputs[:2], y)}) == 1
    note = "" if same else "the exponents differ, and ESP-DL does not rescale"
    lowering.prove(node, "float32", bound=total.magnitude, limit=FLOAT32_LIMIT, note=note)


def _by_integers(lowering: Lowering, node: Node, op_type: str, scale: np.float32) -> bool:
    """Emit QLinearAdd or QLinearMul on uint8: float32 times `scale`, rounded half to even.

    Whether it was done.
    """
    names = list(node.inputs[:2])
    if not (lowering.prefers_bytes(*names) and any(lowering.has_bytes(name) for name in names)):
        return False
    innermost(*(lowering.shape(name) for name in names))
    onnx, y = lowering.onnx, node.outputs[0]
    one, factor = onnx.constant(np.float32(1), "one"), onnx.constant(scale, "scale")
    forms = [lowering.bytes_form(name) for name in names]
    first, second = (lowering.read(name, form) for name, form in zip(names, forms, strict=True))
    out = POSITIVE if forms == [POSITIVE, POSITIVE] else OFFSET
    zeros = [onnx.constant(np.uint8(form.zero), "zero_point") for form in (*forms, out)]
    inputs = [
        first,
        factor,
        zeros[0],
        second,
        factor if op_type == "QLinearAdd" else one,
        zeros[1],
        one,
        zeros[2],
    ]
    value, bounds = onnx.op(op_type, inputs, hint=f"{y}:u8", domain=MICROSOFT), DTYPE_BOUNDS["int8"]
    if out == POSITIVE:
        bounds = Bounds(0, bounds.high)
        value = saturated(lowering, value, bounds, out, y)
    lowering.write(y, value, out, bounds=bounds)
    magnitudes = [lowering.bounds(name).magnitude for name in names]
    bound = sum(magnitudes) if op_type == "QLinearAdd" else magnitudes[0] * magnitudes[1]
    lowering.prove(node, "integer", bound=bound, limit=FLOAT32_LIMIT)
    return True


@operator("Mul", batches=Lowering.batch_axis_kept)
def lower_mul(lowering: Lowering, node: Node) -> None:
    """round((float)(a b) * 2**(ea + eb - eo)): the product is rounded to float32 once, as on the device.

    The chips' SIMD kernels for int16 shift the whole product and round once. They run where the innermost axis, as
    ESP-DL merges axes, has at least 8 elements (dl_base_mul.cpp: elemwise_mul).
    """
    onnx, y = lowering.onnx, node.outputs[0]
    dtype = quantized_dtype(node)
    a, b = (lowering.exponent(name) for name in node.inputs[:2])
    scale = np.float32(dl_scale(a) * dl_scale(b) * dl_rescale(lowering.exponent(y)))
    if dtype == "int8" and _multiplies_bytes(lowering, node, scale):
        return
    both = operands(lowering, node)
    if _multiplies_integers(lowering, node, dtype):
        _integer_product(lowering, node, both)
        return
    value = onnx.op("Mul", [both.first, both.second], hint=f"{y}:product")
    if dtype == "float32":
        _float(lowering, node, value, both.form)
        return
    value = onnx.op("Mul", [value, onnx.constant(scale, "scale")], hint=f"{y}:scaled")
    lowering.write(
        y, rounded_and_clipped(lowering, value, DTYPE_BOUNDS[dtype]), both.form, bounds=DTYPE_BOUNDS[dtype]
    )
    bound = lowering.bounds(node.inputs[0]).magnitude * lowering.bounds(node.inputs[1]).magnitude
    exact = bound <= FLOAT32_LIMIT
    note = "" if exact else "the device rounds products beyond 2**24 to float32, and so does this"
    lowering.prove(
        node, "float32", bound=bound if exact else 0, limit=FLOAT32_LIMIT if exact else 0, note=note
    )


def _multiplies_bytes(lowering: Lowering, node: Node, scale: np.float32) -> bool:
    """Emit QLinearMul where it rounds as the device does; whether it was done.

    The kernel adds the zero point before it rounds half to even: finer products than 2**-12 would lose bits there.
    Half-up: where no factor is negative, a scale just above makes ties go up. It moves products, which have 14 bits,
    by less than 1.
    """
    if scale >= 1 or (lowering.rounding == "half_even" and scale >= _FINEST):
        return _by_integers(lowering, node, "QLinearMul", scale)
    positive = all(lowering.has(name, POSITIVE) for name in node.inputs[:2])
    return positive and bool(scale >= _FINEST) and _by_integers(lowering, node, "QLinearMul", scale * _NUDGE)


_FINEST = 2.0**-12
_NUDGE = np.float32(1 + 2.0**-15)
_SIMD_RUN = 8


def _multiplies_integers(lowering: Lowering, node: Node, dtype: str) -> bool:
    """Whether a SIMD kernel rounds products that float32 would have rounded before."""
    if dtype != "int16" or not lowering.simd:
        return False
    names = node.inputs[:2]
    whole = lowering.bounds(names[0]).magnitude * lowering.bounds(names[1]).magnitude > FLOAT32_LIMIT
    return whole and max(innermost(*(lowering.shape(name) for name in names))) >= _SIMD_RUN


def _integer_product(lowering: Lowering, node: Node, both: Operands) -> None:
    """The 32-bit product, rounded once, in float64."""
    onnx, y = lowering.onnx, node.outputs[0]
    a, b = (lowering.exponent(name) for name in node.inputs[:2])
    wide = [onnx.op("Cast", [value], to=element_type("float64")) for value in (both.first, both.second)]
    product = onnx.op("Mul", wide, hint=f"{y}:product")
    scale = onnx.constant(np.float64(2.0 ** (a + b - lowering.exponent(y))), "scale")
    value = onnx.op("Mul", [product, scale], hint=f"{y}:scaled")
    limits = DTYPE_BOUNDS["int16"]
    value = rounded_and_clipped(lowering, value, limits, dtype="float64")
    lowering.write(y, onnx.op("Cast", [value], to=element_type("float32")), both.form, bounds=limits)
    bound = lowering.bounds(node.inputs[0]).magnitude * lowering.bounds(node.inputs[1]).magnitude
    lowering.prove(
        node, "float64", bound=bound, limit=FLOAT64_LIMIT, note="one shift, as the SIMD kernels round"
    )


@operator("Div", batches=Lowering.batch_axis_kept)
def lower_div(lowering: Lowering, node: Node) -> None:
    """round(a 2**(ea - eb - eo) / b) in float32.

    X / 0 is the largest or smallest value, 0 / 0 is 0 (dl_base_div.cpp).
    """
    dtype = quantized_dtype(node)
    x0, x1, y = node.inputs[0], node.inputs[1], node.outputs[0]
    d0, d1 = innermost(lowering.shape(x0), lowering.shape(x1))
    if dtype == "float32":
        _float(lowering, node, *_float_quotient(lowering, node, d1))
        return
    if dtype == "int8" and _div_by_table(lowering, node, d0, d1):
        return
    onnx, both = lowering.onnx, operands(lowering, node)
    rescale = onnx.constant(_div_scale(lowering, node), "scale")
    zero = onnx.constant(np.float32(0), "zero")
    divisor_is_zero = onnx.op("Equal", [both.second, zero])
    divisor = onnx.op("Where", [divisor_is_zero, onnx.constant(np.float32(1), "one"), both.second])
    scalar_divisor = d1 == 1 and (dtype == "int16" or d0 != 1)
    if scalar_divisor:  # c_impl_div_n_1 divides the scale and then multiplies: two roundings
        dividend = both.first
        if _div_scale(lowering, node) == 1:
            # twice the scale and half the dividend, both exact: of a * (1 / b) onnxruntime's DivMulFusion would
            # make a / b, which rounds once
            rescale = onnx.constant(np.float32(2), "twice_scale")
            dividend = onnx.op("Mul", [dividend, onnx.constant(np.float32(0.5), "half")])
        value = onnx.op("Mul", [dividend, onnx.op("Div", [rescale, divisor])], hint=f"{y}:quotient")
    else:
        value = onnx.op("Div", [onnx.op("Mul", [both.first, rescale]), divisor], hint=f"{y}:quotient")
    limits = DTYPE_BOUNDS[dtype]
    value = rounded_and_clipped(lowering, value, limits)
    low, high = (onnx.constant(np.float32(limit), "limit") for limit in (limits.low, limits.high))
    infinite = onnx.op("Where", [onnx.op("Greater", [both.first, zero]), high, low])
    value = onnx.op("Where", [divisor_is_zero, infinite, value])
    tabulated = dtype == "int8" and 1 in _sizes(lowering, node)
    if not (tabulated and d0 == 1):  # create_div_lut makes 0 / 0 the lowest value
        value = onnx.op("Where", [onnx.op("Equal", [both.first, zero]), zero, value], hint=f"{y}:div")
    lowering.write(y, value, both.form, bounds=limits)
    lowering.prove(node, "float32", note=_STALE_TABLE if tabulated else _QUOTIENT)


_QUOTIENT = "one float32 quotient, rounded as on the device"
_STALE_TABLE = "as in the first inference: ESP-DL tabulates the quotients by it and never again"


def _sizes(lowering: Lowering, node: Node) -> list[int]:
    return [int(np.prod(lowering.shape(name))) for name in node.inputs[:2]]


def _div_scale(lowering: Lowering, node: Node) -> np.float32:
    a, b = (lowering.exponent(name) for name in node.inputs[:2])
    return np.float32(dl_rescale(lowering.exponent(node.outputs[0])) * dl_scale(a) / dl_scale(b))


def _float_quotient(lowering: Lowering, node: Node, d1: int) -> tuple[str, Form]:
    onnx, both = lowering.onnx, operands(lowering, node)
    if d1 != 1:
        return onnx.op("Div", [both.first, both.second]), both.form
    one = onnx.constant(np.float64(1), "one")
    inverse = onnx.op(
        "Cast",
        [onnx.op("Div", [one, onnx.op("Cast", [both.second], to=element_type("float64"))])],
        to=element_type("float32"),
    )
    return onnx.op("Mul", [both.first, inverse]), both.form


def _div_by_table(lowering: Lowering, node: Node, d0: int, d1: int) -> bool:
    """int8 with one operand of one constant element: 256 quotients (create_div_lut). Whether that was so."""
    x0, x1 = node.inputs[:2]
    constants = [lowering.constant(name) for name in (x0, x1)]
    rescale = _div_scale(lowering, node)
    numbers = np.arange(-128, 128).astype(np.float32)
    with np.errstate(all="ignore"):
        if 1 not in _sizes(lowering, node):
            return False
        if d0 == 1 and constants[0] is not None:
            numerator = np.float32(constants[0].reshape(-1)[0]) * rescale
            table = quantize_array(numerator / numbers, "int8", lowering.rounding)
            table[128] = 127 if numerator > 0 else -128
            lower_table(lowering, node, table, source=x1)
            return True
        if d1 == 1 and d0 != 1 and constants[1] is not None:
            factor = rescale / np.float32(constants[1].reshape(-1)[0])
            table = quantize_array(numbers * factor, "int8", lowering.rounding)
            table[128] = 0
            lower_table(lowering, node, table, source=x0)
            return True
    return False


@operator("Mod", "Pow", batches=Lowering.batch_axis_kept)
def lower_mod(lowering: Lowering, node: Node) -> None:
    """Fmodf (0 where the divisor is 0) or powf of the dequantized operands, rescaled and rounded."""
    onnx, y = lowering.onnx, node.outputs[0]
    dtype = quantized_dtype(node)
    both = operands(lowering, node)
    real = [both.first, both.second]
    if dtype != "float32":
        scales = [onnx.constant(dl_scale(lowering.exponent(name)), "scale") for name in node.inputs[:2]]
        real = [onnx.op("Mul", [value, scale]) for value, scale in zip(real, scales, strict=True)]
    value = _fmod(lowering, *real) if node.op_type == "Mod" else _power(lowering, *real)
    if dtype == "float32":
        _float(lowering, node, value, both.form)
        return
    value = onnx.op("Mul", [value, onnx.constant(dl_rescale(lowering.exponent(y)), "rescale")])
    lowest = onnx.constant(np.float32(DTYPE_BOUNDS[dtype].low), "lowest")
    value = onnx.op("Where", [onnx.op("IsNaN", [value]), lowest, value])
    lowering.write(
        y, rounded_and_clipped(lowering, value, DTYPE_BOUNDS[dtype]), both.form, bounds=DTYPE_BOUNDS[dtype]
    )
    lowering.prove(node, "float", note="a float function on the device; powf may differ in the last bit")


def _fmod(lowering: Lowering, a: str, b: str) -> str:
    onnx = lowering.onnx
    zero = onnx.constant(np.float32(0), "zero")
    none = onnx.op("Equal", [b, zero])
    divisor = onnx.op("Where", [none, onnx.constant(np.float32(1), "one"), b])
    return onnx.op("Where", [none, zero, onnx.op("Mod", [a, divisor], fmod=1)], hint=f"{a}:mod")


def _power(lowering: Lowering, a: str, b: str) -> str:
    onnx = lowering.onnx
    wide = [onnx.op("Cast", [value], to=element_type("float64")) for value in (a, b)]
    return onnx.op("Cast", [onnx.op("Pow", wide)], to=element_type("float32"), hint=f"{a}:pow")


@operator("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", batches=Lowering.batch_axis_kept)
def lower_comparison(lowering: Lowering, node: Node) -> None:
    """The integers compared, whatever their exponents."""
    quantized_dtype(node, floats=False)
    both = operands(lowering, node)
    value = lowering.onnx.op(node.op_type, [both.first, both.second], hint=f"{node.outputs[0]}:bool")
    lowering.write(node.outputs[0], value, Form("bool", both.form.channel_first), bounds=Bounds(0, 1))
    lowering.prove(node, "float32")


__all__ = ["DEVICE_FLOAT", "Operands", "common_form", "innermost", "operands"]

"""Gemm: the last axis times a constant matrix, computed by ESP-DL as a 1x1 Conv (dl_module_gemm.hpp)."""

from __future__ import annotations

import numpy as np

from esp_hil.errors import FormatError, UnsupportedOperator
from esp_hil.exact import sums
from esp_hil.exact.filters import filter_oihw
from esp_hil.exact.kernels import GemmKernel
from esp_hil.exact.lowering import Lowering, attribute_int, quantized_dtype
from esp_hil.exact.operators.conv import (
    accumulator_shifts,
    bias_of,
    doubt_shifts,
    lower_by_integers,
    output_bounds,
)
from esp_hil.exact.registry import operator
from esp_hil.exact.saturation import accumulators_of
from esp_hil.formats.espdl.model import Node


@operator("Gemm", batches=True)
def lower_gemm(lowering: Lowering, node: Node) -> None:
    """Acc = x w + bias over the last axis; alpha and beta are not read by ESP-DL."""
    if attribute_int(node, "transA", 0) > 0 or attribute_int(node, "transB", 0) > 0:
        raise UnsupportedOperator(
            f"Gemm {node.name!r}: transA or transB", hint="ESP-DL asserts that both are 0"
        )
    tensor = lowering.constant_tensor(node.inputs[1])
    if tensor is None:
        raise UnsupportedOperator(f"Gemm {node.name!r}: the matrix {node.inputs[1]!r} is not a constant")
    weights = sums.as_integers(filter_oihw(tensor, depthwise=False, kernels=lowering.kernels))
    outputs, depth = weights.shape[:2]
    if lowering.shape(node.inputs[0])[-1] != depth or weights.size != outputs * depth:
        raise FormatError(
            f"Gemm {node.name!r}: input {lowering.shape(node.inputs[0])}, filter {tensor.shape}"
        )
    dtype = quantized_dtype(node, floats=False)
    products = sums.Products(
        weights=weights.reshape(outputs, depth),
        bias=bias_of(lowering, node, outputs),
        shifts=accumulator_shifts(lowering, node, outputs),
        inputs=lowering.bounds(node.inputs[0]),
        outputs=output_bounds(node, dtype),
        wraps=dtype == "int8" and not lowering.simd,
        accumulators=accumulators_of(lowering.family, lowering.kernels, dtype, outputs, depthwise=False),
    )
    doubt_shifts(lowering, node, products)
    lower_products(lowering, node, products)


def lower_products(lowering: Lowering, node: Node, products: sums.Products) -> None:
    """Sums over the last axis of the node's first input, written to its output."""
    onnx, y = lowering.onnx, node.outputs[0]
    shape = lowering.shape(node.inputs[0])
    names = (node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else f"{y}:bias", y)
    kernel = GemmKernel(lowering=lowering, names=names)
    if lower_by_integers(lowering, node, products, kernel):
        return
    lowering.read(node.inputs[0])
    value = sums.emit(lowering, node, products, kernel)
    if len(shape) != 2:
        back = onnx.constant(np.array([-1, *shape[1:-1], products.weights.shape[0]]), "shape")
        value = onnx.op("Reshape", [value, back], hint=f"{y}:shape")
    lowering.write(y, value, bounds=products.outputs)

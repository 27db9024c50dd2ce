"""Gemm: the last axis times a constant matrix, computed by ESP-DL as a 1x1 Conv (dl_module_gemm.hpp)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.errors import FormatError, UnsupportedOperator
from harness.espdl.exact import sums
from harness.espdl.exact.filters import filter_oihw
from harness.espdl.exact.lowering import Lowering, attribute_int, quantized_dtype
from harness.espdl.exact.operators.conv import accumulator_shifts, bias_of, output_bounds
from harness.espdl.exact.registry import operator
from harness.espdl.model import Node


@operator("Gemm", batches=True)
def lower_gemm(lowering: Lowering, node: Node) -> None:
    """acc = x w + bias over the last axis; alpha and beta are not read by ESP-DL."""
    if attribute_int(node, "transA", 0) > 0 or attribute_int(node, "transB", 0) > 0:
        raise UnsupportedOperator(
            f"Gemm {node.name!r}: transA or transB", hint="ESP-DL asserts that both are 0"
        )
    tensor = lowering.constant_tensor(node.inputs[1])
    if tensor is None:
        raise UnsupportedOperator(f"Gemm {node.name!r}: the matrix {node.inputs[1]!r} is not a constant")
    weights = sums.as_integers(filter_oihw(tensor, depthwise=False))
    outputs, depth = weights.shape[:2]
    if lowering.shape(node.inputs[0])[-1] != depth or weights.size != outputs * depth:
        raise FormatError(
            f"Gemm {node.name!r}: input {lowering.shape(node.inputs[0])}, filter {tensor.shape}"
        )
    products = sums.Products(
        weights=weights.reshape(outputs, depth),
        bias=bias_of(lowering, node, outputs),
        shifts=accumulator_shifts(lowering, node, outputs),
        inputs=lowering.bounds(node.inputs[0]),
        outputs=output_bounds(node, quantized_dtype(node, floats=False)),
    )
    lower_products(lowering, node, products)


def lower_products(lowering: Lowering, node: Node, products: sums.Products) -> None:
    """Sums over the last axis of the node's first input, written to its output."""
    onnx, y = lowering.onnx, node.outputs[0]
    outputs, depth = products.weights.shape
    shape = lowering.shape(node.inputs[0])
    value = lowering.read(node.inputs[0])
    if len(shape) != 2:
        value = onnx.op("Reshape", [value, onnx.constant(np.array([-1, depth]), "rows")], hint=f"{y}:rows")

    def kernel(rows: str, part: NDArray[np.float32], bias: NDArray[np.float32] | None) -> str:
        matrix = onnx.constant(np.ascontiguousarray(part.T), node.inputs[1])
        inputs = [rows, matrix] if bias is None else [rows, matrix, onnx.constant(bias, f"{y}:bias")]
        return onnx.op("Gemm" if bias is not None else "MatMul", inputs, hint=f"{y}:gemm")

    value, path = sums.emit(lowering, products, value, kernel, broadcast=(1, -1))
    if len(shape) != 2:
        back = onnx.constant(np.array([-1, *shape[1:-1], outputs]), "shape")
        value = onnx.op("Reshape", [value, back], hint=f"{y}:shape")
    lowering.write(y, value, bounds=products.outputs)
    lowering.prove(node, path.name, bound=path.bound, limit=path.limit)

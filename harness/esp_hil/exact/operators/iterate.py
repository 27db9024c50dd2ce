"""Float arithmetic whose order or number of steps is part of the answer."""

from __future__ import annotations

import numpy as np
from onnx import helper

from esp_hil.exact.lowering import Lowering
from esp_hil.exact.onnx_graph import OnnxGraph, element_type

_NEWTON_END = np.float32(0.00001)
_NEWTON_STEPS = 200


def sequential_sum(lowering: Lowering, value: str, axis: int, length: int) -> str:
    """The float32 sum along an axis, added from first to last; the axis is kept with length 1.

    CumSum adds in order; its last element is the sum.
    """
    onnx = lowering.onnx
    running = onnx.op("CumSum", [value, onnx.constant(np.int64(axis), "axis")], hint=f"{value}:running")
    last = onnx.constant(np.array([length - 1]), "last")
    return onnx.op("Gather", [running, last], hint=f"{value}:sum", axis=axis)


def sequential_product(lowering: Lowering, value: str, dtype: str) -> str:
    """The product along the last axis, from the first element to the last; the axis is kept with length 1."""
    onnx = lowering.onnx
    body = OnnxGraph(onnx)
    so_far, factor = body.fresh("so_far"), body.fresh("factor")
    product = body.op("Mul", [so_far, factor])
    kind = element_type(dtype)
    graph = body.subgraph(
        "product",
        inputs=[helper.make_tensor_value_info(name, kind, None) for name in (so_far, factor)],
        outputs=[helper.make_tensor_value_info(product, kind, None)],
    )
    first = onnx.op("Gather", [value, onnx.constant(np.int64(0), "first")], axis=-1)
    one = helper.make_tensor("one", kind, [1], [1])
    ones = onnx.op("ConstantOfShape", [onnx.op("Shape", [first])], value=one)
    last = onnx.op(
        "Scan", [ones, value], body=graph, num_scan_inputs=1, scan_input_axes=[-1], hint=f"{value}:product"
    )
    return onnx.op("Unsqueeze", [last, onnx.constant(np.array([-1]), "axis")])


def newton_sqrt(lowering: Lowering, value: str) -> str:
    """`math::sqrt_newton` (dl_math.hpp:83): r = (r + x / r) / 2 from x until it moves by no more than 1e-5.

    Every element stops for itself. The device loops for ever where two neighbouring floats alternate; 200
    steps end that here.
    """
    onnx = lowering.onnx
    zero = onnx.constant(np.float32(0), "zero")
    is_zero = onnx.op("Equal", [value, zero])
    x = onnx.op("Where", [is_zero, onnx.constant(np.float32(1), "one"), value], hint=f"{value}:nonzero")
    body = OnnxGraph(onnx)
    step, running, last, moving = (body.fresh(name) for name in ("step", "running", "last", "moving"))
    half = body.constant(np.float32(0.5), "half")
    mean = body.op("Mul", [body.op("Add", [last, body.op("Div", [x, last])]), half])
    moved = body.op("Abs", [body.op("Sub", [mean, last])])
    following = body.op("Where", [moving, mean, last])
    far = body.op("Greater", [moved, body.constant(_NEWTON_END, "end")])
    still = body.op("And", [moving, far])
    count = body.op("ReduceMax", [body.op("Cast", [still], to=element_type("float32"))], keepdims=0)
    again = body.op("Cast", [count], to=element_type("bool"))
    graph = body.subgraph(
        "newton",
        inputs=[
            helper.make_tensor_value_info(step, element_type("int64"), []),
            helper.make_tensor_value_info(running, element_type("bool"), []),
            helper.make_tensor_value_info(last, element_type("float32"), None),
            helper.make_tensor_value_info(moving, element_type("bool"), None),
        ],
        outputs=[
            helper.make_tensor_value_info(again, element_type("bool"), []),
            helper.make_tensor_value_info(following, element_type("float32"), None),
            helper.make_tensor_value_info(still, element_type("bool"), None),
        ],
    )
    all_move = onnx.op("Equal", [x, x])
    steps, go = onnx.constant(np.int64(_NEWTON_STEPS), "steps"), onnx.constant(np.bool_(True), "go")
    root = onnx.ops("Loop", [steps, go, x, all_move], hints=[f"{value}:root", f"{value}:moving"], body=graph)[
        0
    ]
    return onnx.op("Where", [is_zero, zero, root], hint=f"{value}:sqrt")

"""StreamingCache: the last frames of the run before, put in front of this run's.

Source: dl_module_streaming_cache.hpp.
"""

from __future__ import annotations

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.lowering import Form, Lowering, State, attribute_int, size_of
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node


@operator("StreamingCache")
def lower_streaming_cache(lowering: Lowering, node: Node) -> None:
    """Memory is joined flat, as ESP-DL copies it.

    What is kept are the last `window_size` - 1 frames of that memory.
    """
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    shape, form = lowering.shape(x), Form(lowering.dtype(x))
    if lowering.prefers_bytes(x):
        form = lowering.bytes_form(x)
    axis = attribute_int(node, "frame_axis", 1) % len(shape)
    kept = attribute_int(node, "window_size", 1) - 1
    if kept < 1:
        raise UnsupportedOperator(
            f"StreamingCache {node.name!r}: window_size {kept + 1}",
            hint="ESP-DL asserts a cache of a frame or more",
        )
    joined_shape = (*shape[:axis], shape[axis] + kept, *shape[axis + 1 :])
    lowering.set_shape(y, joined_shape)
    count = size_of(joined_shape) - size_of(shape)
    state = State(
        input_name=onnx.fresh(f"{node.name}:before"),
        output_name=onnx.fresh(f"{node.name}:after"),
        dtype=form.dtype,
        shape=(count,),
        empty=form.zero,
    )
    lowering.states.append(state)
    flat = onnx.op("Reshape", [lowering.read(x, form), onnx.constant(np.array([-1]), "flat")])
    joined = onnx.op("Concat", [state.input_name, flat], axis=0, hint=f"{y}:joined")
    limits = [onnx.constant(np.array([n]), "cut") for n in (size_of(shape), size_of(shape) + count, 0)]
    onnx.named("Slice", [joined, *limits], state.output_name)
    value = onnx.op("Reshape", [joined, onnx.constant(np.array(joined_shape), "shape")], hint=f"{y}:frames")
    bounds = None if lowering.is_float(x) else lowering.bounds(x)
    if bounds is not None:
        bounds = type(bounds)(min(bounds.low, 0), max(bounds.high, 0))
    lowering.write(y, value, form, bounds=bounds)
    lowering.prove(node, "move")

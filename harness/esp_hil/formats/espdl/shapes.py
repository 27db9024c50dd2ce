"""Shapes as ESP-DL computes them when it loads a model: each operator's output from its inputs.

They are ONNX's except where ESP-DL departs from ONNX: then they are ESP-DL's if it computes something all the same,
and a refusal if it reads or writes other memory. tests/formats/espdl/test_random_shapes.py has one row for each.

The file describes shapes too, but ESP-DL asks its modules, and the two may differ: a streaming model keeps
the shapes of the whole sequence it was trained on, and runs on a few frames. Source of each rule:
`get_output_shape` of the module in ESP-DL 3.3.9, dl/module/include/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl.attributes import constant, constant_integers, integer, integers, text
from esp_hil.formats.espdl.model import Graph, Node, ValueInfo
from esp_hil.formats.espdl.operators import REGISTERED

Shape = tuple[int, ...]
Rule = Callable[[Graph, Node, list[Shape]], list[Shape]]

_MAX_ELEMENTS = 1 << 28


def propagate(graph: Graph) -> dict[str, Shape]:
    """Shapes of all inputs, initializers and values of the graph.

    Raises:
        UnsupportedOperator: a node whose output shape its inputs do not give.
    """
    shapes: dict[str, Shape] = {value.name: value.shape for value in graph.inputs}
    shapes |= {tensor.name: tensor.shape for tensor in graph.initializers.values()}
    for node in graph.nodes:
        made = output_shapes(graph, node, [shapes.get(name, ()) for name in node.inputs])
        if len(made) < len(node.outputs):
            raise UnsupportedOperator(
                f"{node.op_type} node {node.name!r} has {len(node.outputs)} outputs, ESP-DL makes {len(made)}"
            )
        shapes |= {name: shape for name, shape in zip(node.outputs, made, strict=False) if name}
    return shapes


def computed_outputs(graph: Graph) -> tuple[ValueInfo, ...]:
    """The outputs in the shapes that a chip gives them.

    esp-ppq cuts the input of a streaming model to one frame and leaves the outputs' shapes in the file those of the
    whole clip; ESP-DL computes all shapes anew when it loads the file.
    """
    if all(node.op_type != "StreamingCache" for node in graph.nodes):
        return graph.outputs
    try:
        shapes = propagate(graph)
    except UnsupportedOperator:
        return graph.outputs  # whoever runs it says why it cannot
    return tuple(replace(value, shape=shapes.get(value.name, value.shape)) for value in graph.outputs)


def output_shapes(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """Shapes of the outputs of one node, given those of its inputs (() for one that is left out).

    Raises:
        UnsupportedOperator: the inputs, attributes or constants do not give a shape.
    """
    rule = _RULES.get(node.op_type, _as_first_input)
    missing = [index for index in range(_NEEDED.get(node.op_type, 1)) if not node.input(index)]
    if missing:
        raise UnsupportedOperator(f"{node.op_type} node {node.name!r} lacks input {missing[0]}")
    if not node.output(0):
        raise UnsupportedOperator(f"{node.op_type} node {node.name!r} has no output")
    try:
        made = rule(graph, node, inputs)
    except (IndexError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise _no_shape(node, inputs) from error
    for shape in made:
        if any(dim <= 0 for dim in shape) or math.prod(shape) > _MAX_ELEMENTS:
            raise _no_shape(node, inputs)
    return made


def _no_shape(node: Node, inputs: list[Shape]) -> UnsupportedOperator:
    said = ", ".join("x".join(map(str, shape)) or "scalar" for shape in inputs)
    return UnsupportedOperator(f"{node.op_type} node {node.name!r} has no valid output for inputs {said}")


def _as_first_input(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    return [inputs[0]] * len(node.outputs)


def _broadcast(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph, node
    return [tuple(np.broadcast_shapes(inputs[0], inputs[1]))]


def window_outputs(size: Shape, kernel: Shape, strides: Shape, pads: Shape, dilations: Shape) -> Shape:
    """Spatial output sizes of a Conv or pool, rounded down; `pads` in ONNX's order: all beginnings, then all ends."""
    rank = len(size)
    return tuple(
        (size[i] + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    )


def _windows(node: Node, inputs: list[Shape], kernel: Shape, dilations: Shape, channels: int) -> list[Shape]:
    given = inputs[0]
    rank = len(given) - 2
    strides, pads = integers(node, "strides"), integers(node, "pads", ()) or (0,) * (2 * rank)
    if not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == rank in (1, 2):
        raise _no_shape(node, inputs)
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise _no_shape(node, inputs)
    return [(given[0], *window_outputs(given[1:-1], kernel, strides, pads, dilations), channels)]


def _conv(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """Input NHWC or NWC, filter HWCN or WCN (depthwise HWNC or WNC with C = 1), bias N."""
    del graph
    given, kernel = inputs[0], inputs[1]
    group = integer(node, "group", 1)
    if group not in (1, given[-1]):
        raise UnsupportedOperator(
            f"Conv node {node.name!r}: group {group} for {given[-1]} channels",
            hint="ESP-DL has ordinary and depthwise convolutions; split this one into several",
        )
    fits = kernel[-2:-1] == given[-1:] and (group == 1 or kernel[-1] == 1)
    fits = fits and integers(node, "kernel_shape", kernel[:-2]) == kernel[:-2]
    if len(kernel) != len(given) or not fits:
        raise _no_shape(node, inputs)
    channels = kernel[-1] if group == 1 else given[-1]
    _check_bias(node, inputs, channels)
    return _windows(node, inputs, kernel[:-2], integers(node, "dilations"), channels)


def _check_bias(node: Node, inputs: list[Shape], channels: int) -> None:
    if node.input(2) and math.prod(inputs[2]) != channels:
        raise UnsupportedOperator(
            f"{node.op_type} node {node.name!r} has {channels} outputs and {math.prod(inputs[2])} biases"
        )


def _pool(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """NHWC or NWC; dilations and ceil_mode are not looked at."""
    del graph
    kernel, pads = integers(node, "kernel_shape"), integers(node, "pads", ())
    if any(pad >= taps for pad, taps in zip(pads, kernel * 2, strict=False)):
        raise UnsupportedOperator(
            f"{node.op_type} node {node.name!r}: paddings {pads} for a window of {kernel}",
            hint="a window that lies in the padding altogether has no value; pad less than its size",
        )
    return _windows(node, inputs, kernel, (1,) * len(kernel), inputs[0][-1])


def _global_pool(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """NHWC or NWC; sample 0 of a batch is all that is computed, the shape is of one."""
    del graph
    if len(inputs[0]) not in (3, 4):
        raise _no_shape(node, inputs)
    return [(1,) * (len(inputs[0]) - 1) + inputs[0][-1:]]


def _gemm(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    given, kernel = inputs[0], inputs[1]
    if len(kernel) != 4 or kernel[:2] != (1, 1) or given[-1] != kernel[2]:
        raise _no_shape(node, inputs)
    _check_bias(node, inputs, kernel[3])
    return [(*given[:-1], kernel[3])]


def _matmul(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    left, right = inputs[0], inputs[1]
    if not left or not right:
        raise _no_shape(node, inputs)
    inner = right[0] if len(right) == 1 else right[-2]
    if left[-1] != inner or max(len(left), len(right)) > 4:
        raise _no_shape(node, inputs)
    batch = tuple(np.broadcast_shapes(left[:-2], right[:-2]))
    shape = batch + left[-2:-1] + (right[-1:] if len(right) > 1 else ())
    return [shape or (1,)]


def _concat(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    axis = _axis(integer(node, "axis"), len(inputs[0]))
    rest = {shape[:axis] + shape[axis + 1 :] for shape in inputs}
    if len(rest) != 1 or {len(shape) for shape in inputs} != {len(inputs[0])}:
        raise _no_shape(node, inputs)
    total = sum(shape[axis] for shape in inputs)
    return [(*inputs[0][:axis], total, *inputs[0][axis + 1 :])]


def _split(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """Sizes from input 1; without it ESP-DL takes `num_outputs` for the size of a part, not their number."""
    axis = _axis(integer(node, "axis", 0), len(inputs[0]))
    sizes = constant_integers(graph, node, 1)
    whole = inputs[0][axis]
    if sizes is None:
        part = integer(node, "num_outputs")
        if part < 1:
            raise _no_shape(node, inputs)
        count = -(-whole // part)
        sizes = (part,) * (count - 1) + (whole - (count - 1) * part,)
    if sum(sizes) != whole or len(sizes) < len(node.outputs):
        raise _no_shape(node, inputs)
    return [(*inputs[0][:axis], size, *inputs[0][axis + 1 :]) for size in sizes]


def _slice(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    starts, ends, axes, steps = (constant_integers(graph, node, index) for index in (1, 2, 3, 4))
    count = len(starts or ())
    axes = tuple(range(count)) if axes is None else tuple(_axis(axis, len(inputs[0])) for axis in axes)
    steps = (1,) * count if steps is None else steps
    if len(set(axes)) != len(axes):
        raise _no_shape(node, inputs)
    shape = list(inputs[0])
    for axis, start, end, step in zip(axes, starts or (), ends or (), steps, strict=True):
        shape[axis] = _sliced(inputs[0][axis], start, end, step)
    return [tuple(shape)]


def _sliced(whole: int, start: int, end: int, step: int) -> int:
    """Length of a slice; one that runs backwards is mirrored first.

    ESP-DL holds no empty tensor. A start outside the axis is ONNX's first or last element and another one of ESP-DL's.
    """
    if step < 0:
        return _sliced(whole, -start - 1, -end - 1, -step)
    first, last = (min(at, whole) if at >= 0 else whole + at for at in (start, end))
    if start > whole or not 0 <= first < last:
        raise ValueError(start)
    return 1 + (last - first - 1) // step


def _gather(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    axis = _axis(integer(node, "axis", 0), len(inputs[0]))
    indices = constant(graph, node, 1)
    if indices is not None and indices.data.size:
        low, high = int(indices.data.min()), int(indices.data.max())
        if not 0 <= low <= high < inputs[0][axis]:
            raise UnsupportedOperator(
                f"Gather node {node.name!r}: indices {low} to {high} for {inputs[0][axis]} elements",
                hint="ESP-DL does not count negative indices from the end; write them as positive ones",
            )
    return [inputs[0][:axis] + (indices.shape if indices else ()) + inputs[0][axis + 1 :]]


def _pad(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    pads, rank = constant_integers(graph, node, 1), len(inputs[0])
    if pads is None or len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise _no_shape(node, inputs)
    return [tuple(dim + pads[axis] + pads[axis + rank] for axis, dim in enumerate(inputs[0]))]


def _flatten(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    axis = integer(node, "axis", 1)
    if not -len(inputs[0]) <= axis <= len(inputs[0]):
        raise _no_shape(node, inputs)
    return [(math.prod(inputs[0][:axis]), math.prod(inputs[0][axis:]))]


def _reshape(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    given = constant_integers(graph, node, 1)
    if given is None or given.count(-1) > 1 or min(given, default=1) < -1:
        raise _no_shape(node, inputs)
    wanted = list(given)
    if integer(node, "allowzero", 0) == 0:
        wanted = [inputs[0][axis] if dim == 0 else dim for axis, dim in enumerate(wanted)]
    whole = math.prod(inputs[0])
    if -1 in wanted:
        wanted[wanted.index(-1)] = whole // -math.prod(wanted)
    if math.prod(wanted) != whole:
        raise _no_shape(node, inputs)
    return [tuple(wanted)]


def _transpose(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    order = [_axis(axis, len(inputs[0])) for axis in integers(node, "perm")]
    if sorted(order) != list(range(len(inputs[0]))):
        raise _no_shape(node, inputs)
    return [tuple(inputs[0][axis] for axis in order)]


def _squeeze(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    axes = constant_integers(graph, node, 1)
    rank = len(inputs[0])
    gone = range(rank) if axes is None else [_axis(axis, rank) for axis in axes]
    return [tuple(dim for axis, dim in enumerate(inputs[0]) if dim != 1 or axis not in gone)]


def _unsqueeze(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """A negative axis counts from one behind the input's dimensions, however many there are in all."""
    axes = constant_integers(graph, node, 1) or ()
    rank = len(inputs[0])
    new = sorted(axis + rank + 1 if axis < 0 else axis for axis in axes)
    if len(set(new)) != len(new) or not all(0 <= axis < rank + len(new) for axis in new):
        raise UnsupportedOperator(
            f"Unsqueeze node {node.name!r}: axes {list(axes)} for {rank} dimensions",
            hint="ESP-DL adds the input's dimensions + 1 to a negative axis; write the axes as positive ones",
        )
    old = iter(inputs[0])
    return [tuple(1 if axis in new else next(old, 0) for axis in range(rank + len(new)))]


def _depth_to_space(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    batch, height, width, channels = inputs[0]
    block = integer(node, "blocksize")
    if block < 1 or channels % (block * block):
        raise _no_shape(node, inputs)
    return [(batch, height * block, width * block, channels // (block * block))]


def _space_to_depth(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    batch, height, width, channels = inputs[0]
    block = integer(node, "blocksize")
    if block < 1 or height % block or width % block:
        raise _no_shape(node, inputs)
    return [(batch, height // block, width // block, channels * block * block)]


def _insert_zeros(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    given = inputs[0]
    spatial = len(given) - 2
    stride, extra = integers(node, "stride", (1,)), integers(node, "output_padding", (0,))
    stride = stride * spatial if len(stride) == 1 else stride
    extra = extra * spatial if len(extra) == 1 else extra
    if spatial not in (1, 2) or not len(stride) == len(extra) == spatial or min(stride) < 1 or min(extra) < 0:
        raise _no_shape(node, inputs)
    sizes = (
        given[1 + axis] + (stride[axis] - 1) * (given[1 + axis] - 1) + extra[axis] for axis in range(spatial)
    )
    return [(given[0], *sizes, given[-1])]


def _streaming_cache(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    del graph
    axis = _axis(integer(node, "frame_axis", 1), len(inputs[0]))
    longer = inputs[0][axis] + integer(node, "window_size", 1) - 1
    if longer <= inputs[0][axis]:
        raise UnsupportedOperator(
            f"StreamingCache node {node.name!r}: window_size {longer + 1 - inputs[0][axis]}",
            hint="ESP-DL asserts a cache of a frame or more",
        )
    return [(*inputs[0][:axis], longer, *inputs[0][axis + 1 :])]


def _resize(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """Input NHWC or NWC; scales and sizes are in NCHW order. Scaling is done in float32 and cut off."""
    given = inputs[0]
    spatial = range(len(given) - 2)
    if len(given) not in (3, 4):
        raise _no_shape(node, inputs)
    sizes = constant_integers(graph, node, 3)
    if sizes:
        return [(given[0], *(sizes[2 + axis] for axis in spatial), given[-1])]
    scales = constant(graph, node, 2)
    if scales is None or scales.dtype != "float32" or not np.isfinite(scales.data).all():
        raise _no_shape(node, inputs)
    scaled = (int(np.float32(given[1 + axis]) * scales.data[2 + axis]) for axis in spatial)
    return [(given[0], *scaled, given[-1])]


def _reduce(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """Axes from input 1 only; reducing all axes without keepdims gives shape 1."""
    rank = len(inputs[0])
    axes = constant_integers(graph, node, 1)
    if axes:
        gone = {_axis(axis, rank) for axis in axes}
    else:
        gone = set() if integer(node, "noop_with_empty_axes", 0) else set(range(rank))
    if integer(node, "keepdims", 1):
        return [tuple(1 if axis in gone else dim for axis, dim in enumerate(inputs[0]))]
    return [tuple(dim for axis, dim in enumerate(inputs[0]) if axis not in gone) or (1,)]


def _layer_normalization(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """The output and, if asked for, mean and inverse deviation with the normalized axes of size 1."""
    del graph
    rank = len(inputs[0])
    axis = _axis(integer(node, "axis", -1), rank)
    return [inputs[0], *[(*inputs[0][:axis], *[1] * (rank - axis))] * 2]


def _recurrent(graph: Graph, node: Node, inputs: list[Shape]) -> list[Shape]:
    """Y, Y_h and, for an LSTM, Y_c; input (sequence, batch, features); layout 1 swaps the first two."""
    del graph
    first, second, _ = inputs[0]
    length, batch = (first, second) if integer(node, "layout", 0) == 0 else (second, first)
    directions = 2 if text(node, "direction", "forward") == "bidirectional" else 1
    hidden = integer(node, "hidden_size")
    state = (directions, batch, hidden)
    return [(length, *state), state, state][: 3 if node.op_type == "LSTM" else 2]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise IndexError(axis)
    return axis % rank


_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Mod")
_COMPARING = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")

# Inputs without which a module reads past the end of its list; one, where nothing is said.
_NEEDED: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys((*_BINARY, *_COMPARING), 2),
        **dict.fromkeys(
            ("Conv", "Gemm", "MatMul", "Gather", "Pad", "Reshape", "Unsqueeze", "ReverseSequence"), 2
        ),
        **dict.fromkeys(("LSTM", "GRU", "ScatterND"), 3),
        **dict.fromkeys(("LayerNormalization", "RMSNormalization"), 2),
        "Slice": 3,
    }
)

_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys((*_BINARY, *_COMPARING), _broadcast),
        **dict.fromkeys(["AveragePool", "MaxPool"], _pool),
        **dict.fromkeys((name for name in REGISTERED if name.startswith("Reduce")), _reduce),
        **dict.fromkeys(["LSTM", "GRU"], _recurrent),
        "Concat": _concat,
        "Conv": _conv,
        "DepthToSpace": _depth_to_space,
        "Flatten": _flatten,
        "Gather": _gather,
        "Gemm": _gemm,
        "LayerNormalization": _layer_normalization,
        "GlobalAveragePool": _global_pool,
        "InsertZeros": _insert_zeros,
        "MatMul": _matmul,
        "Pad": _pad,
        "Reshape": _reshape,
        "Resize": _resize,
        "Slice": _slice,
        "SpaceToDepth": _space_to_depth,
        "Split": _split,
        "Squeeze": _squeeze,
        "StreamingCache": _streaming_cache,
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
    }
)

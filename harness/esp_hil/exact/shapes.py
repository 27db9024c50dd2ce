"""Output shapes as ESP-DL computes them (`get_output_shape`), which is what the device allocates.

They can differ from the shapes in the file: a streaming model is exported with the shapes of the whole clip.
Operators that are not here set the shapes of their outputs when they are lowered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from esp_hil.errors import FormatError, UnsupportedOperator
from esp_hil.exact.lowering import Lowering, attribute_int, attribute_ints
from esp_hil.formats.espdl.model import Node
from esp_hil.formats.espdl.windows import FIRST_SAMPLE_ONLY, unreached

Shape = tuple[int, ...]

_SAME = frozenset(
    [
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Sigmoid",
        "Tanh",
        "Elu",
        "HardSigmoid",
        "HardSwish",
        "Swish",
        "Gelu",
        "LUT",
        "Clip",
        "Exp",
        "Log",
        "Sqrt",
        "Neg",
        "Softmax",
        "LogSoftmax",
        "Identity",
        "QuantizeLinear",
        "DequantizeLinear",
        "RequantizeLinear",
        "LpNormalization",
        "RMSNormalization",
        "ReverseSequence",
        "ScatterND",
    ]
)
_BROADCAST = frozenset(
    ["Add", "Sub", "Mul", "Div", "Mod", "Pow", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"]
)


def infer(lowering: Lowering, node: Node) -> None:
    """Set the shape of the node's first output, if the operator is one of those here.

    Raises:
        UnsupportedOperator: ESP-DL has no output of a valid shape, or leaves part of it uncomputed.
        FormatError: the inputs contradict each other.
    """
    _one_sample(lowering, node)
    rule = _RULES.get(node.op_type)
    if rule is None and node.op_type in _SAME:
        rule = _same
    if rule is None and node.op_type in _BROADCAST:
        rule = _broadcast
    if rule is None:
        return
    shape = rule(lowering, node)
    if any(size < 1 for size in shape):
        raise UnsupportedOperator(f"{node.op_type} {node.name!r}: output of shape {shape}")
    lowering.set_shape(node.outputs[0], shape)


def _one_sample(lowering: Lowering, node: Node) -> None:
    if node.op_type not in FIRST_SAMPLE_ONLY or not node.inputs:
        return
    shape = lowering.shape(node.inputs[0])
    if shape and shape[0] != 1:
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: a batch of {shape[0]}; ESP-DL computes the first sample only",
            hint="export the model with a batch of 1",
        )


def _same(lowering: Lowering, node: Node) -> Shape:
    return lowering.shape(node.inputs[0])


def _broadcast(lowering: Lowering, node: Node) -> Shape:
    shapes = [lowering.shape(name) for name in node.inputs[:2]]
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    for a, b in zip(*padded, strict=True):
        if a != b and 1 not in (a, b):
            raise FormatError(
                f"{node.op_type} {node.name!r}: shapes {shapes[0]} and {shapes[1]} do not broadcast"
            )
    return tuple(max(a, b) for a, b in zip(*padded, strict=True))


def window_outputs(size: Shape, kernel: Shape, strides: Shape, pads: Shape, dilations: Shape) -> Shape:
    """Spatial output sizes of a Conv or pool, rounded down; `pads` in ONNX's order."""
    rank = len(size)
    return tuple(
        (size[i] + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    )


def _spatial(lowering: Lowering, node: Node, kernel: Shape, channels: int) -> Shape:
    shape = lowering.shape(node.inputs[0])
    rank = len(shape) - 2
    strides = attribute_ints(node, "strides", ())
    dilations = attribute_ints(node, "dilations", ()) if node.op_type == "Conv" else (1,) * rank
    pads = attribute_ints(node, "pads", ()) or (0,) * (2 * rank)
    if (
        not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == rank
        or min(strides, default=0) < 1
    ):
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: kernel {kernel}, strides {strides}, dilations {dilations}, "
            f"pads {pads} for an input of shape {shape}",
            hint="ESP-DL gives missing attributes no default; write them all into the float model",
        )
    outputs = window_outputs(shape[1:-1], kernel, strides, pads, dilations)
    for axis, (size, taps) in enumerate(zip(shape[1:-1], kernel, strict=True)):
        window = dilations[axis] * (taps - 1) + 1
        wrong = unreached(
            node.op_type,
            size=size,
            window=window,
            stride=strides[axis],
            head=pads[axis],
            outputs=outputs[axis],
        )
        if wrong or window < 1:
            raise UnsupportedOperator(
                f"{node.op_type} {node.name!r}: axis {axis}: {wrong or f'a window of {window}'}",
                hint="ESP-DL reads or writes other memory there; pad on both sides, or use a smaller kernel",
            )
    return (shape[0], *outputs, channels)


def _conv(lowering: Lowering, node: Node) -> Shape:
    weights = lowering.shape(node.inputs[1])
    if len(weights) != len(lowering.shape(node.inputs[0])) or len(weights) not in (3, 4):
        raise FormatError(f"Conv {node.name!r}: input {lowering.shape(node.inputs[0])}, filter {weights}")
    channels = weights[-1] if attribute_int(node, "group", 1) == 1 else lowering.shape(node.inputs[0])[-1]
    return _spatial(lowering, node, weights[:-2], channels)


def _pool(lowering: Lowering, node: Node) -> Shape:
    return _spatial(
        lowering, node, attribute_ints(node, "kernel_shape", ()), lowering.shape(node.inputs[0])[-1]
    )


def _global_pool(lowering: Lowering, node: Node) -> Shape:
    shape = lowering.shape(node.inputs[0])
    if len(shape) not in (3, 4):
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: input {shape}", hint="ESP-DL pools 3-D and 4-D tensors"
        )
    return (*[1] * (len(shape) - 1), shape[-1])


def _gemm(lowering: Lowering, node: Node) -> Shape:
    return (*lowering.shape(node.inputs[0])[:-1], lowering.shape(node.inputs[1])[-1])


def _matmul(lowering: Lowering, node: Node) -> Shape:
    a, b = (lowering.shape(name) for name in node.inputs[:2])
    if not a or not b or a[-1] != (b[-2] if len(b) > 1 else b[0]):
        raise FormatError(f"MatMul {node.name!r}: shapes {a} and {b}")
    if len(a) == len(b) == 1:
        return (1,)
    outer_a, outer_b = a[:-2], b[:-2]
    rank = max(len(outer_a), len(outer_b))
    pairs = zip((1,) * (rank - len(outer_a)) + outer_a, (1,) * (rank - len(outer_b)) + outer_b, strict=True)
    outer = tuple(max(pair) for pair in pairs)
    return (*outer, *(a[-2:-1] if len(a) > 1 else ()), *(b[-1:] if len(b) > 1 else ()))


def _transpose(lowering: Lowering, node: Node) -> Shape:
    shape = lowering.shape(node.inputs[0])
    perm = [axis % len(shape) for axis in attribute_ints(node, "perm", ())] if shape else []
    if sorted(perm) != list(range(len(shape))):
        raise FormatError(f"Transpose {node.name!r}: perm {perm} for {len(shape)} dimensions")
    return tuple(shape[axis] for axis in perm)


def _flatten(lowering: Lowering, node: Node) -> Shape:
    shape, axis = lowering.shape(node.inputs[0]), attribute_int(node, "axis", 1)
    split = axis + len(shape) if axis < 0 else axis
    return math.prod(shape[:split]), math.prod(shape[split:])


def _reshape(lowering: Lowering, node: Node) -> Shape:
    shape, wanted = lowering.shape(node.inputs[0]), lowering.constant_input(node, 1)
    if wanted is None:
        raise UnsupportedOperator(f"Reshape {node.name!r}: no shape")
    sizes = [int(size) for size in wanted.reshape(-1)]
    keep_zero = attribute_int(node, "allowzero", 0)
    for index, size in enumerate(sizes):
        if size == 0 and not keep_zero and index < len(shape):
            sizes[index] = shape[index]
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and math.prod(shape) % known == 0:
        sizes[sizes.index(-1)] = math.prod(shape) // known
    if math.prod(sizes) != math.prod(shape) or min(sizes, default=1) < 1:
        raise FormatError(
            f"Reshape {node.name!r}: from shape {shape} to {tuple(int(s) for s in wanted.reshape(-1))}"
        )
    return tuple(sizes)


def _squeeze(lowering: Lowering, node: Node) -> Shape:
    shape, axes = lowering.shape(node.inputs[0]), lowering.constant_input(node, 1)
    if axes is None:
        return tuple(size for size in shape if size != 1)
    gone = {int(axis) % max(len(shape), 1) for axis in axes.reshape(-1)}
    return tuple(size for axis, size in enumerate(shape) if size != 1 or axis not in gone)


def _unsqueeze(lowering: Lowering, node: Node) -> Shape:
    shape, axes = list(lowering.shape(node.inputs[0])), lowering.constant_input(node, 1)
    if axes is None:
        raise UnsupportedOperator(f"Unsqueeze {node.name!r}: no axes")
    new = sorted((int(axis) + len(shape) + 1 if axis < 0 else int(axis)) for axis in axes.reshape(-1))
    if len(set(new)) != len(new) or not all(0 <= axis < len(shape) + len(new) for axis in new):
        raise UnsupportedOperator(
            f"Unsqueeze {node.name!r}: axes {axes.reshape(-1).tolist()} for {len(shape)} dimensions",
            hint="ESP-DL adds the input's dimensions + 1 to a negative axis; write the axes as positive ones",
        )
    for axis in new:
        shape.insert(axis, 1)
    return tuple(shape)


def _concat(lowering: Lowering, node: Node) -> Shape:
    shapes = [lowering.shape(name) for name in node.inputs]
    rank = len(shapes[0])
    axis = attribute_int(node, "axis", 0) % max(rank, 1)
    rest = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rest) != 1 or rank == 0:
        raise FormatError(f"Concat {node.name!r}: shapes {shapes} on axis {axis}")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


_RULES: dict[str, Callable[[Lowering, Node], Shape]] = {
    "Conv": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Transpose": _transpose,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "LayerNormalization": _same,
}

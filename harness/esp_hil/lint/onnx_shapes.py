"""Rules about an ONNX graph by itself: shapes and types that contradict each other, before anybody quantizes it.

onnx's own inference is strict about broadcasts, joins and declared shapes only: a Conv whose weights are for other
channels, or a Reshape to another number of elements, passes it. Those are looked at here, with both sizes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import numpy as np

from esp_hil.formats.espdl.model import Graph, Node, TensorData, ValueInfo
from esp_hil.lint.finding import Finding, Subject, rule
from esp_hil.lint.onnx_graph import OPEN

Shape = tuple[int, ...]
_EXPORT = "export for this input size: the shapes in the file are fixed for another one"
QUANTIZED = re.compile(
    r"QuantizeLinear|DequantizeLinear|DynamicQuantizeLinear|QLinear\w+|\w+Integer|QGemm|QAttention"
)
_WIDE = frozenset({"float16", "bfloat16", "float64"})
_ERROR = re.compile(
    r"\(op_type:(?P<op>\w+)(?:, node name: (?P<node>[^)]*))?\): (?:\[\w+\] )?(?P<words>[^\n]*)"
)


@rule("onnx-shape", "onnx")
def onnx_shape(subject: Subject) -> Iterator[Finding]:
    """Shapes contradict each other: an operator cannot take what it is given."""
    found = False
    for node in subject.graph.nodes:
        check = _CHECKS.get(node.op_type)
        said = check(subject.graph, node) if check else None
        said = said or _declared(subject, node)
        if said is not None:
            found = True
            yield Finding(severity="error", node=node.name, why=said, todo=_todo(subject.graph))
            break  # what follows has shapes that rest on this one
    if not found and subject.inference:
        yield from _of_inference(subject)


def _of_inference(subject: Subject) -> Iterator[Finding]:
    """What onnx's strict inference says, with the shapes that the operator is given."""
    for match in _ERROR.finditer(subject.inference):
        node = _named(subject.graph, match["op"], match["node"] or "")
        sizes = f"; {_given(subject.graph, node)}" if node else ""
        types = "type" in match["words"]
        yield Finding(
            severity="error",
            node=node.name if node else match["op"],
            why=f"{match['words'].strip()}{sizes}",
            todo="export the whole model in float32" if types else _todo(subject.graph),
        )
        return
    yield Finding(
        severity="error",
        node="",
        why=f"onnx's own check refuses the graph: {' '.join(subject.inference.split())[:300]}",
        todo="export the model again",
    )


def _named(graph: Graph, op_type: str, name: str) -> Node | None:
    """The node that an error is about; one without a name is told by its operator if there is one of those."""
    named = [node for node in graph.nodes if name and node.name == name]
    same = [node for node in graph.nodes if node.op_type == op_type]
    return named[0] if named else same[0] if len(same) == 1 else None


def _given(graph: Graph, node: Node) -> str:
    return ", ".join(
        f"{name!r} is {_words(_shape(graph, name))}"
        for name in node.inputs
        if _shape(graph, name) is not None
    )


def _todo(graph: Graph) -> str:
    sizes = ", ".join(f"{value.name!r} {_words(value.shape)}" for value in graph.inputs)
    return f"{_EXPORT} (it has {sizes})"


def _shape(graph: Graph, name: str) -> Shape | None:
    if name in graph.initializers:
        return graph.initializers[name].shape
    value = graph.values.get(name)
    return value.shape if value is not None else None


def _closed(*shapes: Shape | None) -> bool:
    return all(shape is not None and all(extent != OPEN for extent in shape) for shape in shapes)


def _words(shape: Shape | None) -> str:
    if shape is None:
        return "of unknown shape"
    return "x".join("?" if extent == OPEN else str(extent) for extent in shape) or "a scalar"


def _integer(node: Node, name: str, default: int) -> int:
    value = node.attributes.get(name, default)
    return value if isinstance(value, int) else default


def _conv(graph: Graph, node: Node) -> str | None:
    """Conv: weights (M, C/group, ...); ConvTranspose: (C, M/group, ...)."""
    given, weights = _shape(graph, node.input(0)), _shape(graph, node.input(1))
    if given is None or weights is None or len(given) < 3:
        return None
    if len(weights) != len(given):
        return f"its weights are {_words(weights)}, its input {_words(given)}: the numbers of axes differ"
    group = _integer(node, "group", 1)
    transposed = node.op_type == "ConvTranspose"
    wanted = weights[0] if transposed else weights[1] * group
    if OPEN not in (given[1], wanted) and given[1] != wanted:
        return (
            f"its weights {_words(weights)} are for {wanted} input channels, its input {node.input(0)!r} "
            f"{_words(given)} has {given[1]}"
        )
    window = node.attributes.get("kernel_shape")
    if isinstance(window, tuple) and tuple(window) != weights[2:]:
        return f"kernel_shape says {_words(tuple(map(int, map(float, window))))}, its weights are {_words(weights)}"
    bias, made = _shape(graph, node.input(2)), weights[1] * group if transposed else weights[0]
    if bias is not None and bias != (made,):
        return f"its bias is {_words(bias)} for {made} output channels"
    return _smaller_than_window(node, given, weights[2:]) if not transposed else None


def _smaller_than_window(node: Node, given: Shape, window: Shape) -> str | None:
    """A window that does not fit on the padded input, so that there is no output."""
    pads = node.attributes.get("pads", (0,) * (2 * len(window)))
    dilations = node.attributes.get("dilations", (1,) * len(window))
    if node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or not isinstance(pads, tuple):
        return None
    for axis, taps in enumerate(window):
        extent = given[2 + axis]
        step = int(dilations[axis]) if isinstance(dilations, tuple) and axis < len(dilations) else 1
        edges = int(pads[axis]) + int(pads[axis + len(window)]) if len(pads) == 2 * len(window) else 0
        if extent != OPEN and extent + edges < (taps - 1) * step + 1:
            return (
                f"its window {_words(window)} does not fit on its input {node.input(0)!r} {_words(given)} with "
                f"{edges} of padding: there is no output"
            )
    return None


def _pool(graph: Graph, node: Node) -> str | None:
    given, window = _shape(graph, node.input(0)), node.attributes.get("kernel_shape")
    if given is None or not isinstance(window, tuple) or len(given) != len(window) + 2:
        return None
    return _smaller_than_window(node, given, tuple(int(taps) for taps in window if not isinstance(taps, str)))


def _gemm(graph: Graph, node: Node) -> str | None:
    a, b = _shape(graph, node.input(0)), _shape(graph, node.input(1))
    if a is None or b is None:
        return None
    if len(a) != 2 or len(b) != 2:
        return f"it takes matrices, and is given {_words(a)} and {_words(b)}"
    have = a[0] if _integer(node, "transA", 0) else a[1]
    wanted, made = b[::-1] if _integer(node, "transB", 0) else b
    if OPEN not in (have, wanted) and have != wanted:
        return (
            f"its weights {node.input(1)!r} {_words(b)} are for {wanted} features, its input {node.input(0)!r} "
            f"{_words(a)} has {have}"
        )
    bias = _shape(graph, node.input(2))
    if bias and OPEN not in (bias[-1], made) and bias[-1] not in (1, made):
        return f"its bias is {_words(bias)} for {made} outputs"
    return None


def _matmul(graph: Graph, node: Node) -> str | None:
    a, b = _shape(graph, node.input(0)), _shape(graph, node.input(1))
    if not a or not b:
        return None
    have, wanted = a[-1], b[-2] if len(b) > 1 else b[0]
    if OPEN in (have, wanted) or have == wanted:
        return None
    return f"{node.input(0)!r} is {_words(a)} and {node.input(1)!r} {_words(b)}: {have} columns meet {wanted} rows"


def _reshape(graph: Graph, node: Node) -> str | None:
    given, target = _shape(graph, node.input(0)), _constant(graph, node.input(1))
    if given is None or target is None or not _closed(given):
        return None
    asked = [int(extent) for extent in target]
    if not _integer(node, "allowzero", 0):
        asked = [given[i] if extent == 0 and i < len(given) else extent for i, extent in enumerate(asked)]
    fixed, count = math.prod(extent for extent in asked if extent != OPEN), math.prod(given)
    fits = count == fixed if OPEN not in asked else fixed > 0 and count % fixed == 0
    if fits:
        return None
    wanted = "x".join("?" if extent == OPEN else str(extent) for extent in asked)
    return (
        f"its input {node.input(0)!r} {_words(given)} has {count:,} elements, the shape asked for is {wanted}"
        + (f" with {fixed:,}" if OPEN not in asked else f", a multiple of {fixed:,}")
    )


def _constant(graph: Graph, name: str) -> list[int] | None:
    """The integers of a constant, also of one that shape arithmetic makes."""
    if name in graph.initializers and graph.initializers[name].data.dtype.kind in "iu":
        return [int(item) for item in graph.initializers[name].data]
    return None


def _broadcast(graph: Graph, node: Node) -> str | None:
    shapes = [_shape(graph, name) for name in node.inputs if name]
    if not _closed(*shapes):
        return None
    try:
        np.broadcast_shapes(*(shape for shape in shapes if shape is not None))
    except ValueError:
        said = " and ".join(
            f"{name!r} {_words(shape)}" for name, shape in zip(node.inputs, shapes, strict=False)
        )
        return f"{said} do not broadcast"
    return None


def _concat(graph: Graph, node: Node) -> str | None:
    shapes = [shape for shape in (_shape(graph, name) for name in node.inputs) if shape is not None]
    if not shapes or any(len(shape) != len(shapes[0]) for shape in shapes):
        return f"it joins {' and '.join(map(_words, shapes))}" if shapes else None
    axis = _integer(node, "axis", 0) % max(1, len(shapes[0]))
    for place in range(len(shapes[0])):
        extents = {shape[place] for shape in shapes} - {OPEN}
        if place != axis and len(extents) > 1:
            return f"it joins {' and '.join(map(_words, shapes))} along axis {axis}, and they differ along axis {place}"
    return None


def _per_channel(graph: Graph, node: Node) -> str | None:
    """BatchNormalization and InstanceNormalization: every parameter has one value a channel."""
    given = _shape(graph, node.input(0))
    if given is None or len(given) < 2 or given[1] == OPEN:
        return None
    for name in node.inputs[1:]:
        shape = _shape(graph, name)
        if shape is not None and shape != (given[1],):
            return f"its parameter {name!r} is {_words(shape)}, its input {_words(given)} has {given[1]} channels"
    return None


def _declared(subject: Subject, node: Node) -> str | None:
    """What the file declares of an output against what the operator makes."""
    for name in node.outputs:
        said, made = subject.declared.get(name), _shape(subject.graph, name)
        if said is None or made is None:
            continue
        same = len(said) == len(made) and all(
            a == b or OPEN in (a, b) for a, b in zip(said, made, strict=True)
        )
        if not same:
            return f"it makes {name!r} {_words(made)}, the file declares {_words(said)}"
    return None


_BROADCASTS = (
    "Add Sub Mul Div Pow Mod Max Min Sum Mean Equal Greater GreaterOrEqual Less LessOrEqual "
    "And Or Xor Where PRelu"
)
_CHECKS: dict[str, Callable[[Graph, Node], str | None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Concat": _concat,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "BatchNormalization": _per_channel,
    "InstanceNormalization": _per_channel,
    **{name: _broadcast for name in _BROADCASTS.split()},
}


@rule("onnx-type", "onnx")
def onnx_type(subject: Subject) -> Iterator[Finding]:
    """Weights or values are of a float type that neither esp-ppq nor ESP-DL computes in."""
    graph = subject.graph
    items: list[ValueInfo | TensorData] = [*graph.inputs, *graph.initializers.values(), *graph.outputs]
    wide = [item for item in items if item.dtype in _WIDE]
    if wide:
        kinds = " and ".join(sorted({item.dtype for item in wide}))
        yield Finding(
            severity="error",
            node=wide[0].name,
            why=f"{len(wide)} of its tensors, the first {wide[0].name!r}, are {kinds}: esp-ppq calibrates in float32",
            todo="export in float32 (model.float(), or onnxconverter_common's float16 switched off)",
        )


@rule("quantized-onnx", "onnx")
def quantized_onnx(subject: Subject) -> Iterator[Finding]:
    """The file was quantized already, by onnxruntime or a framework: esp-ppq quantizes float models."""
    nodes = [node for node in subject.graph.nodes if QUANTIZED.fullmatch(node.op_type)]
    if nodes:
        kinds = ", ".join(sorted({node.op_type for node in nodes}))
        yield Finding(
            severity="error",
            node=nodes[0].name,
            why=f"{len(nodes)} nodes are {kinds}: it is quantized already, with scales that are not powers of two",
            todo="give the float file it was made from",
        )

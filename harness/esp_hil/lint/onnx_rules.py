"""Rules for an ONNX file before quantization: what esp-ppq and ESP-DL will make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from esp_hil.formats.espdl.model import Graph, Node
from esp_hil.formats.espdl.operators import INSTEAD, REGISTERED, WAYS_OUT, refusal
from esp_hil.lint.finding import Finding, Subject, rule
from esp_hil.lint.onnx_shapes import QUANTIZED

# esp-ppq turns these into registered operators (BatchNormalization into a Conv, ConvTranspose into
# InsertZeros and Conv) or drops them.
_REWRITTEN = frozenset({"BatchNormalization", "ConvTranspose", "Constant", "Dropout"})
# Operators on shapes and constants: onnxsim folds them when shapes are fixed.
_FOLDED = frozenset(
    {
        "Cast",
        "ConstantOfShape",
        "Expand",
        "Floor",
        "Range",
        "Shape",
        "Size",
        "Tile",
        "Where",
        "Ceil",
        "And",
        "Or",
        "Not",
        "Xor",
        "NonZero",
        "ScatterElements",
        "Max",
        "Min",
        "Abs",
        "Sign",
        "Trilu",
        "EyeLike",
        "CumSum",
    }
)
_SHAPE_ONLY = frozenset({"Shape", "Size"})
_FLOAT_ONLY = frozenset({"Log", "Sqrt", "Pow"})
_FLOAT_ANSWER = frozenset({"Softmax", "LogSoftmax"})
_JOINED = frozenset({"Add", "Sub", "Concat", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_WINDOWED = frozenset({"Conv", "ConvTranspose", "AveragePool", "MaxPool"})
_MOST_AXES = 2
_PARAMETERS = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2)}
"""Inputs that ESP-DL reads as the constants of an operator."""
_MATMUL_COUNT_THAT_BREAKS_ONNXSIM = 3


@rule("unsupported-operator", "onnx")
def unsupported_operator(subject: Subject) -> Iterator[Finding]:
    """ESP-DL has no such operator, and it does not fold away before export."""
    computed = _on_data(subject.graph)
    open_input = any(dim <= 0 for value in subject.graph.inputs for dim in value.shape)
    for node in subject.graph.nodes:
        if node.op_type in REGISTERED or node.op_type in _REWRITTEN or _is_quantized(node):
            continue
        if node.op_type in _FOLDED and node.name not in computed:
            yield Finding(
                severity="warning" if open_input else "note",
                node=node.name,
                why=f"{node.op_type} must fold away before export; ESP-DL does not have it",
                todo="fix all shapes before export"
                if open_input
                else "nothing: shapes are fixed, so onnxsim folds it",
            )
            continue
        if node.op_type == "Erf":
            continue  # the rule `erf` says more
        what = "computes on data, not on shapes, so that it stays: " if node.op_type in _FOLDED else ""
        yield Finding(
            severity="error",
            node=node.name,
            why=f'{what}esp-ppq may export it, but loading fails: "{refusal(node.op_type)}"',
            todo=WAYS_OUT.get(node.op_type, INSTEAD),
        )


@rule("erf", "onnx")
def erf(subject: Subject) -> Iterator[Finding]:
    """ESP-DL has no Erf, of which GELU is made."""
    for node in subject.graph.nodes:
        if node.op_type == "Erf":
            yield Finding(
                severity="warning",
                node=node.name,
                why="ESP-DL has no Erf; hil new and hil quantize make GELU one table of it, and any other Erf a tanh",
                todo="quantize with hil; with esp-ppq itself, use GELU as one operator (opset 20)",
            )


@rule("float-operator", "onnx")
def float_operator(subject: Subject) -> Iterator[Finding]:
    """esp-ppq does not quantize the operator: it runs in float32, with conversions on both sides."""
    computed = _on_data(subject.graph)
    outputs = {value.name for value in subject.graph.outputs}
    for node in subject.graph.nodes:
        if node.name not in computed:
            continue
        inside = node.op_type in _FLOAT_ANSWER and not outputs.intersection(node.outputs)
        if node.op_type in _FLOAT_ONLY or inside:
            yield Finding(
                severity="warning" if node.op_type in _FLOAT_ONLY else "note",
                node=node.name,
                why=f"{node.op_type} runs in float32 on the chip, many times slower than in integers"
                if node.op_type in _FLOAT_ONLY
                else f"{node.op_type} answers in float32 inside the graph: the values behind it are quantized again",
                todo="compute it outside the model, or replace it by an operator with a table (Exp, Sigmoid, Tanh ...)",
            )


def _on_data(graph: Graph) -> set[str]:
    """Nodes whose answer depends on the values of a graph input, not on its shape or on constants alone."""
    tainted = _computed(graph)
    return {
        node.name
        for node in graph.nodes
        if node.op_type not in _SHAPE_ONLY and tainted.intersection(node.inputs)
    }


def _computed(graph: Graph) -> set[str]:
    """Names of the graph inputs and of all values that depend on theirs."""
    tainted = {value.name for value in graph.inputs}
    for node in graph.nodes:
        if node.op_type not in _SHAPE_ONLY and tainted.intersection(node.inputs):
            tainted.update(node.outputs)
    return tainted


@rule("spatial-axes", "onnx")
def spatial_axes(subject: Subject) -> Iterator[Finding]:
    """A convolution or pool over more axes than ESP-DL's kernels have."""
    for node in subject.graph.nodes:
        given = subject.graph.values.get(node.input(0))
        axes = len(given.shape) - 2 if given is not None else 0
        if node.op_type in _WINDOWED and axes > _MOST_AXES:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} over {axes} axes: esp-ppq and ESP-DL have it over 1 and 2",
                todo="write it as convolutions over two axes, or fold an axis into the channels",
            )


@rule("transposed-conv", "onnx")
def transposed_conv(subject: Subject) -> Iterator[Finding]:
    """A ConvTranspose that esp-ppq's Conv on a spread input does not compute."""
    for node in subject.graph.nodes:
        weights = subject.graph.initializers.get(node.input(1))
        if node.op_type != "ConvTranspose" or weights is None:
            continue
        window = (*weights.shape[2:], *weights.shape[2:])
        dilations, pads = node.attributes.get("dilations", ()), node.attributes.get("pads", ())
        dilated = isinstance(dilations, tuple) and any(step != 1 for step in dilations)
        cut = isinstance(pads, tuple) and any(
            isinstance(pad, int) and pad >= taps for pad, taps in zip(pads, window, strict=False)
        )
        if dilated or cut:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"dilations {dilations!r}: esp-ppq pads for a window without gaps, so that the size is wrong"
                if dilated
                else f"pads {pads!r} for a window of {weights.shape[2:]}: the Conv in its place has negative ones",
                todo="use a window without dilations"
                if dilated
                else "pad less than the window, and crop with Slice",
            )


@rule("pad-form", "onnx")
def pad_form(subject: Subject) -> Iterator[Finding]:
    """A Pad that cuts, or one of an opset whose form esp-ppq does not read whole."""
    for node in subject.graph.nodes:
        if node.op_type != "Pad":
            continue
        pads = subject.graph.initializers.get(node.input(1))
        if "pads" in node.attributes:
            yield Finding(
                severity="error",
                node=node.name,
                why="its paddings are an attribute, as in opset 10 and below: esp-ppq loses its mode",
                todo="export with opset 13 or newer",
            )
        elif pads is not None and pads.data.size and pads.data.min() < 0:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"a padding of {int(pads.data.min())} cuts; ESP-DL adds only",
                todo="cut with Slice",
            )


@rule("computed-weights", "onnx")
def computed_weights(subject: Subject) -> Iterator[Finding]:
    """Weights or bias depend on an input of the graph; ESP-DL reads them when it loads the model."""
    computed = _computed(subject.graph)
    for node in subject.graph.nodes:
        names = [node.input(place) for place in _PARAMETERS.get(node.op_type, ())]
        for name in sorted(computed.intersection(names)):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"its operand {name!r} is computed from an input; ESP-DL needs a constant there",
                todo="make it a constant; of two computed matrices, MatMul makes a product",
            )


def _is_quantized(node: Node) -> bool:
    """Operators of quantized files, which have a rule of their own."""
    return QUANTIZED.fullmatch(node.op_type) is not None


@rule("skip-from-input", "onnx")
def skip_from_input(subject: Subject) -> Iterator[Finding]:
    """A graph input feeds an Add or Concat and something else: it will have two exponents."""
    graph = subject.graph
    for value in graph.inputs:
        users = [node for node in graph.nodes if value.name in node.inputs]
        joined = next((node for node in users if node.op_type in _JOINED), None)
        if joined is not None and len(users) > 1:
            yield Finding(
                severity="warning",
                node=joined.name,
                why=f"graph input {value.name!r} feeds {len(users)} nodes, one of them {joined.op_type}, "
                "which needs equal "
                "exponents; esp-ppq puts no RequantizeLinear behind a graph input",
                todo=f"put a Mul by 1 or another operator between {value.name!r} and {joined.op_type}, and "
                "lint the .espdl",
            )


@rule("passive-first", "onnx")
def passive_first(subject: Subject) -> Iterator[Finding]:
    """A graph input feeds an operator that only moves or picks values."""
    graph = subject.graph
    names = {value.name for value in graph.inputs}
    for node in graph.nodes:
        operator = REGISTERED.get(node.op_type)
        if operator is not None and operator.passive and names.intersection(node.inputs[:1]):
            yield Finding(
                severity="note",
                node=node.name,
                why=f"{node.op_type} sits on graph input {node.input(0)!r}: esp-ppq may give its output "
                "another exponent, "
                "and ESP-DL copies without rescaling",
                todo="lint the .espdl after export: passive-on-input says whether it happened",
            )


@rule("dynamic-matmul", "onnx")
def dynamic_matmul(subject: Subject) -> Iterator[Finding]:
    """A MatMul of two computed inputs: esp-ppq and ESP-DL must be of matching versions."""
    for node in _dynamic_matmuls(subject.graph):
        yield Finding(
            severity="warning",
            node=node.name,
            why="esp-ppq 1.3.12 by itself exports it as native_kn, which ESP-DL 3.3.9 computes wrongly and without a "
            "message; hil new and hil quantize export it packed",
            todo="quantize with hil, or with esp-ppq 1.3.5, and lint the .espdl",
        )


@rule("shared-matmul-input", "onnx")
def shared_matmul_input(subject: Subject) -> Iterator[Finding]:
    """Three MatMuls on one input (query, key, value): onnxsim 0.7.3 aborts."""
    counts = Counter(
        node.input(0) for node in subject.graph.nodes if node.op_type == "MatMul" and node.inputs
    )
    for name, count in counts.items():
        if count >= _MATMUL_COUNT_THAT_BREAKS_ONNXSIM:
            yield Finding(
                severity="note",
                node=name,
                why=f"{count} MatMuls share this input: onnxsim 0.7.3, which esp-ppq always calls, may abort on it",
                todo="nothing with hil new and hil quantize, which leave that pass out; else one MatMul and a Split",
            )


@rule("open-shape", "onnx")
def open_shape(subject: Subject) -> Iterator[Finding]:
    """A graph input has a dimension without a number."""
    for value in subject.graph.inputs:
        if any(dim <= 0 for dim in value.shape):
            yield Finding(
                severity="warning",
                node=value.name,
                why="one of its dimensions is open; ESP-DL plans memory for fixed shapes only",
                todo="give input_shape to esp-ppq, or export with fixed shapes and batch 1",
            )


def _dynamic_matmuls(graph: Graph) -> Iterator[Node]:
    constants = set(graph.initializers) | {
        name for node in graph.nodes if node.op_type == "Constant" for name in node.outputs
    }
    for node in graph.nodes:
        if node.op_type == "MatMul" and not constants.intersection(node.inputs):
            yield node

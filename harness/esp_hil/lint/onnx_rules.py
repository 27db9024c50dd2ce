"""Rules for an ONNX file before quantization: what esp-ppq and ESP-DL will make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from esp_hil.formats.espdl.model import Graph, Node
from esp_hil.formats.espdl.operators import REGISTERED, refusal
from esp_hil.lint.finding import Finding, Subject, rule

# esp-ppq turns these into registered operators (BatchNormalization into a Conv, ConvTranspose into
# InsertZeros and Conv) or drops them.
_REWRITTEN = frozenset({"BatchNormalization", "ConvTranspose", "Constant", "Dropout"})
# Operators on shapes and constants: onnxsim folds them when shapes are fixed.
_FOLDED = frozenset(
    {"Cast", "ConstantOfShape", "Expand", "Floor", "Range", "Shape", "Size", "Tile", "Where", "Ceil"}
)
_JOINED = frozenset({"Add", "Sub", "Concat", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_MATMUL_COUNT_THAT_BREAKS_ONNXSIM = 3


@rule("unsupported-operator", "onnx")
def unsupported_operator(subject: Subject) -> Iterator[Finding]:
    """ESP-DL has no such operator, whatever esp-ppq makes of it."""
    for node in subject.graph.nodes:
        if node.op_type in REGISTERED or node.op_type in _REWRITTEN:
            continue
        folds = node.op_type in _FOLDED
        yield Finding(
            severity="warning" if folds else "error",
            node=node.name,
            why=f"{node.op_type} must fold away before export; ESP-DL does not have it"
            if folds
            else f'esp-ppq may export it, but loading fails: "{refusal(node.op_type)}"',
            todo="fix all shapes before export" if folds else "replace it by operators that ESP-DL has",
        )


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
            why="esp-ppq 1.3.12 exports it as native_kn, which ESP-DL 3.3.9 computes wrongly and without a "
            "message",
            todo="export with esp-ppq 1.3.5, and lint the .espdl",
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
                severity="warning",
                node=name,
                why=f"{count} MatMuls share this input: onnxsim 0.7.3, which esp-ppq always calls, aborts on "
                "it",
                todo="compute query, key and value with one MatMul and a Split",
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

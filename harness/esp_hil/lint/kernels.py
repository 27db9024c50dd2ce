"""Rules about operators that have no kernel, or whose node does not say what the kernel must know."""

from __future__ import annotations

import math
from collections.abc import Iterator

from esp_hil.errors import HilError
from esp_hil.formats.espdl.attributes import UNDEFAULTED, onnx_default
from esp_hil.formats.espdl.model import Attribute, Graph, Node
from esp_hil.formats.espdl.operators import ASSIGNS, REGISTERED, refusal
from esp_hil.formats.espdl.shapes import propagate
from esp_hil.lint.finding import Finding, Subject, rule


@rule("unregistered-operator")
def unregistered_operator(subject: Subject) -> Iterator[Finding]:
    """ESP-DL registers no such operator: the model does not load."""
    for node in subject.graph.nodes:
        if node.op_type not in REGISTERED:
            yield Finding(
                severity="error",
                node=node.name,
                why=f'loading fails: "{refusal(node.op_type)}"',
                todo="replace it in the network, compute it outside, or register a module of your own",
            )


@rule("no-kernel")
def no_kernel(subject: Subject) -> Iterator[Finding]:
    """The operator is registered, but not for this quant_type."""
    for node in subject.graph.nodes:
        operator = REGISTERED.get(node.op_type)
        kind = node.attributes.get("quant_type")
        if operator is None or kind is None or kind in operator.quant_types:
            continue
        empty = node.op_type == "Resize" and kind == "S16"
        yield Finding(
            severity="error",
            node=node.name,
            why="the int16 Resize kernel is an empty function: the output is whatever the memory held"
            if empty
            else f"{node.op_type} has no kernel for quant_type {kind!r} in ESP-DL 3.3.9: loading fails",
            todo=f"quantize this node as one of {', '.join(sorted(operator.quant_types))}",
        )


@rule("float-node")
def float_node(subject: Subject) -> Iterator[Finding]:
    """Nodes were left in float32: esp-ppq could not quantize them, or did not know the target."""
    # an operator that only assigns works on integers whatever its mark says
    nodes = [node for node in subject.graph.nodes if node.op_type not in ASSIGNS]
    kinds = [node.attributes.get("quant_type") for node in nodes]
    if kinds and all(kind == "F32" for kind in kinds):
        yield Finding(
            severity="error",
            node="",
            why="every node is float32: esp-ppq takes an unknown target or bit width for float and only logs "
            "a warning",
            todo="quantize again for a target that esp-ppq knows: c, esp32s3, esp32p4 and their like",
        )
        return
    for node, kind in zip(nodes, kinds, strict=True):
        if kind == "F32":
            yield Finding(
                severity="warning",
                node=node.name,
                why=f"{node.op_type} was left in float32 and runs many times slower than in integers",
                todo="replace it by an operator that esp-ppq quantizes, or move it out of the model",
            )


@rule("missing-attribute", "espdl", "onnx")
def missing_attribute(subject: Subject) -> Iterator[Finding]:
    """An attribute is missing that ESP-DL reads without a default."""
    for node in subject.graph.nodes:
        wanted = UNDEFAULTED.get(node.op_type, ())
        if subject.stage == "espdl" and node.op_type in REGISTERED:
            wanted = (*wanted, "quant_type")
        for name in wanted:
            if name not in node.attributes:
                yield Finding(
                    severity="error" if subject.stage == "espdl" else "warning",
                    node=node.name,
                    why=f"{node.op_type} has no attribute {name!r}; ESP-DL does not default it and crashes",
                    todo=_written_out(subject, node, name),
                )


def _written_out(subject: Subject, node: Node, name: str) -> str:
    """Which value to write for an attribute that is missing, and where."""
    if name == "quant_type":
        return "quantize the float model again: esp-ppq writes quant_type into every node"
    value = onnx_default(
        node.op_type, name, rank=_rank(subject.graph, node.input(0)), hidden=_hidden(subject.graph, node)
    )
    if value is None:
        return f"write {name} into the float model: ONNX requires it"
    done = "; hil new and hil quantize do" if subject.stage == "onnx" else ", then quantize again with hil"
    return f"write {name} = {_as_text(value)}, what ONNX takes without it, into the float model{done}"


def _as_text(value: Attribute) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def _rank(graph: Graph, name: str) -> int | None:
    known = graph.values.get(name) or graph.initializers.get(name)
    return len(known.shape) if known is not None else None


def _hidden(graph: Graph, node: Node) -> int | None:
    recurrence = graph.initializers.get(node.input(2))
    return recurrence.shape[-1] if recurrence is not None and recurrence.shape else None


@rule("native-matmul")
def native_matmul(subject: Subject) -> Iterator[Finding]:
    """A MatMul of two computed inputs was exported by an esp-ppq that is newer than ESP-DL 3.3.9."""
    for node in subject.graph.nodes:
        if node.op_type == "MatMul" and node.attributes.get("input1_layout") == "native_kn":
            yield Finding(
                severity="error",
                node=node.name,
                why="input1_layout=native_kn is not known to ESP-DL 3.3.9: it runs and gives garbage "
                "silently",
                todo="quantize with hil, which exports it packed, or with esp-ppq 1.3.5",
            )


@rule("shapes")
def shapes(subject: Subject) -> Iterator[Finding]:
    """The operators do not give the shapes that the file describes, or none at all."""
    graph = subject.graph
    if any(node.op_type not in REGISTERED for node in graph.nodes):
        return  # unregistered-operator says so; nothing tells its shapes
    try:
        found = propagate(graph)
    except HilError as error:
        yield Finding(severity="error", node="", why=error.message, todo="export the model again")
        return
    streams = any(node.op_type == "StreamingCache" for node in graph.nodes)
    for node in graph.nodes:
        yield from _shape_findings(graph, node, found, streams)


def _shape_findings(
    graph: Graph, node: Node, found: dict[str, tuple[int, ...]], streams: bool
) -> Iterator[Finding]:
    """Element counts only: of a Transpose that esp-ppq inserts, the file has the axes in wrong order."""
    for name in node.outputs:
        if not streams and name and math.prod(found[name]) != math.prod(graph.values[name].shape):
            said, real = ("x".join(map(str, shape)) for shape in (graph.values[name].shape, found[name]))
            yield Finding(
                severity="error",
                node=node.name,
                why=f"the file says {said} for {name!r}, ESP-DL computes {real}",
                todo="the operator does on the chip what it does not do in esp-ppq: see the other findings "
                "for it",
            )

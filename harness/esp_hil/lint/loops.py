"""Rules about what the kernels' loops do not reach, and what they compute only once."""

from __future__ import annotations

import math
from collections.abc import Iterator

from esp_hil.formats.espdl.attributes import integers
from esp_hil.formats.espdl.model import Graph, Node
from esp_hil.formats.espdl.windows import FIRST_SAMPLE_ONLY, unreached
from esp_hil.lint.finding import Finding, Subject, rule

_WINDOWED = frozenset({"Conv", "MaxPool", "AveragePool"})


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    if name in graph.initializers:
        return graph.initializers[name].shape
    return graph.values[name].shape if name in graph.values else ()


@rule("first-sample", "espdl")
def first_sample(subject: Subject) -> Iterator[Finding]:
    """A batch larger than 1 goes into a kernel that computes its first sample only."""
    for node in subject.graph.nodes:
        shape = _shape(subject.graph, node.input(0))
        if node.op_type in FIRST_SAMPLE_ONLY and shape and shape[0] > 1:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"a batch of {shape[0]}: {node.op_type} computes the first sample and leaves the others as "
                "the memory was",
                todo="export with a batch of 1 and run the model once for each sample",
            )


@rule("window", "espdl")
def window(subject: Subject) -> Iterator[Finding]:
    """A window of a Conv or pool reads or writes outside of the tensor."""
    for node in subject.graph.nodes:
        if node.op_type in _WINDOWED:
            for why in _outside(subject.graph, node):
                yield Finding(
                    severity="error",
                    node=node.name,
                    why=why,
                    todo="pad on both sides, or use a smaller kernel or another stride",
                )


def _outside(graph: Graph, node: Node) -> Iterator[str]:
    sizes = _shape(graph, node.input(0))[1:-1]
    kernel = (
        _shape(graph, node.input(1))[:-2] if node.op_type == "Conv" else integers(node, "kernel_shape", ())
    )
    strides = integers(node, "strides", ())
    ones = (1,) * len(sizes)
    dilations = integers(node, "dilations", ones) if node.op_type == "Conv" else ones
    pads = integers(node, "pads", ()) or (0,) * (2 * len(sizes))
    if (
        not len(sizes) == len(kernel) == len(strides) == len(dilations) == len(pads) / 2
        or min(strides, default=1) < 1
    ):
        return  # the rules for shapes and attributes say so
    for axis, size in enumerate(sizes):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        outputs = (size + pads[axis] + pads[axis + len(sizes)] - reach) // strides[axis] + 1
        why = unreached(
            node.op_type, size=size, window=reach, stride=strides[axis], head=pads[axis], outputs=outputs
        )
        if why:
            yield f"axis {axis}: {why}"


@rule("frozen-table", "espdl")
def frozen_table(subject: Subject) -> Iterator[Finding]:
    """An int8 Div by or of one computed number is tabulated in the first inference and never again."""
    for node in subject.graph.nodes:
        if node.op_type != "Div" or node.attributes.get("quant_type") != "S8":
            continue
        for name in node.inputs[:2]:
            if name not in subject.graph.initializers and math.prod(_shape(subject.graph, name)) == 1:
                yield Finding(
                    severity="error",
                    node=node.name,
                    why=f"{name!r} is one number, computed: ESP-DL tabulates the quotients in the first inference "
                    "and uses them in all later ones, whatever the number is then",
                    todo="quantize this node as int16, or give the number as many elements as the other operand",
                )


__all__ = ["first_sample", "frozen_table", "window"]

"""The lowered graph as one ONNX file that onnxruntime alone runs to the same integers."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper

from esp_hil.errors import cannot_write
from esp_hil.exact.filters import Kernels
from esp_hil.exact.lower import Lowered, lower
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.targets import Family

_CAREFUL = "careful/"
_FAST = "fast/"


def save_onnx(
    model: EspdlModel,
    family: Family,
    path: Path,
    *,
    tensors: list[str] | None = None,
    kernels: Kernels = "chip",
    esp_dl: str = "",
) -> None:
    """Lower a model and write it as ONNX.

    Inputs and outputs have the tensors' names and the device's types, layouts and shapes. Where a 20-bit lane
    of esp32s3 can saturate, the graph that sums with saturation is inside, in an If.

    Raises:
        ReportError: the file cannot be written.
        HilError: as `lower`.
    """
    lowered = lower(model, family, tensors=tensors, kernels=kernels, count_doubts=False, esp_dl=esp_dl)
    proto = lowered.model
    if lowered.guard:
        careful = lower(
            model, family, tensors=tensors, kernels=kernels, careful=True, count_doubts=False, esp_dl=esp_dl
        )
        proto = _with_fallback(lowered, careful)
    try:
        path.write_bytes(proto.SerializeToString())
    except OSError as error:
        raise cannot_write(path, error) from error


def _with_fallback(fast: Lowered, careful: Lowered) -> onnx.ModelProto:
    """The fast graph, and the careful one for inputs that may have saturated a lane."""
    proto = onnx.ModelProto()
    proto.CopyFrom(fast.model)
    graph = proto.graph
    inputs = {value.name for value in graph.input}
    outputs = [value for value in graph.output if value.name != fast.guard]
    renamed = {value.name: _FAST + value.name for value in outputs}
    for node in graph.node:
        _rename(node, renamed)
    then = _careful_branch(careful, inputs, [value.name for value in outputs])
    names = [f"{_CAREFUL}fast:{value.name}" for value in outputs]
    other = helper.make_graph(
        [helper.make_node("Identity", [renamed[v.name]], [n]) for v, n in zip(outputs, names, strict=True)],
        "as_is",
        [],
        [_value_like(value, name) for value, name in zip(outputs, names, strict=True)],
    )
    graph.node.append(
        helper.make_node("If", [fast.guard], [v.name for v in outputs], then_branch=then, else_branch=other)
    )
    del graph.output[:]
    graph.output.extend(outputs)
    return proto


def _careful_branch(careful: Lowered, inputs: set[str], outputs: list[str]) -> onnx.GraphProto:
    """The careful graph with names of its own; it reads the inputs of the graph around it."""
    graph = onnx.GraphProto()
    graph.CopyFrom(careful.model.graph)
    renamed = {name: _CAREFUL + name for name in _made(graph) - inputs}
    for node in graph.node:
        _rename(node, renamed)
    for tensor in graph.initializer:
        tensor.name = renamed[tensor.name]
    kinds = {value.name: value for value in graph.output}
    wanted = [_value_like(kinds[name], renamed[name]) for name in outputs]
    del graph.output[:]
    del graph.input[:]
    graph.output.extend(wanted)
    return graph


def _value_like(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _made(graph: onnx.GraphProto) -> set[str]:
    """Every name that is given in a graph and its subgraphs, inputs of subgraphs included."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names.update(node.output)
        for inner in _subgraphs(node):
            names |= _made(inner) | {value.name for value in inner.input}
    return names


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Rename what a node reads and makes, in its subgraphs too."""
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for graph in _subgraphs(node):
        for inner in graph.node:
            _rename(inner, names)
        for named in (*graph.input, *graph.output, *graph.initializer):
            named.name = names.get(named.name, named.name)

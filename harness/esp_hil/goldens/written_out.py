"""What ONNX lets a node leave unsaid, written out: default attributes, padding by name, sizes of parts, factors.

ESP-DL 3.3.9 reads some attributes without a default (`UNDEFAULTED`), of padding numbers only, and takes the number of
parts of a Split for the size of each. esp-ppq 1.3.12 has
defaults of its own where ONNX has others (a pool without strides moves by its window there, by 1 in ONNX), ends in a
KeyError at a reduction without keepdims, and asserts that a Gemm's alpha and beta are 1. Exports of torch say all of
it; graphs that are made with onnx.helper, or by other frameworks, do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl.attributes import UNDEFAULTED, onnx_default

if TYPE_CHECKING:
    import onnx

_PADDED = frozenset({"Conv", "ConvTranspose", "AveragePool", "MaxPool"})
_FILTERED = frozenset({"Conv", "ConvTranspose"})
_SAME = frozenset({"SAME_UPPER", "SAME_LOWER"})


def write_out(model: onnx.ModelProto) -> list[str]:
    """Change a model in place; returns what was done, a sentence for each kind.

    What cannot be known, because a shape is open, stays as it is: the rules of `esp_hil.lint` name it.
    """
    from onnx import numpy_helper

    known = _Known(
        shapes=_shapes(model),
        constants={tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer},
    )
    # first the padding: it needs the strides that are there, and takes ONNX's for those that are not
    return [
        *_paddings(model.graph, known),
        *_attributes(model.graph, known),
        *_factors(model.graph, known),
        *_splits(model, known),
        *_activations(model.graph),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Shapes by name, 0 where an extent is open, and initializers."""

    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, NDArray[Any]]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = [
        v for v in (*graph.value_info, *graph.input, *graph.output) if v.type.tensor_type.HasField("shape")
    ]
    shapes = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values}
    return shapes | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _values(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _write(node: onnx.NodeProto, name: str, value: object) -> None:
    """Set an attribute, in place of one that is there."""
    from onnx import helper

    for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))


def _drop(node: onnx.NodeProto, *names: str) -> None:
    for attribute in [attribute for attribute in node.attribute if attribute.name in names]:
        node.attribute.remove(attribute)


def _counted(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _attributes(graph: onnx.GraphProto, known: _Known) -> Iterator[str]:
    """Write the defaults of what ESP-DL, and esp-ppq's exporter, read without one."""
    written: list[str] = []
    changed = 0
    for node in graph.node:
        there = {attribute.name for attribute in node.attribute}
        found = {name: value for name, value in _defaults(node, known) if name not in there}
        for name, value in found.items():
            _write(node, name, list(value) if isinstance(value, tuple) else value)
        written += found
        changed += bool(found)
    if changed:
        yield f"{', '.join(dict.fromkeys(written))}: ONNX's defaults are written into {_counted(changed)}"


def _defaults(node: onnx.NodeProto, known: _Known) -> Iterator[tuple[str, Any]]:
    shape = known.shapes.get(node.input[0]) if node.input else None
    recurrence = known.shapes.get(node.input[2], ()) if len(node.input) > 2 else ()
    for name in UNDEFAULTED.get(node.op_type, ()):
        value = onnx_default(
            node.op_type,
            name,
            rank=len(shape) if shape is not None else None,
            hidden=recurrence[-1] if recurrence else None,
        )
        if value is not None:
            yield name, value
    if node.op_type.startswith("Reduce"):
        yield "keepdims", 1
    starts = _values(node).get("starts", ()) if node.op_type == "Slice" else ()
    if starts:  # of opset 9 and below
        yield "axes", tuple(range(len(starts)))


def _paddings(graph: onnx.GraphProto, known: _Known) -> Iterator[str]:
    """Write auto_pad, and the output_shape of a ConvTranspose, as pads: onnx's Operators.md, (Conv)Transpose."""
    changed = 0
    for node in graph.node:
        values = _values(node) if node.op_type in _PADDED else {}
        how = values.get("auto_pad", b"NOTSET").decode()
        if how == "NOTSET" and not values.get("output_shape"):
            continue
        found = _pads(node, values, how, known)
        if found is not None:
            _drop(node, "auto_pad", "output_shape")
            _write(node, "pads", found)
            changed += 1
    if changed:
        yield f"auto_pad: the paddings of {_counted(changed)} are written out as numbers"


def _pads(node: onnx.NodeProto, values: dict[str, Any], how: str, known: _Known) -> list[int] | None:
    """Pads, all beginnings and then all ends; None where a size is not known."""
    given = known.shapes.get(node.input[0], ())[2:]
    window = values.get("kernel_shape") or (
        known.shapes.get(node.input[1], ())[2:] if node.op_type in _FILTERED else ()
    )
    rank = len(given)
    extra = list(values.get("output_padding", [0] * rank))
    if not rank or len(window) != rank or len(extra) != rank:
        return None
    if how not in _SAME and not values.get("output_shape"):
        return [0] * 2 * rank
    if 0 in given:
        return None
    strides, dilations = values.get("strides", [1] * rank), values.get("dilations", [1] * rank)
    reach = [(taps - 1) * step + 1 for taps, step in zip(window, dilations, strict=True)]
    if node.op_type == "ConvTranspose":
        made = list(values.get("output_shape", ()))[-rank:] or [
            n * s for n, s in zip(given, strides, strict=True)
        ]
        missing = [
            stride * (extent - 1) + more + taps - wanted
            for stride, extent, more, taps, wanted in zip(strides, given, extra, reach, made, strict=True)
        ]
    else:
        missing = [
            (-(-extent // stride) - 1) * stride + taps - extent
            for stride, extent, taps in zip(strides, given, reach, strict=True)
        ]
    totals = [max(0, total) for total in missing]
    # the odd one goes to the end with SAME_UPPER, else to the beginning
    begins = [total // 2 if how == "SAME_UPPER" else total - total // 2 for total in totals]
    return [*begins, *(total - begin for total, begin in zip(totals, begins, strict=True))]


def _factors(graph: onnx.GraphProto, known: _Known) -> Iterator[str]:
    """Multiply a Gemm's alpha into its weights and beta into its bias, where those are constants."""
    changed = 0
    for node in graph.node:
        if node.op_type != "Gemm":
            continue
        values, did = _values(node), False
        for name, place in (("alpha", 1), ("beta", 2)):
            factor = values.get(name, 1.0)
            if factor == 1.0:
                continue
            if len(node.input) > place and node.input[place]:
                constant = known.constants.get(node.input[place])
                if constant is None:
                    continue
                node.input[place] = _added(
                    graph, known, f"{node.input[place]}/{name}", np.asarray(constant * factor, np.float32)
                )
            _drop(node, name)
            did = True
        changed += did
    if changed:
        yield f"alpha, beta: multiplied into the weights and biases of {_counted(changed)} (Gemm)"


_USUAL_ACTIVATIONS = {"LSTM": [b"Sigmoid", b"Tanh", b"Tanh"], "GRU": [b"Sigmoid", b"Tanh"]}


def _activations(graph: onnx.GraphProto) -> Iterator[str]:
    """Leave out activations that are the usual ones: esp-ppq refuses the attribute whatever it says."""
    changed = 0
    for node in graph.node:
        usual = _USUAL_ACTIVATIONS.get(node.op_type)
        said = _values(node).get("activations") if usual else None
        if usual and said in (usual, usual * 2):
            _drop(node, "activations")
            changed += 1
    if changed:
        yield f"activations: left out of {_counted(changed)}, where they are the usual ones"


_SIZES_ARE_AN_INPUT = 13
"""Opset from which on the sizes of a Split are its second input; they were an attribute before."""


def _splits(model: onnx.ModelProto, known: _Known) -> Iterator[str]:
    """Write the sizes of a Split's parts: equal ones, the last one smaller (onnx's Operators.md, Split)."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=1)
    changed = 0
    for node in model.graph.node:
        values = _values(node) if node.op_type == "Split" else {}
        if node.op_type != "Split" or (len(node.input) > 1 and node.input[1]) or "split" in values:
            continue
        shape, axis = known.shapes.get(node.input[0], ()), values.get("axis", 0)
        whole, count = shape[axis] if shape else 0, len(node.output)
        if not whole:
            continue
        part = -(-whole // count)
        sizes = [part] * (count - 1) + [whole - part * (count - 1)]
        _drop(node, "num_outputs")
        if opset < _SIZES_ARE_AN_INPUT:
            _write(node, "split", sizes)
        else:
            name = _added(
                model.graph, known, f"{node.name or node.output[0]}/sizes", np.array(sizes, np.int64)
            )
            del node.input[1:]
            node.input.append(name)
        changed += 1
    if changed:
        yield f"Split: the sizes of the parts of {_counted(changed)} are written out"


def _added(graph: onnx.GraphProto, known: _Known, name: str, value: NDArray[Any]) -> str:
    """Add an initializer; returns its name, which gets a tail if it is taken."""
    from onnx import numpy_helper

    while name in known.shapes:
        name += "_"
    graph.initializer.append(numpy_helper.from_array(value, name))
    known.constants[name], known.shapes[name] = value, value.shape
    return name

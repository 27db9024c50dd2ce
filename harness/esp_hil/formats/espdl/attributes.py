"""Typed access to the attributes and constant inputs of a node."""

from __future__ import annotations

from collections.abc import Mapping

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl.model import Attribute, Graph, Node, TensorData

UNDEFAULTED: Mapping[str, tuple[str, ...]] = {
    "Conv": ("strides", "dilations"),
    "AveragePool": ("kernel_shape", "strides"),
    "MaxPool": ("kernel_shape", "strides"),
    "Pad": ("mode",),
    "Transpose": ("perm",),
    "Resize": ("mode",),
    "DepthToSpace": ("blocksize",),
    "SpaceToDepth": ("blocksize",),
    "LSTM": ("hidden_size",),
    "GRU": ("hidden_size",),
}
"""Attributes that ESP-DL 3.3.9 reads without a default, by operator (each module's `deserialize`)."""


def onnx_default(op_type: str, name: str, *, rank: int | None, hidden: int | None = None) -> Attribute | None:
    """What ONNX takes for an attribute of `UNDEFAULTED` that a node leaves out (onnx's Operators.md).

    Args:
        op_type: of the node.
        name: of the attribute.
        rank: number of axes of the node's input 0, batch and channels among them; None if unknown.
        hidden: last axis of a recurrent node's R (directions, gates * hidden, hidden); None if unknown.

    Returns:
        None where ONNX requires the attribute, or what it depends on is not known.
    """
    if name == "mode":
        return {"Pad": "constant", "Resize": "nearest"}.get(op_type)
    if name == "hidden_size":
        return hidden
    if rank is None:
        return None
    if name in ("strides", "dilations"):
        return (1,) * (rank - 2)
    return tuple(reversed(range(rank))) if name == "perm" else None


def integer(node: Node, name: str, default: int | None = None) -> int:
    """An INT attribute; `default` if it is missing, an error if there is no default.

    Raises:
        UnsupportedOperator: missing without default, or of another type.
    """
    value = node.attributes.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(node, name, "an integer")
    return value


def integers(node: Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """An INTS attribute; as `integer`."""
    value = node.attributes.get(name, default)
    if not isinstance(value, tuple):
        raise _wrong(node, name, "a list of integers")
    found = tuple(item for item in value if isinstance(item, int))
    if len(found) != len(value):
        raise _wrong(node, name, "a list of integers")
    return found


def text(node: Node, name: str, default: str | None = None) -> str:
    """A STRING attribute; as `integer`."""
    value = node.attributes.get(name, default)
    if not isinstance(value, str):
        raise _wrong(node, name, "a text")
    return value


def constant(graph: Graph, node: Node, index: int) -> TensorData | None:
    """The initializer that is input `index`; None if the node leaves that input out.

    Raises:
        UnsupportedOperator: the input is computed; ESP-DL reads it when it loads the model.
    """
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    tensor = graph.initializers.get(node.inputs[index])
    if tensor is None:
        raise UnsupportedOperator(
            f"input {index} of {node.op_type} node {node.name!r} is computed; ESP-DL needs a constant there",
            hint="make it a constant before export",
        )
    return tensor


def constant_integers(graph: Graph, node: Node, index: int) -> tuple[int, ...] | None:
    """The numbers of an integer initializer; None if the node leaves that input out."""
    tensor = constant(graph, node, index)
    if tensor is None:
        return None
    if tensor.dtype not in ("int32", "int64"):
        raise UnsupportedOperator(
            f"input {index} of {node.op_type} node {node.name!r} is {tensor.dtype}, not an integer list"
        )
    return tuple(int(item) for item in tensor.data)


def _wrong(node: Node, name: str, wanted: str) -> UnsupportedOperator:
    about = f"attribute {name!r} of {node.op_type} node {node.name!r}"
    if name in node.attributes:
        return UnsupportedOperator(f"{about} is not {wanted}", hint="export the model again")
    return UnsupportedOperator(
        f"{about} is missing, and ESP-DL gives it no default",
        hint=f"write it into the float model: {wanted}",
    )

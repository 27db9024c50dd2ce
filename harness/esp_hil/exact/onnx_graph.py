"""Building an ONNX graph: nodes with fresh names, constants stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

OPSET = 18
IR_VERSION = 8
MICROSOFT = "com.microsoft"

Attribute = int | float | str | Sequence[int] | Sequence[float] | onnx.GraphProto | onnx.TensorProto | None
"""A node's attribute; None leaves it out."""

_ELEMENTS: dict[str, int] = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


def element_type(dtype: str) -> int:
    """ONNX's number of a numpy dtype."""
    return _ELEMENTS[dtype]


class OnnxGraph:
    """Nodes and constants of a graph that is being built. Values are referred to by their ONNX names.

    Args:
        outer: the graph that this one is the body of a Scan or Loop in; it may read the outer graph's values.
    """

    def __init__(self, outer: OnnxGraph | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._by_content: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._taken: set[str] = outer._taken if outer is not None else set()

    def fresh(self, hint: str) -> str:
        """A name that no value has yet, as near to `hint` as possible."""
        name, count = hint, 1
        while name in self._taken:
            count += 1
            name = f"{hint}#{count}"
        self._taken.add(name)
        return name

    def constant(self, array: NDArray[Any] | np.generic, hint: str = "const") -> str:
        """The name of an initializer with these values; equal arrays share one."""
        values = np.asarray(array)  # not ascontiguousarray: that makes a scalar 1-D
        data = values.tobytes()
        key = (values.dtype.str, values.shape, hashlib.sha256(data).digest())
        if key not in self._by_content:
            name = self.fresh(hint)
            self._by_content[key] = name
            self._constants[name] = helper.make_tensor(
                name, element_type(str(values.dtype)), values.shape, data, raw=True
            )
        return self._by_content[key]

    def op(
        self, op_type: str, inputs: list[str], *, hint: str = "", domain: str = "", **attributes: Attribute
    ) -> str:
        """Append a node with one output; returns the output's name."""
        return self.ops(op_type, inputs, hints=[hint or op_type], domain=domain, **attributes)[0]

    def named(self, op_type: str, inputs: list[str], output: str, **attributes: Attribute) -> None:
        """Append a node whose output has a name that `fresh` gave out before."""
        given: dict[str, Any] = dict(attributes)
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"{op_type}:{output}", **given))

    def ops(
        self, op_type: str, inputs: list[str], *, hints: list[str], domain: str = "", **attributes: Attribute
    ) -> list[str]:
        """Append a node with one output per hint; returns their names."""
        outputs = [self.fresh(hint) for hint in hints]
        given: dict[str, Any] = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            helper.make_node(op_type, inputs, outputs, name=f"{op_type}:{outputs[0]}", domain=domain, **given)
        )
        return outputs

    def model(
        self,
        *,
        name: str,
        inputs: list[onnx.ValueInfoProto],
        outputs: list[onnx.ValueInfoProto],
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The finished model, without what its outputs do not need."""
        nodes = _needed(self.nodes, {value.name for value in outputs})
        used = {name for node in nodes for name in _reads(node)} | {value.name for value in outputs}
        constants = [tensor for tensor_name, tensor in self._constants.items() if tensor_name in used]
        graph = helper.make_graph(nodes, name or "exact", inputs, outputs, constants)
        domains = [helper.make_opsetid("", OPSET)]
        if any(node.domain == MICROSOFT for node in nodes):
            domains.append(helper.make_opsetid(MICROSOFT, 1))
        model = helper.make_model(
            graph, opset_imports=domains, ir_version=IR_VERSION, producer_name="esp-hil"
        )
        helper.set_model_props(model, metadata)
        return model

    def subgraph(
        self, name: str, *, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        """The finished body of a Scan, Loop or If."""
        return helper.make_graph(self.nodes, name, inputs, outputs, list(self._constants.values()))


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names a node reads, those of its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                names |= _reads(inner)
            names |= {value.name for value in attribute.g.output}
    return names


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept: list[onnx.NodeProto] = []
    wanted = set(wanted)
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= _reads(node)
    return kept[::-1]

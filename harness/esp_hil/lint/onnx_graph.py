"""An ONNX file as the same records as an `.espdl`: NCHW, float, without exponents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esp_hil.errors import FormatError, GoldenError, HilError
from esp_hil.formats.espdl.model import Attribute, Graph, Node, TensorData, ValueInfo

if TYPE_CHECKING:
    import onnx

OPEN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """An ONNX file, looked at.

    Attributes:
        graph: with shapes as inference finds them from the inputs, not as the file declares them.
        declared: shapes that the file declares of what nodes make, by name; open dimensions are -1.
        inference: what onnx's strict inference says against the graph, "" if nothing.
    """

    graph: Graph
    declared: Mapping[str, tuple[int, ...]]
    inference: str


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file; dimensions without a number are -1.

    Raises:
        GoldenError: the file cannot be read.
        FormatError: it is no ONNX file, or refers to data outside that are not there.
    """
    import onnx

    try:
        data = path.read_bytes()
    except OSError as error:
        raise GoldenError(f"cannot read {path}: {error.strerror}", hint="check the path") from error
    try:
        model = onnx.load_model_from_string(data)
        onnx.load_external_data_for_model(model, str(path.parent))
        return look_at(model, path.name)
    except HilError:
        raise
    except Exception as error:  # protobuf, onnx and numpy each raise their own kinds
        raise FormatError(f"{path.name} is not a readable ONNX file: {error}") from error


def look_at(model: onnx.ModelProto, name: str) -> OnnxFile:
    """Infer shapes twice: strictly with what the file declares, and anew from the inputs alone.

    Raises:
        FormatError: there is no graph.
    """
    import onnx

    if not model.graph.node:
        raise FormatError(f"{name} holds no graph")
    infer = onnx.shape_inference.infer_shapes
    try:
        infer(model, check_type=True, strict_mode=True, data_prop=True)
        inference = ""
    except Exception as error:  # InferenceError, and what its bindings raise for graphs they do not know
        inference = str(error)
    shaped = [*model.graph.value_info, *model.graph.output]
    declared = {item.name: _value(item).shape for item in shaped if item.type.tensor_type.HasField("shape")}
    made = {name for node in model.graph.node for name in node.output}
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    for item in bare.graph.output:
        item.type.tensor_type.ClearField("shape")
    inferred = infer(bare, data_prop=True)
    known = {item.name for item in (*inferred.graph.value_info, *inferred.graph.output) if _shaped(item)}
    inferred.graph.value_info.extend(item for item in model.graph.value_info if item.name not in known)
    return OnnxFile(
        graph=graph_of(inferred, model.graph.output),
        declared={name: shape for name, shape in declared.items() if name in made},
        inference=inference,
    )


def _shaped(item: onnx.ValueInfoProto) -> bool:
    return bool(item.type.tensor_type.HasField("shape"))


def graph_of(model: onnx.ModelProto, outputs: Iterable[onnx.ValueInfoProto]) -> Graph:
    """The graph of an ONNX model; `outputs` as the file has them, for those whose shape nothing tells.

    Constant nodes count as initializers; what has no shape is in no `values`.
    """
    from onnx import numpy_helper

    body = model.graph
    initializers = {item.name: _tensor(item.name, numpy_helper.to_array(item)) for item in body.initializer}
    for node in body.node:
        value = next((item.t for item in node.attribute if item.name == "value" and item.HasField("t")), None)
        if node.op_type == "Constant" and value is not None:
            initializers[node.output[0]] = _tensor(node.output[0], numpy_helper.to_array(value))
    inputs = tuple(_value(item) for item in body.input if item.name not in initializers)
    shaped = [item for item in (*body.input, *body.value_info, *body.output, *outputs) if _shaped(item)]
    values: dict[str, ValueInfo] = {}
    for item in shaped:
        if item.name not in initializers:
            values.setdefault(item.name, _value(item))
    return Graph(
        name=body.name,
        nodes=tuple(_node(index, item) for index, item in enumerate(body.node)),
        inputs=inputs,
        outputs=tuple(values.get(item.name) or _value(item) for item in body.output),
        values=values,
        initializers=initializers,
        test_inputs={},
        test_outputs={},
    )


def _tensor(name: str, array: Any) -> TensorData:  # noqa: ANN401 - numpy array of any dtype
    return TensorData(
        name=name,
        dtype=array.dtype.name,
        shape=tuple(array.shape),
        exponents=(),
        layout="",
        data=np.ascontiguousarray(array).reshape(math.prod(array.shape)),
    )


def _value(item: onnx.ValueInfoProto) -> ValueInfo:
    from onnx import helper

    kind = item.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") else OPEN for dim in kind.shape.dim)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "float32"
    return ValueInfo(name=item.name, dtype=dtype, shape=tuple(dims), exponents=())


def _node(index: int, item: onnx.NodeProto) -> Node:
    return Node(
        name=item.name or f"{item.op_type}_{index}",
        op_type=item.op_type,
        inputs=tuple(item.input),
        outputs=tuple(item.output),
        attributes=dict(_attributes(item.attribute)),
    )


def _attributes(items: Iterable[onnx.AttributeProto]) -> Iterable[tuple[str, Attribute]]:
    """Numbers, texts and lists of them; subgraphs and tensors say nothing that a rule asks."""
    from onnx import AttributeProto, helper

    for item in items:
        if item.type in (AttributeProto.INT, AttributeProto.FLOAT):
            yield item.name, helper.get_attribute_value(item)
        elif item.type == AttributeProto.STRING:
            yield item.name, item.s.decode(errors="replace")
        elif item.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            yield item.name, tuple(helper.get_attribute_value(item))
        elif item.type == AttributeProto.STRINGS:
            yield item.name, tuple(text.decode(errors="replace") for text in item.strings)

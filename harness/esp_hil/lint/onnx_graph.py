"""An ONNX file as the same records as an `.espdl`: NCHW, float, without exponents."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esp_hil.errors import FormatError, GoldenError
from esp_hil.formats.espdl.model import Attribute, Graph, Node, Tensor, ValueInfo

if TYPE_CHECKING:
    import onnx

OPEN = -1


def read_onnx(path: Path) -> Graph:
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
        model = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf, onnx and numpy each raise their own kinds
        raise FormatError(f"{path.name} is no readable ONNX file: {error}", offset=0) from error
    if not model.graph.node:
        raise FormatError(f"{path.name} holds no graph", offset=0)
    return graph_of(model)


def graph_of(model: onnx.ModelProto) -> Graph:
    """The graph of an ONNX model."""
    from onnx import numpy_helper

    body = model.graph
    initializers = {item.name: _tensor(item.name, numpy_helper.to_array(item)) for item in body.initializer}
    inputs = tuple(_value(item) for item in body.input if item.name not in initializers)
    outputs = tuple(_value(item) for item in body.output)
    values = (*inputs, *outputs, *(_value(item) for item in body.value_info))
    return Graph(
        name=body.name,
        nodes=tuple(_node(index, item) for index, item in enumerate(body.node)),
        inputs=inputs,
        outputs=outputs,
        values={value.name: value for value in values},
        initializers=initializers,
        test_inputs={},
        test_outputs={},
    )


def _tensor(name: str, array: Any) -> Tensor:  # noqa: ANN401 - numpy array of any dtype
    return Tensor(
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

"""Writes a float `.tflite` file, operator by operator, with LiteRT's own schema classes.

Needs ai-edge-litert (the extra `tflm`). The same calls give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import QuantizeError

INSTALL = "pip install 'esp-hil[tflm]'"
_SCHEMA = 3
_DESCRIPTION = "esp-hil"


def schema() -> Any:  # noqa: ANN401 - a module of generated classes without types
    """LiteRT's schema classes.

    Raises:
        QuantizeError: ai-edge-litert is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise QuantizeError("making .tflite files needs ai-edge-litert", hint=INSTALL) from None
    return schema_py_generated


class FloatWriter:
    """A graph that grows: constants and activations get numbers, operators name those numbers.

    Raises:
        QuantizeError: ai-edge-litert is not installed.
    """

    def __init__(self) -> None:
        self._fb = schema()
        self._buffers = [self._fb.BufferT()]  # number 0 is the empty one, by convention
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []

    def activation(self, name: str, shape: Sequence[int]) -> int:
        """A float32 tensor that an operator makes or the caller gives; returns its number."""
        return self._tensor(name, shape, "FLOAT32", self._fb.BufferT())

    def constant(self, name: str, values: NDArray[Any]) -> int:
        """A float32 or int32 constant; returns its number."""
        kind = {"float32": "FLOAT32", "int32": "INT32"}[values.dtype.name]
        buffer = self._fb.BufferT()
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        buffer.data = np.frombuffer(little.tobytes(), np.uint8)
        return self._tensor(name, values.shape, kind, buffer)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self._tensors[tensor].shape)

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        output: int,
        options: str | None = None,
        **values: int | float | Sequence[int],
    ) -> None:
        """Append an operator.

        Args:
            name: of the enum BuiltinOperator.
            inputs: numbers of its inputs.
            output: number of its only output.
            options: table of its options, e.g. "Conv2DOptions"; None if it has none.
            values: fields of that table, in the schema's Python spelling.
        """
        if name not in self._codes:
            self._codes.append(name)
        operator = self._fb.OperatorT()
        operator.opcodeIndex = self._codes.index(name)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            table = getattr(self._fb, f"{options}T")()
            for field, value in values.items():
                setattr(table, field, value)
            operator.builtinOptionsType = getattr(self._fb.BuiltinOptions, options)
            operator.builtinOptions = table
        self._operators.append(operator)

    def padding(self, *, same: bool) -> int:
        """Number of the padding scheme."""
        return int(self._fb.Padding.SAME if same else self._fb.Padding.VALID)

    def fused(self, *, relu: bool) -> int:
        """Number of the activation that an operator applies to its result."""
        kinds = self._fb.ActivationFunctionType
        return int(kinds.RELU if relu else kinds.NONE)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file: one subgraph, one signature `serving_default` whose keys are the tensors' names."""
        fb = self._fb
        graph = fb.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = fb.ModelT()
        model.version, model.description = _SCHEMA, _DESCRIPTION
        model.operatorCodes = [self._code(name) for name in self._codes]
        model.subgraphs, model.buffers = [graph], self._buffers
        signature = fb.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named(index) for index in inputs]
        signature.outputs = [self._named(index) for index in outputs]
        model.signatureDefs = [signature]
        return pack(model)

    def _tensor(self, name: str, shape: Sequence[int], kind: str, buffer: Any) -> int:  # noqa: ANN401
        self._buffers.append(buffer)
        tensor = self._fb.TensorT()
        tensor.name, tensor.shape = name, [int(extent) for extent in shape]
        tensor.type, tensor.buffer = getattr(self._fb.TensorType, kind), len(self._buffers) - 1
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _code(self, name: str) -> Any:  # noqa: ANN401
        code = self._fb.OperatorCodeT()
        number = getattr(self._fb.BuiltinOperator, name)
        code.builtinCode = number
        code.deprecatedBuiltinCode = min(number, 127)
        code.version = 1  # float kernels have had one version
        return code

    def _named(self, index: int) -> Any:  # noqa: ANN401
        entry = self._fb.TensorMapT()
        entry.name, entry.tensorIndex = self._tensors[index].name, index
        return entry


def pack(model: Any) -> bytes:  # noqa: ANN401 - a ModelT
    """The bytes of a `ModelT`, with the identifier that readers look for."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def inline_buffers(data: bytes) -> bytes:
    """Bring constants that lie after the FlatBuffer into it, where TFLM looks for them.

    ai-edge-quantizer writes models of 256 KiB and more with such external buffers; LiteRT follows them,
    TFLM computes with garbage and says nothing.
    """
    model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
    external = [buffer for buffer in model.buffers if buffer.offset > 1]
    if not external:
        return data
    for buffer in external:
        piece = data[buffer.offset : buffer.offset + buffer.size]
        buffer.data = np.frombuffer(piece, np.uint8)
        buffer.offset = buffer.size = 0
    return pack(model)


def name_by_signature(data: bytes) -> bytes:
    """Give inputs and outputs the names that the signature has for them.

    A quantizer that puts QUANTIZE before and DEQUANTIZE after a graph leaves the old names to the tensors
    inside; those get "/quantized" appended.
    """
    model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
    tensors, (signature,) = model.subgraphs[0].tensors, model.signatureDefs
    for entry in (*signature.inputs, *signature.outputs):
        for index, tensor in enumerate(tensors):
            if tensor.name == entry.name and index != entry.tensorIndex:
                tensor.name += b"/quantized"
        tensors[entry.tensorIndex].name = entry.name
    return pack(model)


def operators_apart(data: bytes) -> list[bytes]:
    """A file for each operator of the first subgraph, in their order, with nothing but it and its constants.

    Its inputs are the activations that the operator reads, each once, in the order of its inputs; its outputs
    are the operator's.
    """
    count = len(schema().ModelT.InitFromPackedBuf(bytearray(data), 0).subgraphs[0].operators)
    return [_operator_alone(data, index) for index in range(count)]


def _operator_alone(data: bytes, index: int) -> bytes:
    return operators_between(data, index, index + 1)


def operators_between(data: bytes, first: int, last: int) -> bytes:
    """A file of the operators first, first + 1 ... last - 1 of the first subgraph, with their constants.

    Its inputs are the activations that they read and do not make, each once, in the order in which they are read;
    its outputs are all that they make, in that order.
    """
    model = schema().ModelT.InitFromPackedBuf(bytearray(data), 0)
    graph = model.subgraphs[0]
    operators = graph.operators[first:last]
    used = list(dict.fromkeys(n for item in operators for n in (*item.inputs, *item.outputs) if n >= 0))
    places = {number: place for place, number in enumerate(used)}
    constant = [model.buffers[graph.tensors[number].buffer].data is not None for number in used]
    graph.tensors = [graph.tensors[number] for number in used]
    for item in operators:
        item.inputs = [places.get(number, -1) for number in item.inputs]
        item.outputs = [places[number] for number in item.outputs]
    model.buffers = [model.buffers[0], *(model.buffers[tensor.buffer] for tensor in graph.tensors)]
    for place, tensor in enumerate(graph.tensors):
        tensor.buffer = place + 1
    graph.operators = operators
    made = dict.fromkeys(place for item in operators for place in item.outputs)
    read = dict.fromkeys(
        place for item in operators for place in item.inputs if place >= 0 and not constant[place]
    )
    graph.inputs, graph.outputs = [place for place in read if place not in made], list(made)
    model.subgraphs, model.signatureDefs, model.metadata = [graph], [], []
    return pack(model)

"""What a `.tflite` file says: subgraphs of operators over numbered tensors, as frozen records.

Shapes are NHWC. An integer q of a quantized tensor stands for (q - zero_point) * scale; weights may have one
scale for each slice along `axis`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from esp_hil.tensors import Affine

ITEM_BYTES = {
    "float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "string": 1, "bool": 1, "int16": 2,
    "complex64": 8, "int8": 1, "float64": 8, "complex128": 16, "uint64": 8, "resource": 4, "variant": 4,
    "uint32": 4, "uint16": 2, "bfloat16": 2,
}  # fmt: skip

NUMERIC = frozenset({
    "float32", "float16", "int32", "uint8", "int64", "bool", "int16", "int8", "float64", "uint64", "uint32", "uint16",
})  # fmt: skip
"""Element types whose values can be given and taken as numbers of one numpy type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Where the data of constants lie.

    Attributes:
        data: the bytes inside the FlatBuffer; empty for activations and for external data.
        data_at: offset of those in the file.
        offset: of data after the FlatBuffer in the file; 0 or 1 where there are none.
        external_bytes: length of those.
    """

    data: bytes
    data_at: int
    offset: int
    external_bytes: int

    @property
    def external(self) -> bool:
        """Whether the data lie outside the FlatBuffer, where TFLM does not look."""
        return self.offset > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor.

    Attributes:
        index: its number in the subgraph.
        name: may be empty, and may be there twice.
        dtype: a numpy name, or "int4" and the like.
        shape: of the file. Most have a leading batch axis of 1; none is needed.
        scales: none, one, or one for each slice along `axis`.
        zero_points: as many.
        axis: quantized dimension; only meaningful with several scales.
        buffer: number of its buffer.
        constant: its buffer has data.
        variable: keeps its value from one inference to the next.
        sparse: its data are stored without their zeros, which TFLM does not read.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    buffer: int
    constant: bool
    variable: bool
    sparse: bool = False

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its elements; of types below 8 bits as if each took one."""
        return self.count * ITEM_BYTES.get(self.dtype, 1)

    @property
    def bits(self) -> int:
        """Width of an element; 32 of a resource, which is a number of four bytes."""
        below = {"int4": 4, "uint4": 4, "int2": 2}
        return below.get(self.dtype, 8 * ITEM_BYTES.get(self.dtype, 1))

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one of N values side by side: without the leading axis if that is a batch of 1, else all of it."""
        return self.shape[1:] if self.shape[:1] == (1,) else self.shape

    @property
    def affine(self) -> Affine | None:
        """Scale and zero point of a tensor that has one of each, else None."""
        if len(self.scales) != 1:
            return None
        return Affine(scale=self.scales[0], zero_point=self.zero_points[0] if self.zero_points else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator. An input that is left out is -1.

    Attributes:
        name: "CONV_2D" ..., or the custom code.
        custom: `name` is a custom code.
        version: of the operator's semantics.
        options: those fields of its options table that somebody here asks for, by the schema's names, with the
            schema's defaults; empty for operators that nobody asks. `OPTIONS` in reader.py lists them.
    """

    index: int
    name: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float | str] = field(default_factory=dict)

    def option(self, name: str) -> int:
        """A number of its options.

        Raises:
            KeyError: the reader does not read that field of this operator.
        """
        return int(self.options[name])

    @property
    def calls(self) -> tuple[int, ...]:
        """Numbers of the subgraphs that it runs: WHILE's condition and body, IF's branches, CALL_ONCE's, CALL's."""
        return tuple(int(self.options[name]) for name in _CALLED.get(self.name, ()) if name in self.options)


_CALLED = {
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
    "CALL_ONCE": ("init_subgraph_index",),
    "CALL": ("subgraph",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """One subgraph; its tensors are numbered for itself.

    Attributes:
        index: its number in the file; 0 is what runs, the others are what its operators call.
        name: may be empty.
        tensors: by number.
        operators: in the order in which they run.
        inputs: numbers of the input tensors.
        outputs: numbers of the output tensors.
    """

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def label(self, operator: Operator) -> str:
        """How messages name one of its operators: "CONV_2D 3", "ADD 0 of subgraph 2"."""
        inside = f" of subgraph {self.index}" if self.index else ""
        return f"{operator.name} {operator.index}{inside}"

    def macs_of(self, operator: Operator) -> int:
        """Multiply-accumulates of one of its operators; 0 if it has no weights."""
        if operator.name not in WEIGHTED:
            return 0
        filter_ = self.tensors[operator.inputs[1]].shape
        made = self.tensors[operator.outputs[0]].count
        if operator.name == "CONV_2D":  # OHWI
            return made * math.prod(filter_[1:])
        if operator.name == "DEPTHWISE_CONV_2D":  # 1HWO
            return made * math.prod(filter_[1:3])
        return made * filter_[-1]  # FULLY_CONNECTED, OI


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteModel:
    """One `.tflite` file.

    Attributes:
        name: the file's name without suffix, or as given by the caller.
        sha256: hex digest of the file.
        size_bytes: its length.
        version: of the schema; TFLM reads 3.
        description: what the converter wrote of itself.
        subgraphs: by number; at least the first, which is what an inference runs.
        buffers: by number; the subgraphs share them.
    """

    name: str
    sha256: str
    size_bytes: int
    version: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    buffers: tuple[Buffer, ...]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors of the first subgraph, by number."""
        return self.subgraphs[0].tensors

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Operators of the first subgraph, in the order in which they run."""
        return self.subgraphs[0].operators

    @property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the model's input tensors."""
        return self.subgraphs[0].inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """Numbers of the model's output tensors."""
        return self.subgraphs[0].outputs

    def everywhere(self) -> Iterator[tuple[Subgraph, Operator]]:
        """Every operator of every subgraph: TFLM prepares them all, called or not."""
        for graph in self.subgraphs:
            for operator in graph.operators:
                yield graph, operator

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The inputs in order."""
        return tuple(self.tensors[index] for index in self.inputs)

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """The outputs in order."""
        return tuple(self.tensors[index] for index in self.outputs)

    @property
    def operator_names(self) -> tuple[str, ...]:
        """Each operator type once, of all subgraphs, in order of first use."""
        return tuple(dict.fromkeys(operator.name for _, operator in self.everywhere()))

    def weights(self) -> int:
        """Number of elements of float and integer constants that operators compute with.

        Shapes, paddings and axes (int32 constants of operators without weights) do not count.
        """
        used = {
            graph.tensors[index].buffer: graph.tensors[index].count
            for graph, operator in self.everywhere()
            if operator.name in WEIGHTED
            for index in operator.inputs[1:]
            if index >= 0 and graph.tensors[index].constant
        }
        return sum(used.values())

    def macs(self) -> int:
        """Multiply-accumulates of convolutions and fully connected layers in the first subgraph.

        What WHILE, IF and CALL_ONCE run besides depends on the data and does not count.
        """
        return sum(self.macs_of(operator) for operator in self.operators)

    def macs_of(self, operator: Operator) -> int:
        """Multiply-accumulates of one operator of the first subgraph; 0 if it has no weights."""
        return self.subgraphs[0].macs_of(operator)


WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operators whose inputs after the first are weights."""

"""What a `.tflite` file says: one subgraph of operators over numbered tensors, as frozen records.

Shapes are NHWC. An integer q of a quantized tensor stands for (q - zero_point) * scale; weights may have one
scale for each slice along `axis`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from esp_hil.tensors import Affine

ITEM_BYTES = {
    "float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "string": 1, "bool": 1, "int16": 2,
    "complex64": 8, "int8": 1, "float64": 8, "complex128": 16, "uint64": 8, "resource": 4, "variant": 4,
    "uint32": 4, "uint16": 2,
}  # fmt: skip


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
        shape: of the file; the batch axis is 1 as a rule.
        scales: none, one, or one for each slice along `axis`.
        zero_points: as many.
        axis: quantized dimension; only meaningful with several scales.
        buffer: number of its buffer.
        constant: its buffer has data.
        variable: keeps its value from one inference to the next.
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

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its elements; of types below 8 bits as if each took one."""
        return self.count * ITEM_BYTES.get(self.dtype, 1)

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
    """

    index: int
    name: str
    custom: bool
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteModel:
    """One `.tflite` file, its first subgraph.

    Attributes:
        name: the file's name without suffix, or as given by the caller.
        sha256: hex digest of the file.
        size_bytes: its length.
        version: of the schema; TFLM reads 3.
        description: what the converter wrote of itself.
        subgraphs: how many there are; only the first is described here.
        tensors: by number.
        operators: in the order in which they run.
        inputs: numbers of the input tensors.
        outputs: numbers of the output tensors.
        buffers: by number.
    """

    name: str
    sha256: str
    size_bytes: int
    version: int
    description: str
    subgraphs: int
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    buffers: tuple[Buffer, ...]

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
        """Each operator type once, in order of first use."""
        return tuple(dict.fromkeys(operator.name for operator in self.operators))

    def weights(self) -> int:
        """Number of elements of float and integer constants that operators compute with.

        Shapes, paddings and axes (int32 constants of operators without weights) do not count.
        """
        used = {
            index
            for operator in self.operators
            if operator.name in WEIGHTED
            for index in operator.inputs[1:]
            if index >= 0 and self.tensors[index].constant
        }
        return sum(self.tensors[index].count for index in used)

    def macs(self) -> int:
        """Multiply-accumulates of one inference in convolutions and fully connected layers."""
        return sum(self.macs_of(operator) for operator in self.operators)

    def macs_of(self, operator: Operator) -> int:
        """Multiply-accumulates of one operator; 0 if it has no weights."""
        if operator.name not in WEIGHTED:
            return 0
        filter_ = self.tensors[operator.inputs[1]].shape
        made = self.tensors[operator.outputs[0]].count
        if operator.name == "CONV_2D":  # OHWI
            return made * math.prod(filter_[1:])
        if operator.name == "DEPTHWISE_CONV_2D":  # 1HWO
            return made * math.prod(filter_[1:3])
        return made * filter_[-1]  # FULLY_CONNECTED, OI


WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operators whose inputs after the first are weights."""

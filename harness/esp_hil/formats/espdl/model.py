"""What an `.espdl` file says: a graph of nodes, values and initializers, as frozen records.

Shapes are those of the file, in the order that ESP-DL uses on the device (NHWC where a spatial operator is in
the graph). An exponent e means that an integer q stands for the real number q * 2**e.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from esp_hil.targets import Family

FLOAT_DTYPES = frozenset({"float16", "float32", "float64"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorData:
    """A tensor with data: an initializer, or a test input or output.

    Attributes:
        name: its name in the graph.
        dtype: a numpy name: int8, int16, int32, int64, uint8 ... float32, bool.
        shape: dims as stored. For a Conv filter HWCN (depthwise HWNC, 1-D WCN) whatever `layout` says; () for
            a scalar.
        exponents: one for the tensor, or one per output channel of a filter or bias; () where the type has
            none.
        layout: how `data` is ordered: "NHWC", "HWCN", "(N/16)HWC16", "(N/16)HWC16_UNALIGNED", "N16HWC16"
            (older esp-ppq)
            ...; "" where the file names none (data then follows `shape`, C order).
        data: read-only, 1-D, prod(shape) elements in file order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    exponents: tuple[int, ...]
    layout: str
    data: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueInfo:
    """An activation: graph input, graph output or what a node makes. One exponent, or none if float."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    exponents: tuple[int, ...]


Attribute: TypeAlias = (
    int | float | str | bytes | TensorData | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An operator. An input or output that is left out is the empty string, as in ONNX."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def input(self, index: int) -> str:
        """Name of an input, "" if the node leaves it out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def output(self, index: int) -> str:
        """Name of an output, "" if the node leaves it out."""
        return self.outputs[index] if index < len(self.outputs) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes in execution order (every input is made before it is used) and everything they name.

    `values` holds inputs, outputs and intermediates by name; `initializers` the constants; the test tensors
    are the input and answer that esp-ppq stored for `dl::Model::test()`.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    values: Mapping[str, ValueInfo]
    initializers: Mapping[str, TensorData]
    test_inputs: Mapping[str, TensorData]
    test_outputs: Mapping[str, TensorData]


@dataclass(frozen=True, slots=True, kw_only=True)
class EspdlModel:
    """One model of an `.espdl` file.

    Attributes:
        name: given by the caller, else the name in the pack, else the file's name without suffix.
        container: "EDL1" (12-byte header, parameters always copied to RAM) or "EDL2" (16-byte header).
        sha256: hex digest of the EDL image: header and FlatBuffer, without padding or the pack around it.
        size_bytes: length of that image.
        family: numeric family the file was made for, see `esp_hil.formats.espdl.family`; None if the file does not
            tell.
    """

    name: str
    container: str
    sha256: str
    size_bytes: int
    graph: Graph
    metadata: Mapping[str, str]
    producer: str
    producer_version: str
    ir_version: int
    opset: Mapping[str, int]
    family: Family | None

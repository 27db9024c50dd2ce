"""Writes `.espdl` bytes from the reader's own records, so that a clean clone has files to read.

Only what tests need: the schema of ESP-DL (fbs_loader/espdl.fbs), by field number, with the `flatbuffers`
builder.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl import Attribute, Graph, Node, TensorData, ValueInfo
from esp_hil.formats.espdl.reader import DTYPES

TYPE_NUMBERS = {name: number for number, name in DTYPES.items()}


def tensor(
    name: str,
    values: NDArray[Any] | Sequence[Any],
    *,
    exponents: Sequence[int] = (0,),
    layout: str = "",
    shape: tuple[int, ...] | None = None,
) -> TensorData:
    """A tensor record; `shape` is that of `values` unless they are packed."""
    array = np.asarray(values)
    return TensorData(
        name=name,
        dtype=array.dtype.name,
        shape=array.shape if shape is None else shape,
        exponents=tuple(exponents),
        layout=layout,
        data=array.reshape(-1),
    )


def value(name: str, shape: tuple[int, ...], exponent: int = 0, dtype: str = "int8") -> ValueInfo:
    """An activation record."""
    return ValueInfo(
        name=name, dtype=dtype, shape=shape, exponents=() if dtype.startswith("float") else (exponent,)
    )


def node(
    op_type: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    name: str = "",
    **attributes: Attribute,
) -> Node:
    """A node record, of quant_type S8 unless told otherwise."""
    return Node(
        name=name or f"{op_type}_{outputs[0]}",
        op_type=op_type,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        attributes={"quant_type": "S8", **attributes},
    )


def graph(
    nodes: Sequence[Node],
    values: Sequence[ValueInfo],
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    initializers: Sequence[TensorData] = (),
    test_inputs: Sequence[TensorData] = (),
    test_outputs: Sequence[TensorData] = (),
) -> Graph:
    """A graph record; `values` describes inputs, outputs and intermediates."""
    by_name = {item.name: item for item in values}
    return Graph(
        name="g",
        nodes=tuple(nodes),
        inputs=tuple(by_name[name] for name in inputs),
        outputs=tuple(by_name[name] for name in outputs),
        values=by_name,
        initializers={item.name: item for item in initializers},
        test_inputs={item.name: item for item in test_inputs},
        test_outputs={item.name: item for item in test_outputs},
    )


def edl(
    written: Graph,
    *,
    container: str = "EDL2",
    mode: int = 0,
    metadata: Mapping[str, str] | None = None,
    old_schema: bool = False,
    listed: int = 0,
) -> bytes:
    """The EDL image of a graph.

    `old_schema`: that before ESP-DL 3.1, raw_data as bytes; tensors of up to `listed` elements as lists of numbers.
    """
    flat = _Writer(old_schema, listed).model(written, metadata or {})
    header = container.encode() + struct.pack("<II", mode, len(flat))
    return header + (bytes(4) if container == "EDL2" else b"") + flat


def pack(magic: str, models: Mapping[str, bytes]) -> bytes:
    """A PDL pack of EDL images."""
    head = 60 if magic == "PDL3" else 8
    names_at = head + 12 * len(models)
    names = "".join(models).encode()
    data_at = -(-(names_at + len(names)) // 16) * 16
    entries, body = b"", b""
    for name, image in models.items():
        entries += struct.pack("<III", data_at + len(body), names_at, len(name))
        names_at += len(name)
        body += image + bytes(-len(image) % 16)
    rest = entries + names
    rest += bytes(data_at - head - len(rest)) + body
    count = struct.pack("<I", len(models))
    if magic != "PDL3":
        return magic.encode() + count + rest
    front = magic.encode() + b"v1.0".ljust(16, b"\0") + struct.pack("<I", head + len(rest))
    digest = hashlib.sha256(front + bytes(32) + count + rest).digest()
    return front + digest + count + rest


class _Writer:
    def __init__(self, old_schema: bool = False, listed: int = 0) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.old_schema, self.listed = old_schema, listed

    def model(self, written: Graph, metadata: Mapping[str, str]) -> bytes:
        body = self._graph(written)
        entries = [self._table(2, {0: key, 1: text}) for key, text in metadata.items()]
        opset = self._table(2, {0: "", 1: lambda slot: self.builder.PrependInt64Slot(slot, 18, 0)})
        root = self._table(
            10,
            {
                0: lambda slot: self.builder.PrependInt32Slot(slot, 8, 0),
                1: self._references([opset]),
                2: "tests",
                3: "1.0",
                7: body,
                8: self._references(entries),
            },
        )
        self.builder.Finish(root)
        return bytes(self.builder.Output())

    def _graph(self, written: Graph) -> int:
        return self._table(
            10,
            {
                0: self._references([self._node(item) for item in written.nodes]),
                1: written.name,
                2: self._references([self._tensor(item) for item in written.initializers.values()]),
                4: self._references([self._value(item) for item in written.inputs]),
                5: self._references([self._value(item) for item in written.outputs]),
                6: self._references([self._value(item) for item in written.values.values()]),
                8: self._references([self._tensor(item) for item in written.test_inputs.values()]),
                9: self._references([self._tensor(item) for item in written.test_outputs.values()]),
            },
        )

    def _value(self, item: ValueInfo) -> int:
        builder = self.builder
        shape = self._table(1, {0: self._references([self._dimension(dim) for dim in item.shape])})
        body = self._table(
            2,
            {0: lambda slot: builder.PrependInt32Slot(slot, TYPE_NUMBERS[item.dtype], 0), 1: shape},
        )
        info = self._table(3, {0: lambda slot: builder.PrependUint8Slot(slot, 1, 0), 1: body})
        return self._table(4, {0: item.name, 1: info, 3: self._int64s(item.exponents)})

    def _dimension(self, dim: int) -> int:
        builder = self.builder
        number = self._table(
            3,
            {
                0: lambda slot: builder.PrependInt8Slot(slot, 1, 0),
                1: lambda slot: builder.PrependInt64Slot(slot, dim, 0),
            },
        )
        return self._table(2, {0: number})

    def _tensor(self, item: TensorData) -> int:
        if self.old_schema:
            return self._old_tensor(item)
        raw = item.data.astype(item.data.dtype.newbyteorder("<")).tobytes()
        raw += bytes(-len(raw) % 16)
        builder = self.builder
        builder.StartVector(16, len(raw) // 16, 16)
        builder.head -= len(raw)
        builder.Bytes[builder.Head() : builder.Head() + len(raw)] = raw
        blocks = builder.EndVector()
        return self._table(
            14,
            {
                0: self._int64s(item.shape),
                1: lambda slot: builder.PrependInt32Slot(slot, TYPE_NUMBERS[item.dtype], 0),
                6: item.name,
                7: f"layout ==> {item.layout or 'UNK'}",
                8: blocks,
                13: self._int64s(item.exponents),
            },
        )

    def _old_tensor(self, item: TensorData) -> int:
        builder = self.builder
        if item.data.size <= self.listed:
            lists = {
                "float32": (2, "<f4"),
                "int64": (5, "<i8"),
                "float64": (11, "<f8"),
                "uint64": (12, "<u8"),
            }
            field, kind = lists.get(item.dtype, (3, "<i4"))
            numbers = builder.CreateNumpyVector(item.data.astype(kind))
        else:
            field, little = 8, item.data.astype(item.data.dtype.newbyteorder("<"))
            numbers = builder.CreateByteVector(little.tobytes())
        return self._table(
            14,
            {
                0: self._int64s(item.shape),
                1: lambda slot: builder.PrependInt32Slot(slot, TYPE_NUMBERS[item.dtype], 0),
                field: numbers,
                6: item.name,
                7: f"layout ==> {item.layout or 'UNK'}",
                13: self._int64s(item.exponents),
            },
        )

    def _node(self, item: Node) -> int:
        return self._table(
            7,
            {
                0: self._references([self.builder.CreateString(name) for name in item.inputs]),
                1: self._references([self.builder.CreateString(name) for name in item.outputs]),
                2: item.name,
                3: item.op_type,
                5: self._references([self._attribute(*pair) for pair in item.attributes.items()]),
            },
        )

    def _attribute(self, name: str, content: Attribute) -> int:
        builder = self.builder
        kind, slot, field = self._attribute_field(content)
        return self._table(16, {0: name, 3: lambda at: builder.PrependInt32Slot(at, kind, 0), slot: field})

    def _attribute_field(self, content: Attribute) -> tuple[int, int, _Field]:
        """Kind, slot and field of an attribute's value."""
        builder = self.builder
        if isinstance(content, TensorData):
            return 4, 7, self._tensor(content)
        if isinstance(content, float):
            return 1, 4, lambda slot: builder.PrependStructSlot(slot, self._struct("f", content), 0)
        if isinstance(content, int):
            return 2, 5, lambda slot: builder.PrependStructSlot(slot, self._struct("q", content), 0)
        if isinstance(content, str | bytes):
            return 3, 6, builder.CreateByteVector(content.encode() if isinstance(content, str) else content)
        return self._sequence_field(content)

    def _sequence_field(
        self, content: tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
    ) -> tuple[int, int, _Field]:
        texts = [item for item in content if isinstance(item, str)]
        if texts:
            return 8, 12, self._references([self.builder.CreateString(text) for text in texts])
        numbers = [item for item in content if not isinstance(item, str)]
        if any(isinstance(item, float) for item in numbers):
            return 6, 10, int(self.builder.CreateNumpyVector(np.asarray(numbers, np.float32)))
        return 7, 11, self._int64s([int(item) for item in numbers])

    def _struct(self, fmt: str, number: float) -> int:
        size = struct.calcsize(fmt)
        self.builder.Prep(size, 0)
        if fmt == "f":
            self.builder.PrependFloat32(number)
        else:
            self.builder.PrependInt64(number)
        return int(self.builder.Offset())

    def _int64s(self, numbers: Sequence[int]) -> int:
        return int(self.builder.CreateNumpyVector(np.asarray(numbers, np.int64)))

    def _references(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _table(self, slots: int, fields: Mapping[int, _Field]) -> int:
        """A table; a field is a text, the offset of something written, or what writes a number in a slot."""
        ready = {
            slot: self.builder.CreateString(field) if isinstance(field, str) else field
            for slot, field in fields.items()
        }
        self.builder.StartObject(slots)
        for slot, field in ready.items():
            if callable(field):
                field(slot)
            else:
                self.builder.PrependUOffsetTRelativeSlot(slot, field, 0)
        return int(self.builder.EndObject())


_Field = str | int | Callable[[int], Any]

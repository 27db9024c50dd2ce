"""Reads `.espdl` files: container, then the FlatBuffer of ESP-DL's schema, every value checked.

The field numbers below are the positions of the fields in that schema, fbs_loader/espdl.fbs of ESP-DL 3.3.9. Before
ESP-DL 3.1, whose files have the container EDL1, raw_data was a vector of bytes at any alignment, and the numbers of a
small tensor could lie in the lists that ONNX has for them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError, GoldenError, InputError, UnsupportedOperator
from esp_hil.formats.espdl.check import check_graph
from esp_hil.formats.espdl.container import EdlImage, located_images
from esp_hil.formats.espdl.family import family_of
from esp_hil.formats.espdl.flat import FlatBuffer, FlatTable
from esp_hil.formats.espdl.model import (
    FLOAT_DTYPES,
    Attribute,
    EspdlModel,
    Graph,
    Node,
    TensorData,
    ValueInfo,
)

DTYPES = MappingProxyType(
    {
        1: "float32",
        2: "uint8",
        3: "int8",
        4: "uint16",
        5: "int16",
        6: "int32",
        7: "int64",
        9: "bool",
        10: "float16",
        11: "float64",
        12: "uint32",
        13: "uint64",
    }
)

_BLOCK_BYTES = 16
_LAYOUT_VREFIX = "layout ==> "
_NO_LAYOUT = "UNK"
# No chip addresses more; larger numbers are damage.
_MAX_ELEMENTS = 1 << 28
_MAX_RANK = 8
# Exponents go into int8-sized arithmetic; biases reach -34 in the wild (a channel of weights that are all but
# zero).
_MAX_EXPONENT = 127

_T = TypeVar("_T", TensorData, ValueInfo)
_V = TypeVar("_V")


def read_espdl(source: Path | bytes, *, name: str | int | None = None) -> EspdlModel:
    """Read one model.

    Args:
        source: the file, or its bytes.
        name: of a pack, which model: its name or its index. Of a file with one model, how to call it.

    Returns:
        The model; its tensors are views of the file's bytes.

    Raises:
        FormatError: damaged or truncated; carries the byte offset.
        EncryptedModel: the model is encrypted.
        UnsupportedOperator: a part of the schema that ESP-DL does not use (subgraphs, local functions, sparse
            types).
        InputError: the pack has several models and `name` does not pick one.
        GoldenError: the file cannot be read at all.
    """
    data, default = _bytes_of(source)
    image = _pick(located_images(data), name)
    called = image.name or (name if isinstance(name, str) else "") or default
    return _read_image(image, called)


def _bytes_of(source: Path | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, "model"
    try:
        return source.read_bytes(), source.stem
    except OSError as error:
        raise GoldenError(f"cannot read {source}: {error.strerror}", hint="check the path") from error


def _pick(found: list[EdlImage], name: str | int | None) -> EdlImage:
    if not found:
        raise FormatError("the pack holds no model", offset=4)
    if len(found) == 1 and (not found[0].name or name is None):
        return found[0]
    names = [image.name for image in found]
    if isinstance(name, int) and 0 <= name < len(found):
        return found[name]
    if isinstance(name, str) and name in names:
        return found[names.index(name)]
    said = "no name was given" if name is None else f"none is {name!r}"
    raise InputError(f"the pack holds {len(found)} models and {said}", hint=f"one of: {', '.join(names)}")


def _read_image(image: EdlImage, name: str) -> EspdlModel:
    flat = image.flatbuffer()
    # EDL1 came with the schema before 3.1; ESP-DL takes its files still, and copies their parameters
    old_schema = image.container == "EDL1"
    root = FlatBuffer(flat, image.offset + image.header_bytes, old_schema=old_schema).root()
    if any(True for _ in root.tables(9, "functions")):
        raise UnsupportedOperator(f"model {name!r} has local functions", hint="inline them before export")
    metadata = _dict(root, _string_pairs(root, 8), "metadata entry")
    opset = _dict(root, _opsets(root), "opset domain")
    body = root.table(7, "graph")
    if body is None:
        raise root.damaged("the model has no graph")
    graph = _graph(body)
    return EspdlModel(
        name=name,
        container=image.container,
        sha256=hashlib.sha256(image.bytes_).hexdigest(),
        size_bytes=len(image.bytes_),
        graph=graph,
        metadata=metadata,
        producer=root.text(2, "producer name"),
        producer_version=root.text(3, "producer version"),
        ir_version=int(root.number(0, "i", "IR version") or 0),
        opset=opset,
        family=family_of(graph, metadata),
    )


def _string_pairs(table: FlatTable, index: int) -> Iterator[tuple[str, str]]:
    for entry in table.tables(index, "entry"):
        yield entry.text(0, "key"), entry.text(1, "value")


def _opsets(root: FlatTable) -> Iterator[tuple[str, int]]:
    for entry in root.tables(1, "opset"):
        yield entry.text(0, "domain"), int(entry.number(1, "q", "version") or 0)


def _dict(table: FlatTable, pairs: Iterable[tuple[str, _V]], what: str) -> Mapping[str, _V]:
    found: dict[str, _V] = {}
    for key, value in pairs:
        if key in found:
            raise table.damaged(f"{what} {key!r} occurs twice")
        found[key] = value
    return MappingProxyType(found)


def _graph(table: FlatTable) -> Graph:
    inputs = tuple(_value(entry) for entry in table.tables(4, "graph input"))
    outputs = tuple(_value(entry) for entry in table.tables(5, "graph output"))
    # esp-ppq also describes the inputs that a node leaves out; those have no name and are nothing to read.
    inner = tuple(_value(entry) for entry in table.tables(6, "value") if entry.text(0, "name"))
    for values in (inputs, outputs, inner):
        _by_name(table, values)
    graph = Graph(
        name=table.text(1, "name"),
        nodes=tuple(_node(entry) for entry in table.tables(0, "node")),
        inputs=inputs,
        outputs=outputs,
        values=_merged(table, (*inputs, *outputs, *inner)),
        initializers=_by_name(table, [_tensor(entry) for entry in table.tables(2, "initializer")]),
        test_inputs=_by_name(table, [_tensor(entry) for entry in table.tables(8, "test input")]),
        test_outputs=_by_name(table, [_tensor(entry) for entry in table.tables(9, "test output")]),
    )
    problem = check_graph(graph)
    if problem is not None:
        raise table.damaged(problem)
    return graph


def _by_name(table: FlatTable, items: Iterable[_T]) -> Mapping[str, _T]:
    found: dict[str, _T] = {}
    for item in items:
        if not item.name:
            raise table.damaged("a tensor has no name")
        if item.name in found:
            raise table.damaged(f"tensor {item.name!r} is there twice")
        found[item.name] = item
    return MappingProxyType(found)


def _merged(table: FlatTable, values: Iterable[ValueInfo]) -> Mapping[str, ValueInfo]:
    """By name; graph inputs and outputs occur again among the inner values, and must then say the same."""
    found: dict[str, ValueInfo] = {}
    for value in values:
        if found.setdefault(value.name, value) != value:
            raise table.damaged(f"tensor {value.name!r} is described twice, and differently")
    return MappingProxyType(found)


def _value(table: FlatTable) -> ValueInfo:
    name = table.text(0, "name")
    info = table.table(1, f"type of {name!r}")
    kind = None if info is None else info.number(0, "B", "kind")
    body = None if info is None or kind != 1 else info.table(1, f"tensor type of {name!r}")
    if body is None:
        raise table.damaged(f"{name!r} is not described as a tensor")
    dtype = _dtype(body, 0, name)
    shape = body.table(1, f"shape of {name!r}")
    dims = [] if shape is None else [_dimension(entry, name) for entry in shape.tables(0, "dimension")]
    return ValueInfo(
        name=name,
        dtype=dtype,
        shape=_shape(table, dims, name),
        exponents=_exponents(table, 3, (), dtype, name),
    )


def _dimension(table: FlatTable, name: str) -> int:
    value = table.table(0, f"dimension of {name!r}")
    if value is None or value.number(0, "b", "kind") != 1:
        raise table.damaged(f"a dimension of {name!r} is not a number")
    return int(value.number(1, "q", "number") or 0)


def _dtype(table: FlatTable, index: int, name: str) -> str:
    number = int(table.number(index, "i", "data type") or 0)
    if number not in DTYPES:
        raise table.damaged(f"{name!r} has data type {number}, which is not a type of numbers")
    return DTYPES[number]


def _shape(table: FlatTable, dims: Iterable[int], name: str) -> tuple[int, ...]:
    shape = tuple(int(dim) for dim in dims)
    if len(shape) > _MAX_RANK or any(not 0 < dim <= _MAX_ELEMENTS for dim in shape):
        raise table.damaged(f"{name!r} has the impossible shape {_short(shape)}")
    if math.prod(shape) > _MAX_ELEMENTS:
        raise table.damaged(f"{name!r} of shape {_short(shape)} is larger than any chip's memory")
    return shape


def _exponents(
    table: FlatTable, index: int, shape: tuple[int, ...], dtype: str, name: str
) -> tuple[int, ...]:
    """One exponent, or one per channel (filter HWCN or HWNC, bias N); int8 and int16 must have one."""
    numbers = table.array(index, "<i8", f"exponents of {name!r}")
    if numbers.size == 0 and dtype in ("int8", "int16"):
        raise table.damaged(f"{name!r} is {dtype} without an exponent")
    if numbers.size > 1 and numbers.size not in shape[-2:]:
        raise table.damaged(f"{name!r} of shape {_short(shape)} has {numbers.size} exponents")
    if numbers.size and not -_MAX_EXPONENT <= int(numbers.min()) <= int(numbers.max()) <= _MAX_EXPONENT:
        raise table.damaged(f"{name!r} has an exponent beyond ±{_MAX_EXPONENT}")
    return () if dtype in FLOAT_DTYPES else tuple(numbers.tolist())


def _node(table: FlatTable) -> Node:
    name, op_type = table.text(2, "name"), table.text(3, "operator")
    if not name or not op_type:
        raise table.damaged("a node has no name or no operator")
    attributes = (
        (entry.text(0, "name"), _attribute(entry)) for entry in table.tables(5, f"attribute of {name!r}")
    )
    found: dict[str, Attribute] = {}
    for key, value in attributes:
        if not key or key in found:
            raise table.damaged(f"node {name!r} has attribute {key!r} twice or without a name")
        found[key] = value
    return Node(
        name=name,
        op_type=op_type,
        inputs=table.texts(0, f"input of {name!r}"),
        outputs=table.texts(1, f"output of {name!r}"),
        attributes=MappingProxyType(found),
    )


def _attribute(table: FlatTable) -> Attribute:
    kind = int(table.number(3, "i", "kind") or 0)
    if kind not in _ATTRIBUTE_READERS:
        name = table.text(0, "name")
        raise table.damaged(f"attribute {name!r} is of kind {kind}, which ESP-DL does not use")
    return _ATTRIBUTE_READERS[kind](table)


def _present(table: FlatTable, value: _V | None) -> _V:
    if value is None:
        raise table.damaged(f"attribute {table.text(0, 'name')!r} has no value")
    return value


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _tensor(table: FlatTable) -> TensorData:
    name = table.text(6, "name")
    dtype = _dtype(table, 1, name)
    shape = _shape(table, table.array(0, "<i8", f"dims of {name!r}").tolist(), name)
    doc = table.text(7, "layout")
    layout = doc.removeprefix(_LAYOUT_VREFIX) if doc.startswith(_LAYOUT_VREFIX) else ""
    data, at = _data(table, name, np.dtype(dtype), shape)
    if dtype == "bool" and (data.view(np.uint8) > 1).any():
        raise table.buffer.damaged(f"{name!r} is bool and has values other than 0 and 1", at)
    return TensorData(
        name=name,
        dtype=dtype,
        shape=shape,
        exponents=_exponents(table, 13, shape, dtype, name),
        layout="" if layout == _NO_LAYOUT else layout,
        data=data,
    )


# By AttributeType of the schema; the kinds left out are graphs, types and lists of tensors.
_ATTRIBUTE_READERS: Mapping[int, Callable[[FlatTable], Attribute]] = MappingProxyType(
    {
        1: lambda table: float(_present(table, table.number(4, "f", "number"))),
        2: lambda table: int(_present(table, table.number(5, "q", "number"))),
        3: lambda table: _text_or_bytes(table.array(6, "u1", "string").tobytes()),
        4: lambda table: _tensor(_present(table, table.table(7, "tensor"))),
        6: lambda table: tuple(table.array(10, "<f4", "numbers").tolist()),
        7: lambda table: tuple(table.array(11, "<i8", "numbers").tolist()),
        8: lambda table: table.texts(12, "strings"),
    }
)


# Where the schema before 3.1, as ONNX does, may hold the numbers of a small tensor instead of in raw_data.
_NUMBER_FIELDS: tuple[tuple[int, str, frozenset[str]], ...] = (
    (2, "<f4", frozenset({"float32"})),
    (3, "<i4", frozenset({"int8", "uint8", "int16", "uint16", "int32", "bool"})),
    (5, "<i8", frozenset({"int64"})),
    (11, "<f8", frozenset({"float64"})),
    (12, "<u8", frozenset({"uint32", "uint64"})),
)


def _data(
    table: FlatTable, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], int]:
    """The elements of a tensor, 1-D, and where they lie."""
    count = math.prod(shape)
    used = count * dtype.itemsize
    kind = dtype.newbyteorder("<")
    at = table.reference(8, f"data of {name!r}")
    if at is None:
        return _listed_data(table, name, dtype, shape)
    start, items = table.buffer.vector(at, 1, f"data of {name!r}")
    if table.buffer.old_schema and items in (used, -(-used // _BLOCK_BYTES) * _BLOCK_BYTES):
        # raw_data is a vector of bytes there, wherever the builder put it
        table.buffer.need(start, used, f"data of {name!r}")
        return np.frombuffer(table.buffer.data, kind, count, start).astype(dtype, copy=False), start
    start, blocks = table.buffer.vector(at, _BLOCK_BYTES, f"data of {name!r}")
    if start % _BLOCK_BYTES:
        raise table.buffer.damaged(f"the data of {name!r} is not aligned to {_BLOCK_BYTES} bytes", start)
    if blocks * _BLOCK_BYTES != -(-used // _BLOCK_BYTES) * _BLOCK_BYTES:
        raise table.damaged(
            f"{name!r} of shape {_short(shape)} has {blocks * _BLOCK_BYTES} bytes instead of {used}"
        )
    return np.frombuffer(table.buffer.data, kind, count, start).astype(dtype, copy=False), start


def _listed_data(
    table: FlatTable, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], int]:
    """Elements that the schema before 3.1 keeps in a list of numbers."""
    for field, kind, dtypes in _NUMBER_FIELDS:
        at = (
            table.reference(field, f"data of {name!r}")
            if table.buffer.old_schema and dtype.name in dtypes
            else None
        )
        if at is None:
            continue
        numbers = table.array(field, kind, f"data of {name!r}")
        if numbers.size != math.prod(shape):
            raise table.damaged(f"{name!r} of shape {_short(shape)} has {numbers.size} numbers")
        limits = (
            (0, 1)
            if dtype == np.bool_
            else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            if dtype.kind in "iu"
            else ()
        )
        if limits and numbers.size and not limits[0] <= int(numbers.min()) <= int(numbers.max()) <= limits[1]:
            raise table.damaged(f"{name!r} is {dtype.name} and has numbers beyond that")
        data = numbers.astype(dtype)
        data.flags.writeable = False
        return data, at
    raise table.damaged(f"{name!r} has no data in the file")


def _short(shape: tuple[int, ...]) -> str:
    text = "x".join(str(dim) for dim in shape[:_MAX_RANK]) or "scalar"
    return f"{text}x..." if len(shape) > _MAX_RANK else text

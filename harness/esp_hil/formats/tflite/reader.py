"""Read `.tflite` bytes into records, every offset checked.

TFLM itself checks nothing: a truncated file makes it read outside the buffer. So nothing goes to it that has
not been read here first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from esp_hil.errors import FormatError
from esp_hil.formats.espdl.flat import Buffer as FlatBuffer
from esp_hil.formats.espdl.flat import Table
from esp_hil.formats.tflite.model import Buffer, Operator, Tensor, TfliteModel
from esp_hil.formats.tflite.operators import BUILTIN, CUSTOM

IDENTIFIER = b"TFL3"
DTYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8",
    "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4",
)  # fmt: skip
"""Element types by their number in the schema, as far as any kernel knows them."""

_MAX_ELEMENTS = 1 << 31


def is_tflite(data: bytes) -> bool:
    """Whether bytes are a `.tflite` file, by its identifier."""
    return data[4:8] == IDENTIFIER


def read_tflite(source: Path | bytes, *, name: str | None = None) -> TfliteModel:
    """Read a `.tflite` file.

    Args:
        source: a path, or the bytes.
        name: for messages; by default the path's stem.

    Raises:
        FormatError: it cannot be read, is no `.tflite` file or is damaged.
    """
    if isinstance(source, Path):
        try:
            data = source.read_bytes()
        except OSError as error:
            raise FormatError(f"cannot read {source}: {error.strerror}") from None
    else:
        data = source
    if not is_tflite(data):
        raise FormatError("no identifier TFL3: this is no .tflite file", offset=4)
    flat = FlatBuffer(data)
    root = flat.root()
    subgraphs = list(root.tables(2, "subgraph"))
    if not subgraphs:
        raise root.damaged("the model has no subgraph")
    buffers = tuple(_buffers(root, len(data)))
    tensors = tuple(_tensors(subgraphs[0], buffers))
    return TfliteModel(
        name=name or (source.stem if isinstance(source, Path) else "model"),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        version=int(root.number(0, "I", "version") or 0),
        description=root.text(3, "description"),
        subgraphs=len(subgraphs),
        tensors=tensors,
        operators=tuple(_operators(root, subgraphs[0], len(tensors))),
        inputs=_indices(subgraphs[0], 1, len(tensors), "inputs"),
        outputs=_indices(subgraphs[0], 2, len(tensors), "outputs"),
        buffers=buffers,
    )


def _buffers(root: Table, file_bytes: int) -> Iterator[Buffer]:
    for table in root.tables(4, "buffer"):
        offset = int(table.number(1, "Q", "offset") or 0)
        size = int(table.number(2, "Q", "size") or 0)
        if offset > 1 and offset + size > file_bytes:
            raise table.damaged(f"external data of a buffer end at {offset + size}, the file at {file_bytes}")
        vector = table.reference(0, "data")
        yield Buffer(
            data=table.array(0, "u1", "data").tobytes(),
            data_at=0 if vector is None else vector + 4,
            offset=offset,
            external_bytes=size,
        )


def _tensors(graph: Table, buffers: Sequence[Buffer]) -> Iterator[Tensor]:
    for index, table in enumerate(graph.tables(0, "tensor")):
        shape = tuple(int(extent) for extent in table.array(0, "<i4", "shape"))
        if any(extent < 0 for extent in shape) or math.prod(shape) > _MAX_ELEMENTS:
            raise table.damaged(f"tensor {index} has shape {list(shape)}")
        number = int(table.number(1, "b", "type") or 0)
        if not 0 <= number < len(DTYPES):
            raise table.damaged(f"tensor {index} has element type {number}, which no kernel knows")
        buffer = int(table.number(2, "I", "buffer") or 0)
        if buffer >= len(buffers):
            raise table.damaged(f"tensor {index} names buffer {buffer} of {len(buffers)}")
        scales, zero_points, axis = _quantization(table, index)
        tensor = Tensor(
            index=index,
            name=table.text(3, "name"),
            dtype=DTYPES[number],
            shape=shape,
            scales=scales,
            zero_points=zero_points,
            axis=axis,
            buffer=buffer,
            constant=bool(buffers[buffer].data) or buffers[buffer].external,
            variable=bool(table.number(5, "?", "is_variable")),
        )
        _check_data(table, tensor, buffers[buffer])
        yield tensor


def _check_data(table: Table, tensor: Tensor, buffer: Buffer) -> None:
    have = len(buffer.data) or buffer.external_bytes
    packed = tensor.dtype in {"int4", "string"}
    if tensor.constant and not packed and have != tensor.size_bytes:
        raise table.damaged(
            f"tensor {tensor.index} {tensor.dtype} {list(tensor.shape)} has {have} bytes of data"
        )


def _quantization(tensor: Table, index: int) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    table = tensor.table(4, "quantization")
    if table is None:
        return (), (), 0
    scales = tuple(float(scale) for scale in table.array(2, "<f4", "scale"))
    zero_points = tuple(int(point) for point in table.array(3, "<i8", "zero_point"))
    if zero_points and len(zero_points) != len(scales):
        raise table.damaged(f"tensor {index} has {len(scales)} scales and {len(zero_points)} zero points")
    return scales, zero_points, int(table.number(6, "i", "quantized_dimension") or 0)


def _operators(root: Table, graph: Table, tensors: int) -> Iterator[Operator]:
    codes = [_code(table) for table in root.tables(1, "operator code")]
    for index, table in enumerate(graph.tables(3, "operator")):
        code = int(table.number(0, "I", "opcode_index") or 0)
        if code >= len(codes):
            raise table.damaged(f"operator {index} names code {code} of {len(codes)}")
        name, custom, version = codes[code]
        yield Operator(
            index=index,
            name=name,
            custom=custom,
            version=version,
            inputs=_indices(table, 1, tensors, "inputs", optional=True),
            outputs=_indices(table, 2, tensors, "outputs"),
        )


def _code(table: Table) -> tuple[str, bool, int]:
    # the older field is one byte, so later operators have a second one; the larger counts
    number = max(int(table.number(0, "b", "code") or 0), int(table.number(3, "i", "builtin_code") or 0))
    version = table.number(2, "i", "version")
    name = BUILTIN[number] if 0 <= number < len(BUILTIN) else f"BUILTIN_{number}"
    custom = name == CUSTOM
    return table.text(1, "custom code") if custom else name, custom, 1 if version is None else int(version)


def _indices(table: Table, field: int, tensors: int, what: str, *, optional: bool = False) -> tuple[int, ...]:
    found = tuple(int(index) for index in table.array(field, "<i4", what))
    lowest = -1 if optional else 0
    if any(not lowest <= index < tensors for index in found):
        raise table.damaged(f"{what} {list(found)} name tensors outside 0..{tensors - 1}")
    return found

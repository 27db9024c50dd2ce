"""Read `.tflite` bytes into records, every offset checked.

TFLM itself checks nothing: a truncated file makes it read outside the buffer. So nothing goes to it that has
not been read here first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from esp_hil.formats.espdl.flat import FlatBuffer, FlatTable
from esp_hil.formats.kinds import TFLITE, read_bytes, require
from esp_hil.formats.tflite.model import Buffer, Operator, Subgraph, Tensor, TfliteModel
from esp_hil.formats.tflite.operators import BUILTIN, CUSTOM

DTYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8",
    "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4",
)  # fmt: skip
"""Element types by their number in the schema, as far as any kernel knows them."""

_MAX_ELEMENTS = 1 << 31

_STRIDES = {"stride_w": (1, "i", 0), "stride_h": (2, "i", 0)}
_FUSED = "fused_activation_function"
_POOL = {
    "padding": (0, "b", 0), **_STRIDES, "filter_width": (3, "i", 0), "filter_height": (4, "i", 0), _FUSED: (5, "b", 0),
}  # fmt: skip

OPTIONS: Mapping[str, Mapping[str, tuple[int, str, int]]] = MappingProxyType({
    "CONV_2D": {
        "padding": (0, "b", 0), **_STRIDES, _FUSED: (3, "b", 0),
        "dilation_w_factor": (4, "i", 1), "dilation_h_factor": (5, "i", 1),
    },
    "DEPTHWISE_CONV_2D": {
        "padding": (0, "b", 0), **_STRIDES, "depth_multiplier": (3, "i", 0), _FUSED: (4, "b", 0),
        "dilation_w_factor": (5, "i", 1), "dilation_h_factor": (6, "i", 1),
    },
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "ADD": {_FUSED: (0, "b", 0)},
    "MUL": {_FUSED: (0, "b", 0)},
    "FULLY_CONNECTED": {_FUSED: (0, "b", 0)},
    "SOFTMAX": {"beta": (0, "f", 0)},
    "IF": {"then_subgraph_index": (0, "i", 0), "else_subgraph_index": (1, "i", 0)},
    "WHILE": {"cond_subgraph_index": (0, "i", 0), "body_subgraph_index": (1, "i", 0)},
    "CALL_ONCE": {"init_subgraph_index": (0, "i", 0)},
    "CALL": {"subgraph": (0, "I", 0)},
})  # fmt: skip
"""The numbers that are read of an operator's options: position in its table, format and default, by the schema."""

SAME = 0
"""Option `padding` of convolutions and pools; VALID is 1."""


def is_tflite(data: bytes) -> bool:
    """Whether bytes are a `.tflite` file, by its identifier."""
    return data[4:8] == TFLITE


def read_tflite(source: Path | bytes, *, name: str | None = None) -> TfliteModel:
    """Read a `.tflite` file.

    Args:
        source: a path, or the bytes.
        name: for messages; by default the path's stem.

    Raises:
        FormatError: it cannot be read, is no `.tflite` file or is damaged.
    """
    data = read_bytes(source) if isinstance(source, Path) else source
    require(data, "tflite")
    flat = FlatBuffer(data)
    root = flat.root()
    tables = list(root.tables(2, "subgraph"))
    if not tables:
        raise root.damaged("the model has no subgraph")
    buffers = tuple(_buffers(root, len(data)))
    codes = [_code(table) for table in root.tables(1, "operator code")]
    subgraphs = tuple(_subgraph(number, table, buffers, codes) for number, table in enumerate(tables))
    _check_calls(root, subgraphs)
    return TfliteModel(
        name=name or (source.stem if isinstance(source, Path) else "model"),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        version=int(root.number(0, "I", "version") or 0),
        description=root.text(3, "description"),
        subgraphs=subgraphs,
        buffers=buffers,
    )


def _subgraph(
    number: int, table: FlatTable, buffers: Sequence[Buffer], codes: Sequence[tuple[str, bool, int]]
) -> Subgraph:
    tensors = tuple(_tensors(table, buffers))
    return Subgraph(
        index=number,
        name=table.text(4, "name"),
        tensors=tensors,
        operators=tuple(_operators(table, codes, len(tensors))),
        inputs=_indices(table, 1, len(tensors), "inputs"),
        outputs=_indices(table, 2, len(tensors), "outputs"),
    )


def _check_calls(root: FlatTable, subgraphs: Sequence[Subgraph]) -> None:
    """Operators call subgraphs that are there, and none of them its own caller, which would never end."""
    calls = {
        graph.index: {number for operator in graph.operators for number in operator.calls}
        for graph in subgraphs
    }
    for number, called in calls.items():
        wrong = next((other for other in called if not 0 <= other < len(subgraphs)), None)
        if wrong is not None:
            raise root.damaged(f"an operator of subgraph {number} calls subgraph {wrong} of {len(subgraphs)}")
    reached = {number: set(called) for number, called in calls.items()}
    for _ in subgraphs:
        for called in reached.values():
            called.update(*(reached[other] for other in tuple(called)))
    own = next((number for number, called in reached.items() if number in called), None)
    if own is not None:
        raise root.damaged(f"subgraph {own} calls itself")


def _buffers(root: FlatTable, file_bytes: int) -> Iterator[Buffer]:
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


def _tensors(graph: FlatTable, buffers: Sequence[Buffer]) -> Iterator[Tensor]:
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
            sparse=table.table(6, "sparsity") is not None,
        )
        _check_data(table, tensor, buffers[buffer])
        yield tensor


def _check_data(table: FlatTable, tensor: Tensor, buffer: Buffer) -> None:
    have = len(buffer.data) or buffer.external_bytes
    packed = tensor.sparse or tensor.bits < 8 or tensor.dtype in {"string", "variant", "resource"}
    if tensor.constant and not packed and have != tensor.size_bytes:
        raise table.damaged(
            f"tensor {tensor.index} {tensor.dtype} {list(tensor.shape)} has {have} bytes of data"
        )


def _quantization(tensor: FlatTable, index: int) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    table = tensor.table(4, "quantization")
    if table is None:
        return (), (), 0
    scales = tuple(float(scale) for scale in table.array(2, "<f4", "scale"))
    zero_points = tuple(int(point) for point in table.array(3, "<i8", "zero_point"))
    if zero_points and len(zero_points) != len(scales):
        raise table.damaged(f"tensor {index} has {len(scales)} scales and {len(zero_points)} zero points")
    return scales, zero_points, int(table.number(6, "i", "quantized_dimension") or 0)


def _operators(graph: FlatTable, codes: Sequence[tuple[str, bool, int]], tensors: int) -> Iterator[Operator]:
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
            options=MappingProxyType({} if custom else _options(table, name)),
        )


def _options(operator: FlatTable, name: str) -> dict[str, int | float | str]:
    if name == "VAR_HANDLE":
        table = operator.table(4, "options")
        return {
            field: "" if table is None else table.text(place, field)
            for place, field in enumerate(("container", "shared_name"))
        }
    wanted = OPTIONS.get(name)
    table = None if wanted is None else operator.table(4, "options")
    found: dict[str, int | float | str] = {}
    for field, (place, kind, default) in (wanted or {}).items():
        value = None if table is None else table.number(place, kind, field)
        found[field] = default if value is None else float(value) if kind == "f" else int(value)
    return found


def _code(table: FlatTable) -> tuple[str, bool, int]:
    # the older field is one byte, so later operators have a second one; the larger counts
    number = max(int(table.number(0, "b", "code") or 0), int(table.number(3, "i", "builtin_code") or 0))
    version = table.number(2, "i", "version")
    name = BUILTIN[number] if 0 <= number < len(BUILTIN) else f"BUILTIN_{number}"
    custom = name == CUSTOM
    return table.text(1, "custom code") if custom else name, custom, 1 if version is None else int(version)


def _indices(
    table: FlatTable, field: int, tensors: int, what: str, *, optional: bool = False
) -> tuple[int, ...]:
    found = tuple(int(index) for index in table.array(field, "<i4", what))
    lowest = -1 if optional else 0
    if any(not lowest <= index < tensors for index in found):
        raise table.damaged(f"{what} {list(found)} name tensors outside 0..{tensors - 1}")
    return found

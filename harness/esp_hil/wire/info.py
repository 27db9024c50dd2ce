"""What a device says of itself: the CBOR objects of docs/PROTOCOL.md sections 3 and 5, parsed into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import cbor2

from esp_hil.errors import WireError
from esp_hil.tensors import Affine

Kind = Literal["silicon", "emulated", "virtual"]
Role = Literal["input", "output"]

ITEM_BYTES = {
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
}
"""Tensor element types and their sizes; the names are numpy's."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output: a quantized value is `integer * 2**exponent` or affine; a float is neither."""

    role: Role
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str
    exponent: int | None
    affine: Affine | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole tensor in the device's memory."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSpec:
    """A figure that the device can be asked for at any time."""

    id: int
    name: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A figure of the device at the moment it was asked."""

    name: str
    unit: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The loaded model: sha256 (hex) of the image, its length, where it lies, its numeric family."""

    sha256: str
    size_bytes: int
    location: str
    family: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """INFO: who answers. Sizes in bytes, clock in Hz."""

    protocol: int
    app: str
    app_version: str
    chip: str
    revision: int
    cores: int
    clock_hz: int
    flash_bytes: int
    psram_bytes: int
    internal_bytes: int
    mac: str
    idf: str
    engine: str
    engine_version: str
    families: tuple[str, ...]
    sdkconfig_sha256: str
    image_sha256: str
    reset_reason: str
    kind: Kind
    boot_id: int
    generation: int
    slots: int
    max_repeats: int
    answer_bytes: int
    capture_bytes: int
    model: ModelInfo | None
    tensors: tuple[TensorSpec, ...]
    counters: tuple[CounterSpec, ...]
    baud: int = 0
    golden_bytes: int = 0

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The input tensors in index order."""
        return tuple(sorted((t for t in self.tensors if t.role == "input"), key=lambda t: t.index))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The output tensors in index order."""
        return tuple(sorted((t for t in self.tensors if t.role == "output"), key=lambda t: t.index))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCycles:
    """One layer of a profile."""

    name: str
    type: str
    cycles: int


def _loads(data: bytes, what: str) -> Any:  # noqa: ANN401 - whatever the CBOR holds
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise WireError(f"{what} is not CBOR: {error}") from error


def _field(table: Mapping[Any, Any], key: str, kind: type[T], what: str) -> T:
    value = table.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WireError(f"{what}.{key} should be {kind.__name__}, got {value!r:.40}")
    return value


def _map(value: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise WireError(f"{what} should be a map, got {value!r:.40}")
    return value


def _one_of(value: str, allowed: tuple[T, ...], what: str) -> T:
    for candidate in allowed:
        if value == candidate:
            return candidate
    raise WireError(f"{what} is {value!r:.40}; one of {allowed}")


def _tensor(value: object) -> TensorSpec:
    table = _map(value, "tensor")
    name = _field(table, "name", str, "tensor")
    shape = _field(table, "shape", list, f"tensor {name}")
    if not all(isinstance(extent, int) and extent >= 0 for extent in shape):
        raise WireError(f"tensor {name} has shape {shape!r:.60}")
    return TensorSpec(
        role=_one_of(_field(table, "role", str, name), ("input", "output"), f"tensor {name}.role"),
        index=_field(table, "index", int, name),
        name=name,
        dtype=_one_of(_field(table, "dtype", str, name), tuple(ITEM_BYTES), f"tensor {name}.dtype"),
        shape=tuple(shape),
        layout=_field(table, "layout", str, name),
        exponent=_field(table, "exponent", int, name) if "exponent" in table else None,
        affine=_affine(table, name),
    )


def _affine(table: Mapping[Any, Any], name: str) -> Affine | None:
    if "scale" not in table:
        return None
    return Affine(
        scale=_field(table, "scale", float, name), zero_point=_field(table, "zero_point", int, name)
    )


def _counter(value: object) -> CounterSpec:
    table = _map(value, "counter")
    return CounterSpec(
        id=_field(table, "id", int, "counter"),
        name=_field(table, "name", str, "counter"),
        unit=_field(table, "unit", str, "counter"),
    )


def _model(value: object) -> ModelInfo | None:
    if value is None:
        return None
    table = _map(value, "model")
    return ModelInfo(
        sha256=_field(table, "sha256", str, "model"),
        size_bytes=_field(table, "bytes", int, "model"),
        location=_field(table, "location", str, "model"),
        family=_field(table, "family", str, "model"),
        name=_field(table, "name", str, "model"),
    )


def parse_info(data: bytes) -> DeviceInfo:
    """Read INFO; keys that this version does not know are ignored.

    Raises:
        WireError: no CBOR, or a key is missing or has another type; the message names it.
    """
    # what firmware before these keys had: a line without a rate, no golden sets
    table = {"baud": 0, "golden_bytes": 0} | dict(_map(_loads(data, "INFO"), "INFO"))
    numbers = {name: _field(table, name, int, "INFO") for name, kind in _SIMPLE.items() if kind is int}
    texts = {name: _field(table, name, str, "INFO") for name, kind in _SIMPLE.items() if kind is str}
    return DeviceInfo(
        **numbers,  # type: ignore[arg-type]  # the names are those of _SIMPLE
        **texts,  # type: ignore[arg-type]
        families=tuple(str(family) for family in _field(table, "families", list, "INFO")),
        kind=_one_of(_field(table, "kind", str, "INFO"), ("silicon", "emulated", "virtual"), "INFO.kind"),
        model=_model(table.get("model")),
        tensors=tuple(_tensor(value) for value in _field(table, "tensors", list, "INFO")),
        counters=tuple(_counter(value) for value in _field(table, "counters", list, "INFO")),
    )


_SIMPLE = {
    name: {"int": int, "str": str}[annotation]
    for name, annotation in DeviceInfo.__annotations__.items()
    if annotation in {"int", "str"}
}


def parse_counters(data: bytes, specs: tuple[CounterSpec, ...]) -> dict[str, int]:
    """Read COUNTERS: name -> value, in the unit of its spec.

    Raises:
        WireError: no CBOR array of [id, value], or an id that INFO does not announce.
    """
    names = {spec.id: spec.name for spec in specs}
    values: dict[str, int] = {}
    for pair in _list(_loads(data, "COUNTERS"), "COUNTERS"):
        identity, value = _row(pair, (int, int), "COUNTERS")
        if identity not in names:
            raise WireError(f"COUNTERS has id {identity}, which INFO does not announce")
        values[names[identity]] = value
    return values


def parse_profile(data: bytes) -> tuple[LayerCycles, ...]:
    """Read PROFILE: the layers in the order in which they ran.

    Raises:
        WireError: no CBOR array of [name, type, cycles].
    """
    rows = [_row(row, (str, str, int), "PROFILE") for row in _list(_loads(data, "PROFILE"), "PROFILE")]
    return tuple(LayerCycles(name=name, type=kind, cycles=cycles) for name, kind, cycles in rows)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise WireError(f"{what} should be an array, got {value!r:.40}")
    return value


def _row(value: object, kinds: tuple[type, ...], what: str) -> list[Any]:
    row = _list(value, f"a row of {what}")
    if len(row) != len(kinds) or not all(isinstance(v, k) for v, k in zip(row, kinds, strict=True)):
        raise WireError(f"{what} has a row {row!r:.60}")
    return row

"""The cases of the conformance suite: small models of one operator each, inputs, and what a chip must answer.

    for case in read_cases("esp32s3"):
        case.image, case.inputs, case.expected

They lie in suites/operators, one .npz for each numeric family and one for TFLM; tests/operators/make_cases.py makes
them. A file has `cases`, a JSON text with what is said of each, and `bytes`, all models and tensors one behind the
other (little-endian, C order): hundreds of small arrays would be mostly headers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.settings import shipped
from esp_hil.targets import FAMILIES_OF, Family
from esp_hil.tensors import Array

Origin = Literal["assembly", "portable", "reference", "tflite-micro"]
ORIGINS: Mapping[Origin, str] = {
    "assembly": "recorded: ESP-DL 3.3.9's own assembly, executed instruction by instruction",
    "portable": "recorded: ESP-DL 3.3.9's C++, compiled for a PC",
    "tflite-micro": "made by tflite-micro's reference kernels",
    "reference": "made by this harness's exact reference, which may itself be wrong",
}
"""Where the expected integers come from, for people."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatorCase:
    """One operator in a model of its own, on one input set.

    Attributes:
        name: unique in its file.
        operator: as the runtime names it (`Conv`, `CONV_2D`).
        bits: 8 or 16, of the integers that it computes with; 32 of floats.
        what: shapes and attributes, for people.
        origin: where `expected` comes from.
        image: the device file.
        inputs: by name, in the device's shape, layout and dtype.
        expected: the outputs, likewise.
        tolerance_lsb: how far an integer output may be off.
        tolerance_abs: how far a float output may be off.
        why: why a tolerance is right, "" where there is none.
    """

    name: str
    operator: str
    bits: int
    what: str
    origin: Origin
    image: bytes
    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]
    tolerance_lsb: int = 0
    tolerance_abs: float = 0.0
    why: str = ""

    @property
    def file(self) -> DeviceFile:
        """The device file, read."""
        return open_device_file(self.image)

    @property
    def elements(self) -> int:
        """Of all outputs."""
        return sum(values.size for values in self.expected.values())


def folder() -> Path:
    """Where the files lie.

    Raises:
        ConfigError: the package came without its suites.
    """
    suites = shipped("suites")
    if suites is None:
        raise ConfigError(
            "this installation has no suites", hint="install esp-hil from its wheel or a checkout"
        )
    return suites / "operators"


@cache
def read_cases(family: Family) -> tuple[OperatorCase, ...]:
    """All cases for chips of a numeric family, those of TFLM for "tflm", in the order of their file.

    Raises:
        GoldenError: the file is missing or damaged.
    """
    path = folder() / f"{family}.npz"
    try:
        with np.load(path) as archive:
            text, data = str(archive["cases"]), archive["bytes"].tobytes()
        return tuple(_case(row, data) for row in json.loads(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldenError(f"{path}: {error}", hint="python -m tests.operators.make_cases makes it") from error


@cache
def operator_names() -> frozenset[str]:
    """All operators that have a case, of whatever family and runtime."""
    families = [family for each in FAMILIES_OF.values() for family in each]
    return frozenset(case.operator for family in families for case in read_cases(family))


def case_of(family: Family, name: str) -> OperatorCase | None:
    """The case of that name; None if there is none (any more)."""
    return next((case for case in read_cases(family) if case.name == name), None)


_SAID = ("name", "operator", "bits", "what", "origin", "tolerance_lsb", "tolerance_abs", "why")


def write_cases(path: Path, cases: Iterable[OperatorCase]) -> None:
    """Write a file that `read_cases` reads; the same cases give the same bytes."""
    rows: list[dict[str, Any]] = []
    data = bytearray()

    def put(what: bytes) -> int:
        data.extend(what)
        return len(data) - len(what)

    for case in cases:
        row = {name: getattr(case, name) for name in _SAID if getattr(case, name)}
        row["model"] = [put(case.image), len(case.image)]
        for kind, arrays in (("inputs", case.inputs), ("expected", case.expected)):
            row[kind] = {
                name: [put(_little(values)), values.dtype.name, list(values.shape)]
                for name, values in arrays.items()
            }
        rows.append(row)
    text = np.array(json.dumps(rows, separators=(",", ":")))
    np.savez_compressed(path, cases=text, bytes=np.frombuffer(bytes(data), np.uint8))


def _little(values: Array) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def _case(row: dict[str, Any], data: bytes) -> OperatorCase:
    if row["origin"] not in get_args(Origin):
        raise ValueError(f"case {row['name']} has origin {row['origin']!r}")
    start, length = row["model"]
    arrays: dict[str, Any] = {
        kind: {name: _array(data, *at) for name, at in row[kind].items()} for kind in ("inputs", "expected")
    }
    said = {name: row[name] for name in _SAID if name in row}
    return OperatorCase(**said, image=data[start : start + length], **arrays)


def _array(data: bytes, start: int, dtype: str, shape: Sequence[int]) -> Array:
    kind = np.dtype(dtype)
    flat = np.frombuffer(data, kind.newbyteorder("<"), math.prod(shape), start)
    return flat.astype(kind).reshape(shape)

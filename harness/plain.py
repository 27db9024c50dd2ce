"""Dataclasses to and from plain JSON values, checked in both directions against their declared types.

One codec is built for each type and kept. Understood are: bool, int, float, str, None, Literal, X | Y,
tuple[X, ...], tuple[X, Y], Mapping[str or int, X], and dataclasses of those. A value of another type than
declared is refused, never converted, with one exception: an int where a float is declared becomes that float.
JSON has no NaN and no infinities: they are written as the strings "NaN", "Infinity" and "-Infinity". Where a
union has several dataclasses, the key "type" tells them apart.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from harness.errors import ReportError

Kind = Any  # a type, known only at run time
Value = Any  # a value of such a type, or its plain form
Convert = Callable[[Value], Value]
Codec = tuple[Convert, Convert]

NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class _Misfit(Exception):
    """A value that does not fit its type; never leaves this module.

    Args:
        message: what is wrong.
        path: where, the innermost step first.
    """

    def __init__(self, message: str, *path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = list(path)


def to_plain(kind: Kind, value: Value) -> Value:
    """The plain JSON value of `value`, which must be a `kind`.

    Raises:
        ReportError: it is not; the message names the field.
    """
    return _converted(_codec(kind)[0], value)


def from_plain(kind: Kind, value: Value) -> Value:
    """The `kind` that a plain JSON value stands for.

    Raises:
        ReportError: it does not fit: wrong type, unknown or missing key; the message names the field.
    """
    return _converted(_codec(kind)[1], value)


def _converted(convert: Convert, value: Value) -> Value:
    try:
        return convert(value)
    except _Misfit as misfit:
        where = ".".join(reversed(misfit.path))
        raise ReportError(f"{where}: {misfit.message}" if where else misfit.message) from None


@cache
def _codec(kind: Kind) -> Codec:
    """Encoder and decoder of a type."""
    origin: Kind = get_origin(kind)
    if kind in (bool, int, str, type(None)):
        return (exact := _exactly(kind)), exact
    if origin is Literal:
        return (member := _member(get_args(kind))), member
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    builders: dict[Value, Callable[..., Codec]] = {
        Union: _union,
        types.UnionType: _union,
        tuple: _tuple,
        dict: _mapping,
        Mapping: _mapping,
    }
    if kind is float:
        return _encode_float, _decode_float
    if origin not in builders:
        raise TypeError(f"no plain form for {kind}")
    return builders[origin](*get_args(kind))


def _wrong(value: Value, wanted: str) -> _Misfit:
    return _Misfit(f"{value!r:.60} is {type(value).__name__}, must be {wanted}")


def _exactly(kind: type) -> Convert:
    def check(value: Value) -> Value:
        if type(value) is not kind:
            raise _wrong(value, "null" if kind is type(None) else kind.__name__)
        return value

    return check


def _member(members: tuple[Any, ...]) -> Convert:
    def check(value: Value) -> Value:
        if value not in members:
            raise _wrong(value, f"one of {', '.join(map(str, members))}")
        return value

    return check


def _encode_float(value: Value) -> float | str:
    if type(value) not in (int, float):
        raise _wrong(value, "float")
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _decode_float(value: Value) -> float:
    if type(value) in (int, float):
        return float(value)
    if type(value) is not str or value not in NOT_FINITE:
        raise _wrong(value, "float")
    return NOT_FINITE[value]


def _union(*kinds: Kind) -> Codec:
    """Dataclasses are chosen by name; of the rest, the first kind that takes the value."""
    row_kinds: list[Kind] = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    rows = {kind.__name__: _codec(kind) for kind in row_kinds}
    # int before float: 1 stays 1, and only what is no int becomes a float.
    rest = sorted(
        (kind for kind in kinds if not dataclasses.is_dataclass(kind)), key=lambda kind: kind is float
    )
    others = [_codec(kind) for kind in rest]
    wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)

    def first(way: int, value: Value) -> Value:
        for codec in others:
            try:
                return codec[way](value)
            except _Misfit as misfit:
                if misfit.path:  # the right kind, with something wrong inside
                    raise
        raise _wrong(value, wanted)

    def encode(value: Value) -> Value:
        name = type(value).__name__
        if name not in rows:
            return first(0, value)
        plain = rows[name][0](value)
        return {"type": name, **plain} if len(rows) > 1 else plain

    def decode(value: Value) -> Value:
        if not rows or not isinstance(value, dict):
            return first(1, value)
        fields = dict(value)
        name = fields.pop("type", None) if len(rows) > 1 else next(iter(rows))
        if name not in rows:
            raise _wrong(name, f"one of {', '.join(rows)}")
        return rows[name][1](fields)

    return encode, decode


def _tuple(*kinds: Kind) -> Codec:
    """tuple[X, ...] of any length, tuple[X, Y] of that length; lists in JSON."""
    endless = kinds[-1] is Ellipsis
    codecs = [_codec(kind) for kind in kinds if kind is not Ellipsis]

    def convert(way: int, values: Value) -> Iterator[Value]:
        if not endless and len(values) != len(codecs):
            raise _wrong(values, f"a list of {len(codecs)}")
        each = itertools.repeat(codecs[0]) if endless else codecs
        return (
            _at(str(i), codec[way], value) for i, (codec, value) in enumerate(zip(each, values, strict=False))
        )

    def plainly(values: Value) -> bool:
        """Whether nothing is to be converted: thousands of cycles need no call for each."""
        return endless and kinds[0] is int and all(type(value) is int for value in values)

    def encode(values: Value) -> Value:
        if type(values) is not tuple:
            raise _wrong(values, "a tuple")
        return list(values) if plainly(values) else list(convert(0, values))

    def decode(values: Value) -> Value:
        if type(values) is not list:
            raise _wrong(values, "a list")
        return tuple(values) if plainly(values) else tuple(convert(1, values))

    return encode, decode


def _mapping(key_kind: Kind, kind: Kind) -> Codec:
    """Mapping[str, X] or Mapping[int, X]; JSON's keys are strings."""
    encode_item, decode_item = _codec(kind)

    def encode(values: Value) -> Value:
        if not isinstance(values, Mapping):
            raise _wrong(values, "a mapping")
        for key in values:
            if type(key) is not key_kind:
                raise _wrong(key, f"a key of type {key_kind.__name__}")
        return {str(key): _at(str(key), encode_item, value) for key, value in values.items()}

    def decode(values: Value) -> Value:
        if not isinstance(values, dict):
            raise _wrong(values, "an object")
        return {key_of(key): _at(key, decode_item, value) for key, value in values.items()}

    def key_of(text: str) -> str | int:
        if key_kind is str:
            return text
        try:
            return int(text)
        except ValueError:
            raise _wrong(text, "a whole number as key") from None

    return encode, decode


def _dataclass(kind: Kind) -> Codec:
    """A JSON object with one key a field; no key too many, none missing unless its field has a default."""
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    codecs = {field.name: _codec(hints[field.name]) for field in fields}
    needed = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def encode(value: Value) -> Value:
        if type(value) is not kind:
            raise _wrong(value, kind.__name__)
        return {name: _at(name, codec[0], getattr(value, name)) for name, codec in codecs.items()}

    def decode(values: Value) -> Value:
        if not isinstance(values, dict):
            raise _wrong(values, f"an object ({kind.__name__})")
        if unknown := values.keys() - codecs.keys():
            raise _Misfit(f"unknown key {', '.join(sorted(unknown))} in {kind.__name__}")
        if missing := needed - values.keys():
            raise _Misfit(f"no {', '.join(sorted(missing))} in {kind.__name__}")
        return kind(**{name: _at(name, codecs[name][1], value) for name, value in values.items()})

    return encode, decode


def _at(where: str, convert: Convert, value: Value) -> Value:
    """Convert, noting the place in a misfit on its way out."""
    try:
        return convert(value)
    except _Misfit as misfit:
        misfit.path.append(where)
        raise

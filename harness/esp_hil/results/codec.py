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
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from esp_hil.errors import ReportError

Kind = Any  # a type, known only at run time
Value = Any  # a value of such a type, or its plain form
Convert = Callable[[Value], Value]

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
    return _converted(_codec(kind).encode, value)


def from_plain(kind: Kind, value: Value) -> Value:
    """The `kind` that a plain JSON value stands for.

    Raises:
        ReportError: it does not fit: wrong type, unknown or missing key; the message names the field.
    """
    return _converted(_codec(kind).decode, value)


def _converted(convert: Convert, value: Value) -> Value:
    try:
        return convert(value)
    except _Misfit as misfit:
        where = ".".join(reversed(misfit.path))
        raise ReportError(f"{where}: {misfit.message}" if where else misfit.message) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codec:
    """Encoder and decoder of a type, and what needs neither.

    Attributes:
        encode: a value to its plain form.
        decode: a plain form to its value.
        written: exact types whose values are their own plain form.
        read: exact types whose plain forms are their own value. With 100,000 rows the calls that are not made
            are most of the time.
        holds: type of every value, if there is one; a union asks nobody else for a value of that type.
        plain: type of every plain form, likewise.
    """

    encode: Convert
    decode: Convert
    written: frozenset[type] = frozenset()
    read: frozenset[type] = frozenset()
    holds: type | None = None
    plain: type | None = None


@cache
def _codec(kind: Kind) -> _Codec:
    """Encoder and decoder of a type."""
    origin: Kind = get_origin(kind)
    if kind in (bool, int, str, type(None)):
        exact, same = _exactly(kind), frozenset({kind})
        return _Codec(encode=exact, decode=exact, written=same, read=same, holds=kind, plain=kind)
    if origin is Literal:
        member = _member(get_args(kind))
        return _Codec(encode=member, decode=member)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    builders: dict[Value, Callable[..., _Codec]] = {
        Union: _union,
        types.UnionType: _union,
        tuple: _tuple,
        dict: _mapping,
        Mapping: _mapping,
    }
    if kind is float:
        return _Codec(encode=_encode_float, decode=_decode_float, read=frozenset({float}))
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


def _union(*kinds: Kind) -> _Codec:
    """Dataclasses are chosen by name; of the rest, the first kind that takes the value."""
    row_kinds: list[Kind] = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    rows = {kind.__name__: _codec(kind) for kind in row_kinds}
    # int before float: 1 stays 1, and only what is not an int becomes a float.
    rest = sorted(
        (kind for kind in kinds if not dataclasses.is_dataclass(kind)), key=lambda kind: kind is float
    )
    others = [_codec(kind) for kind in rest]
    wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)

    encode_other = _first([(other.holds, other.encode) for other in others], wanted)
    decode_other = _first([(other.plain, other.decode) for other in others], wanted)

    def encode(value: Value) -> Value:
        name = type(value).__name__
        if name not in rows:
            return encode_other(value)
        plain = rows[name].encode(value)
        return {"type": name, **plain} if len(rows) > 1 else plain

    def decode(value: Value) -> Value:
        if not rows or not isinstance(value, dict):
            return decode_other(value)
        if len(rows) == 1:
            return rows[row_kinds[0].__name__].decode(value)
        fields = dict(value)
        name = fields.pop("type", None)
        if name not in rows:
            raise _wrong(name, f"one of {', '.join(rows)}")
        return rows[name].decode(fields)

    return _Codec(
        encode=encode,
        decode=decode,
        written=frozenset().union(*(other.written for other in others)),
        read=frozenset().union(*(other.read for other in others)),
    )


def _first(ways: list[tuple[type | None, Convert]], wanted: str) -> Convert:
    """The conversion of the value's type if one has that type to itself, else the first that takes the value."""
    types_of = [of for of, _ in ways]
    sole = {of: way for of, way in ways if of is not None and types_of.count(of) == 1}

    def convert(value: Value) -> Value:
        if type(value) in sole:
            return sole[type(value)](value)
        for _, way in ways:
            try:
                return way(value)
            except _Misfit as misfit:
                if misfit.path:  # the right kind, with something wrong inside
                    raise
        raise _wrong(value, wanted)

    return convert


def _tuple(*kinds: Kind) -> _Codec:
    """tuple[X, ...] of any length, tuple[X, Y] of that length; lists in JSON."""
    endless = kinds[-1] is Ellipsis
    codecs = [_codec(kind) for kind in kinds if kind is not Ellipsis]

    def convert(values: Value, ways: list[Convert], same: list[frozenset[type]]) -> list[Value]:
        if endless and same[0].issuperset(map(type, values)):
            return list(values)  # thousands of cycles need no call for each
        if not endless and len(values) != len(codecs):
            raise _wrong(values, f"a list of {len(codecs)}")
        each = itertools.repeat((ways[0], same[0])) if endless else zip(ways, same, strict=True)
        made: list[Value] = []
        try:
            for value, (way, as_it_is) in zip(values, each, strict=False):
                made.append(value if type(value) in as_it_is else way(value))
        except _Misfit as misfit:
            misfit.path.append(str(len(made)))
            raise
        return made

    encoders, written = [codec.encode for codec in codecs], [codec.written for codec in codecs]
    decoders, read = [codec.decode for codec in codecs], [codec.read for codec in codecs]

    def encode(values: Value) -> Value:
        if type(values) is not tuple:
            raise _wrong(values, "a tuple")
        return convert(values, encoders, written)

    def decode(values: Value) -> Value:
        if type(values) is not list:
            raise _wrong(values, "a list")
        return tuple(convert(values, decoders, read))

    return _Codec(encode=encode, decode=decode, holds=tuple, plain=list)


def _mapping(key_kind: Kind, kind: Kind) -> _Codec:
    """Mapping[str, X] or Mapping[int, X]; JSON's keys are strings."""
    codec = _codec(kind)

    def encode(values: Value) -> Value:
        if not isinstance(values, Mapping):
            raise _wrong(values, "a mapping")
        for key in values:
            if type(key) is not key_kind:
                raise _wrong(key, f"a key of type {key_kind.__name__}")
        return {str(key): value for key, value in _items(values, codec.encode, codec.written)}

    def decode(values: Value) -> Value:
        if not isinstance(values, dict):
            raise _wrong(values, "an object")
        items = _items(values, codec.decode, codec.read)
        return dict(items) if key_kind is str else {whole(key): value for key, value in items}

    def whole(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise _wrong(text, "a whole number as key") from None

    return _Codec(encode=encode, decode=decode, holds=dict, plain=dict)


def _items(
    values: Mapping[Value, Value], convert: Convert, same: frozenset[type]
) -> Iterator[tuple[Value, Value]]:
    """Keys with converted values, noting the key in a misfit on its way out."""
    for key, value in values.items():
        if type(value) in same:
            yield key, value
            continue
        try:
            made = convert(value)
        except _Misfit as misfit:
            misfit.path.append(str(key))
            raise
        yield key, made


def _dataclass(kind: Kind) -> _Codec:
    """A JSON object with one key a field; no key too many, none missing unless its field has a default."""
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    codecs = {field.name: _codec(hints[field.name]) for field in fields}
    needed = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    return _Codec(encode=_field_encoder(kind, codecs), decode=_field_decoder(kind, codecs, needed))


def _field_encoder(kind: Kind, codecs: Mapping[str, _Codec]) -> Convert:
    def encode(value: Value) -> Value:
        if type(value) is not kind:
            raise _wrong(value, kind.__name__)
        plain: dict[str, Value] = {}
        name = ""
        try:
            for name, codec in codecs.items():
                part = getattr(value, name)
                plain[name] = part if type(part) in codec.written else codec.encode(part)
        except _Misfit as misfit:
            misfit.path.append(name)
            raise
        return plain

    return encode


def _field_decoder(kind: Kind, codecs: Mapping[str, _Codec], needed: set[str]) -> Convert:
    known = codecs.keys()
    readers = {name: (codec.read, codec.decode) for name, codec in codecs.items()}

    def check_keys(found: Set[str]) -> None:
        if unknown := found - known:
            raise _Misfit(f"unknown key {', '.join(sorted(unknown))} in {kind.__name__}")
        if missing := needed - found:
            raise _Misfit(f"no {', '.join(sorted(missing))} in {kind.__name__}")

    def decode(values: Value) -> Value:
        if not isinstance(values, dict):
            raise _wrong(values, f"an object ({kind.__name__})")
        if values.keys() != known:
            check_keys(values.keys())
        made = dict(values)
        name = ""
        try:
            for name, value in values.items():
                same, convert = readers[name]
                if type(value) not in same:
                    made[name] = convert(value)
        except _Misfit as misfit:
            misfit.path.append(name)
            raise
        return kind(**made)

    return decode

"""Checked access to a FlatBuffer: every offset and length is tested against the buffer before it is followed.

The accessors of the `flatbuffers` package follow offsets as they find them, so a damaged file shows as a
struct.error, a numpy error or, with a wrapped offset, as a wrong value. Here each step is bounded, and so is
the sum of all steps: a few bytes can name the same table a million times, and following them all would take
minutes.

Layout followed (FlatBuffers internals): a table starts with a signed offset back to its vtable; a vtable is
u16 size, u16 table size, then one u16 per field (0 = absent); strings and vectors are a u32 count followed by
the elements; references are u32 offsets forward from where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")

# A sound file is visited about once; shared strings and vtables make it a little more.
_VISITS_PER_BYTE = 4
_VISITS_FREE = 65_536


class FlatBuffer:
    """The bytes of one FlatBuffer.

    Args:
        data: the FlatBuffer.
        base: its offset in the file; added to the offsets that errors name.
        old_schema: whether it may follow the schema of ESP-DL before 3.1.
    """

    __slots__ = ("base", "data", "old_schema", "size", "visits_left")

    def __init__(self, data: bytes, base: int = 0, *, old_schema: bool = False) -> None:
        self.data = data
        self.old_schema = old_schema
        self.size = len(data)
        self.base = base
        self.visits_left = _VISITS_PER_BYTE * self.size + _VISITS_FREE

    def damaged(self, what: str, at: int) -> FormatError:
        """The error for `what`, found at offset `at` of the FlatBuffer."""
        return FormatError(
            what,
            offset=self.base + max(at, 0),
            hint="the file is damaged or truncated: copy or export it again",
        )

    def need(self, at: int, count: int, what: str) -> None:
        """Raise FormatError unless `count` bytes at `at` lie in the buffer; counts them as visited."""
        if at < 0 or count < 0 or at + count > self.size:
            raise self.damaged(f"{what} reaches beyond the end of the model", at)
        self.visits_left -= count
        if self.visits_left < 0:
            raise self.damaged(f"{what} belongs to parts of the model that overlap", at)

    def unpack(self, fmt: struct.Struct, at: int, what: str) -> Any:  # noqa: ANN401 - int or float, by format
        """One number at `at`."""
        self.need(at, fmt.size, what)
        return fmt.unpack_from(self.data, at)[0]

    def follow(self, at: int, what: str) -> int:
        """Target of the reference at `at`."""
        target = at + int(self.unpack(_U32, at, what))
        if target <= at or target >= self.size:
            raise self.damaged(f"{what} points outside the model", at)
        return target

    def vector(self, at: int, item_bytes: int, what: str) -> tuple[int, int]:
        """Offset of the first item and number of items of the vector at `at`."""
        count = int(self.unpack(_U32, at, what))
        self.need(at + 4, count * item_bytes, what)
        return at + 4, count

    def text(self, at: int, what: str) -> str:
        """The UTF-8 string at `at`."""
        start, count = self.vector(at, 1, what)
        try:
            return self.data[start : start + count].decode()
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8", start) from None

    def root(self) -> FlatTable:
        """The root table."""
        return FlatTable(self, self.follow(0, "root table"), "root table")


class FlatTable:
    """One table. Fields go by their index in the schema; `what` names table and field in errors."""

    __slots__ = ("at", "buffer", "fields", "what")

    def __init__(self, buffer: FlatBuffer, at: int, what: str) -> None:
        self.buffer, self.at, self.what = buffer, at, what
        vtable = at - int(buffer.unpack(_I32, at, what))
        vtable_bytes = int(buffer.unpack(_U16, vtable, f"vtable of {what}"))
        table_bytes = int(buffer.unpack(_U16, vtable + 2, f"vtable of {what}"))
        if vtable_bytes < 4 or vtable_bytes % 2:
            raise buffer.damaged(f"vtable of {what} has size {vtable_bytes}", vtable)
        buffer.need(vtable, vtable_bytes, f"vtable of {what}")
        buffer.need(at, table_bytes, what)
        count = (vtable_bytes - 4) // 2
        self.fields = struct.unpack_from(f"<{count}H", buffer.data, vtable + 4)
        if any(0 < field < 4 or field >= table_bytes for field in self.fields if field):
            raise buffer.damaged(f"vtable of {what} names a field outside its table", vtable)

    def field(self, index: int) -> int | None:
        """Offset of a field's own bytes, None if the field is absent."""
        if index >= len(self.fields) or self.fields[index] == 0:
            return None
        return self.at + int(self.fields[index])

    def number(self, index: int, fmt: str, what: str) -> Any:  # noqa: ANN401 - int or float, by format
        """The number (or one-number struct) of a field, None if absent; `fmt` is one letter of `struct`."""
        at = self.field(index)
        return None if at is None else self.buffer.unpack(struct.Struct("<" + fmt), at, self._name(what))

    def text(self, index: int, what: str) -> str:
        """The string of a field, "" if absent."""
        at = self.reference(index, what)
        return "" if at is None else self.buffer.text(at, self._name(what))

    def table(self, index: int, what: str) -> FlatTable | None:
        """The table of a field, None if absent."""
        at = self.reference(index, what)
        return None if at is None else FlatTable(self.buffer, at, what)

    def tables(self, index: int, what: str) -> Iterator[FlatTable]:
        """The tables of a vector, none if absent."""
        for at in self._references(index, what):
            yield FlatTable(self.buffer, at, what)

    def texts(self, index: int, what: str) -> tuple[str, ...]:
        """The strings of a vector, none if absent."""
        return tuple(self.buffer.text(at, self._name(what)) for at in self._references(index, what))

    def array(self, index: int, dtype: str, what: str) -> NDArray[Any]:
        """The numbers of a vector as a read-only view, empty if absent; `dtype` is little-endian."""
        at = self.reference(index, what)
        if at is None:
            return np.empty(0, dtype)
        start, count = self.buffer.vector(at, np.dtype(dtype).itemsize, self._name(what))
        return np.frombuffer(self.buffer.data, dtype, count, start)

    def reference(self, index: int, what: str) -> int | None:
        """Where a field that is a reference points, None if absent."""
        at = self.field(index)
        return None if at is None else self.buffer.follow(at, self._name(what))

    def damaged(self, what: str) -> FormatError:
        """The error for `what` with this table's offset."""
        return self.buffer.damaged(what, self.at)

    def _references(self, index: int, what: str) -> Iterator[int]:
        at = self.reference(index, what)
        if at is None:
            return
        start, count = self.buffer.vector(at, 4, self._name(what))
        for item in range(start, start + 4 * count, 4):
            yield self.buffer.follow(item, self._name(what))

    def _name(self, what: str) -> str:
        return f"{what} of {self.what}"

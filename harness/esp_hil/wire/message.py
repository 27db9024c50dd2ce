"""What all messages of docs/PROTOCOL.md have: a kind, and fields in the order of the wire."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, Self, cast

from esp_hil.errors import WireError


class Message:
    """Its dataclass fields, packed by FORM in their order; with TAIL the last is the bytes that follow."""

    __slots__ = ()
    KIND: ClassVar[int]
    FORM: ClassVar[struct.Struct]
    TAIL: ClassVar[bool] = False

    @classmethod
    def said(cls) -> str:
        """Its name as docs/PROTOCOL.md says it, for people: a `RunRequest` is a Run."""
        return cls.__name__.removesuffix("Request")

    @property
    def kind(self) -> int:
        """Of this message's frame."""
        return self.KIND

    def payload(self) -> bytes:
        """The payload of this message's frame (of an answer: without the status byte)."""
        values = [getattr(self, field.name) for field in fields(cast(Any, self))]
        if self.TAIL:
            return self.FORM.pack(*values[:-1]) + cast(bytes, values[-1])
        return self.FORM.pack(*values)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read such a payload.

        Raises:
            WireError: it has the wrong length.
        """
        make = cast(Callable[..., Self], cls)
        fixed = cls._fixed(payload)
        return make(*fixed, payload[cls.FORM.size :]) if cls.TAIL else make(*fixed)

    @classmethod
    def _fixed(cls, payload: bytes) -> tuple[int, ...]:
        """The fields of FORM at the start of a payload; without TAIL nothing may follow them."""
        size = cls.FORM.size
        if len(payload) < size or (len(payload) > size and not cls.TAIL):
            least = "at least " if cls.TAIL else ""
            raise WireError(f"{cls.said()} has {least}{size} bytes, got {len(payload)}")
        return cls.FORM.unpack_from(payload)

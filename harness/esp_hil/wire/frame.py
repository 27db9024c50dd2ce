"""Frames in a byte stream that also carries console text; docs/PROTOCOL.md section 1.

    stream = { text | 00 | frame }      frame = 00 COBS(body) 00
    body   = kind:u8 session:u8 seq:u16 payload crc:u32          kind in 80..BF

A `Frame` exists only if its checksum held. What is not a frame is `Text` (passed on as it arrives) or `Noise`.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from esp_hil.errors import WireError
from esp_hil.wire import cobs

KIND_MIN, KIND_MAX = 0x80, 0xBF
HEADER_BYTES = 4
CRC_BYTES = 4
MAX_PAYLOAD = 0xFFFF
"""Largest payload that a hello can announce (u16)."""
PAYLOAD_BEFORE_HELLO = 256

_HEADER = struct.Struct("<BBH")
_PRINTABLE = rb"[\t\n\r\x1b\x20-\x7e]"
_RUN_BYTES = 8
"""Shortest printable run in noise that counts as text."""
_RUN = re.compile(_PRINTABLE + b"{%d,}" % _RUN_BYTES)
_RUN_AT_START = re.compile(_PRINTABLE + b"*")
_RUN_AT_END = re.compile(_PRINTABLE + rb"*\Z")


@dataclass(frozen=True, slots=True)
class Frame:
    """An intact frame: kind 0x80..0xBF, session and seq as on the wire, payload without header and CRC."""

    kind: int
    session: int
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Text:
    """Console bytes, as they came; a line may arrive in several pieces."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Noise:
    """A segment of `size` encoded bytes that looked like a frame and was none; `reason` says what failed.

    The text that had been printed into it comes before it.
    """

    size: int
    reason: str


Received = Frame | Text | Noise


def encode_frame(kind: int, session: int, seq: int, payload: bytes) -> bytes:
    """The bytes of one frame with its leading and trailing delimiter.

    Raises:
        WireError: the payload exceeds 65,535 bytes.
    """
    if len(payload) > MAX_PAYLOAD:
        raise WireError(f"payload of {len(payload)} bytes; a frame holds at most {MAX_PAYLOAD}")
    head = _HEADER.pack(kind, session, seq) + payload
    body = head + zlib.crc32(head).to_bytes(CRC_BYTES, "little")
    return b"\0" + cobs.encode(body) + b"\0"


def encoded_bytes(payload_bytes: int) -> int:
    """Most bytes that a frame with such a payload takes on the line, delimiters included."""
    body = HEADER_BYTES + payload_bytes + CRC_BYTES
    return body + 1 + body // cobs.BLOCK + 2


def decode_body(body: bytes) -> Frame:
    """The frame of an unstuffed body.

    Raises:
        WireError: too short, wrong CRC, or a kind outside 80..BF.
    """
    if len(body) < HEADER_BYTES + CRC_BYTES:
        raise WireError(f"frame body of {len(body)} bytes is too short")
    crc = int.from_bytes(body[-CRC_BYTES:], "little")
    if zlib.crc32(memoryview(body)[:-CRC_BYTES]) != crc:
        raise WireError("CRC mismatch")
    kind, session, seq = _HEADER.unpack_from(body)
    if not KIND_MIN <= kind <= KIND_MAX:
        raise WireError(f"kind {kind:#04x} is outside 80..BF")
    return Frame(kind, session, seq, body[HEADER_BYTES:-CRC_BYTES])


class _PrintableRuns:
    """The printable runs of a noise segment that comes in pieces: the same as those of the whole."""

    def __init__(self) -> None:
        self.size = 0
        self._short = b""
        self._in_run = False

    def feed(self, part: bytes) -> bytes:
        """The bytes of runs that are known to be long enough by now and were not given out before."""
        self.size += len(part)
        out = b""
        if self._in_run:
            end = _RUN_AT_START.match(part).end()  # type: ignore[union-attr]  # matches nothing at least
            if end == len(part):
                return part
            out, part = part[:end], part[end:]
        else:
            part = self._short + part
        start = _RUN_AT_END.search(part).start()  # type: ignore[union-attr]
        out += b"".join(_RUN.findall(part[:start]))
        rest = part[start:]
        self._in_run = len(rest) >= _RUN_BYTES
        self._short = b"" if self._in_run else rest
        return out + rest if self._in_run else out


class FrameDecoder:
    """Splits a byte stream into frames, console text and noise; any split of the stream gives the same.

    (The same frames and noise in the same order, and the same text between them; only its pieces differ.)

    Args:
        max_payload: payload bytes of the largest frame to accept; a longer candidate is noise.
    """

    def __init__(self, max_payload: int = MAX_PAYLOAD) -> None:
        self._max_payload = max_payload
        self._limit = encoded_bytes(max_payload) - 2
        self._pending = bytearray()
        self._in_text = False
        self._overlong: _PrintableRuns | None = None

    def feed(self, data: bytes) -> list[Received]:
        """Take the next bytes of the stream; returns what is complete now."""
        out: list[Received] = []
        segments = data.split(b"\0")
        last = segments.pop()
        for segment in segments:
            if self._pending or self._in_text or self._overlong:
                self._extend(segment, out)
                self._end_segment(out)
            elif segment:
                self._whole(segment, out)
        if last:
            self._extend(last, out)
        return out

    def flush(self) -> list[Received]:
        """The stream ended here: what was begun and not completed."""
        out: list[Received] = []
        self._end_segment(out)
        return out

    def _extend(self, part: bytes, out: list[Received]) -> None:
        """Add to the open segment; text leaves at once, a frame candidate waits for its delimiter."""
        if self._overlong:
            _add_text(self._overlong.feed(part), out)
        elif self._in_text:
            _add_text(part, out)
        else:
            self._pending += part
            if len(self._pending) < 2:
                return
            if not KIND_MIN <= self._pending[1] <= KIND_MAX:
                self._in_text = True
            elif len(self._pending) > self._limit:
                # its delimiter was lost: what is printed after it is not held back
                self._overlong = _PrintableRuns()
            else:
                return
            part = bytes(self._pending)
            self._pending.clear()
            self._extend(part, out)

    def _end_segment(self, out: list[Received]) -> None:
        if self._overlong:
            out.append(Noise(self._overlong.size, "longer than a frame"))
        elif self._pending:
            self._whole(bytes(self._pending), out)
        self._pending.clear()
        self._in_text = False
        self._overlong = None

    def _whole(self, segment: bytes, out: list[Received]) -> None:
        """A complete segment: everything between two delimiters, not empty."""
        if len(segment) < 2 or not KIND_MIN <= segment[1] <= KIND_MAX:
            out.append(Text(segment))
            return
        try:
            frame = decode_body(cobs.decode(segment))
            if len(frame.payload) > self._max_payload:
                raise WireError("longer than a frame")
        except WireError as error:
            _add_text(b"".join(_RUN.findall(segment)), out)
            out.append(Noise(len(segment), error.message))
        else:
            out.append(frame)


def _add_text(data: bytes, out: list[Received]) -> None:
    if data:
        out.append(Text(data))

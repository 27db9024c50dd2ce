"""Consistent overhead byte stuffing (Cheshire and Baker, 1999): a body without zeros, so that zero delimits.

The body is cut into blocks. A code byte c below 255 stands for c - 1 bytes and then a zero; 255 stands for
254 bytes and no zero. The zero of the last block is not part of the body. Both directions step from zero to
zero, never from byte to byte: an 8 kB payload without many zeros costs some 30 steps.
"""

from __future__ import annotations

import re

import numpy as np

from esp_hil.errors import WireError

BLOCK = 254
"""Most bytes that one code byte can stand for."""

_CODES = tuple(bytes([length + 1]) for length in range(BLOCK + 1))
_FULL = _CODES[BLOCK]
_ZEROS = re.compile(rb"\x01+")
_VECTOR_ZEROS = 48
"""From so many zeros on numpy is faster than one step of Python for each (measured, 784-byte bodies)."""


def encode(body: bytes) -> bytes:
    """Stuff `body`; the result holds no zero and has at most 1 + len(body) // 254 bytes more.

    A full block at the very end is not followed by another code byte.
    """
    if body.count(0) >= _VECTOR_ZEROS:
        return _encode_many_zeros(body)
    parts: list[bytes] = []
    runs = body.split(b"\0")
    for run in runs[:-1]:
        if len(run) < BLOCK:
            parts += _CODES[len(run)], run
        else:
            _append_long(parts, run)
            if len(run) % BLOCK == 0:
                parts.append(_CODES[0])
    last = runs[-1]
    if len(last) < BLOCK:
        parts += _CODES[len(last)], last
    else:
        _append_long(parts, last)
    return b"".join(parts)


def _append_long(parts: list[bytes], run: bytes) -> None:
    """Append a run of 254 or more bytes as full blocks and, if something is left, a shorter one."""
    whole = len(run) - len(run) % BLOCK
    for at in range(0, whole, BLOCK):
        parts += _FULL, run[at : at + BLOCK]
    if whole < len(run):
        parts += _CODES[len(run) - whole], run[whole:]


def _encode_many_zeros(body: bytes) -> bytes:
    """The same as `encode` for bodies of many zeros: each becomes the distance to the next one."""
    data = np.frombuffer(body + b"\0", dtype=np.uint8)
    (zeros,) = np.nonzero(data == 0)
    runs = np.diff(zeros, prepend=-1) - 1
    out = np.empty(len(data), dtype=np.uint8)
    out[1:] = data[:-1]
    code_at = np.concatenate(([0], zeros[:-1] + 1))
    out[code_at] = np.minimum(runs, BLOCK) + 1
    (long,) = np.nonzero(runs >= BLOCK)
    if not len(long):
        return out.tobytes()
    positions: list[int] = []
    codes: list[int] = []
    for index in long:
        run = int(runs[index])
        # a full block has its successor's code byte after it, except at the very end of the body
        more = run // BLOCK - (run % BLOCK == 0 and index == len(runs) - 1)
        start = int(code_at[index]) + 1
        for block in range(1, more + 1):
            positions.append(start + block * BLOCK)
            codes.append(min(run - block * BLOCK, BLOCK) + 1)
    return np.insert(out, positions, codes).tobytes()


def decode(stuffed: bytes) -> bytes:
    """Undo `encode`.

    Raises:
        WireError: `stuffed` is empty, holds a zero, or a block reaches past its end.
    """
    if not stuffed or 0 in stuffed:
        raise WireError("COBS data are empty or hold a zero")
    parts: list[bytes] = []
    at, end = 0, len(stuffed)
    while at < end:
        code = stuffed[at]
        if code == 1:
            run = _ZEROS.match(stuffed, at).end() - at  # type: ignore[union-attr]  # it does match here
            parts.append(bytes(run))
            at += run
            continue
        block_end = at + code
        if block_end > end:
            raise WireError(f"COBS block of {code} bytes reaches {block_end - end} past the end")
        parts.append(stuffed[at + 1 : block_end])
        if code <= BLOCK:
            parts.append(b"\0")
        at = block_end
    # the zero that closes the last block stands for the end, not for a byte
    return b"".join(parts) if code > BLOCK else b"".join(parts)[:-1]

"""Ways to damage the bytes of a file: at random, and where offsets and counts are likely to be."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytearray, Sequence[bytes]], None]

_EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF)
_WIDE_EDGES = (*_EDGES, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFC, 0xFFFFFFFF)
_HEADER_BYTES = 16


def flip_bits(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Flip single bits."""
    del others
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def set_bytes(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Overwrite single bytes."""
    del others
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        data[chance.randrange(len(data))] = chance.randrange(256)


def set_words(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Overwrite aligned 32-bit words, where offsets, counts and enumerations are, by values at the edges."""
    del others
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = 4 * chance.randrange(max(len(data) // 4, 1))
        word = chance.choice(_WIDE_EDGES) if chance.random() < 0.5 else chance.randrange(len(data))
        data[at : at + 4] = struct.pack("<I", word)


def nudge_word(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Change an aligned word by a little: an offset then leads into the neighbour."""
    del others
    at = 4 * chance.randrange(max(len(data) // 4, 1))
    word = struct.unpack_from("<I", data, at)[0] if at + 4 <= len(data) else 0
    data[at : at + 4] = struct.pack("<I", (word + chance.choice((-16, -8, -4, -1, 1, 4, 8, 16))) & 0xFFFFFFFF)


def set_halfword(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Overwrite a 16-bit word, as vtables hold."""
    del others
    at = 2 * chance.randrange(max(len(data) // 2, 1))
    data[at : at + 2] = struct.pack("<H", chance.choice(_EDGES))


def copy_block(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Copy a piece of this or another file over a piece of this one."""
    source = chance.choice([bytes(data), *others])
    count = chance.choice((4, 8, 16, 64, 256))
    start, at = 4 * chance.randrange(len(source) // 4), 4 * chance.randrange(len(data) // 4)
    piece = source[start : start + min(count, len(data) - at)]
    data[at : at + len(piece)] = piece


def cut(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Drop the end, and sometimes mend the length in the header."""
    del others
    del data[chance.randrange(4, len(data)) :]
    _mend_length(chance, data)


def insert(chance: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Insert or remove bytes in the middle, and sometimes mend the length in the header."""
    del others
    at, count = chance.randrange(len(data)), chance.choice((1, 4, 16))
    if chance.random() < 0.5:
        data[at:at] = chance.randbytes(count)
    else:
        del data[at : at + count]
    _mend_length(chance, data)


def _mend_length(chance: random.Random, data: bytearray) -> None:
    if chance.random() < 0.7 and len(data) > _HEADER_BYTES and data[:4] == b"EDL2":
        data[8:12] = struct.pack("<I", len(data) - _HEADER_BYTES)


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    set_bytes,
    set_words,
    nudge_word,
    set_halfword,
    copy_block,
    cut,
    insert,
)


def mutated(chance: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One file of the corpus with one to three mutations."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if len(data) < _HEADER_BYTES:
            break
        chance.choice(MUTATIONS)(chance, data, corpus)
    return bytes(data)

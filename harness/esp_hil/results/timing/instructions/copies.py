"""What a copy of ESP-DL's own `copy_memory` executes.

Source: ESP-DL 3.3.9, dl/tool/isa/*/*_memcpy.S. Bytes up to the next multiple of 16 of the destination are
copied one word, then one byte at a time; then 32 bytes a round, shifted if the source is not aligned as well;
then 16; then words and bytes again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """Instructions of the parts of a copy: see `copy_instructions`."""

    start: int
    head: int
    word: int
    byte: int
    body: int
    round_aligned: int
    round_shifted: int
    odd_aligned: int
    odd_shifted: int


_COPIES = {
    "s3": _Copy(
        start=12,
        head=9,
        word=4,
        byte=4,
        body=13,
        round_aligned=4,
        round_shifted=7,
        odd_aligned=2,
        odd_shifted=5,
    ),
    "p4": _Copy(
        start=9,
        head=12,
        word=6,
        byte=6,
        body=17,
        round_aligned=6,
        round_shifted=9,
        odd_aligned=2,
        odd_shifted=5,
    ),
}


def copy_instructions(chip: str, count: int, *, destination: int, source: int) -> int:
    """Instructions of one copy.

    Args:
        chip: `s3` or `p4`.
        count: bytes.
        destination: bytes beyond a multiple of 16 where it begins.
        source: likewise.
    """
    cost = _COPIES[chip]
    total = cost.start
    destination %= 16
    if destination:
        head = min(16 - destination, count)
        total += cost.head + cost.word * (head // 4) + cost.byte * (head % 4)
        count -= head
        source += head
    shifted = source % 16 != 0
    vectors, rest = divmod(count, 16)
    total += cost.body + (vectors // 2) * (cost.round_shifted if shifted else cost.round_aligned)
    if vectors % 2:
        total += cost.odd_shifted if shifted else cost.odd_aligned
    return total + cost.word * (rest // 4) + cost.byte * (rest % 4)

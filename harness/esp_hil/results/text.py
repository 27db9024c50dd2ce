"""Text from boards and files, as any file, terminal and browser takes it."""

from __future__ import annotations

import re
from functools import lru_cache

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")


@lru_cache(maxsize=1 << 14)
def clean(text: str) -> str:
    """Text that any file, terminal and browser takes: what cannot be printed becomes a visible escape.

    Names and logs come from boards and files; a control character, a direction override or half a surrogate
    pair in them must neither break a report nor change how it reads.
    """
    if text.isascii() and text.isprintable():
        return text
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", safe)

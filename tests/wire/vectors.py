"""The lines of tests/vectors/wire.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FILE = Path(__file__).parent.parent / "vectors" / "wire.jsonl"


def rows(*, holding: str) -> list[Row]:
    """The lines that have the key `holding` (frame, type, stream or packed)."""
    lines = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if holding in line]

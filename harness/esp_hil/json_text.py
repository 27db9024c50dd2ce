"""JSON that somebody else wrote: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON there is
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, not UTF-8, or nested so deeply that Python's parser gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON there is
    """The value of a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: as `parse_json`.
    """
    return parse_json(path.read_text(encoding="utf-8"))

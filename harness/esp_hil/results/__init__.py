"""What a run found: rows, their metrics and validity, figures of time, history and comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esp_hil.results.frames import checks, compare, frame, layers, load, measures, repetitions

__all__ = ["checks", "compare", "frame", "layers", "load", "measures", "repetitions"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whichever of the names
    """The tables, loaded when they are asked for."""
    if name in __all__:
        from esp_hil.results import frames

        return getattr(frames, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

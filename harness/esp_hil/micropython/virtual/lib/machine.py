"""The module `machine` of a virtual board: its reset button."""

import espdl  # type: ignore[import-not-found]


def reset() -> None:
    """As the button does."""
    espdl.ask({"op": "reset"})

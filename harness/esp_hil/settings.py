"""Where the package lies, and the checkout around it if there is one."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
"""The folder `esp_hil`."""


def checkout() -> Path | None:
    """The checkout of esp-hil that the package lies in (`harness/esp_hil` below it); None if it is installed."""
    root = PACKAGE.parent.parent
    return root if (root / "firmware" / "core").is_dir() and (root / "suites").is_dir() else None


def shipped(name: str) -> Path | None:
    """A folder that comes with the package: inside it in a wheel, beside `harness/` in a checkout; None if nowhere.

    Args:
        name: firmware, golden or suites.
    """
    root = checkout()
    places = [PACKAGE / name, *([root / name] if root is not None else [])]
    return next((place for place in places if place.is_dir()), None)

"""The marks of this repository's own tests; fixtures and options come from `esp_hil.plugin`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    config.addinivalue_line("markers", "quantize: needs esp-ppq and torch (the extra `quantize`)")

"""Where pytest-embedded's `dut` finds the board that the harness has chosen."""

from __future__ import annotations

import pytest


@pytest.fixture
def port(port: str | None, request: pytest.FixtureRequest) -> str | None:
    """pytest-embedded's port: the one that was given, else that of the board of the test's combination."""
    if port or "hil_combination" not in request.fixturenames:
        return port
    url: str = (
        request.getfixturevalue("hil_session").open(request.getfixturevalue("hil_combination")).board.url
    )
    return url

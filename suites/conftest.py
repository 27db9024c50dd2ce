"""Where pytest-embedded's `dut` finds the board that the harness has chosen; what a test of the suites rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from esp_hil.session.options import Combination
    from esp_hil.session.session import Session


@pytest.fixture
def port(port: str | None, request: pytest.FixtureRequest) -> str | None:
    """pytest-embedded's port: the one that was given, else that of the board of the test's combination."""
    if port or "hil_combination" not in request.fixturenames:
        return port
    url: str = (
        request.getfixturevalue("hil_session").open(request.getfixturevalue("hil_combination")).board.url
    )
    return url


@pytest.fixture
def right_answers(hil_session: Session, hil_combination: Combination) -> None:
    """Skips once a test has said that the device answers wrongly: what rests on its answers would say it again."""
    if said := hil_session.wrong(hil_combination):
        pytest.skip(f"numerics already wrong: see {said}")

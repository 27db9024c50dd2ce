"""What several tests of the pages share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.report.browser import Browser, browser, program


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    if program() is None:
        pytest.skip("no browser: apt-get install chromium")
    with browser() as opened:
        yield opened

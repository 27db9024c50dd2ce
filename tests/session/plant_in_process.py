"""A pytest plugin that plants what a virtual board cannot be told to do; PLANT names it (`-p` of the outcome tests)."""

from __future__ import annotations

import os

import pytest

from esp_hil.session.board_session import BoardSession
from esp_hil.session.prepared_board import PreparedBoard

LOST_BYTES = 64
PLANT = os.environ.get("PLANT", "")


def pytest_configure() -> None:
    if PLANT == "leak":
        _lose_heap()
    if PLANT == "size":
        # firmware that takes three bytes for an input
        PreparedBoard.write_raw_input = lambda self, data: None  # type: ignore[method-assign]


def _lose_heap() -> None:
    """Each load costs some bytes for good."""
    reload, free_heap, loads = BoardSession.reload, PreparedBoard.free_heap, [0]

    def counted(self: BoardSession) -> None:
        loads[0] += 1
        reload(self)

    BoardSession.reload = counted  # type: ignore[method-assign]
    PreparedBoard.free_heap = lambda self: free_heap(self) - LOST_BYTES * loads[0]  # type: ignore[method-assign]


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if PLANT == "interrupt" and report.when == "call" and "test_the_device_answers" in report.nodeid:
        raise KeyboardInterrupt

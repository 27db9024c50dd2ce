"""How much memory does it take, and does it give it back?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from esp_hil.counters import ARENA, HEAP_INTERNAL_FREE

if TYPE_CHECKING:
    from esp_hil.session.prepared_board import PreparedBoard
    from esp_hil.session.session import Measured


def test_the_device_reports_its_memory(hil_measured: Measured) -> None:
    """The arena and the free heap are counters of the row."""
    names = set(hil_measured.run.counters)
    assert {ARENA, HEAP_INTERNAL_FREE} <= names


def test_loading_the_model_again_leaks_nothing(hil_board: PreparedBoard) -> None:
    """Free heap after loading the model five more times is no less than after the second time.

    The first time finds a heap that nothing was freed in yet: the same blocks are rounded otherwise there.
    """
    hil_board.reload()
    before = hil_board.free_heap()
    for _ in range(5):
        hil_board.reload()
    after = hil_board.free_heap()
    assert after >= before, f"free heap went from {before} to {after} bytes"


def test_running_changes_no_heap(hil_board: PreparedBoard) -> None:
    """Free heap after ten inferences is what it was before."""
    hil_board.infer_first()
    before = hil_board.free_heap()
    for _ in range(10):
        hil_board.infer_first()
    after = hil_board.free_heap()
    if after != before:
        pytest.fail(f"free heap went from {before} to {after} bytes in ten inferences", pytrace=False)

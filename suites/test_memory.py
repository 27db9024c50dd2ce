"""How much memory does it take, and does it give it back?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from esp_hil.counters import ARENA, HEAP_INTERNAL_FREE

if TYPE_CHECKING:
    from esp_hil.session.session import Measured
    from esp_hil.session.workbench import Bench


def test_the_device_reports_its_memory(measured: Measured) -> None:
    """The arena and the free heap are counters of the row."""
    names = set(measured.run.counters)
    assert {ARENA, HEAP_INTERNAL_FREE} <= names


def test_loading_the_model_again_leaks_nothing(bench: Bench) -> None:
    """Free heap after loading the model five more times is no less than after the second time.

    The first time finds a heap that nothing was freed in yet: the same blocks are rounded otherwise there.
    """
    bench.reload()
    before = bench.free_heap()
    for _ in range(5):
        bench.reload()
    after = bench.free_heap()
    assert after >= before, f"free heap went from {before} to {after} bytes"


def test_running_changes_no_heap(bench: Bench) -> None:
    """Free heap after ten inferences is what it was before."""
    bench.infer_first()
    before = bench.free_heap()
    for _ in range(10):
        bench.infer_first()
    after = bench.free_heap()
    if after != before:
        pytest.fail(f"free heap went from {before} to {after} bytes in ten inferences", pytrace=False)

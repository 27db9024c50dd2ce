"""How much memory does it take, and does it give it back?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from esp_hil.counters import ARENA, HEAP_INTERNAL_FREE
from esp_hil.errors import HilError
from esp_hil.formats.espdl import read_espdl

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


def test_a_model_that_is_refused_costs_no_memory(hil_board: PreparedBoard) -> None:
    """Free heap after five more refusals of a model that fails while it is built is no less than after the second."""
    if hil_board.recipe.runtime != "espdl":
        pytest.skip(f"{hil_board.recipe.runtime} builds a model in one block, which is given back whole")
    image = _with_a_last_operator_that_nobody_has(hil_board.model_bytes)
    left = []
    for _ in range(7):
        with pytest.raises(HilError):
            hil_board.upload(image)
        left.append(hil_board.free_heap())
    hil_board.restore()
    assert left[-1] >= left[1], f"free heap went from {left[1]} to {left[-1]} bytes in five refusals"


def _with_a_last_operator_that_nobody_has(image: bytes) -> bytes:
    """An .espdl file that gets as far as the kind of its last node: ESP-DL has made all parameters before it then."""
    kind = read_espdl(image).graph.nodes[-1].op_type.encode()
    # a string of a FlatBuffer: its length, its bytes, a zero
    head = len(kind).to_bytes(4, "little")
    return image.replace(head + kind + b"\0", head + b"_" * len(kind) + b"\0")


def test_running_changes_no_heap(hil_board: PreparedBoard) -> None:
    """Free heap after ten inferences is what it was before."""
    hil_board.infer_first()
    before = hil_board.free_heap()
    for _ in range(10):
        hil_board.infer_first()
    after = hil_board.free_heap()
    if after != before:
        pytest.fail(f"free heap went from {before} to {after} bytes in ten inferences", pytrace=False)

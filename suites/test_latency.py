"""How fast is it, and can the figure be believed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from esp_hil.session.session import Measured

from esp_hil.results.validity import problems


def test_every_repetition_was_measured(hil_measured: Measured) -> None:
    """The raw cycles of each repetition are in the row, and none is zero; of a benchmark those of its windows."""
    run, windows = hil_measured.run, hil_measured.benchmark
    assert len(run.cycles) == (sum(windows.windows.inferences) if windows else hil_measured.options.runs)
    assert all(cycles > 0 for cycles in run.cycles)


def test_the_latency_is_one_that_the_chip_can_have(hil_measured: Measured) -> None:
    """No validity code: enough repetitions, a right clock, not below the chip's multiply-accumulate floor."""
    if hil_measured.run.simulated:
        article = "an" if hil_measured.run.kind == "emulated" else "a"
        pytest.skip(
            f"no latency gate applies to {article} {hil_measured.run.kind} board: its time is not a chip's"
        )
    found = problems(hil_measured.run, hil_measured.model.expected.macs or None)
    assert not found, "; ".join(found)

"""What the console says, by pytest-embedded's `dut`, beside the frames of the harness on the same port."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from esp_hil.errors import BoardUnavailable

if TYPE_CHECKING:
    from pytest_embedded_serial.dut import SerialDut

    from esp_hil.session.prepared_board import PreparedBoard

Frames = Callable[[], AbstractContextManager["PreparedBoard"]]


def test_the_boot_log_names_the_application(hil_console: SerialDut, hil_frames: Frames) -> None:
    """After a restart that was asked for by a frame, the console tells which application starts."""
    with hil_frames() as hil_board:
        hil_board.device.reset()
    hil_console.expect(r"App version: +\S+", timeout=10)


def test_the_board_answers_frames_before_between_and_after_its_console(
    hil_console: SerialDut, hil_frames: Frames
) -> None:
    """The port changes hands twice and the answers stay right."""
    with hil_frames() as hil_board:
        hil_board.check_alive()
    hil_console.write("")
    with hil_frames() as hil_board:
        hil_board.check_alive()


def test_the_harness_does_not_read_while_the_dut_does(hil_frames: Frames) -> None:
    """Two readers of one port would take each other's bytes: the harness refuses."""
    with hil_frames() as hil_board:
        device = hil_board.device
    with pytest.raises(BoardUnavailable, match="lent to pytest-embedded"):
        device.connect(timeout_s=0.1)

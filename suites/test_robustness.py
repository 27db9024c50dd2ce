"""What does the device do with input that nobody should send, and does it go on afterwards?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from esp_hil.session.prepared_board import Level, PreparedBoard

from esp_hil.errors import DeviceError, HilError, InputError


def test_the_same_input_gives_the_same_answer_again(hil_board: PreparedBoard) -> None:
    """Ten inferences of one input answer alike, bit for bit."""
    first = hil_board.infer_first()
    for _ in range(9):
        again = hil_board.infer_first()
        assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.usefixtures("right_answers")
@pytest.mark.parametrize("level", ["lowest", "zero", "highest"])
def test_extreme_inputs_are_answered_as_the_exact_reference_says(
    hil_board: PreparedBoard, level: Level
) -> None:
    """All-lowest, all-zero and all-highest integers reach the ends of every accumulator."""
    inputs = hil_board.constant_inputs(level)
    expected = hil_board.exact.run(inputs)
    answered = hil_board.infer(inputs)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(answered[name], wanted, err_msg=f"output {name} of all-{level} inputs")


def test_an_input_of_the_wrong_size_is_refused(hil_board: PreparedBoard) -> None:
    """One byte too few: a typed error before anything is computed, and the next inference works."""
    hil_board.infer_first()
    inputs = {name: value.ravel()[:-1] for name, value in hil_board.first_inputs().items()}
    with pytest.raises(InputError):
        hil_board.infer(inputs)
    hil_board.check_alive()


def test_a_raw_write_of_the_wrong_size_is_refused_by_the_device(hil_board: PreparedBoard) -> None:
    """The firmware checks for itself what the host would not send."""
    hil_board.infer_first()
    with pytest.raises(DeviceError):
        hil_board.write_raw_input(b"\0" * 3)
    hil_board.check_alive()


def test_a_truncated_model_is_refused(hil_board: PreparedBoard) -> None:
    """Half an image does not load; the right one does afterwards."""
    hil_board.infer_first()
    image = hil_board.model_bytes
    with pytest.raises(HilError):
        hil_board.upload(image[: len(image) // 2])
    hil_board.restore()
    hil_board.check_alive()


def test_a_reset_in_the_middle_is_noticed_and_survived(hil_board: PreparedBoard) -> None:
    """After a restart the session is made anew and the answers are the same."""
    before = hil_board.infer_first()
    hil_board.device.reset()
    hil_board.restore()
    after = hil_board.infer_first()
    assert all(np.array_equal(before[name], after[name]) for name in before)

"""What does the device do with input that nobody should send, and does it go on afterwards?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from esp_hil.session.workbench import Bench, Level

from esp_hil.errors import DeviceError, HilError, InputError


def test_the_same_input_gives_the_same_answer_again(bench: Bench) -> None:
    """Ten inferences of one input answer alike, bit for bit."""
    first = bench.infer_first()
    for _ in range(9):
        again = bench.infer_first()
        assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("level", ["lowest", "zero", "highest"])
def test_extreme_inputs_are_answered_as_the_exact_reference_says(bench: Bench, level: Level) -> None:
    """All-lowest, all-zero and all-highest integers reach the ends of every accumulator."""
    inputs = bench.constant_inputs(level)
    expected = bench.exact.run(inputs)
    answered = bench.infer(inputs)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(answered[name], wanted, err_msg=f"output {name} of all-{level} inputs")


def test_an_input_of_the_wrong_size_is_refused(bench: Bench) -> None:
    """One byte too few: a typed error before anything is computed, and the next inference works."""
    inputs = {name: value.ravel()[:-1] for name, value in bench.first_inputs().items()}
    with pytest.raises(InputError):
        bench.infer(inputs)
    bench.check_alive()


def test_a_raw_write_of_the_wrong_size_is_refused_by_the_device(bench: Bench) -> None:
    """The firmware checks for itself what the host would not send."""
    with pytest.raises(DeviceError):
        bench.write_raw_input(b"\0" * 3)
    bench.check_alive()


def test_a_truncated_model_is_refused(bench: Bench) -> None:
    """Half an image does not load; the right one does afterwards."""
    image = bench.model_bytes
    with pytest.raises(HilError):
        bench.upload(image[: len(image) // 2])
    bench.restore()
    bench.check_alive()


def test_a_reset_in_the_middle_is_noticed_and_survived(bench: Bench) -> None:
    """After a restart the session is made anew and the answers are the same."""
    before = bench.infer_first()
    bench.device.reset()
    bench.restore()
    after = bench.infer_first()
    assert all(np.array_equal(before[name], after[name]) for name in before)

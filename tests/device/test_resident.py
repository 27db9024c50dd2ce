from __future__ import annotations

import numpy as np
import pytest

from esp_hil.device import resident as resident_module
from esp_hil.device.device import Device
from esp_hil.device.resident import Resident, infer_all, offered, store
from esp_hil.errors import DeviceFault, InputError
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import CoreSettings, SimulatedDevice, SimulatedLink, answer
from esp_hil.wire.status import Status

RECORD_BYTES = 784
OUTPUT_BYTES = 100
SLACK_BYTES = 4096
"""Requests and acknowledgements, but no inputs."""


def connected(golden_bytes: int = 1 << 20) -> tuple[SimulatedLink, Device]:
    board = SimulatedDevice(
        input_bytes=RECORD_BYTES, output_bytes=OUTPUT_BYTES, core=CoreSettings(golden_bytes=golden_bytes)
    )
    board.storage.hold(b"a model")
    link = SimulatedLink(LineModel(baud=921_600), board)
    device = Device(link, seed=1, reopen=link.reopen)
    device.connect(60.0)
    device.load()
    return link, device


def records(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    source = np.random.default_rng(seed)
    return [{"x": source.integers(0, 256, RECORD_BYTES, dtype=np.uint8)} for _ in range(count)]


def outputs(inputs: list[dict[str, np.ndarray]]) -> list[bytes]:
    return [answer(record["x"].tobytes(), OUTPUT_BYTES) for record in inputs]


def stored(device: Device, inputs: list[dict[str, np.ndarray]]) -> Resident:
    resident = store(device, inputs)
    assert resident is not None
    return resident


def test_a_stored_set_is_run_without_sending_it_again() -> None:
    link, device = connected()
    inputs = records(50)
    first = stored(device, inputs)
    assert first.sent_bytes == 50 * RECORD_BYTES
    before = link.down.pushed_bytes
    again = stored(device, inputs)
    assert again.sent_bytes == 0
    made = [inference.outputs["y"].tobytes() for inference in again.infer(range(50))]
    assert made == outputs(inputs)
    assert link.down.pushed_bytes - before < SLACK_BYTES


def test_a_set_outlives_a_reset_of_the_device() -> None:
    link, device = connected()
    inputs = records(5)
    stored(device, inputs)
    link.restart_device()
    device.connect()
    device.load()
    resident = stored(device, inputs)
    assert resident.sent_bytes == 0
    assert [made.outputs["y"].tobytes() for made in resident.infer([4, 0])] == [
        outputs(inputs)[4],
        outputs(inputs)[0],
    ]


def test_another_set_is_sent() -> None:
    _, device = connected()
    stored(device, records(5))
    assert stored(device, records(5, seed=2)).sent_bytes == 5 * RECORD_BYTES
    assert stored(device, records(5)).sent_bytes == 0


def test_outputs_as_expected_are_not_sent_and_differing_ones_are() -> None:
    link, device = connected()
    inputs = records(40)
    right = outputs(inputs)
    expected = [*right[:20], bytes(OUTPUT_BYTES), *right[21:]]
    resident = stored(device, inputs)
    before = link.up.pushed_bytes
    made = [inference.outputs["y"].tobytes() for inference in resident.infer(range(40), expected=expected)]
    assert made == right
    assert link.up.pushed_bytes - before < 40 * 60


def test_a_set_that_does_not_fit_is_not_stored() -> None:
    _, device = connected(golden_bytes=16_384)
    assert store(device, records(30)) is None
    assert stored(device, records(10)).sent_bytes == 10 * RECORD_BYTES


def test_a_set_that_is_gone_after_it_was_written_is_an_error_and_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worn flash: the device took every byte, and finds another hash when it is asked for the set."""
    _, device = connected()
    ask = resident_module._open
    monkeypatch.setattr(resident_module, "_open", lambda *given: ask(*given) and False)
    with pytest.raises(DeviceFault, match="was written and is not there") as caught:
        store(device, records(3))
    assert caught.value.status == Status.STORAGE_FAILED
    assert caught.value.board == device.board


def test_a_device_without_a_store_offers_none() -> None:
    _, device = connected(golden_bytes=0)
    assert not offered(device)


def test_a_record_that_is_not_there_is_refused_before_anything_is_sent() -> None:
    _, device = connected()
    resident = stored(device, records(3))
    with pytest.raises(InputError, match="3 records"):
        list(resident.infer([3]))


def test_a_set_without_records_is_refused() -> None:
    _, device = connected()
    with pytest.raises(InputError, match="without inputs"):
        store(device, [])


@pytest.mark.parametrize(
    ("golden_bytes", "resident"), [(1 << 20, True), (1 << 20, False), (8192, True), (0, True)]
)
def test_all_records_are_answered_whatever_the_device_keeps(golden_bytes: int, resident: bool) -> None:
    _, device = connected(golden_bytes=golden_bytes)
    inputs = records(20)
    made = [one.outputs["y"].tobytes() for one in infer_all(device, inputs, resident=resident)]
    assert made == outputs(inputs)

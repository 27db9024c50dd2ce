from __future__ import annotations

import logging
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from esp_hil.device.device import Device
from esp_hil.device.tuning import (
    PAD_BYTES,
    RECONNECT_S,
    TRIAL_MS,
    RateMemory,
    choose_pad,
    restore,
    try_line,
    tune,
)
from esp_hil.errors import DeviceFault, HandshakeError
from esp_hil.virtual.faults import FaultPlan, LineFaults
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import SimulatedDevice, SimulatedLink, answer
from esp_hil.wire.answers import FailureAnswer
from esp_hil.wire.requests import LineRequest
from esp_hil.wire.status import Status

START = 115_200


def connected(
    limit_baud: int = 0, faults: FaultPlan | None = None, latency_s: float = 0.001
) -> tuple[SimulatedLink, Device]:
    board = SimulatedDevice()
    board.storage.hold(b"a model")
    link = SimulatedLink(LineModel(baud=START, limit_baud=limit_baud, latency_s=latency_s), board, faults)
    device = Device(link, seed=1, reopen=link.reopen)
    device.connect(60.0)
    device.load()
    return link, device


def round_trip_s(device: Device) -> float:
    began_s = device.conversation.now()
    device.ping()
    return device.conversation.now() - began_s


def works(device: Device) -> bool:
    data = np.arange(1024, dtype=np.uint16).astype(np.uint8)
    return device.infer({"x": data}).outputs["y"].tobytes() == answer(data.tobytes(), 1024)


def test_a_clean_line_ends_at_the_highest_rate() -> None:
    link, device = connected()
    found = tune(device)
    assert found.baud == link.baud == link.device.rate.baud == 3_000_000
    assert [test.baud for test in found.tests] == [230_400, 460_800, 921_600, 1_500_000, 2_000_000, 3_000_000]
    assert all(test.good and not test.wrong for test in found.tests)
    assert works(device)


def test_a_rate_that_the_line_does_not_carry_is_given_up() -> None:
    link, device = connected(limit_baud=1_000_000)
    found = tune(device)
    assert found.baud == link.baud == link.device.rate.baud == 921_600
    assert found.given_up[0][0] == 1_500_000
    assert works(device)


def test_the_log_tells_the_rates_and_why_one_was_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil.device")
    _, device = connected(limit_baud=1_000_000)
    tune(device)
    told = "\n".join(caplog.messages)
    assert "the line goes on at 921600 baud" in told
    assert ": 1500000 baud given up: " in told


def test_no_rate_above_the_one_allowed_is_tried() -> None:
    link, device = connected()
    assert tune(device, max_baud=500_000).baud == link.device.rate.baud == 460_800


def test_what_was_found_is_tried_first_the_next_time(tmp_path: Path) -> None:
    memory = RateMemory(tmp_path / "baud.json")
    _, device = connected(limit_baud=1_000_000)
    tune(device, memory=memory)
    _, device = connected(limit_baud=1_000_000)
    again = tune(device, memory=memory)
    assert again.baud == 921_600
    assert [test.baud for test in again.tests] == [921_600]


def test_a_remembered_rate_that_fails_now_is_forgotten(tmp_path: Path) -> None:
    memory = RateMemory(tmp_path / "baud.json")
    memory.put("simulated", 3_000_000)
    link, device = connected(limit_baud=1_000_000)
    assert tune(device, memory=memory).baud == 921_600
    assert memory.get("simulated") == link.device.rate.baud == 921_600


def test_a_memory_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    file = tmp_path / "baud.json"
    file.write_text("{not json", encoding="utf-8")
    assert RateMemory(file).get("simulated") is None


def test_the_rate_of_the_start_is_restored() -> None:
    link, device = connected()
    tune(device)
    restore(device)
    assert link.baud == link.device.rate.baud == START
    assert works(device)


def test_a_host_that_vanished_at_a_high_rate_leaves_a_board_that_the_next_one_reaches() -> None:
    link, device = connected()
    tune(device)
    link.set_baud(START)
    next_one = Device(link, seed=2)
    next_one.connect(10.0)
    assert link.device.rate.baud == START


def test_lost_pattern_frames_are_counted() -> None:
    bad = LineFaults(bit_error_rate=2e-5)
    _, device = connected(faults=FaultPlan(seed=3, to_device=bad, to_host=bad))
    test = try_line(device, test_bytes=200_000)
    assert test.lost_down > 0
    assert test.lost_up > 0
    assert test.wrong == 0
    assert not test.good
    assert works(device)


def test_a_rate_beyond_the_port_s_is_refused_by_the_device() -> None:
    _, device = connected()
    call = device.conversation.session("line").call(LineRequest(6_000_000, 500, 0), device.conversation.now())
    with pytest.raises(DeviceFault, match="bad_range"):
        device.wait_for(call, "line", 5.0)


def stopping(device: Device, monkeypatch: pytest.MonkeyPatch, times: float) -> None:
    """So many HELLOs are answered as by a device that is about to restart."""
    refused = SimpleNamespace(
        hello=SimpleNamespace(failure=FailureAnswer(Status.STOPPING, "")), receive=lambda *_: None
    )
    real, asked = device.conversation.connect, iter(count())
    monkeypatch.setattr(
        device.conversation, "connect", lambda timeout_s: refused if next(asked) < times else real(timeout_s)
    )


def test_a_device_that_is_about_to_restart_is_asked_again_until_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, device = connected()
    stopping(device, monkeypatch, times=3)
    device.connect()
    assert works(device)


def test_a_device_that_never_restarts_is_told_as_it_is_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, device = connected()
    stopping(device, monkeypatch, times=float("inf"))
    with pytest.raises(HandshakeError, match="stopping"):
        device.connect(1.0)


def test_a_bridge_that_keeps_short_packets_is_padded_and_answers_sooner() -> None:
    _, device = connected(latency_s=0.016)
    before_s = round_trip_s(device)
    assert choose_pad(device) == PAD_BYTES
    assert round_trip_s(device) < before_s / 2
    assert works(device)


def test_a_bridge_without_latency_is_not_padded() -> None:
    _, device = connected(latency_s=0.0)
    before_s = round_trip_s(device)
    assert choose_pad(device) == 0
    assert round_trip_s(device) <= before_s


@pytest.mark.parametrize("limit_baud", [0, 200_000, 1_000_000])
def test_tuning_ends_in_seconds_also_where_the_line_gives_way(limit_baud: int) -> None:
    _, device = connected(limit_baud=limit_baud)
    began_s = device.conversation.now()
    tuned = tune(device)
    tried = len(tuned.tests) + len(tuned.given_up)
    assert device.conversation.now() - began_s < tried * 2 * TRIAL_MS / 1e3 + RECONNECT_S

"""The simulated line: its times by hand, and what the link makes of it."""

from __future__ import annotations

import pytest

from benchmarks._link_efficiency import efficiency, overlap
from benchmarks._link_faults import CAMPAIGNS, Campaign, run_campaign
from benchmarks._link_rivals import RIVALS
from esp_hil.virtual.faults import LineFaults
from esp_hil.virtual.line import BadLine
from esp_hil.virtual.simline import LineModel, wires
from esp_hil.virtual.simulated import CoreSettings

BAUD = 100_000  # a byte takes 0.1 ms


def model(**changes: float) -> LineModel:
    return LineModel(baud=BAUD, write_delay_s=0.0, latency_s=0.016, **changes)  # type: ignore[arg-type]


def test_a_full_fifo_is_handed_on_when_its_last_byte_has_come() -> None:
    down, _ = wires(model())
    down.push(bytes(120), 1.0)
    assert down.due == pytest.approx(1.012)
    assert down.pop(1.0119) == b""
    assert down.pop(1.0121) == bytes(120)


def test_a_fifo_that_is_not_full_is_handed_on_after_an_idle_time() -> None:
    down, _ = wires(model())
    down.push(b"abc", 1.0)
    assert down.due == pytest.approx(1.0 + (3 + 10) * 1e-4)


def test_a_bridge_keeps_an_unfilled_packet_for_its_latency() -> None:
    _, up = wires(model())
    up.push(b"abc", 1.0)
    assert up.due == pytest.approx(1.0 + 1e-4 + 0.016)
    up.push(bytes(59), 1.001)
    assert up.due == pytest.approx(1.001 + 59e-4)


def test_bytes_that_wait_take_room_until_they_have_left() -> None:
    down, _ = wires(model())
    down.push(bytes(4096), 0.0)
    assert down.room(0.0) == 0
    assert down.room(0.1) == 1000
    assert down.room_at(1000) == pytest.approx(0.1)
    assert down.room(1.0) == 4096


def test_packets_change_places_and_none_is_lost() -> None:
    data = bytes(range(248))
    arrived, _ = BadLine(LineFaults(reorder_rate=0.02), seed=4).pass_on(data)
    assert arrived != data
    assert sorted(arrived) == sorted(data)


@pytest.mark.parametrize("baud", [115_200, 3_000_000])
@pytest.mark.parametrize("latency_s", [0.001, 0.016])
def test_a_series_of_16_kb_fills_97_percent_of_the_line_both_ways(baud: int, latency_s: float) -> None:
    found = efficiency(baud=baud, latency_s=latency_s, object_bytes=16_384, objects=24, core=CoreSettings())
    assert 0.97 <= found.downward < 1
    assert 0.97 <= found.upward < 1


def test_bit_errors_of_1e_5_leave_90_percent_of_the_clean_line() -> None:
    clean, noisy = (
        efficiency(
            baud=921_600,
            latency_s=0.001,
            object_bytes=16_384,
            objects=64,
            core=CoreSettings(),
            bit_error_rate=rate,
        )
        for rate in (0.0, 1e-5)
    )
    assert noisy.downward > 0.9 * clean.downward
    assert noisy.upward > 0.9 * clean.upward


@pytest.mark.parametrize(("size", "output"), [(784, 10), (16_384, 16_384)])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_a_run_takes_the_longer_of_transfer_and_compute_for_each_input(
    size: int, output: int, ratio: float
) -> None:
    found = overlap(baud=921_600, input_bytes=size, output_bytes=output, compute_ratio=ratio, inputs=16)
    assert 0.99 < found.factor < 1.05


@pytest.mark.parametrize("campaign", CAMPAIGNS, ids=lambda campaign: campaign.name)
def test_no_answer_is_wrong_whatever_the_line_does(campaign: Campaign) -> None:
    count = run_campaign(campaign, transfers=60, seed=5)
    assert count.wrong == 0
    assert count.late == 0
    assert count.right + sum(count.errors.values()) == 60
    assert count.right >= 58


def test_a_clean_line_carries_nothing_twice() -> None:
    count = run_campaign(CAMPAIGNS[0], transfers=50, bytes_each=1024)
    # input and output, 1,024 bytes each, and what surrounds them
    assert count.line_bytes < 50 * (2 * 1024 + 250) + 2000


@pytest.mark.parametrize("way", RIVALS)
def test_other_exchanges_are_no_faster_than_their_bytes(way: str) -> None:
    line = LineModel(baud=115_200)
    took_s = RIVALS[way](line, bytes(range(200)), 10, 3)
    assert took_s > 3 * 210 * line.byte_s

from __future__ import annotations

import sys

import pytest

from esp_hil.device.device import Device
from esp_hil.device.ports import open_link
from esp_hil.device.tuning import tune
from esp_hil.errors import ConfigError
from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from esp_hil.virtual.paced import parse_model


def test_a_model_is_read_as_written() -> None:
    model = parse_model("921600,latency_ms=16,limit=1500000")
    assert (model.baud, model.latency_s, model.limit_baud) == (921_600, 0.016, 1_500_000)
    assert parse_model("115200").baud == 115_200


@pytest.mark.parametrize(
    "text", ["", "fast", "115200,latency=1", "115200,latency_ms=x", "-5", "115200,fifo=-1", "7e9"]
)
def test_a_model_without_meaning_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a model of a line"):
        parse_model(text)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")
def test_a_board_whose_line_takes_time_goes_to_the_rate_that_the_line_carries() -> None:
    with VirtualBoard(target("esp32s3"), line="460800,limit=1000000") as board:
        with Device(open_link(board.url)) as device:
            device.connect()
            assert tune(device).baud == 921_600
            assert device.ping(b"at the new rate") == b"at the new rate"
        with Device(open_link(board.url)) as device:
            device.connect()
            assert device.info().baud in {460_800, 921_600}

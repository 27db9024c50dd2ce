"""What a step of a run is allowed."""

from __future__ import annotations

from pathlib import Path

from esp_hil.device.device import RUN_S
from esp_hil.session.options import Options
from esp_hil.session.run_builder import Answered
from esp_hil.session.steps import allowed_s


def test_the_timed_runs_of_a_slow_network_may_take_as_long_as_its_answers_tell() -> None:
    options = Options(targets=("esp32s3",), runs=20, warmup=2, results=Path("out"))
    yolo = Answered(inputs=8, seconds=8 * 26.0)
    assert allowed_s(yolo, options) > 23 * 26.0
    assert allowed_s(Answered(inputs=120, seconds=2.0), options) == RUN_S
    assert allowed_s(Answered(), options) == RUN_S

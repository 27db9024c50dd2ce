"""`hil link`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.device.recording import read_recording

SHORT = ("link", "virtual", "--target", "esp32p4", "--bytes", "1000", "--max-baud", "115200")


def test_a_recording_and_a_line_model_reach_the_line_and_nobody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, file = dict(os.environ), tmp_path / "line.jsonl"
    assert main([*SHORT, "--baud-model", "115200,latency_ms=1", "--record", str(file)]) == 0
    assert "virtual: 115200 baud at the start" in capsys.readouterr().out
    assert {moment.what for moment in read_recording(file)} >= {"tx", "rx"}
    assert dict(os.environ) == before


def test_a_line_model_is_for_virtual_boards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SHORT[0], "/dev/ttyNowhere", *SHORT[2:], "--baud-model", "115200"]) != 0
    assert "--baud-model is for virtual boards" in capsys.readouterr().err

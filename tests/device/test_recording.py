from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from esp_hil.device.device import Device
from esp_hil.device.recording import RecordedLink, read_recording, unused
from esp_hil.device.replaying import replay
from esp_hil.device.tuning import tune
from esp_hil.errors import ConfigError, DeviceReset, FormatError
from esp_hil.virtual.faults import FaultPlan, LineFaults
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import SimulatedDevice, SimulatedLink


def session(file: Path, faults: FaultPlan | None = None, reset: bool = False) -> SimulatedLink:
    """A recorded session of ten inferences; with `reset` the device restarts in the middle."""
    board = SimulatedDevice()
    board.storage.hold(b"a model")
    link = SimulatedLink(LineModel(baud=921_600), board, faults)
    device = Device(RecordedLink(link, file), seed=1)
    device.connect(60.0)
    device.load()
    data = np.arange(1024, dtype=np.uint16).astype(np.uint8)
    try:
        for number in range(10):
            if reset and number == 5:
                link.restart_at = link.now() + 0.001
            device.infer({"x": data})
    finally:
        device.close()
    return link


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "line.jsonl"


def test_a_recording_holds_every_byte(file: Path) -> None:
    link = session(file)
    moments = list(read_recording(file))
    assert sum(len(m.data) for m in moments if m.what == "tx") == link.down.pushed_bytes
    times = [moment.at for moment in moments]
    assert times == sorted(times)


def test_a_replay_sees_every_request_answered(file: Path) -> None:
    session(file)
    found = replay(read_recording(file))
    assert found.unanswered == found.refused == found.noise == 0
    assert found.requests == found.answered > 10
    assert found.boots == 1
    assert next(event.words for event in found.events if event.kind == "request") == "Hello"


def test_a_replay_of_a_bad_line_shows_what_was_sent_again(file: Path) -> None:
    bad = LineFaults(bit_error_rate=1e-4)
    session(file, FaultPlan(seed=2, to_device=bad, to_host=bad))
    found = replay(read_recording(file))
    assert found.noise > 0
    assert found.repeated > 0
    assert found.damaged_reads == 0


def test_a_replay_shows_the_reset_that_ended_a_session(file: Path) -> None:
    with pytest.raises(DeviceReset):
        session(file, reset=True)
    found = replay(read_recording(file))
    assert found.boots == 2
    assert found.unanswered > 0


def test_a_change_of_rate_is_kept(file: Path) -> None:
    board = SimulatedDevice()
    device = Device(RecordedLink(SimulatedLink(LineModel(baud=115_200), board), file), seed=1)
    device.connect(60.0)
    tune(device, max_baud=460_800)
    device.close()
    assert [m.baud for m in read_recording(file) if m.what == "baud"] == [230_400, 460_800]


def test_a_last_line_that_was_cut_off_is_left_out(file: Path) -> None:
    session(file)
    text = file.read_text(encoding="utf-8")
    file.write_text(text[:-10], encoding="utf-8")
    assert len(list(read_recording(file))) == len(text.splitlines()) - 2


@pytest.mark.parametrize("line", ["[1, 2]", "{", '[0.5, "tx", "zz"]', '[0.5, "up", "00"]'])
def test_a_line_without_meaning_is_named(file: Path, line: str) -> None:
    session(file)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:3], line, *lines[3:]]), encoding="utf-8")
    with pytest.raises(FormatError, match="line 4"):
        list(read_recording(file))


def test_another_file_is_no_recording(file: Path) -> None:
    for text in ("", "hello\n", json.dumps({"hil_recording": 99}) + "\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(FormatError, match="not a recording"):
            list(read_recording(file))


def test_an_old_recording_is_never_overwritten(file: Path) -> None:
    session(file)
    with pytest.raises(ConfigError, match="File exists"):
        RecordedLink(SimulatedLink(LineModel(baud=921_600), SimulatedDevice()), file)
    assert unused(file).name == "line-2.jsonl"

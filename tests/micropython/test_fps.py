"""Frame rates: parts told apart, what follows from them, the plot."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.cli import main
from esp_hil.commands.fps import _say_of_the_uart
from esp_hil.micropython.bindings import BINDINGS
from esp_hil.micropython.firmware import MicroPythonFirmware
from esp_hil.micropython.fps import FrameRate, Told, _order, _told_apart, bound_fps, findings, line, oddities
from esp_hil.micropython.fps_plot import svg
from esp_hil.tasks import FRAMES


def row(
    frame: str, run_ms: float, *, told: Told = "no", network_ms: float = 0.0, fps: float | None = None
) -> FrameRate:
    width, height = FRAMES[frame]
    return FrameRate(
        class_name="FaceDetector",
        frame=frame,
        width=width,
        height=height,
        format="rgb888",
        sent_bytes=width * height * 3,
        transfer_ms=1.0,
        decode_ms=0.0,
        run_ms=run_ms,
        resize_ms=0.0,
        network_ms=network_ms,
        post_ms=0.0,
        inferences=2 if told == "board" else 0,
        found=1,
        told=told,
        published_fps=fps,
        simulated=False,
    )


@given(st.floats(1, 1000), st.floats(0, 1e-3))
def test_a_board_that_tells_only_its_whole_time_is_split_by_a_line(fixed_ms: float, slope: float) -> None:
    """The constant part is the network's, what grows with the frame is the resizing."""
    rows = [row(name, fixed_ms + slope * w * h) for name, (w, h) in FRAMES.items()]
    for made in _told_apart(rows):
        assert made.told == "line"
        assert made.network_ms == pytest.approx(fixed_ms, rel=1e-6)
        assert made.resize_ms == pytest.approx(slope * made.pixels, rel=1e-5, abs=1e-6)


def test_what_a_board_tells_is_kept_and_too_few_frames_tell_nothing() -> None:
    told = [row(name, 50.0, told="board", network_ms=40.0) for name in ("QVGA", "VGA", "HD")]
    assert _told_apart(told) == told
    few = [row("QVGA", 50.0), row("VGA", 60.0)]
    assert [made.told for made in _told_apart(few)] == ["no", "no"]


def test_a_time_that_falls_with_the_frame_is_no_negative_resizing() -> None:
    assert line([1, 2, 3], [30.0, 20.0, 10.0]) == (20.0, 0.0)


def test_the_network_does_not_grow_with_the_frame_unless_it_does() -> None:
    steady = [row(name, 50.0, told="board", network_ms=40.0) for name in ("QQVGA", "VGA", "HD")]
    (found,) = findings(steady)
    assert (found.growth, found.least_ms, found.most_ms) == (48.0, 20.0, 20.0)
    assert found.line_growth == pytest.approx(1.0)
    assert "48 times" in found.summary
    growing = [replace(one, network_ms=one.pixels / 1e4) for one in steady]
    assert findings(growing)[0].most_ms == pytest.approx(48 * findings(growing)[0].least_ms)
    assert findings(growing)[0].line_growth == pytest.approx(48.0)


def test_a_published_rate_that_cannot_be_is_named() -> None:
    bound = bound_fps("HumanDetector", "esp32s3")
    assert bound is not None
    assert 7.7 < bound[0] < 10
    rows = [row("QQVGA", 1.0, fps=14.5), row("QCIF", 1.0, fps=19.7), row("HD", 1.0, fps=300.0)]
    said = oddities(rows, "esp32s3")
    assert any("QCIF" in words and "faster than QQVGA" in words for words in said)
    assert any(words.startswith("FaceDetector, HD: 300 fps are more") for words in said)
    assert oddities([row("QQVGA", 1.0, fps=20.0), row("HD", 1.0, fps=3.6)], "esp32s3") == ()
    assert bound_fps("FaceDetector", "esp32c6") is None


def test_the_lines_time_is_ten_bits_a_byte() -> None:
    assert row("QVGA", 1.0).line_ms(921_600) == pytest.approx(2500, rel=1e-3)


def test_the_plot_has_every_frame_and_every_published_rate() -> None:
    rows = [
        replace(row(name, 50.0, told="board", network_ms=40.0, fps=10.0), resize_ms=10.0) for name in FRAMES
    ]
    drawn = ET.fromstring(svg(rows, format_name="rgb888"))
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawn.findall(f".//{space}circle")) == len(FRAMES)
    assert {text.text for text in drawn.iter(f"{space}text")} >= set(FRAMES)
    assert len(drawn.findall(f".//{space}polygon")) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "DogDetector"], "no class 'DogDetector'"),
        (["--runs", "0"], "at least 1"),
        (["--board", "virtual", "--zoo", "/nowhere/at/all"], "is not a folder"),
        (["--image", "nothing.jpg"], "nothing.jpg"),
        (["--frames", "QVGAA", "--board", "/dev/ttyNONE"], "unknown frame size 'QVGAA'"),
        (["--formats", "rgb", "--board", "/dev/ttyNONE"], "unknown format 'rgb'"),
        (["--classes", "CocoDetector", "--board", "/dev/ttyNONE"], "ttyNONE"),
    ],
)
def test_wrong_wishes_are_refused_in_a_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    del tmp_path
    assert main(["fps", *options]) == 2
    assert words in capsys.readouterr().err


def of_binding(name: str) -> MicroPythonFirmware:
    return MicroPythonFirmware.of(
        {
            "version": "v1.26.0",
            "machine": "ESP32S3",
            "platform": "esp32",
            "espdl": ["FaceDetector"],
            "formats": dict(BINDINGS[name].formats),
            "jpeg": True,
            "free": 0,
            "binding": name,
        }
    )


def test_rgb565_is_what_the_firmware_takes_of_it_and_rgb888_if_nothing() -> None:
    def order(name: str) -> str:
        board: Any = SimpleNamespace(firmware=of_binding(name))
        return _order(board, "rgb565")

    assert {name: order(name) for name in BINDINGS} == {
        "102d875": "rgb565be",
        "6012426": "rgb888",
        "ours": "rgb565le",
    }


def test_what_the_slow_uart_of_published_images_means_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _say_of_the_uart(of_binding("102d875"))
    assert "a raw VGA frame takes 80 s" in capsys.readouterr().out
    _say_of_the_uart(of_binding("ours"))
    assert capsys.readouterr().out == ""

"""Frames per second by resolution: where the time of a board goes, from QQVGA to HD, by pixel format and class.

The published table of the binding has one number for a frame size and does not say what it contains. Here
transfer, decoding, resizing, network and post-processing stand apart. A published firmware only tells how long
its `run` takes: the part that grows with the frame is then told from the part that does not by a straight line
over the frame sizes, since a network's input has one size.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.micropython.driver import MicroPythonBoard
from esp_hil.micropython.picture import Jpeg, Picture
from esp_hil.micropython.record import PictureRecord
from esp_hil.results.timing.published import published_of
from esp_hil.tasks import FORMATS, FRAMES, Image, PixelFormat, names, pictures, read_spec

Told = Literal["board", "line", "no"]
BITS_PER_BYTE = 10
_QUALITY = 90
_LEAST_FRAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRate:
    """One class on one frame size in one format; times in ms, the least of the repetitions.

    Attributes:
        class_name: of the binding.
        frame: name of the size, see esp_hil.tasks.FRAMES.
        width: in pixels.
        height: in pixels.
        format: jpeg or a pixel format.
        sent_bytes: of the upload.
        transfer_ms: of the upload, on the line that there was.
        decode_ms: JPEG to frame; 0 for a raw one.
        run_ms: the binding's `run`, the three that follow together.
        resize_ms: frame to the input of the networks.
        network_ms: all inferences.
        post_ms: outputs to results; where a line told them apart it is in `network_ms`.
        inferences: of all networks in one run; 0: unknown.
        found: objects or names in the answer.
        told: who told the parts of `run` apart: the board, a line over the frame sizes, or nobody.
        published_fps: of the binding for this class, chip and frame; None if none is published.
        simulated: the board is virtual: its times are this machine's.
    """

    class_name: str
    frame: str
    width: int
    height: int
    format: str
    sent_bytes: int
    transfer_ms: float
    decode_ms: float
    run_ms: float
    resize_ms: float
    network_ms: float
    post_ms: float
    inferences: int
    found: int
    told: Told
    published_fps: float | None
    simulated: bool

    @property
    def pixels(self) -> int:
        """Of the frame."""
        return self.width * self.height

    @property
    def fps(self) -> float:
        """Frames per second without the transfer: a camera would be on the board."""
        return 1e3 / (self.decode_ms + self.run_ms)

    def line_ms(self, baud: int) -> float:
        """What the upload takes at least on a serial line, ten bits a byte."""
        return self.sent_bytes * BITS_PER_BYTE / baud * 1e3


def measure(
    board: MicroPythonBoard,
    name: str,
    rgb: NDArray[np.uint8],
    *,
    chip: str,
    formats: Sequence[str],
    frames: Sequence[str] = tuple(FRAMES),
    runs: int = 5,
) -> Iterator[FrameRate]:
    """Rows of one class, for each format all frame sizes.

    Args:
        board: open.
        name: class of the binding.
        rgb: the picture, uint8 (height, width, 3), which is stretched to each size.
        chip: whose published figures.
        formats: `jpeg`, raw formats, or `rgb565` in the order of bytes that the firmware takes (RGB888 if none).
        frames: names of sizes.
        runs: of each; one more goes before them.

    Raises:
        InputError: an unknown frame size or format.
        HilError: see `MicroPythonBoard.run`.
    """
    check_sizes_and_formats(frames, formats)
    published = _published(name, chip)
    for pixel_format in (_order(board, one) for one in formats):
        rows = []
        for frame in frames:
            small = pictures.scaled(rgb, *FRAMES[frame])
            record = board.run(name, _picture(small, pixel_format), runs=runs + 1)
            rows.append(_row(name, frame, record, published.get(frame)))
        yield from _told_apart(rows)


def check_sizes_and_formats(frames: Sequence[str], formats: Sequence[str]) -> None:
    """Refuse what no board has, before one is opened.

    Raises:
        InputError: an unknown frame size or format.
    """
    for frame in frames:
        if frame not in FRAMES:
            raise InputError(f"unknown frame size {frame!r}", hint=f"one of: {', '.join(FRAMES)}")
    for pixel_format in formats:
        if pixel_format not in {"jpeg", "rgb565", *FORMATS}:
            raise InputError(
                f"unknown format {pixel_format!r}", hint=f"jpeg, rgb565 or one of: {', '.join(FORMATS)}"
            )


def _published(name: str, chip: str) -> dict[str, float]:
    spec = next(spec for spec in map(read_spec, names()) if spec.binding_class == name)
    return {row.frame: row.fps for row in spec.published if row.target == chip}


def _order(board: MicroPythonBoard, pixel_format: str) -> str:
    """`rgb565` in the order of bytes that the firmware takes, RGB888 if none; other formats as they are."""
    if pixel_format != "rgb565":
        return pixel_format
    orders: tuple[PixelFormat, ...] = ("rgb565le", "rgb565be")
    for order in orders:
        with contextlib.suppress(InputError):
            board.firmware.constant(order)
            return order
    return "rgb888"


def _picture(rgb: NDArray[np.uint8], pixel_format: str) -> Picture:
    if pixel_format == "jpeg":
        from PIL import Image as Pillow

        file = io.BytesIO()
        Pillow.fromarray(rgb).save(file, "JPEG", quality=_QUALITY)
        return Jpeg.of(file.getvalue())
    return Image.of_rgb(rgb).to(next(one for one in FORMATS if one == pixel_format))


def _row(name: str, frame: str, record: PictureRecord, published_fps: float | None) -> FrameRate:
    # what else happens on a board or machine can only add to a time, so that the least is the cleanest
    phases = [dict(phases) for phases in record.phases_us[1:]]
    least = {key: min(one[key] for one in phases) / 1e3 for key in phases[0]} if phases else {}
    run_ms = min(record.run_us[1:]) / 1e3
    convert_ms = least.get("decode", 0.0)
    return FrameRate(
        class_name=name,
        frame=frame,
        width=record.results.width,
        height=record.results.height,
        format=record.pixel_format,
        sent_bytes=record.transfer.bytes,
        transfer_ms=record.transfer.seconds * 1e3,
        decode_ms=min(record.decode_us[1:]) / 1e3,
        run_ms=max(run_ms, sum(least.get(key, 0.0) for key in ("decode", "resize", "network", "post"))),
        resize_ms=least.get("resize", 0.0) + convert_ms,
        network_ms=least.get("network", 0.0),
        post_ms=least.get("post", 0.0),
        inferences=phases[0].get("inferences", 0) if phases else 0,
        found=len(record.results.detections) or len(record.results.labels),
        told="board" if phases else "no",
        published_fps=published_fps,
        simulated=record.firmware.kind == "virtual",
    )


def _told_apart(rows: Sequence[FrameRate]) -> list[FrameRate]:
    """The rows of one class and format; where the board told nothing, by the line over the frames."""
    if not rows or rows[0].told == "board" or len(rows) < _LEAST_FRAMES:
        return list(rows)
    constant_ms, per_pixel_ms = line([row.pixels for row in rows], [row.run_ms for row in rows])
    return [
        replace(
            row,
            resize_ms=min(row.run_ms, per_pixel_ms * row.pixels),
            network_ms=max(0.0, row.run_ms - per_pixel_ms * row.pixels),
            told="line",
        )
        if constant_ms > 0
        else row
        for row in rows
    ]


def line(pixels: Sequence[int], run_ms: Sequence[float]) -> tuple[float, float]:
    """The constant and the slope, not below zero, of the straight line with the least squared distance."""
    slope, constant = np.polyfit(np.array(pixels, np.float64), np.array(run_ms, np.float64), 1)
    if slope < 0:
        return float(np.mean(run_ms)), 0.0
    return float(constant), float(slope)


@dataclass(frozen=True, slots=True, kw_only=True)
class FpsFinding:
    """What the rows of one class and format say of the network's time.

    Attributes:
        class_name: of the binding.
        format: of the pictures.
        growth: how many times the largest frame has the pixels of the smallest.
        least_ms: of an inference (of `run`'s constant part where the number of inferences is unknown).
        most_ms: likewise.
        line_growth: how many times it takes on the largest frame what it takes on the smallest, by the straight
            line over the pixels: single frames scatter, what grows with the frame shows here.
    """

    class_name: str
    format: str
    growth: float
    least_ms: float
    most_ms: float
    line_growth: float

    @property
    def summary(self) -> str:
        """One sentence."""
        return (
            f"{self.class_name}, {self.format}: while the frame grows {self.growth:.0f} times, the network takes "
            f"{self.least_ms:.2f} to {self.most_ms:.2f} ms an inference, "
            f"{self.line_growth:.2f} times as long by the line over all frames"
        )


def findings(rows: Sequence[FrameRate]) -> tuple[FpsFinding, ...]:
    """How the network's time changes with the frame, by class and format; without rows that tell nothing."""
    made = []
    for key in dict.fromkeys((row.class_name, row.format) for row in rows):
        told = [row for row in rows if (row.class_name, row.format) == key and row.told != "no"]
        if len(told) < 2:
            continue
        each = [row.network_ms / (row.inferences or 1) for row in told]
        pixels = [row.pixels for row in told]
        constant, slope = line(pixels, each)
        made.append(
            FpsFinding(
                class_name=key[0],
                format=key[1],
                growth=max(pixels) / min(pixels),
                least_ms=min(each),
                most_ms=max(each),
                line_growth=(constant + slope * max(pixels)) / (constant + slope * min(pixels)),
            )
        )
    return tuple(made)


def bound_fps(name: str, chip: str) -> tuple[float, str] | None:
    """The most frames per second that the fastest published latency of the class's networks allows, and why.

    One inference of each network: a face detector with more candidates needs more. None: none is published.
    """
    spec = next(spec for spec in map(read_spec, names()) if spec.binding_class == name)
    chosen: Mapping[str, int] = {key: network.macs for key, network in spec.networks.items()}
    if spec.kind != "two_stage_faces":
        first = next(iter(chosen))
        chosen = {first: chosen[first]}
    total_ms, versions = 0.0, []
    for key, macs in chosen.items():
        found = published_of(f"{spec.name}-{key}", chip, "espdl", macs)
        if not found:
            return None
        fastest = min(found, key=lambda row: row.latency_ms)
        total_ms += fastest.latency_ms
        versions.append(f"{key} {fastest.summary}")
    return 1e3 / total_ms, " + ".join(versions)


def oddities(rows: Sequence[FrameRate], chip: str) -> tuple[str, ...]:
    """What cannot be, or is odd, in the published table beside these rows, one sentence each."""
    said = []
    for name in dict.fromkeys(row.class_name for row in rows):
        by_frame = {row.frame: row for row in rows if row.class_name == name and row.published_fps}
        ordered = sorted(by_frame.values(), key=lambda row: row.pixels)
        said += [
            f"{name}: {larger.frame} ({larger.pixels} pixels) is published faster than {smaller.frame} "
            f"({smaller.pixels} pixels): {larger.published_fps:g} against {smaller.published_fps:g} fps"
            for smaller, larger in pairwise(ordered)
            if (larger.published_fps or 0) > (smaller.published_fps or 0)
        ]
        bound = bound_fps(name, chip)
        over = [row for row in ordered if bound and (row.published_fps or 0) > bound[0]]
        said += [
            f"{name}, {row.frame}: {row.published_fps:g} fps are more than its networks allow ({bound[0]:.1f} fps)"
            for row in over
            if bound
        ]
    return tuple(said)

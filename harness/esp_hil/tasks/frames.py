"""A task at every frame size and pixel format: where the time goes, on this machine.

The times are those of this machine's numpy and onnxruntime, not of a chip: what they show is how each part
grows with the frame. The network's time does not, because its input has one size. Published frame rates of
the MicroPython binding stand beside.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError
from esp_hil.tasks.image import Image
from esp_hil.tasks.pictures import scaled
from esp_hil.tasks.pixels import PixelFormat
from esp_hil.tasks.spec import FRAMES
from esp_hil.tasks.task import Task
from esp_hil.tasks.trace import Trace

COMMON_FORMATS: tuple[PixelFormat, ...] = ("rgb888", "rgb565be", "yuyv")
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTime:
    """One task on one frame, the least time of each part over the repetitions, in ms of this machine.

    Attributes:
        task: its name.
        frame: name of the size.
        width: in pixels.
        height: in pixels.
        format: `jpeg`, or the pixel format of a raw frame.
        sent_bytes: what would have to be transferred.
        decode_ms: JPEG and pixel format to RGB.
        resize_ms: to the network's integers, for all inferences.
        network_ms: all inferences.
        post_ms: outputs to results.
        inferences: in one run, over all networks.
        published_fps: of the MicroPython binding at this size, the whole task; None if none is published.
    """

    task: str
    frame: str
    width: int
    height: int
    format: str
    sent_bytes: int
    decode_ms: float
    resize_ms: float
    network_ms: float
    post_ms: float
    inferences: int
    published_fps: float | None

    @property
    def total_ms(self) -> float:
        """All four parts."""
        return self.decode_ms + self.resize_ms + self.network_ms + self.post_ms


def measure(
    task: Task,
    rgb: NDArray[np.uint8],
    *,
    formats: Sequence[PixelFormat] = COMMON_FORMATS,
    frames: Sequence[str] = tuple(FRAMES),
    repeats: int = 10,
    chip: str = "esp32s3",
) -> Iterator[FrameTime]:
    """Rows for each frame size: as a JPEG, then raw in each format.

    Args:
        task: with its weights.
        rgb: the picture, which is stretched to each size.
        formats: raw formats.
        frames: names of sizes, see `FRAMES`.
        repeats: timed runs of each, after one that is not.
        chip: whose published figures.

    Raises:
        InputError: an unknown frame size.
    """
    published = {row.frame: row.fps for row in task.spec.published if row.target == chip}
    for frame in frames:
        if frame not in FRAMES:
            raise InputError(f"unknown frame size {frame!r}", hint=f"one of: {', '.join(FRAMES)}")
        width, height = FRAMES[frame]
        picture = Image.of_rgb(scaled(rgb, width, height))
        jpeg = as_jpeg(picture)
        sent: dict[str, Image | bytes] = {"jpeg": jpeg, **{name: picture.to(name) for name in formats}}
        for name, data in sent.items():
            yield _timed(task, (frame, name), data, repeats=repeats, published_fps=published.get(frame))


def as_jpeg(picture: Image) -> bytes:
    """The picture as a JPEG of quality 85."""
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.fromarray(picture.rgb()).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _timed(
    task: Task, names: tuple[str, str], sent: Image | bytes, *, repeats: int, published_fps: float | None
) -> FrameTime:
    traces = []
    for _ in range(repeats + 1):
        trace = Trace()
        with trace.phase("decode"):
            picture = Image.of_file(sent) if isinstance(sent, bytes) else sent
        task.run(picture, trace=trace)
        traces.append(trace)
    kept = traces[1:]
    # the least: what else runs on this machine can only add to a time
    least = {phase: min(trace.seconds[phase] for trace in kept) * 1e3 for phase in kept[0].seconds}
    return FrameTime(
        task=task.name,
        frame=names[0],
        width=picture.width,
        height=picture.height,
        format=names[1],
        sent_bytes=len(sent) if isinstance(sent, bytes) else len(sent.data),
        decode_ms=least["decode"],
        resize_ms=least["resize"],
        network_ms=least["network"],
        post_ms=least["post"],
        inferences=sum(kept[0].inferences.values()),
        published_fps=published_fps,
    )

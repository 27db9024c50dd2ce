"""MLPerf Tiny's rules on a board: five windows and a least accuracy, scaled down where that is said.

The rules (MLPerf Tiny, single stream): a window of at least 10 s and 10 inferences, five windows, the median
counts. A window of other length is marked in the row (counter mlperf_window_s) and in its recipe's name.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.models.benchmarks import WINDOW_S, Entry
from esp_hil.session.benchmark_model import quality, read_data
from esp_hil.session.prepared_board import PreparedBoard
from esp_hil.session.run_builder import Answered, Figures, Timed
from esp_hil.tensors import Arrays

WINDOWS = 5
LEAST_INFERENCES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Five windows of inferences on the device.

    Attributes:
        window_s: seconds that were asked for.
        windows_s: device's seconds of each window.
        inferences: of each window.
    """

    window_s: float
    windows_s: tuple[float, ...]
    inferences: tuple[int, ...]

    @property
    def median_per_second(self) -> float:
        """The benchmark's result: inferences per second."""
        pairs = zip(self.inferences, self.windows_s, strict=True)
        return float(np.median([count / seconds for count, seconds in pairs]))

    @property
    def scaled(self) -> bool:
        """Whether the windows are shorter than the rules ask for."""
        return self.window_s < WINDOW_S


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """What the rules say of one benchmark on one board.

    Attributes:
        windows: what its speed was taken from.
        quality: accuracy or AUC of the device's answers; None without data.
        quality_exact: the same of tflite-micro's.
        least: what the closed division asks for.
    """

    windows: Windows
    quality: float | None
    quality_exact: float | None
    least: float

    @property
    def figures(self) -> Figures:
        """Counters of the row."""
        figures: dict[str, tuple[int | float, str]] = {
            "mlperf_window_s": (self.windows.window_s, "s"),
            "mlperf_median_per_s": (self.windows.median_per_second, "1/s"),
            "mlperf_quality_target": (self.least, ""),
        }
        if self.quality is not None:
            figures["mlperf_quality"] = (self.quality, "")
        return figures


def measure_windows(
    board: PreparedBoard, inputs: Arrays, timed: Timed, *, window_s: float, cores: int
) -> tuple[Timed, Windows]:
    """Repeat one input in five windows; the row then has the cycles of each inference of each window.

    Args:
        board: with the model loaded.
        inputs: the one that is repeated.
        timed: what was measured before: it tells how many inferences fill a window.
        window_s: length of a window.
        cores: that an inference may use.

    Raises:
        HilError: the device refused, or the line failed.
    """
    info = board.device.info()
    cycles = max(1, min(timed.cycles))
    count = max(LEAST_INFERENCES, -(-int(window_s * info.clock_hz) // cycles) + 1)
    began_s = time.monotonic()
    windows: list[tuple[int, ...]] = []
    for _ in range(WINDOWS):
        window: list[int] = []
        while len(window) < count or sum(window) < window_s * info.clock_hz:
            more = min(max(1, count - len(window)), info.max_repeats)
            allowed_s = 60 + 5 * more * cycles / info.clock_hz
            window += board.device.infer(inputs, repeats=more, cores=cores, timeout_s=allowed_s).cycles
        windows.append(tuple(window))
    measured = Windows(
        window_s=window_s,
        windows_s=tuple(sum(window) / info.clock_hz for window in windows),
        inferences=tuple(map(len, windows)),
    )
    kept = tuple(count for window in windows for count in window)
    # the clock was held against the timer over the first runs only
    return replace(timed, cycles=kept, timed_s=time.monotonic() - began_s, clock=None), measured


def rated(board: PreparedBoard, entry: Entry, windows: Windows, answered: Answered) -> BenchmarkResult:
    """Beside the speed, how good the device's and tflite-micro's answers are on the benchmark's data."""
    file = board.file
    assert isinstance(file.content, TfliteModel)
    data = read_data(entry, file.content)
    shares: list[float | None] = [None, None]
    if data.labels is not None:
        data = data.first(answered.inputs)
        exact = file.exact("tflm").run_batch({file.inputs[0].name: data.inputs})
        shares = [
            quality(
                entry.benchmark.quality,
                data,
                outputs[file.outputs[0].name],
                given=file.inputs[0].affine,
                made=file.outputs[0].affine,
            )
            for outputs in (answered.outputs, exact)
        ]
    return BenchmarkResult(
        windows=windows, quality=shares[0], quality_exact=shares[1], least=entry.benchmark.least
    )

"""MLPerf Tiny's benchmarks on a board: its rules for latency and accuracy, scaled down where that is said.

The models are MLCommons' own and are not part of this project: `--hil-mlperf-tiny DIR` names a folder with their
`.tflite` files under the names that the benchmark's repository gives them. Beside a model may lie its data,
`<name>.npz` with `x` (N, *input shape) in the model's own type, `y` (N,) labels and, for anomaly detection,
`group` (N,) numbers of the recordings that the windows come from. Without data no accuracy is measured.

The rules (MLPerf Tiny, single stream): a window of at least 10 s and 10 inferences, five windows, the median
counts. A window of other length is marked in the row (counter mlperf_window_s) and in its recipe's name.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.device.device import Device
from esp_hil.errors import GoldenError
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.goldens.litert import LiteRt
from esp_hil.models.benchmarks import WINDOW_S, Entry, Quality
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.npz import read_npz
from esp_hil.results.record import Run
from esp_hil.session import steps
from esp_hil.session.run_builder import Answered, Attempt, Judged, Timed
from esp_hil.tensors import Affine, invented_integers
from esp_hil.verdict.verdict import Verdict, judge

WINDOWS = 5
LEAST_INFERENCES = 10
_ESTIMATE_RUNS = 3
_RANDOM_INPUTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledInputs:
    """Inputs as the model takes them, labels, and for anomaly detection the recording of each window."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64] | None
    groups: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """What one benchmark gave on one board.

    Attributes:
        run: the row.
        verdict: device against tflite-micro against LiteRT.
        window_s: seconds that were asked for.
        windows_s: device's seconds of each window.
        inferences: of each window.
        per_second: inferences per second of each window.
        quality: accuracy or AUC of the device's answers; None without data.
        quality_exact: the same of tflite-micro's.
    """

    run: Run
    verdict: Verdict
    window_s: float
    windows_s: tuple[float, ...]
    inferences: tuple[int, ...]
    per_second: tuple[float, ...]
    quality: float | None
    quality_exact: float | None

    @property
    def runs(self) -> tuple[Run, ...]:
        """Its one row."""
        return (self.run,)

    @property
    def median_per_second(self) -> float:
        """The benchmark's result."""
        return float(np.median(self.per_second))

    @property
    def scaled(self) -> bool:
        """Whether the windows are shorter than the rules ask for."""
        return self.window_s < WINDOW_S


def read_data(entry: Entry, model: TfliteModel) -> LabelledInputs:
    """The benchmark's data, or without any random inputs that only show whether the port is right.

    Raises:
        GoldenError: the data do not fit the model.
    """
    (tensor,) = model.input_tensors
    dtype = np.dtype(tensor.dtype)
    if entry.data is None:
        shape = (_RANDOM_INPUTS, *tensor.item_shape)
        generator = np.random.default_rng(0)
        if dtype.kind == "f":
            return LabelledInputs(inputs=generator.random(shape, np.float32), labels=None, groups=None)
        inputs = invented_integers(shape, dtype, generator)
        return LabelledInputs(inputs=inputs, labels=None, groups=None)
    arrays = read_npz(entry.data, ("x", "y"))
    inputs, labels = arrays["x"], arrays["y"]
    groups = arrays.get("group")
    fits = (
        inputs.dtype == dtype and inputs.shape[1:] == tensor.item_shape and labels.shape == inputs.shape[:1]
    )
    if not fits or (groups is not None and groups.shape != labels.shape):
        raise GoldenError(
            f"{entry.data}: x is {inputs.dtype} {inputs.shape}, y {labels.shape}",
            hint=f"x: {tensor.dtype} (N, {', '.join(map(str, tensor.item_shape))}), y and group: (N,)",
        )
    return LabelledInputs(
        inputs=inputs,
        labels=labels.astype(np.int64),
        groups=None if groups is None else groups.astype(np.int64),
    )


def auc(scores: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the share of pairs (anomalous, normal) that the scores order rightly.

    Equal scores count one half (Mann and Whitney 1947).

    Raises:
        GoldenError: all are of one kind.
    """
    bad, good = scores[anomalous], scores[~anomalous]
    if not len(bad) or not len(good):
        raise GoldenError("no AUC: the data are all normal or all anomalous")
    above = (bad[:, None] > good[None, :]).sum() + 0.5 * (bad[:, None] == good[None, :]).sum()
    return float(above / (len(bad) * len(good)))


def quality(
    kind: Quality, data: LabelledInputs, outputs: NDArray[Any], *, given: Affine | None, made: Affine | None
) -> float | None:
    """Accuracy, or for an autoencoder the AUC of its mean squared error; None without labels.

    Args:
        kind: which.
        data: inputs, labels and groups.
        outputs: the answers, (N, ...) as the device gives them.
        given: scale of the inputs, None for floats.
        made: scale of the outputs, None for floats.
    """
    if data.labels is None:
        return None
    if kind == "top-1":
        return float((outputs.reshape(len(outputs), -1).argmax(axis=1) == data.labels).mean())
    flat = len(outputs), -1
    x = (data.inputs if given is None else given.real(data.inputs)).reshape(flat).astype(np.float64)
    y = (outputs if made is None else made.real(outputs)).reshape(flat).astype(np.float64)
    errors = ((x - y) ** 2).mean(axis=1)
    groups = np.arange(len(errors)) if data.groups is None else data.groups
    numbers, first = np.unique(groups, return_index=True)
    means = np.array([errors[groups == number].mean() for number in numbers])
    return auc(means, data.labels[first] == 1)


@dataclass(slots=True, kw_only=True)
class Measurement:
    """One benchmark on one open board.

    Attributes:
        entry: which.
        attempt: the board, and where the row goes.
        window_s: length of a window.
        cores: that an inference may use.
    """

    entry: Entry
    attempt: Attempt
    window_s: float
    cores: int = 1

    def run(self) -> BenchmarkResult:
        """Upload, compare, time five windows, measure the accuracy.

        Raises:
            HilError: the board, the line or the model failed.
        """
        session, builder = self.attempt.session, self.attempt.builder
        file = open_device_file(self.entry.model)
        assert isinstance(file.content, TfliteModel)
        device, name = session.device, file.inputs[0].name
        session.put(file, name=builder.combination.model)
        builder.add(steps.on_board(session, file, macs=file.content.macs()))
        data = read_data(self.entry, file.content)
        answers = self._answers(device, file, data)
        # the inputs are the model's own integers: nothing is left to prepare
        builder.add(Answered(inputs=len(data.inputs), outputs=answers, pre_ms=0.0))
        exact = file.exact("tflm").run_batch({name: data.inputs})
        verdict = self._judge(file, data, answers, exact)
        began_s = time.monotonic()
        shares = [
            quality(
                self.entry.benchmark.quality,
                data,
                outputs[file.outputs[0].name],
                given=file.inputs[0].affine,
                made=file.outputs[0].affine,
            )
            for outputs in (answers, exact)
        ]
        post_ms = 1e3 * (time.monotonic() - began_s) / (2 * len(data.inputs))
        builder.add(Judged(verdict=verdict, post_ms=post_ms if shares[0] is not None else None))
        first = {name: data.inputs[:1]}
        timed, windows = self._windows(first)
        clock_hz = device.info().clock_hz
        seconds = tuple(sum(window) / clock_hz for window in windows)
        per_second = tuple(len(window) / s for window, s in zip(windows, seconds, strict=True))
        figures: dict[str, tuple[int | float, str]] = {
            "mlperf_window_s": (self.window_s, "s"),
            "mlperf_median_per_s": (float(np.median(per_second)), "1/s"),
            "mlperf_quality_target": (self.entry.benchmark.least, ""),
        }
        if shares[0] is not None:
            figures["mlperf_quality"] = (shares[0], "")
        builder.add(replace(timed, counters={**timed.counters, **figures}))
        builder.add(steps.profile_layers(session, file, first, cores=self.cores))
        return BenchmarkResult(
            run=builder.build(),
            verdict=verdict,
            window_s=self.window_s,
            windows_s=seconds,
            inferences=tuple(map(len, windows)),
            per_second=per_second,
            quality=shares[0],
            quality_exact=shares[1],
        )

    @staticmethod
    def _answers(device: Device, file: DeviceFile, data: LabelledInputs) -> dict[str, NDArray[Any]]:
        name = file.inputs[0].name
        rows = [
            inference.outputs
            for inference in device.infer_many(
                {name: data.inputs[i : i + 1]} for i in range(len(data.inputs))
            )
        ]
        return {output.name: np.concatenate([row[output.name] for row in rows]) for output in file.outputs}

    def _judge(
        self,
        file: DeviceFile,
        data: LabelledInputs,
        answers: Mapping[str, NDArray[Any]],
        exact: Mapping[str, NDArray[Any]],
    ) -> Verdict:
        quantized = LiteRt(file.image).run([data.inputs])
        names = [output.name for output in file.outputs]
        labelled = data.labels is not None and self.entry.benchmark.quality == "top-1"
        return judge(
            answers,
            exact,
            dict(zip(names, quantized, strict=True)),
            None,
            labels=data.labels if labelled else None,
            exponents={output.name: output.affine for output in file.outputs if output.affine},
            classes=names[0] if labelled else None,
        )

    def _windows(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[Timed, tuple[tuple[int, ...], ...]]:
        """The load, the cold run and the counters; and the cycles of each inference of each window."""
        session = self.attempt.session
        timed = steps.time_inference(session, inputs, runs=_ESTIMATE_RUNS, warmup=0, cores=self.cores)
        info = session.device.info()
        cycles = max(1, min(timed.cycles))
        count = max(LEAST_INFERENCES, -(-int(self.window_s * info.clock_hz) // cycles) + 1)
        began_s = time.monotonic()
        windows = []
        for _ in range(WINDOWS):
            window: list[int] = []
            while len(window) < count or sum(window) < self.window_s * info.clock_hz:
                more = min(max(1, count - len(window)), info.max_repeats)
                allowed_s = 60 + 5 * more * cycles / info.clock_hz
                window += session.device.infer(
                    inputs, repeats=more, cores=self.cores, timeout_s=allowed_s
                ).cycles
            windows.append(tuple(window))
        kept = tuple(count for window in windows for count in window)
        # the clock was held against the timer over the first runs only
        return replace(timed, cycles=kept, timed_s=time.monotonic() - began_s, clock=None), tuple(windows)

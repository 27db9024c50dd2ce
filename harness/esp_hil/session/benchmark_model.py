"""MLPerf Tiny's models as models of the catalogue, and how good their answers are by its rules.

The models are MLCommons' own and are not part of this project: `--hil-mlperf-tiny DIR` names a folder with their
`.tflite` files under the names that the benchmark's repository gives them. Beside a model may lie its data,
`<name>.npz` with `x` (N, *input shape) in the model's own type, `y` (N,) labels and, for anomaly detection,
`group` (N,) numbers of the recordings that the windows come from. Without data no accuracy is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.models.benchmarks import Entry, Quality
from esp_hil.models.catalogue import GoldenSet, Model
from esp_hil.models.device_file import open_device_file
from esp_hil.models.model_toml import given_spec
from esp_hil.models.outputs import OutputSpec
from esp_hil.models.pipeline import Pipeline
from esp_hil.models.recipe import given_recipe
from esp_hil.npz import read_npz
from esp_hil.targets import Family
from esp_hil.tensors import Affine, InputSpec, invented_integers

_RANDOM_INPUTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledInputs:
    """Inputs as the model takes them, labels, and for anomaly detection the recording of each window."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64] | None
    groups: NDArray[np.int64] | None

    def first(self, count: int) -> LabelledInputs:
        """So many of them."""
        return LabelledInputs(
            inputs=self.inputs[:count],
            labels=None if self.labels is None else self.labels[:count],
            groups=None if self.groups is None else self.groups[:count],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _BenchmarkFiles:
    """See `esp_hil.models.catalogue.Origin`."""

    entry: Entry
    content: TfliteModel
    output: str

    def file(self, family: Family) -> Path:
        del family  # TFLM has one
        return self.entry.model

    def golden(self, limit: int | None) -> GoldenSet:
        data = read_data(self.entry, self.content)
        count = len(data.inputs)
        if limit is not None and not 1 <= limit <= count:
            raise ConfigError(f"{limit} inputs of {self.entry.name} asked for", hint=f"there are {count}")
        arrays = {self.content.input_tensors[0].name: data.inputs[:limit]}
        labels = None
        if data.labels is not None and self.entry.benchmark.quality == "top-1":
            labels = data.labels[:limit]
        return GoldenSet(
            arrays=arrays,
            stored=arrays,
            labels=labels,
            ids=tuple(map(str, range(count)))[:limit],
            expected={} if labels is None else {self.output: labels},
        )

    def pipeline(self) -> Pipeline | None:
        return None


def benchmark_model(entry: Entry, recipe: str) -> Model:
    """A benchmark's model as one of the catalogue.

    Args:
        entry: which.
        recipe: tells whether the rules were scaled down.

    Raises:
        FormatError: it cannot be read.
    """
    file = open_device_file(entry.model)
    assert isinstance(file.content, TfliteModel)
    (tensor,), output = file.content.input_tensors, file.outputs[0].name
    described = given_spec(
        title=f"MLPerf Tiny: {entry.benchmark.title}",
        source="MLCommons",
        inputs=(InputSpec.raw_nhwc(file.inputs[0].name, tensor.item_shape, str(np.dtype(tensor.dtype))),),
        outputs=(OutputSpec(name=output, meaning="scores" if entry.benchmark.quality == "top-1" else "raw"),),
        recipe=given_recipe(recipe, "as MLCommons has it", "tflm", ("tflm",)),
        macs=file.content.macs(),
    )
    origin = _BenchmarkFiles(entry=entry, content=file.content, output=output)
    return Model.of(described, name=entry.name, folder=entry.model.parent, origin=origin)


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

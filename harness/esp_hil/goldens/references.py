"""The three references of a model, behind one interface: float, quantized, exact.

    float      onnxruntime on the original ONNX file
    quantized  what the quantizer believes that the chip will answer: esp-ppq's executor for an .espdl file,
               LiteRT's reference kernels for a .tflite file
    exact      what it must answer: the .espdl file itself in the chip's integer arithmetic, or TFLM's own
               kernels

All take inputs as the catalogue prepares them (floats as the float model has them, raw integers as the device has
them), and answer in the device's layout, so that their answers can be laid beside the device's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import GoldenError, QuantizeError
from esp_hil.goldens.esp_ppq import Say, executor_answers, native_path
from esp_hil.goldens.file_tensors import (
    FileTensors,
    PreparedInputs,
    all_starts,
    by_name,
    real_input,
    run_steps,
)
from esp_hil.models import manifest as manifests
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import open_device_file
from esp_hil.models.float_model import FloatModel
from esp_hil.npz import read_npz
from esp_hil.targets import Family
from esp_hil.tensors import Affine, Array, Arrays, DeviceTensor, InputSpec
from esp_hil.verdict.headroom import LaneHeadroom

if TYPE_CHECKING:
    from esp_hil.exact import ExactReference as EspdlReference

_ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceOutput:
    """One output of a reference.

    Attributes:
        values: (N, *shape without batch) in the device's layout; integers, or float32.
        exponent: value = integer * 2**exponent; None for floats and affine integers.
        affine: scale and zero point of integers without exponent.
    """

    values: NDArray[Any]
    exponent: int | None
    affine: Affine | None = None

    @staticmethod
    def of(tensor: DeviceTensor, values: NDArray[Any]) -> ReferenceOutput:
        """Values of a tensor of a device file."""
        return ReferenceOutput(values=values, exponent=tensor.exponent, affine=tensor.affine)

    @property
    def meaning(self) -> Affine | None:
        """What the integers stand for; None for floats."""
        return self.affine if self.exponent is None else Affine.of_exponent(self.exponent)

    def real(self) -> NDArray[np.float32]:
        """The values as real numbers, same shape."""
        if self.meaning is None:
            return self.values.astype(np.float32, copy=False)
        return self.meaning.real(self.values).astype(np.float32)


Answers = dict[str, ReferenceOutput]
Starts = NDArray[np.bool_] | None


def answers_of(tensors: FileTensors, values: Arrays) -> Answers:
    """Values of the outputs of a device file, (N, *item) by name, with what they stand for."""
    return {name: ReferenceOutput.of(tensor, values[name]) for name, tensor in tensors.outputs.items()}


class Reference(Protocol):
    """Something that answers as a device would, or as it should."""

    @property
    def name(self) -> str:
        """`float`, `quantized` or `exact`."""
        ...

    def run(self, inputs: PreparedInputs, starts: Starts = None) -> Answers:
        """Answer N inputs; output name -> answer.

        Args:
            inputs: as the catalogue prepares them.
            starts: (N,), where a sequence starts, without any state; None: at the first one only. Of a model that
                keeps no state it says nothing.

        Raises:
            InputError: the inputs have another name, dtype or shape.
        """
        ...


class FloatReference:
    """The float ONNX model on onnxruntime, in batches.

    Args:
        model: of the catalogue.
        outputs: the device's outputs, whose layout the answers get; without, they stay as in the ONNX file.
        inputs: the device's inputs, which tell what raw integers stand for; without, raw integers cannot become floats.

    Raises:
        ConfigError: the model has no float model.
        GoldenError: the file is missing, changed, not readable, or has other inputs than model.toml.
    """

    name = "float"

    def __init__(
        self,
        model: Model,
        outputs: Mapping[str, DeviceTensor] | None = None,
        inputs: Mapping[str, DeviceTensor] | None = None,
    ) -> None:
        path = model.float_path
        self._model = given = FloatModel(path)
        self._inputs = {spec.name: spec for spec in model.inputs}
        self._device = inputs or {}
        self._outputs = outputs
        self._names = {model.output_spec(name).float_name or name: name for name in outputs or given.outputs}
        wanted = {spec.float_name or spec.name: spec.shape for spec in model.inputs}
        for name, shape in wanted.items():
            if name not in given.shapes or not _fits(given.shapes[name], shape):
                there = ", ".join(f"{n} {s}" for n, s in given.shapes.items())
                raise GoldenError(f"{path}: input {there}, model.toml has {name} {shape}")

    def run(self, inputs: PreparedInputs, starts: Starts = None) -> Answers:
        """Answer N inputs; see `Reference`. Fed inputs get what the float model itself gave."""
        named = by_name({name: spec for name, spec in self._inputs.items() if not spec.state}, inputs)
        floats = {
            self._inputs[name].float_name or name: self._floats(name, array) for name, array in named.items()
        }
        fed = [spec for spec in self._inputs.values() if spec.state]
        whole = self._in_steps(floats, fed, starts) if fed else self._model.run(floats)
        return {
            self._names.get(name, name): ReferenceOutput(values=self._arranged(name, values), exponent=None)
            for name, values in whole.items()
        }

    def _in_steps(self, floats: Arrays, fed: list[InputSpec], starts: Starts) -> dict[str, Array]:
        """One inference after the other, the fed inputs from the one before."""
        count = len(next(iter(floats.values()))) if floats else len(starts if starts is not None else ())
        sources = {shown: name for name, shown in self._names.items()}
        rows: list[dict[str, Array]] = []
        for row, fresh in enumerate(all_starts(count, starts)):
            single = {name: array[row : row + 1] for name, array in floats.items()}
            for spec in fed:
                zeros = np.zeros((1, *spec.shape), np.float32)
                before = zeros if fresh else rows[-1][sources.get(spec.state, spec.state)]
                single[spec.float_name or spec.name] = before.reshape(zeros.shape)
            rows.append(self._model.run(single))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _floats(self, name: str, array: Array) -> Array:
        """What raw integers stand for, where the float model takes floats."""
        spec = self._inputs[name]
        if array.dtype == np.float32 or self._model.dtypes[spec.float_name or name].kind != "f":
            return array
        return real_input(self._device[name], array) if name in self._device else array.astype(np.float32)

    def _arranged(self, name: str, values: Array) -> Array:
        plain = values.astype(np.float32, copy=False)
        return plain if self._outputs is None else self._outputs[self._names[name]].arrange(plain)


def _fits(there: tuple[int | str | None, ...], declared: tuple[int, ...]) -> bool:
    """Whether a shape of the ONNX file is the declared one, with or without a batch axis in front; free sizes fit."""

    def same(sizes: tuple[int | str | None, ...]) -> bool:
        return len(sizes) == len(declared) and all(
            not isinstance(size, int) or size == wanted for size, wanted in zip(sizes, declared, strict=True)
        )

    return same(there[1:]) or same(there)


class QuantizedReference:
    """esp-ppq's executor: the committed answers where the model has them, else a live run.

    Args:
        model: of the catalogue.
        recipe: which device file.
        family: for which chips.
        say: called with a line now and then during a live run.
    """

    name = "quantized"

    def __init__(self, model: Model, recipe: str, family: Family, say: Say | None = None) -> None:
        self._model, self._recipe, self._family, self._say = model, recipe, family, say
        self._artifact = model.artifact(recipe, family)
        file = open_device_file(self._artifact)
        self._tensors, self._streams = FileTensors.of(model, file, family), file.keeps_state

    def stored(self, inputs: PreparedInputs) -> Answers | None:
        """The committed answers, None if there is none for one of the inputs.

        Raises:
            GoldenError: the file of answers is missing or changed.
        """
        if not self._model.golden_inputs.answers or self._tensors.states:
            return None  # of fed inputs nobody knows beforehand what they get
        path = manifests.check_file(
            self._model.folder, self._model.golden_inputs.answers, self._model.manifest()
        )
        prefix = f"{self._recipe}/{self._family}/"
        names = [_ROWS, *(prefix + name for name in self._tensors.outputs)]
        arrays = read_npz(path, names, hint=f"hil golden build {self._model.name}")
        places = {row.tobytes(): place for place, row in enumerate(arrays[_ROWS])}
        digests = [row.tobytes() for row in row_digests(self._tensors.named(inputs))]
        if not all(digest in places for digest in digests):
            return None
        found = [places[digest] for digest in digests]
        return answers_of(
            self._tensors, {name: arrays[prefix + name][found] for name in self._tensors.outputs}
        )

    def run(self, inputs: PreparedInputs, starts: Starts = None) -> Answers:
        """Answer N inputs; see `Reference`. Fed inputs have to be given: each step is judged by itself.

        Raises:
            QuantizeError: a live run is needed and esp-ppq, or its form of the graph, is not there.
        """
        del starts
        named = self._tensors.named(inputs)
        stored = self.stored(named)
        if stored is not None:
            return stored
        if self._streams:
            raise QuantizeError(
                "esp-ppq's executor does not carry the state of a StreamingCache from step to step"
            )
        native = native_path(self._artifact)
        floats = {name: self._tensors.real(name, array) for name, array in named.items()}
        live = executor_answers(native, self._artifact, self._family, floats, say=self._say)
        return answers_of(
            self._tensors,
            {name: tensor.arrange(live[name]) for name, tensor in self._tensors.outputs.items()},
        )


class LiteRtReference:
    """LiteRT's reference kernels on the .tflite file: what its converter believes.

    Args:
        model: of the catalogue.
        recipe: which device file.

    Raises:
        RuntimeFailed: ai-edge-litert is not installed.
    """

    name = "quantized"

    def __init__(self, model: Model, recipe: str) -> None:
        from esp_hil.goldens.litert import LiteRt

        file = open_device_file(model.artifact(recipe, "tflm"))
        self._tensors = FileTensors.of(model, file, "tflm")
        self._litert = LiteRt(file.image)
        self._keeps_state = file.keeps_state

    def run(self, inputs: PreparedInputs, starts: Starts = None) -> Answers:
        """Answer N inputs; see `Reference`. Fed inputs have to be given: each step is judged by itself."""
        encoded = list(self._tensors.encode(inputs).values())
        began = all_starts(len(encoded[0]), starts) if self._keeps_state else None
        answers = self._litert.run(encoded, began)
        return answers_of(self._tensors, dict(zip(self._tensors.outputs, answers, strict=True)))


class DeviceFileReference:
    """The device file in the chip's integer arithmetic, in batches; of a streaming model in order, from its start.

    Args:
        model: of the catalogue.
        recipe: which device file.
        family: for which chips.
        artifact: another device file of the model than the recipe's.
        esp_dl: version of ESP-DL on the board; "" for the newest known.

    Raises:
        UnsupportedOperator: the file has an operator that the runtime does not know.
        RuntimeFailed: tflite-micro is needed and not installed.
    """

    name = "exact"

    def __init__(
        self, model: Model, recipe: str, family: Family, *, artifact: Path | None = None, esp_dl: str = ""
    ) -> None:
        file = open_device_file(artifact or model.artifact(recipe, family))
        self._tensors = FileTensors.of(model, file, family)
        self._exact = file.exact(family, esp_dl=esp_dl)
        self._espdl = cast("EspdlReference", self._exact) if file.runtime == "espdl" else None

    def run(self, inputs: PreparedInputs, starts: Starts = None) -> Answers:
        """Answer N inputs; see `Reference`."""
        return self.run_whole(inputs, starts)[0]

    def run_whole(self, inputs: PreparedInputs, starts: Starts = None) -> tuple[Answers, Arrays]:
        """The answers, and all inputs as the catalogue would prepare them: also those that are fed with outputs."""
        named = self._tensors.named(inputs)
        encoded = self._tensors.encode(named)
        if not self._exact.streams and not self._tensors.states:
            return answers_of(self._tensors, self._exact.run_batch(encoded)), named

        def step(single: dict[str, Array], fresh: bool) -> Arrays:
            if fresh:
                self._exact.reset()
            return self._exact.run(single, keep_state=True)

        count = len(next(iter(encoded.values()))) if encoded else len(starts if starts is not None else ())
        values, sent = run_steps(self._tensors, encoded, all_starts(count, starts), step)
        return answers_of(self._tensors, values), {**named, **self._tensors.fed_floats(sent)}

    @property
    def headroom(self) -> tuple[LaneHeadroom, ...]:
        """esp32s3's 20-bit accumulators and how often they saturated in all inputs so far; () elsewhere."""
        if self._espdl is None:
            return ()
        hits = self._espdl.saturated
        return tuple(
            LaneHeadroom(
                layer=layer.node,
                lanes=layer.lanes,
                risky=layer.risky,
                margin_bits=round(layer.margin_bits, 3),
                saturated=hits.get(layer.node, 0),
            )
            for layer in self._espdl.headroom
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Where nobody knows what the chip computes, for all inputs so far: node and reason."""
        if self._espdl is None:
            return ()
        return tuple(doubt.summary for doubt in self._espdl.doubts)


def quantized_reference(model: Model, recipe: str, family: Family) -> Reference:
    """What the quantizer of a recipe's runtime believes.

    Raises:
        RuntimeFailed: LiteRT is needed and not installed.
    """
    if model.recipe(recipe).runtime == "tflm":
        return LiteRtReference(model, recipe)
    return QuantizedReference(model, recipe, family)


def row_digests(inputs: PreparedInputs) -> NDArray[np.uint8]:
    """SHA-256 of the values of each of N inputs (C order, little endian), one input after the other: (N, 32)."""
    named = [inputs] if isinstance(inputs, np.ndarray) else list(inputs.values())
    rows = [np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")) for array in named]
    digests = [hashlib.sha256(b"".join(array[i].tobytes() for array in rows)) for i in range(len(rows[0]))]
    return np.stack([np.frombuffer(digest.digest(), np.uint8) for digest in digests])


def write_answers(
    path: Path,
    inputs: PreparedInputs,
    answers: Mapping[tuple[str, Family], Mapping[str, NDArray[Any]]],
) -> None:
    """Write what `QuantizedReference` reads: by (recipe, family), then by output, in device layout."""
    arrays: dict[str, Any] = {_ROWS: row_digests(inputs)}
    for (recipe, family), outputs in answers.items():
        arrays |= {f"{recipe}/{family}/{name}": values for name, values in outputs.items()}
    np.savez_compressed(path, **arrays)

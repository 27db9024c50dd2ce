"""The three references of a model, behind one interface: float, quantized, exact.

    float      onnxruntime on the original ONNX file
    quantized  what the quantizer believes that the chip will answer: esp-ppq's executor for an .espdl file,
               LiteRT's reference kernels for a .tflite file
    exact      what it must answer: the .espdl file itself in the chip's integer arithmetic, or TFLM's own
               kernels

All take float inputs as the float model has them, and answer in the device's layout, so that their answers
can be laid beside the device's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import GoldenError, InputError
from esp_hil.goldens.esp_ppq import Say, executor_answers, native_path
from esp_hil.models import manifest as manifests
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import open_device_file
from esp_hil.models.float_model import FloatModel
from esp_hil.npz import read_npz
from esp_hil.targets import Family, rounding_of
from esp_hil.tensors import Affine, DeviceTensor
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


class Reference(Protocol):
    """Something that answers as a device would, or as it should."""

    @property
    def name(self) -> str:
        """`float`, `quantized` or `exact`."""
        ...

    def run(self, inputs: NDArray[np.float32]) -> Answers:
        """Answer float32 inputs (N, *shape) in the float model's layout; output name -> answer.

        Raises:
            InputError: the inputs have another dtype or shape.
        """
        ...


class FloatReference:
    """The float ONNX model on onnxruntime, in batches.

    Args:
        model: of the catalogue.
        outputs: the device's outputs, whose layout the answers get; without, they stay as in the ONNX file.

    Raises:
        GoldenError: the file is missing, changed or not readable.
    """

    name = "float"

    def __init__(self, model: Model, outputs: Mapping[str, DeviceTensor] | None = None) -> None:
        path = model.float_path
        self._model = given = FloatModel(path)
        if given.input != model.input.name or given.shape[1:] != model.input.shape:
            declared = f"{model.input.name} {model.input.shape}"
            raise GoldenError(f"{path}: input {given.input} {given.shape[1:]}, model.toml has {declared}")
        self._input = model.input
        self._outputs = outputs

    def run(self, inputs: NDArray[np.float32]) -> Answers:
        """Answer float32 (N, *shape); see `Reference`."""
        _require(inputs, self._input.name, self._input.shape)
        whole = self._model.run(inputs)
        return {
            name: ReferenceOutput(
                values=values if self._outputs is None else self._outputs[name].arrange(values), exponent=None
            )
            for name, values in whole.items()
        }


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
        self._input, self._outputs = _tensors(model, self._artifact)

    def stored(self, inputs: NDArray[np.float32]) -> Answers | None:
        """The committed answers, None if there is none for one of the inputs.

        Raises:
            GoldenError: the file of answers is missing or changed.
        """
        path = manifests.check_file(
            self._model.folder, self._model.golden_inputs.answers, self._model.manifest()
        )
        prefix = f"{self._recipe}/{self._family}/"
        names = [_ROWS, *(prefix + name for name in self._outputs)]
        arrays = read_npz(path, names, hint=f"hil golden build {self._model.name}")
        places = {row.tobytes(): place for place, row in enumerate(arrays[_ROWS])}
        digests = [row.tobytes() for row in row_digests(inputs)]
        if not all(digest in places for digest in digests):
            return None
        found = [places[digest] for digest in digests]
        return {
            name: ReferenceOutput.of(tensor, arrays[prefix + name][found])
            for name, tensor in self._outputs.items()
        }

    def run(self, inputs: NDArray[np.float32]) -> Answers:
        """Answer float32 (N, *shape); see `Reference`.

        Raises:
            QuantizeError: a live run is needed and esp-ppq, or its form of the graph, is not there.
        """
        _require(inputs, self._input.name, self._input.float_shape[1:])
        stored = self.stored(inputs)
        if stored is not None:
            return stored
        native = native_path(self._artifact)
        live = executor_answers(native, self._artifact, self._family, inputs, say=self._say)
        return {
            name: ReferenceOutput.of(tensor, tensor.arrange(live[name]))
            for name, tensor in self._outputs.items()
        }


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

        artifact = model.artifact(recipe, "tflm")
        self._input, self._outputs = _tensors(model, artifact)
        self._litert = LiteRt(artifact.read_bytes())

    def run(self, inputs: NDArray[np.float32]) -> Answers:
        """Answer float32 (N, *shape); see `Reference`."""
        _require(inputs, self._input.name, self._input.float_shape[1:])
        answers = self._litert.run([self._input.to_device(inputs, rounding_of("tflm"))])
        return {
            name: ReferenceOutput.of(tensor, values)
            for (name, tensor), values in zip(self._outputs.items(), answers, strict=True)
        }


class DeviceFileReference:
    """The device file in the chip's integer arithmetic, in batches; of a streaming model in order, from its start.

    Args:
        model: of the catalogue.
        recipe: which device file.
        family: for which chips.
        artifact: another device file of the model than the recipe's.

    Raises:
        UnsupportedOperator: the file has an operator that the runtime does not know.
        RuntimeFailed: tflite-micro is needed and not installed.
    """

    name = "exact"

    def __init__(self, model: Model, recipe: str, family: Family, *, artifact: Path | None = None) -> None:
        file = open_device_file(artifact or model.artifact(recipe, family))
        self._input, self._outputs = model.device_input(file), model.device_outputs(file)
        self._rounding = rounding_of(family)
        self._exact = file.exact(family)
        self._espdl = cast("EspdlReference", self._exact) if file.runtime == "espdl" else None

    def run(self, inputs: NDArray[np.float32]) -> Answers:
        """Answer float32 (N, *shape); see `Reference`."""
        _require(inputs, self._input.name, self._input.float_shape[1:])
        given = {self._input.name: self._input.to_device(inputs, self._rounding)}
        if self._espdl is not None and self._espdl.streams:
            answers = self._espdl.run_sequence(given)
        else:
            answers = self._exact.run_batch(given)
        return {name: ReferenceOutput.of(tensor, answers[name]) for name, tensor in self._outputs.items()}

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


def row_digests(inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """SHA-256 of each input's values (float32, C order, little endian): (N, 32)."""
    rows = np.ascontiguousarray(inputs, dtype="<f4")
    return np.stack([np.frombuffer(hashlib.sha256(row.tobytes()).digest(), np.uint8) for row in rows])


def write_answers(
    path: Path,
    inputs: NDArray[np.float32],
    answers: Mapping[tuple[str, Family], Mapping[str, NDArray[Any]]],
) -> None:
    """Write what `QuantizedReference` reads: by (recipe, family), then by output, in device layout."""
    arrays: dict[str, Any] = {_ROWS: row_digests(inputs)}
    for (recipe, family), outputs in answers.items():
        arrays |= {f"{recipe}/{family}/{name}": values for name, values in outputs.items()}
    np.savez_compressed(path, **arrays)


def _tensors(model: Model, artifact: Path) -> tuple[DeviceTensor, dict[str, DeviceTensor]]:
    file = open_device_file(artifact)
    return model.device_input(file), model.device_outputs(file)


def _require(inputs: NDArray[np.float32], name: str, shape: tuple[int, ...]) -> None:
    if inputs.dtype != np.float32 or inputs.shape[1:] != shape or not len(inputs):
        raise InputError(
            f"{inputs.dtype} {inputs.shape} for input {name!r}",
            hint=f"give float32 of shape (N, {', '.join(map(str, shape))})",
        )

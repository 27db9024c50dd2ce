"""Where the exact reference and the quantizer part, and which rule explains it.

A new model's integers are compared once, when its folder is made. What a rule explains becomes the model's
tolerance, with the rule as its reason. What no rule explains stays an error: nothing is hushed up.

    .tflite    every operator is run alone by LiteRT's reference kernels on what TFLM's gave it: where the two
               differ is where they part, the rest only carries it on
    .espdl     operators that ESP-DL is known to compute otherwise than esp-ppq's executor, and 20-bit sums
               that saturate on the ESP32-S3, which the executor does not know
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esp_hil.errors import HilError, QuantizeError, RuntimeFailed
from esp_hil.exact.tflite import TflmReference, labels
from esp_hil.formats.espdl import EspdlModel
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.goldens.file_tensors import FileTensors
from esp_hil.goldens.litert import LiteRt
from esp_hil.goldens.references import Answers, DeviceFileReference, quantized_reference
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.models.golden_set import GoldenSet
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.difference import IntegerDiff, compare_answers

MOST_INPUTS = 8
"""Inputs whose operators are run one by one."""

_TFLM_RULES: Mapping[str, str] = {
    "FULLY_CONNECTED": "TFLM rounds an int8 product sum otherwise than LiteRT's reference kernel",
}
_ESPDL_RULES: Mapping[str, str] = {
    "LSTM": "gates are looked up and summed in integers by ESP-DL, computed in float by esp-ppq's executor",
    "GRU": "gates are looked up and summed in integers by ESP-DL, computed in float by esp-ppq's executor",
    "PRelu": "ESP-DL shifts a product of slope and value, esp-ppq's executor rounds it as a float",
}
_SUMS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "Mul"})
"""Operators whose 16-bit results esp-ppq's executor sums in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerGap:
    """How far the exact reference is from the quantizer over golden inputs.

    Attributes:
        lsb: the largest difference of an integer output.
        words: the difference, in a sentence.
        reason: the rule that explains it; "": none does.
    """

    lsb: int
    words: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactAnswers:
    """What a device file must answer to golden inputs.

    Attributes:
        recipe: which device file.
        family: for which chips.
        reference: that answered.
        answers: by output.
        whole: all inputs that it was given, also those fed with outputs of the step before.
    """

    recipe: str
    family: Family
    reference: DeviceFileReference
    answers: Answers
    whole: Arrays


def gap_of(model: Model, golden: GoldenSet, exact: ExactAnswers) -> QuantizerGap | None:
    """Compare, and look for the rule; None if all integers are the quantizer's, or nobody can tell what it believes."""
    recipe, right = model.recipe(exact.recipe), exact.answers
    if recipe.given and recipe.runtime == "espdl":
        return None
    try:
        believed = quantized_reference(model, recipe.name, exact.family).run(exact.whole, golden.starts)
    except (QuantizeError, RuntimeFailed):
        return None
    diffs = {name: compare_answers(answer.values, believed[name].values) for name, answer in right.items()}
    off = {name: diff for name, diff in diffs.items() if isinstance(diff, IntegerDiff) and diff.different}
    if not off:
        return None
    file = open_device_file(model.artifact(recipe.name, exact.family))
    if isinstance(file.content, TfliteModel):
        rows = sorted({row for name in off for row in _rows(right[name].values, believed[name].values)})
        reason = _tflm_reason(model, file, golden, rows)
    else:
        reason = _espdl_reason(file.content, exact.reference)
    return QuantizerGap(
        lsb=max(diff.max_lsb for diff in off.values()),
        words="; ".join(f"output {name}: {diff.summary}" for name, diff in off.items()),
        reason=reason,
    )


def _rows(a: Array, b: Array) -> list[int]:
    return [int(row) for row in np.flatnonzero((a != b).reshape(len(a), -1).any(axis=1))]


def _espdl_reason(model: EspdlModel, reference: DeviceFileReference) -> str:
    nodes = model.graph.nodes
    found = []
    for kind, why in _ESPDL_RULES.items():
        if names := [node.name for node in nodes if node.op_type == kind]:
            found.append(f"{kind} ({_some(names)}): {why}")
    wide = [node.name for node in nodes if node.op_type in _SUMS and _is_wide(model, node.outputs)]
    if wide:
        found.append(f"16 bits ({_some(wide)}): esp-ppq's executor sums in float32")
    if full := [lane.layer for lane in reference.headroom if lane.saturated]:
        found.append(f"20-bit sums saturate on the ESP32-S3 ({_some(full)}): esp-ppq's executor has no limit")
    return "; ".join(found)


def _is_wide(model: EspdlModel, outputs: Sequence[str]) -> bool:
    return any(model.graph.values[name].dtype == "int16" for name in outputs if name in model.graph.values)


def _tflm_reason(model: Model, file: DeviceFile, golden: GoldenSet, rows: Sequence[int]) -> str:
    content = file.content
    assert isinstance(content, TfliteModel)
    with contextlib.closing(TflmReference(file.image)) as exact:
        # of a stream the first steps, in order: what comes later rests on them
        chosen = range(min(len(golden), MOST_INPUTS)) if exact.streams else rows[:MOST_INPUTS]
        worst = _parting(exact, file.image, _encoded(model, file, golden), chosen)
    found = []
    for kind in dict.fromkeys(content.operators[index].name for index in worst):
        here = {index: lsb for index, lsb in worst.items() if content.operators[index].name == kind}
        numbers = _some([f"#{index}" for index in here])
        why = _TFLM_RULES.get(kind, "TFLM's kernel answers otherwise than LiteRT's reference kernel")
        found.append(f"{kind} ({numbers}): {why}, here by up to {max(here.values())} LSB on the same input")
    return "; ".join(found)


def _encoded(model: Model, file: DeviceFile, golden: GoldenSet) -> Arrays:
    tensors = FileTensors.of(model, file, "tflm")
    return {} if tensors.states else tensors.encode(golden.arrays)


def _parting(exact: TflmReference, image: bytes, inputs: Arrays, rows: Sequence[int]) -> dict[int, int]:
    """Numbers of operators that LiteRT answers otherwise on what TFLM gave them, and by how many LSB at most."""
    model, names = exact.model, labels(exact.model)
    shapes = {names[number]: model.tensors[number].shape for number in model.inputs}
    worst: dict[int, int] = {}
    parts = _apart(model, image)
    exact.reset()
    for row in rows if inputs else ():
        given = {name: array[row].reshape(shapes[name]) for name, array in inputs.items()}
        values = {**given, **exact.run(given, tensors=exact.tensor_names, keep_state=True)}
        for index, part in parts.items():
            operator = model.operators[index]
            reads = dict.fromkeys(n for n in operator.inputs if n >= 0 and not model.tensors[n].constant)
            shown = zip(reads, part.model.input_tensors, strict=True)
            answers = part.run([values[names[n]].reshape((1, *own.item_shape)) for n, own in shown])
            for number, answer in zip(operator.outputs, answers, strict=True):
                right = values[names[number]].reshape(answer.shape)
                if right.dtype.kind in "iu" and (right != answer).any():
                    off = int(np.abs(right.astype(np.int64) - answer.astype(np.int64)).max())
                    worst[index] = max(off, worst.get(index, 0))
    return worst


def _apart(model: TfliteModel, image: bytes) -> dict[int, LiteRt]:
    """Each operator as a model of its own, where LiteRT takes it as one: not those of variables and loops."""
    from esp_hil.formats.tflite.writer import operators_apart

    found: dict[int, LiteRt] = {}
    for operator, part in zip(model.operators, operators_apart(image), strict=True):
        kinds = {model.tensors[n].dtype for n in (*operator.inputs, *operator.outputs) if n >= 0}
        if operator.calls or "resource" in kinds:
            continue
        with contextlib.suppress(HilError):
            found[operator.index] = LiteRt(part)
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""Preflight for `.tflite` files: what is known to go wrong with TFLM on a chip, found in the file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from esp_hil.errors import HilError
from esp_hil.formats.tflite.interpreter import SCHEMA_VERSION, Interpreter
from esp_hil.formats.tflite.model import WEIGHTED, TfliteModel
from esp_hil.formats.tflite.operators import IMAGE_OPERATORS, resolver_method
from esp_hil.formats.tflite.reader import read_tflite
from esp_hil.lint.finding import SEVERITIES, Finding
from esp_hil.targets import Target

_CHIP_RESERVE_BYTES = 96 * 1024
"""Internal RAM that FreeRTOS, drivers and the application take: an assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined.

    Attributes:
        model: the file.
        image: its bytes.
        target: the chip it is meant for, None if unsaid.
        operators: those that the firmware's image has.
        partition_bytes: size of the flash partition for the model, None if unsaid.
        psram_bytes: PSRAM of the board, None for that of the target's usual module.
    """

    model: TfliteModel
    image: bytes
    target: Target | None = None
    operators: frozenset[str] = IMAGE_OPERATORS
    partition_bytes: int | None = None
    psram_bytes: int | None = None


Check = Callable[[Subject], Iterator[Finding]]
RULES: dict[str, Check] = {}
"""By name; the first line of a rule's docstring says what it is about."""


def rule(name: str) -> Callable[[Check], Check]:
    """Register a check under `name`."""

    def register(check: Check) -> Check:
        if name in RULES or not check.__doc__:
            raise ValueError(f"rule {name!r} is there twice or has no docstring")
        RULES[name] = check
        return check

    return register


def lint_tflite(
    source: Path | bytes,
    *,
    target: Target | None = None,
    operators: frozenset[str] = IMAGE_OPERATORS,
    partition_bytes: int | None = None,
    psram_bytes: int | None = None,
) -> tuple[TfliteModel, tuple[Finding, ...]]:
    """Examine a `.tflite` file; the arguments are those of `Subject`. Findings come worst first.

    Raises:
        FormatError: the file cannot be read or is damaged.
    """
    image = source.read_bytes() if isinstance(source, Path) else source
    subject = Subject(
        model=read_tflite(source),
        image=image,
        target=target,
        operators=operators,
        partition_bytes=partition_bytes,
        psram_bytes=psram_bytes,
    )
    found = [finding for check in RULES.values() for finding in check(subject)]
    return subject.model, tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


@rule("tflm-schema")
def schema_version(subject: Subject) -> Iterator[Finding]:
    """The file has a schema version that TFLM does not read, or several subgraphs."""
    version = subject.model.version
    if version != SCHEMA_VERSION:
        yield Finding(
            severity="error",
            rule="tflm-schema",
            node="",
            why=f"schema version {version}, TFLM reads {SCHEMA_VERSION}; GetModel is a cast and says nothing",
            todo="convert the model with a converter of TensorFlow 2 or LiteRT",
        )
    if subject.model.subgraphs > 1:
        yield Finding(
            severity="note",
            rule="tflm-schema",
            node="",
            why=f"{subject.model.subgraphs} subgraphs (IF, WHILE): only the first is examined here",
            todo="nothing, if the board's answers are right",
        )


@rule("tflm-external-buffers")
def external_buffers(subject: Subject) -> Iterator[Finding]:
    """Constants lie outside the FlatBuffer, where LiteRT looks and TFLM does not."""
    model = subject.model
    outside = [tensor for tensor in model.tensors if model.buffers[tensor.buffer].external]
    if outside:
        yield Finding(
            severity="error",
            rule="tflm-external-buffers",
            node=outside[0].name,
            why=f"{len(outside)} constants lie behind the FlatBuffer (ai-edge-quantizer does so from 256 KiB "
            "of weights on): TFLM computes with garbage and says nothing",
            todo="esp_hil.formats.tflite.writer.inline_buffers(data) brings them in",
        )


@rule("tflm-no-kernel")
def no_kernel(subject: Subject) -> Iterator[Finding]:
    """TFLM has no kernel for an operator."""
    for operator in subject.model.operators:
        if resolver_method(operator.name) is None:
            kind = "custom operator" if operator.custom else "operator"
            yield Finding(
                severity="error",
                rule="tflm-no-kernel",
                node=f"{operator.name} {operator.index}",
                why=f"TFLM has no kernel for {kind} {operator.name}: AllocateTensors fails",
                todo="replace it in the network, or write and register a kernel of your own",
            )


@rule("tflm-resolver")
def not_registered(subject: Subject) -> Iterator[Finding]:
    """An operator is not among those that the firmware's resolver was built with."""
    missing = [
        name
        for name in subject.model.operator_names
        if resolver_method(name) is not None and name not in subject.operators
    ]
    for name in missing:
        yield Finding(
            severity="error",
            rule="tflm-resolver",
            node=name,
            why=f"the image's MicroMutableOpResolver was built without {resolver_method(name)}",
            todo="hil resolver MODEL.tflite --out FILE, then build with -DHIL_TFLM_OPERATORS=FILE",
        )


@rule("tflm-hybrid")
def hybrid(subject: Subject) -> Iterator[Finding]:
    """An operator has integer weights and float values: dynamic-range quantization."""
    model = subject.model
    for operator in model.operators:
        if operator.name not in WEIGHTED:
            continue
        values, weights = (model.tensors[index].dtype for index in operator.inputs[:2])
        if values == "float32" and weights != "float32":
            yield Finding(
                severity="error",
                rule="tflm-hybrid",
                node=f"{operator.name} {operator.index}",
                why=f"float32 values meet {weights} weights (Optimize.DEFAULT without a representative data "
                "set): TFLM does not support hybrid models",
                todo="quantize with a representative data set, so that values become int8 too",
            )


@rule("tflm-uint8")
def old_quantization(subject: Subject) -> Iterator[Finding]:
    """Operators compute in uint8, the quantization of TensorFlow 1."""
    model = subject.model
    for operator in model.operators:
        if operator.name in WEIGHTED and model.tensors[operator.inputs[0]].dtype == "uint8":
            yield Finding(
                severity="error",
                rule="tflm-uint8",
                node=f"{operator.name} {operator.index}",
                why="its values are uint8: TFLM has kernels for int8 and int16 only",
                todo="quantize again with a converter of TensorFlow 2 or LiteRT",
            )
            return


@rule("tflm-float-io")
def float_io(subject: Subject) -> Iterator[Finding]:
    """Inputs and outputs are float32, or the whole model is."""
    model = subject.model
    edges = [t.dtype for t in (*model.input_tensors, *model.output_tensors)]
    if "float32" not in edges:
        return
    inside = any(t.dtype == "int8" and t.constant for t in model.tensors)
    yield Finding(
        severity="note" if inside else "warning",
        rule="tflm-float-io",
        node="",
        why="int8 inside, float32 at the ends: QUANTIZE and DEQUANTIZE run on the chip, inputs are 4 times "
        "as large"
        if inside
        else "the model is float32: its arena is 4 times as large, and ESP-NN has no float kernels",
        todo='let the converter make int8 inputs and outputs (io = "integer"), if the application can',
    )


@rule("tflm-arena")
def arena(subject: Subject) -> Iterator[Finding]:
    """The arena is larger than the board's memory, or needs its PSRAM."""
    chip = subject.target
    if chip is None:
        return
    needed, how = arena_bytes(subject.model, subject.image)
    psram = chip.psram_bytes if subject.psram_bytes is None else subject.psram_bytes
    internal = chip.internal_bytes - _CHIP_RESERVE_BYTES
    if needed <= internal:
        return
    have = f"{chip.name} has about {internal:,} bytes of internal RAM for it"
    yield Finding(
        severity="warning" if needed <= psram else "error",
        rule="tflm-arena",
        node="",
        why=f"the arena takes {how} {needed:,} bytes; {have} and {psram:,} of PSRAM",
        todo="it will lie in PSRAM, which is slower"
        if needed <= psram
        else "take a board with PSRAM, int8 instead of float32, or a smaller input",
    )


@rule("tflm-size")
def model_size(subject: Subject) -> Iterator[Finding]:
    """The file is larger than its partition or the flash."""
    limits = [("its partition", subject.partition_bytes)]
    if subject.target is not None:
        limits.append((f"the flash of {subject.target.name}", subject.target.flash_bytes))
    for what, limit in limits:
        if limit is not None and subject.model.size_bytes > limit:
            yield Finding(
                severity="error",
                rule="tflm-size",
                node="",
                why=f"the file has {subject.model.size_bytes:,} bytes, {what} {limit:,}",
                todo="enlarge the partition, take a module with more flash, or a smaller model",
            )


def arena_bytes(model: TfliteModel, image: bytes) -> tuple[int, str]:
    """What the arena takes and how well that is known.

    Measured with tflite-micro if that is there and takes the model ("about": this machine's pointers are
    longer than a chip's), else the most activations that are alive at a time ("at least").
    """
    if importlib.util.find_spec("tflite_micro") is not None:
        try:
            with Interpreter(image) as interpreter:
                return interpreter.memory.arena_bytes, "about"
        except HilError:
            pass  # another rule says what TFLM has against the model
    return live_bytes(model), "at least"


def live_bytes(model: TfliteModel) -> int:
    """The most bytes of activations that are alive while one operator runs, each rounded up to 16.

    An activation lives from the operator that makes it (an input from the first) to the last that reads it
    (an output to the end): what TFLM's memory planner has to place.
    """
    last = len(model.operators) - 1
    first_use = dict.fromkeys(model.inputs, 0)
    last_use = dict.fromkeys(model.outputs, last)
    for place, operator in enumerate(model.operators):
        for index in operator.outputs:
            first_use.setdefault(index, place)
        for index in operator.inputs:
            if index >= 0 and not model.tensors[index].constant:
                last_use[index] = max(last_use.get(index, 0), place)
    sizes = {index: -(-model.tensors[index].size_bytes // 16) * 16 for index in first_use}
    return max(
        (
            sum(
                size
                for index, size in sizes.items()
                if first_use[index] <= place <= last_use.get(index, first_use[index])
            )
            for place in range(last + 1)
        ),
        default=0,
    )

"""Preflight for `.tflite` files: what is known to go wrong with TFLM on a chip, found in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from esp_hil.exact.esp_nn import FAULTS, NEWEST, faults_of, layer_of, version_of
from esp_hil.formats.kinds import read_bytes
from esp_hil.formats.tflite.interpreter import SCHEMA_VERSION, TFLM_TYPES
from esp_hil.formats.tflite.model import NUMERIC, WEIGHTED, TfliteModel
from esp_hil.formats.tflite.operators import IMAGE_OPERATORS, resolver_method
from esp_hil.formats.tflite.reader import read_tflite
from esp_hil.formats.tflite.variables import variables
from esp_hil.lint.finding import SEVERITIES, Finding, named
from esp_hil.models.arena import arena_of
from esp_hil.targets import Target, psram_for_model

HYBRID = WEIGHTED | {
    "BATCH_MATMUL",
    "TRANSPOSE_CONV",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "EMBEDDING_LOOKUP",
}
"""Operators that LiteRT runs on float values with integer weights."""

_CHIP_RESERVE_BYTES = 96 * 1024
"""Internal RAM that FreeRTOS, drivers and the application take: an assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteSubject:
    """What is examined.

    Attributes:
        model: the file.
        image: its bytes.
        target: the chip it is meant for, None if unsaid.
        operators: those that the firmware's image has.
        partition_bytes: size of the flash partition for the model, None if unsaid.
        psram_bytes: PSRAM of the board, None for that of the target's usual module.
        esp_nn: version of ESP-NN in the firmware; "" if unknown, "off" if it has TFLM's reference kernels.
    """

    model: TfliteModel
    image: bytes
    target: Target | None = None
    operators: frozenset[str] = IMAGE_OPERATORS
    partition_bytes: int | None = None
    psram_bytes: int | None = None
    esp_nn: str = ""


Check = Callable[[TfliteSubject], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteRule:
    """A registered check: its id and what it is about in one line."""

    name: str
    about: str
    check: Check


RULES: dict[str, TfliteRule] = {}


def rule(name: str) -> Callable[[Check], Check]:
    """Register a check under `name`."""

    def register(check: Check) -> Check:
        if name in RULES or not check.__doc__:
            raise ValueError(f"rule {name!r} is registered twice or has no docstring")
        RULES[name] = TfliteRule(
            name=name, about=check.__doc__.splitlines()[0], check=lambda subject: named(name, check(subject))
        )
        return check

    return register


def lint_tflite(
    source: Path | bytes,
    *,
    target: Target | None = None,
    operators: frozenset[str] = IMAGE_OPERATORS,
    partition_bytes: int | None = None,
    psram_bytes: int | None = None,
    esp_nn: str = "",
) -> tuple[TfliteModel, tuple[Finding, ...]]:
    """Examine a `.tflite` file; the arguments are those of `TfliteSubject`. Findings come worst first.

    Raises:
        FormatError: the file cannot be read or is damaged.
    """
    image = source if isinstance(source, bytes) else read_bytes(source)
    subject = TfliteSubject(
        model=read_tflite(image, name=None if isinstance(source, bytes) else source.stem),
        image=image,
        target=target,
        operators=operators,
        partition_bytes=partition_bytes,
        psram_bytes=psram_bytes,
        esp_nn=esp_nn,
    )
    found = [finding for entry in RULES.values() for finding in entry.check(subject)]
    return subject.model, tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


@rule("tflm-schema")
def schema_version(subject: TfliteSubject) -> Iterator[Finding]:
    """The file has a schema version that TFLM does not read."""
    version = subject.model.version
    if version != SCHEMA_VERSION:
        yield Finding(
            severity="error",
            node="",
            why=f"schema version {version}, TFLM reads {SCHEMA_VERSION}; GetModel is a cast and says nothing",
            todo="convert the model with a converter of TensorFlow 2 or LiteRT",
        )


@rule("tflm-external-buffers")
def external_buffers(subject: TfliteSubject) -> Iterator[Finding]:
    """Constants lie outside the FlatBuffer, where LiteRT looks and TFLM does not."""
    model = subject.model
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    outside = [tensor for tensor in tensors if model.buffers[tensor.buffer].external]
    if outside:
        yield Finding(
            severity="error",
            node=outside[0].name,
            why=f"{len(outside)} constants lie behind the FlatBuffer (ai-edge-quantizer does so from 256 KiB "
            "of weights on): TFLM computes with garbage and says nothing",
            todo="esp_hil.formats.tflite.writer.inline_buffers(data) brings them in",
        )


@rule("tflm-no-kernel")
def no_kernel(subject: TfliteSubject) -> Iterator[Finding]:
    """TFLM has no kernel for an operator."""
    for graph, operator in subject.model.everywhere():
        if resolver_method(operator.name) is None:
            kind = "custom operator" if operator.custom else "operator"
            yield Finding(
                severity="error",
                node=graph.label(operator),
                why=f"TFLM has no kernel for {kind} {operator.name}: AllocateTensors fails",
                todo="replace it in the network, or write and register a kernel of your own",
            )


@rule("tflm-types")
def types(subject: TfliteSubject) -> Iterator[Finding]:
    """A tensor has a type that TFLM has no size for, or is stored sparse, or is an input that is not a number."""
    model = subject.model
    ends = {*model.inputs, *model.outputs}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            name = tensor.name or f"tensor {tensor.index}"
            if tensor.dtype not in TFLM_TYPES:
                yield Finding(
                    severity="error",
                    node=name,
                    why=f"it is of type {tensor.dtype}, whose size TFLM does not know: AllocateTensors fails",
                    todo="replace what makes it (lists of tensors, text) by operators on numbers",
                )
            elif graph.index == 0 and tensor.index in ends and tensor.dtype not in NUMERIC:
                yield Finding(
                    severity="error",
                    node=name,
                    why=f"an input or output of type {tensor.dtype}: nobody can give or take it as numbers",
                    todo="keep handles inside the model: convert a function of number tensors",
                )
            elif tensor.sparse:
                yield Finding(
                    severity="error",
                    node=name,
                    why="its values are stored sparse, and TFLM reads them as if they were dense",
                    todo="convert without sparsity: Optimize.EXPERIMENTAL_SPARSITY off",
                )


@rule("tflm-variables")
def unassigned_variables(subject: TfliteSubject) -> Iterator[Finding]:
    """A resource variable is read and nothing assigns it, or only what is never called."""
    for variable in variables(subject.model):
        if not variable.reads:
            continue
        graph, operator = variable.reads[0]
        if not variable.assigns:
            yield Finding(
                severity="error",
                node=graph.label(operator),
                why=f"variable {variable.name!r} is read and no ASSIGN_VARIABLE in the file is for it: TFLM has no "
                "memory for it and reads address 0",
                todo="convert again with the function that initializes it, so that the file has its ASSIGN_VARIABLE",
            )
        elif not variable.assigned_when_run:
            inside, assign = variable.assigns[0]
            yield Finding(
                severity="warning",
                node=graph.label(operator),
                why=f"variable {variable.name!r} is assigned by {inside.label(assign)} alone, which nothing calls: it "
                "stays at its zero point",
                todo="call the initializer with CALL_ONCE: convert all signatures of the saved model",
            )


@rule("tflm-resolver")
def not_registered(subject: TfliteSubject) -> Iterator[Finding]:
    """An operator is not among those that the firmware's resolver was built with."""
    missing = [
        name
        for name in subject.model.operator_names
        if resolver_method(name) is not None and name not in subject.operators
    ]
    for name in missing:
        yield Finding(
            severity="error",
            node=name,
            why=f"the image's MicroMutableOpResolver was built without {resolver_method(name)}",
            todo="hil resolver MODEL.tflite --out FILE, then build with -DHIL_TFLM_OPERATORS=FILE",
        )


@rule("tflm-hybrid")
def hybrid(subject: TfliteSubject) -> Iterator[Finding]:
    """An operator has integer weights and float values: dynamic-range quantization."""
    for graph, operator in subject.model.everywhere():
        if operator.name not in HYBRID or len(operator.inputs) < 2:
            continue
        values, weights = (graph.tensors[index].dtype for index in operator.inputs[:2])
        if values == "float32" and weights in {"int8", "uint8", "int4", "int16"}:
            yield Finding(
                severity="error",
                node=graph.label(operator),
                why=f"float32 values meet {weights} weights (Optimize.DEFAULT without a representative data "
                "set): TFLM does not support hybrid models",
                todo="quantize with a representative data set, so that values become int8 too",
            )


@rule("tflm-uint8")
def old_quantization(subject: TfliteSubject) -> Iterator[Finding]:
    """Operators compute in uint8, the quantization of TensorFlow 1."""
    for graph, operator in subject.model.everywhere():
        if operator.name in WEIGHTED and graph.tensors[operator.inputs[0]].dtype == "uint8":
            yield Finding(
                severity="error",
                node=graph.label(operator),
                why="its values are uint8: TFLM has kernels for int8 and int16 only",
                todo="quantize again with a converter of TensorFlow 2 or LiteRT",
            )
            return


@rule("tflm-float-io")
def float_io(subject: TfliteSubject) -> Iterator[Finding]:
    """Inputs and outputs are float32, or the whole model is."""
    model = subject.model
    edges = [t.dtype for t in (*model.input_tensors, *model.output_tensors)]
    if "float32" not in edges:
        return
    inside = any(t.dtype == "int8" and t.constant for graph in model.subgraphs for t in graph.tensors)
    yield Finding(
        severity="note" if inside else "warning",
        node="",
        why="int8 inside, float32 at the ends: QUANTIZE and DEQUANTIZE run on the chip, inputs are 4 times "
        "as large"
        if inside
        else "the model is float32: its arena is 4 times as large, and ESP-NN has no float kernels",
        todo='let the converter make int8 inputs and outputs (io = "integer"), if the application can',
    )


@rule("tflm-esp-nn")
def esp_nn_faults(subject: TfliteSubject) -> Iterator[Finding]:
    """ESP-NN's kernel for a layer is known to be wrong on this chip, in this version."""
    chip = subject.target
    if chip is None or subject.esp_nn == "off" or chip.name not in {fault.chip for fault in FAULTS}:
        return
    version = version_of(subject.esp_nn or NEWEST)
    judged = "" if subject.esp_nn else f" (version assumed: {NEWEST})"
    for graph, operator in subject.model.everywhere():
        layer = layer_of(graph, operator)
        for fault in faults_of(layer, chip.name, version) if layer is not None else ():
            yield Finding(
                severity="warning" if fault.name == "mul-leftover" else "error",
                node=graph.label(operator),
                why=f"{fault.label} on {chip.name}, {fault.versions}{judged}: {fault.summary} ({fault.effect}; seen in "
                "ESP-NN's own assembly, executed instruction by instruction)",
                todo=fault.todo,
                gates=False,
            )
    if version > version_of(NEWEST):
        yield Finding(
            severity="warning",
            node="",
            why=f"ESP-NN {subject.esp_nn} is newer than {NEWEST}, the last one that was examined: judged like "
            "that one, without the faults that its issues report as fixed",
            todo="compare the board's answers with the exact reference",
        )


@rule("tflm-arena")
def arena(subject: TfliteSubject) -> Iterator[Finding]:
    """The arena is larger than the board's memory, or needs its PSRAM."""
    chip = subject.target
    if chip is None:
        return
    plan = arena_of(subject.model, subject.image, chip=chip.name, esp_nn=subject.esp_nn)
    needed, how = plan.bytes, plan.how
    psram = psram_for_model(chip.psram_bytes if subject.psram_bytes is None else subject.psram_bytes)
    internal = min(chip.internal_bytes - _CHIP_RESERVE_BYTES, chip.largest_block_bytes)
    if needed <= internal:
        return
    have = f"it is one block, and the largest of {chip.name}'s internal RAM has about {internal:,} bytes"
    yield Finding(
        severity="warning" if needed <= psram else "error",
        node="",
        why=f"the arena takes {how} {needed:,} bytes; {have} and {psram:,} of PSRAM",
        todo="it will lie in PSRAM, which is slower"
        if needed <= psram
        else "take a board with PSRAM, int8 instead of float32, or a smaller input",
    )


@rule("tflm-size")
def model_size(subject: TfliteSubject) -> Iterator[Finding]:
    """The file is larger than its partition or the flash."""
    limits = [("its partition", subject.partition_bytes)]
    if subject.target is not None:
        limits.append((f"the flash of {subject.target.name}", subject.target.flash_bytes))
    for what, limit in limits:
        if limit is not None and subject.model.size_bytes > limit:
            yield Finding(
                severity="error",
                node="",
                why=f"the file has {subject.model.size_bytes:,} bytes, {what} {limit:,}",
                todo="enlarge the partition, take a module with more flash, or a smaller model",
            )

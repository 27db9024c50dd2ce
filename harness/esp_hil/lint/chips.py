"""Rules about kernels that are broken or undefined on a chip: found by running Espressif's own assembly.

ESP-DL 3.3.9 with its SIMD kernels for the ESP32-S3 and ESP32-P4 was executed instruction by instruction. What is told
here has no defined answer there, or another one than ONNX and esp-ppq give; no version without it is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from esp_hil.formats.espdl.model import Graph, Node
from esp_hil.formats.espdl.operators import ASSIGNS
from esp_hil.formats.espdl.versions import NEWEST, S31_EVEN, SINCE, before, changes_since, known, version_of
from esp_hil.lint.finding import Finding, Subject, rule

_PROOF = (
    f"(ESP-DL {NEWEST}, its assembly executed instruction by instruction; no version without it is known)"
)
_LANES = 16
_FACTOR_BITS = 7
_ITEM_BYTES = {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "float32": 4, "int32": 4}
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})


def _family(subject: Subject) -> str:
    """The family of the chip, else the one that the file was made for; "" if neither is told."""
    if subject.target is not None:
        return subject.target.family
    return (subject.model.family or "") if subject.model is not None else ""


def _exponent(graph: Graph, name: str) -> int | None:
    item = graph.values.get(name) or graph.initializers.get(name)
    return item.exponents[0] if item is not None and item.exponents else None


@rule("esp-dl-version")
def esp_dl_version(subject: Subject) -> Iterator[Finding]:
    """The firmware's ESP-DL is older than an operator or what it computes, or of a version that nobody looked into."""
    if not subject.esp_dl:
        return
    version = version_of(subject.esp_dl)
    for node in subject.graph.nodes:
        since = SINCE.get(node.op_type, "")
        if since and version < version_of(since):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"ESP-DL registers {node.op_type} since {since}, the firmware has {subject.esp_dl}: loading fails",
                todo=f"build with ESP-DL {since} or newer",
            )
    for node, change in changes_since(subject.esp_dl, subject.graph):
        yield Finding(
            severity="warning" if change.modelled else "error",
            node=node.name,
            why=f"{node.op_type}: ESP-DL {subject.esp_dl} {change.before} ({change.source})",
            todo=f"build with ESP-DL {change.since} or newer"
            + (f", or compare with hil exact --esp-dl {subject.esp_dl}" if change.modelled else ""),
        )
    if target_rounds_otherwise(subject):
        yield Finding(
            severity="warning",
            node="",
            why=f"ESP-DL {subject.esp_dl} rounds halves up on the esp32s31, to even since {S31_EVEN}",
            todo=f"build with ESP-DL {S31_EVEN} or newer",
        )
    if not known(subject.esp_dl):
        yield Finding(
            severity="warning",
            node="",
            why=f"ESP-DL {subject.esp_dl} was not looked into: judged as {NEWEST}",
            todo="compare the board's answers with the exact reference",
        )


def target_rounds_otherwise(subject: Subject) -> bool:
    """Whether the firmware is for an esp32s31 and rounds as ESP-DL did there before it was corrected."""
    chip = subject.target.name if subject.target is not None else ""
    return chip == "esp32s31" and before(subject.esp_dl, S31_EVEN)


def _nearest_resizes(graph: Graph) -> Iterator[Node]:
    return (
        node for node in graph.nodes if node.op_type == "Resize" and node.attributes.get("mode") == "nearest"
    )


@rule("resize-few-channels")
def resize_few_channels(subject: Subject) -> Iterator[Finding]:
    """Nearest Resize other than by 2x2, of fewer than 16 channels: the kernel writes what others left."""
    graph = subject.graph
    if _family(subject) not in ("esp32s3", "esp32p4"):
        return
    for node in _nearest_resizes(graph):
        given, made = graph.values.get(node.input(0)), graph.values.get(node.output(0))
        if given is None or made is None:
            continue
        spatial = list(zip(given.shape[1:-1], made.shape[1:-1], strict=False))
        twice = len(spatial) == 2 and all(after == 2 * before for before, after in spatial)
        if given.shape[-1] < _LANES and not twice:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"nearest Resize of {given.shape[-1]} channels from {_words(given.shape)} to {_words(made.shape)}: "
                f"a branch jumps over the loads of two registers, and the output is what earlier kernels left {_PROOF}",
                todo="resize by 2x2, several times if need be, or 16 channels and more, or in mode linear",
            )


@rule("resize-rescale")
def resize_rescale(subject: Subject) -> Iterator[Finding]:
    """Nearest Resize between different exponents, which kernels scale each in its own way."""
    for node in _nearest_resizes(subject.graph):
        given, made = _exponent(subject.graph, node.input(0)), _exponent(subject.graph, node.output(0))
        if given is None or made is None:
            continue
        why = _why_rescaling_is_wrong(_family(subject), given - made)
        if why:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"nearest Resize from exponent {given} to {made}: {why}",
                todo="export again so that both have one exponent (nearest only copies)",
            )


def _why_rescaling_is_wrong(family: str, finer: int) -> str:
    """What becomes of values that nearest Resize multiplies by 2^finer; "" if that is right."""
    if finer >= _FACTOR_BITS:
        return f"the factor 2^{finer} does not fit int8, and turns the sign or makes everything 0"
    if finer < 0 and family == "esp32p4":
        return f"it sets no rounding mode, and rounds as whatever ran before it on that core {_PROOF}"
    if finer > 0 and family == "c":
        return "it does not saturate: larger values wrap around"
    return ""


@rule("left-shift")
def left_shift(subject: Subject) -> Iterator[Finding]:
    """A product is shifted left, which no SIMD kernel can."""
    graph, family = subject.graph, _family(subject)
    if family not in ("esp32s3", "esp32p4"):
        return
    for node in graph.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "Mul"):
            continue
        exponents = [_exponent(graph, name) for name in (node.input(0), node.input(1), node.output(0))]
        first, second, made = exponents
        if first is None or second is None or made is None or made - first - second >= 0:
            continue
        if family == "esp32s3" and node.op_type != "Mul":
            continue  # shift-range says so
        wide = node.attributes.get("quant_type") == "S16"
        comes = "the answer is 0" if family == "esp32s3" and wide else "it reads address 0 and crashes"
        yield Finding(
            severity="error",
            node=node.name,
            why=f"its product is shifted left by {first + second - made}: on {family} "
            f"{'the answer is 0 or -1' if family == 'esp32p4' else comes} {_PROOF}",
            todo="calibrate again so that the output exponent is not below the sum of the inputs'",
        )


@rule("requantize-range")
def requantize_range(subject: Subject) -> Iterator[Finding]:
    """RequantizeLinear to a scale so much finer that the factor of the SIMD kernel overflows."""
    graph, family = subject.graph, _family(subject)
    if family not in ("esp32s3", "esp32p4"):
        return
    for node in graph.nodes:
        given, made = graph.values.get(node.input(0)), graph.values.get(node.output(0))
        if (
            node.op_type not in ASSIGNS
            or given is None
            or made is None
            or not given.exponents
            or not made.exponents
        ):
            continue
        finer = given.exponents[0] - made.exponents[0]
        limit = 7 if family == "esp32s3" and given.dtype == made.dtype == "int8" else 15
        if finer >= limit and node.op_type.endswith("Linear"):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} to a scale that is 2^{finer} finer: from 2^{limit} on the factor of the {family} "
                f"kernel flips its sign or becomes 0 {_PROOF}",
                todo="calibrate again: one of the two tensors has an exponent that its values do not need",
            )


@rule("bias-40-bits")
def bias_40_bits(subject: Subject) -> Iterator[Finding]:
    """A bias of 2^39 in an int16 channel behind the last eight: 40 bits turn its sign."""
    graph = subject.graph
    if _family(subject) not in ("esp32s3", "esp32p4"):
        return
    for node in graph.nodes:
        bias = graph.initializers.get(node.input(2))
        if node.op_type not in ("Conv", "Gemm") or bias is None or bias.dtype != "int64":
            continue
        tail = [int(value) for value in bias.data[bias.data.size // 8 * 8 :]]
        if any(value >= 1 << 39 for value in tail):
            channel = bias.data.size // 8 * 8 + next(i for i, value in enumerate(tail) if value >= 1 << 39)
            yield Finding(
                severity="error",
                node=node.name,
                why=f"the bias of channel {channel} is 2^39, which esp-ppq writes for +2^39 and more: channels behind "
                f"the last eight are summed in 40 bits, where that is -2^39, and the channel flips its sign {_PROOF}",
                todo="use a multiple of 8 output channels, or calibrate so that the bias is smaller",
            )


@rule("reshape-in-place")
def reshape_in_place(subject: Subject) -> Iterator[Finding]:
    """A Reshape or its like that should convert shares its input's memory, and converts nothing."""
    graph = subject.graph
    outputs = {value.name for value in graph.outputs}
    for node in graph.nodes:
        given, made = graph.values.get(node.input(0)), graph.values.get(node.output(0))
        if node.op_type not in ASSIGNS or node.op_type.endswith("Linear") or given is None or made is None:
            continue
        smaller = _ITEM_BYTES.get(made.dtype, 8) <= _ITEM_BYTES.get(given.dtype, 0)
        if given.dtype != made.dtype and smaller and given.name not in outputs:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} from {given.dtype} to {made.dtype}: ESP-DL puts the smaller output where its "
                "input lies and then copies nothing, so the bytes are read as another type",
                todo="export again so that QuantizeLinear or RequantizeLinear converts",
            )


@rule("comparison-in-place")
def comparison_in_place(subject: Subject) -> Iterator[Finding]:
    """A comparison of int16 writes its bytes over values that the other core still reads."""
    graph = subject.graph
    outputs = {value.name for value in graph.outputs}
    for node in graph.nodes:
        if node.op_type not in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
            continue
        inputs = [graph.values[name] for name in node.inputs if name in graph.values]
        made = graph.values.get(node.output(0))
        shared = made is not None and any(
            value.dtype == "int16"
            and value.name not in outputs
            and 2 * math.prod(value.shape) >= math.prod(made.shape)
            for value in inputs
        )
        if shared:
            yield Finding(
                severity="warning",
                node=node.name,
                why=f"{node.op_type} of int16 shares its input's memory: with two cores the second half of its bytes "
                "lies where the first core still reads (read in ESP-DL's sources, not run)",
                todo="run it with one core, or compare in int8",
            )


@rule("channel-constant")
def channel_constant(subject: Subject) -> Iterator[Finding]:
    """A constant of one value a channel was left in NCHW order: it meets rows, not channels."""
    graph = subject.graph
    spatial = any(node.op_type in ("Conv", "MaxPool", "AveragePool", "Resize") for node in graph.nodes)
    for node in graph.nodes:
        if node.op_type not in _ELEMENTWISE or not spatial:
            continue
        found = _left_in_nchw(graph, node)
        if found:
            constant, value = found
            yield Finding(
                severity="error",
                node=node.name,
                why=f"constant {constant!r} is {_words(graph.initializers[constant].shape)} and meets "
                f"{_words(graph.values[value].shape)}, whose channels lie last: it has one value a row there",
                todo="fold it into the convolution before, or export again with a constant of 1xCx1x1 that is permuted",
            )


def _left_in_nchw(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Name of the constant and of the value that it meets."""
    constant = next((name for name in node.inputs if name in graph.initializers), None)
    value = next((name for name in node.inputs if name in graph.values), None)
    if constant is None or value is None:
        return None
    shape, met = graph.initializers[constant].shape, graph.values[value].shape
    if len(met) != 4 or len(shape) not in (3, 4) or shape[-2:] != (1, 1) or shape[-3] == 1:
        return None
    return (constant, value) if shape[-3] == met[-1] and met[-1] > 1 else None


def _words(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))

"""From an `.espdl` model to an ONNX graph of exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from esp_hil.errors import FormatError, InputError, UnsupportedOperator
from esp_hil.exact import shapes
from esp_hil.exact.filters import Kernels
from esp_hil.exact.lowering import Lowering, State
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.probe import IntegerKernels
from esp_hil.exact.proof import Doubt, Headroom, Proof
from esp_hil.exact.registry import operator_of
from esp_hil.formats.espdl.model import EspdlModel, Graph, Node, ValueInfo
from esp_hil.formats.espdl.operators import ASSIGNS
from esp_hil.formats.espdl.versions import SINCE, before, changes_since
from esp_hil.targets import Family

BATCH = "N"


_CONTRADICTIONS = (IndexError, KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError)
_INPUTS = {
    **dict.fromkeys(("Conv", "Gemm", "MatMul", "Gather", "PRelu", "Pad", "ReverseSequence", "Reshape"), 2),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Pow"), 2),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"), 2),
    **dict.fromkeys(("Slice", "ScatterND", "LSTM", "GRU"), 3),
}
"""How many inputs an operator cannot do without, where that is more than one."""


_DTYPES = {"S8": "int8", "S16": "int16", "F32": "float32"}


class NotBatchable(UnsupportedOperator):
    """A node mixes the samples stacked on axis 0, or an input or output has another size there than 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """An `.espdl` graph as an ONNX model that gives the device's integers.

    Attributes:
        model: the ONNX model; inputs and outputs have the tensors' names, the device's types and its layout.
        family: whose numerics it has.
        inputs: the graph inputs, without those of `states`.
        outputs: the tensors it gives, in the order asked for.
        proofs: one per node, in execution order.
        headroom: of esp32s3's 20-bit lanes, per layer; () for other families.
        states: what StreamingCache nodes remember: further inputs and outputs of the model.
        batched: axis 0 of all inputs and outputs is the symbolic dimension "N".
        offset_names: inputs and outputs that hold int8 integers as uint8 q + 128 (with `raw`).
        guard: name of a further output, a scalar bool: a 20-bit lane may have saturated, so the outputs are
            not to be trusted and the careful graph is needed. "" where no lane can saturate.
        saturations: of the careful graph: node name by the name of a further output, an int64 scalar: how
            often its lanes saturated.
        doubts: what is not known of the chip, whatever the inputs are.
        doubt_counts: the same where it depends on them, by the name of a further output, an int64 scalar: how
            often it came up.
    """

    model: onnx.ModelProto
    family: Family
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    proofs: tuple[Proof, ...]
    headroom: tuple[Headroom, ...]
    states: tuple[State, ...]
    batched: bool
    offset_names: tuple[str, ...]
    guard: str
    saturations: dict[str, str]
    doubts: tuple[Doubt, ...]
    doubt_counts: dict[str, Doubt]


def lower(
    model: EspdlModel,
    family: Family,
    *,
    tensors: Sequence[str] | None = None,
    batched: bool = False,
    careful: bool = False,
    kernels: Kernels = "chip",
    integer: IntegerKernels | None = None,
    raw: bool = False,
    count_doubts: bool = True,
    esp_dl: str = "",
) -> Lowered:
    """Lower a model.

    Args:
        model: as `esp_hil.formats.espdl.read_espdl` gives it.
        family: whose rounding, accumulators and kernels to reproduce.
        tensors: names of the tensors to give; None for the graph outputs.
        batched: make axis 0 a batch.
        careful: sum with saturation wherever a 20-bit lane can saturate, instead of guarding it: slow and
            always exact.
        kernels: whose answers where those of a chip and of ESP-DL compiled for a PC differ; see `Kernels`.
        raw: let int8 inputs and outputs be uint8 q + 128, which the integer kernels take as it is.
        integer: use onnxruntime's integer kernels where a layer is proved exact, with filters held so; what
            `probe.available` found on the machine that is to run the graph. None: do not.

        count_doubts: give the model outputs that count where the chip's answer is not certain.
        esp_dl: version of ESP-DL to reproduce; "" for the newest known.

    Raises:
        UnsupportedOperator: an operator, type or attribute that ESP-DL does not have, or that this version of it
            computes in another way than the newest, which is not reproduced.
        NotBatchable: with `batched`, a node that does not keep the samples apart.
        InputError: `tensors` names what no node makes.
        FormatError: the graph contradicts itself.
    """
    graph = model.graph
    _check_version(graph, esp_dl)
    lowering = Lowering(
        graph,
        family,
        batched=batched,
        careful=careful,
        kernels=kernels,
        integer=integer,
        raw=raw,
        esp_dl=esp_dl,
    )
    for value in graph.inputs:
        lowering.declare_input(value.name)
    if batched and any(value.shape[:1] != (1,) for value in (*graph.inputs, *graph.outputs)):
        raise NotBatchable("an input or output has no axis of size 1 in front")
    for node in graph.nodes:
        _lower_node(lowering, node)
    names = [value.name for value in graph.outputs] if tensors is None else list(dict.fromkeys(tensors))
    known = {*tensor_names(graph), *(value.name for value in graph.inputs)}
    for name in names:
        if name not in known:
            raise InputError(f"the model has no tensor {name!r}", hint="hil exact MODEL --explain lists them")
        lowering.output(name)
    return _lowered(model, lowering, names, count_doubts=count_doubts)


def _check_version(graph: Graph, esp_dl: str) -> None:
    """Refuse what ESP-DL of that version does not have, or computes in a way that is not reproduced."""
    if not esp_dl:
        return
    for node in graph.nodes:
        since = SINCE.get(node.op_type, "")
        if since and before(esp_dl, since):
            raise UnsupportedOperator(
                f"ESP-DL {esp_dl} does not register {node.op_type} (node {node.name!r})",
                hint=f"it does since {since}",
            )
    for node, change in changes_since(esp_dl, graph):
        if not change.modelled:
            raise UnsupportedOperator(
                f"{node.op_type} {node.name!r}: ESP-DL {esp_dl} {change.before}, which is not reproduced",
                hint=f"as today since {change.since} ({change.source})",
            )


def _lower_node(lowering: Lowering, node: Node) -> None:
    """Lower one node.

    What numpy and Python say to numbers that contradict each other becomes a FormatError.
    """
    operator = operator_of(node)
    _check_arity(node)
    _check_type(lowering, node)
    try:
        shapes.infer(lowering, node)
        if lowering.batched and not operator.batches(lowering, node):
            raise NotBatchable(f"{node.op_type} {node.name!r} mixes the samples of a batch")
        operator.lower(lowering, node)
    except _CONTRADICTIONS as error:
        raise FormatError(
            f"{node.op_type} {node.name!r}: shapes, attributes and constants contradict each other: {error}",
            hint="export the model again",
        ) from error


def _check_arity(node: Node) -> None:
    """Refuse a node that lacks inputs or outputs which its operator reads or writes."""
    wanted = _INPUTS.get(node.op_type, 1)
    if len(node.inputs) < wanted or not all(node.inputs[:wanted]) or not node.outputs or not node.outputs[0]:
        raise FormatError(
            f"{node.op_type} {node.name!r} needs {wanted} inputs and an output, "
            f"has {node.inputs} and {node.outputs}"
        )


def _check_type(lowering: Lowering, node: Node) -> None:
    """Refuse a node whose first input is of another type than the node computes in."""
    wanted = _DTYPES.get(str(node.attributes.get("quant_type", "")))
    name = node.inputs[0]
    if wanted is None or node.op_type in ASSIGNS or name in lowering.graph.initializers:
        return
    if lowering.dtype(name) != wanted:
        raise FormatError(
            f"{node.op_type} {node.name!r} computes in {wanted}, its input {name!r} is {lowering.dtype(name)}"
        )


def _lowered(model: EspdlModel, lowering: Lowering, names: list[str], *, count_doubts: bool) -> Lowered:
    graph = model.graph
    inputs = tuple(lowering.info(value.name) for value in graph.inputs)
    outputs = tuple(lowering.info(name) for name in names)
    states = tuple(lowering.states)
    given = {info.name for info in inputs}
    further = [_state(state.output_name, state) for state in states]
    guard = _guard(lowering)
    if guard:
        further.append(helper.make_tensor_value_info(guard, element_type("bool"), []))
    for _, count in lowering.saturations:
        further.append(helper.make_tensor_value_info(count, element_type("int64"), []))
    doubt_counts = {count: doubt for doubt, count in lowering.doubts if count and count_doubts}
    for count in doubt_counts:
        further.append(helper.make_tensor_value_info(count, element_type("int64"), []))
    proto = lowering.onnx.model(
        name=graph.name,
        inputs=[_value(info, lowering) for info in inputs]
        + [_state(state.input_name, state) for state in states],
        outputs=[_value(info, lowering) for info in outputs if info.name not in given] + further,
        metadata={"espdl_sha256": model.sha256, "family": lowering.family, "model": model.name},
    )
    return Lowered(
        model=proto,
        family=lowering.family,
        inputs=inputs,
        outputs=outputs,
        proofs=tuple(lowering.proofs),
        headroom=tuple(lowering.headroom.values()),
        states=states,
        batched=lowering.batched,
        offset_names=tuple(sorted(lowering.offset_names)),
        guard=guard,
        saturations={count: node for node, count in lowering.saturations},
        doubts=tuple(doubt for doubt, count in lowering.doubts if not count),
        doubt_counts=doubt_counts,
    )


def _guard(lowering: Lowering) -> str:
    """One scalar bool for all guards, or ""."""
    if not lowering.guards:
        return ""
    first, *others = lowering.guards
    for flag in others:
        first = lowering.onnx.op("Or", [first, flag], hint="a_lane_may_have_saturated")
    return first


def tensor_names(graph: Graph) -> tuple[str, ...]:
    """Names of all tensors that nodes make, in execution order."""
    return tuple(name for node in graph.nodes for name in node.outputs if name)


def _value(info: ValueInfo, lowering: Lowering) -> onnx.ValueInfoProto:
    shape: list[int | str] = list(info.shape)
    if lowering.batched:
        shape[0] = BATCH
    dtype = "uint8" if info.name in lowering.offset_names else info.dtype
    return helper.make_tensor_value_info(info.name, element_type(dtype), shape)


def _state(name: str, state: State) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type(state.dtype), state.shape)

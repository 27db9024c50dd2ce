"""From an `.espdl` model to an ONNX graph of exact arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from harness.errors import InputError
from harness.espdl.exact.lowering import Lowering, State
from harness.espdl.exact.onnx_graph import element_type
from harness.espdl.exact.proof import Proof
from harness.espdl.exact.registry import operator_of
from harness.espdl.model import EspdlModel, Graph, ValueInfo
from harness.targets import Family

BATCH = "N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """An `.espdl` graph as an ONNX model that gives the device's integers.

    Attributes:
        model: the ONNX model; inputs and outputs have the tensors' names, the device's types and its layout.
        family: whose numerics it has.
        inputs: the graph inputs, without those of `states`.
        outputs: the tensors it gives, in the order asked for.
        proofs: one per node, in execution order.
        states: what StreamingCache nodes remember: further inputs and outputs of the model.
        batched: axis 0 of all inputs and outputs is the symbolic dimension "N".
    """

    model: onnx.ModelProto
    family: Family
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    proofs: tuple[Proof, ...]
    states: tuple[State, ...]
    batched: bool


def lower(
    model: EspdlModel, family: Family, *, tensors: Sequence[str] | None = None, batched: bool = False
) -> Lowered:
    """Lower a model.

    Args:
        model: as `harness.espdl.read_espdl` gives it.
        family: whose rounding, accumulators and kernels to reproduce.
        tensors: names of the tensors to give; None for the graph outputs.
        batched: make axis 0 a batch; see `can_batch`.

    Raises:
        UnsupportedOperator: an operator, type or attribute that ESP-DL does not have.
        InputError: `tensors` names what no node makes.
        FormatError: the graph contradicts itself.
    """
    graph = model.graph
    lowering = Lowering(graph, family, batched=batched)
    for value in graph.inputs:
        lowering.declare_input(value.name)
    for node in graph.nodes:
        operator_of(node).lower(lowering, node)
    names = [value.name for value in graph.outputs] if tensors is None else list(tensors)
    known = set(tensor_names(graph))
    for name in names:
        if name not in known:
            raise InputError(f"the model has no tensor {name!r}", hint="hil exact MODEL --explain lists them")
        lowering.output(name)
    inputs = tuple(lowering.info(value.name) for value in graph.inputs)
    outputs = tuple(lowering.info(name) for name in names)
    states = tuple(lowering.states)
    proto = lowering.onnx.model(
        name=graph.name,
        inputs=[_value(info, batched) for info in inputs]
        + [_state(state.input_name, state) for state in states],
        outputs=[_value(info, batched) for info in outputs if info.name not in {i.name for i in inputs}]
        + [_state(state.output_name, state) for state in states],
        metadata={"espdl_sha256": model.sha256, "family": family, "model": model.name},
    )
    return Lowered(
        model=proto,
        family=family,
        inputs=inputs,
        outputs=outputs,
        proofs=tuple(lowering.proofs),
        states=states,
        batched=batched,
    )


def tensor_names(graph: Graph) -> tuple[str, ...]:
    """Names of all tensors that nodes make, in execution order."""
    return tuple(name for node in graph.nodes for name in node.outputs if name)


def can_batch(model: EspdlModel, family: Family) -> bool:
    """Whether every node treats axis 0 as independent samples, so that inputs can be stacked there."""
    lowering = Lowering(model.graph, family, batched=True)
    values = (*model.graph.inputs, *model.graph.outputs)
    if any(value.shape[:1] != (1,) for value in values):
        return False
    return all(operator_of(node).batches(lowering, node) for node in model.graph.nodes)


def _value(info: ValueInfo, batched: bool) -> onnx.ValueInfoProto:
    shape: list[int | str] = list(info.shape)
    if batched:
        shape[0] = BATCH
    return helper.make_tensor_value_info(info.name, element_type(info.dtype), shape)


def _state(name: str, state: State) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type(state.dtype), state.shape)

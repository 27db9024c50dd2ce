"""A network with wrong layers: broken kernels in their place, the exact reference around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esp_hil.errors import ConfigError
from esp_hil.exact import ExactReference
from esp_hil.exact.subgraph import activations_read, computed_infos, part_of
from esp_hil.formats.espdl import EspdlModel
from esp_hil.formats.espdl.attributes import text
from esp_hil.targets import Family, Rounding, rounding_of
from esp_hil.tensors import Array, Arrays
from esp_hil.virtual.faults import NodeFault, OperatorFault
from esp_hil.virtual.kernels import Wrong, run_node

_ROUNDS: dict[Rounding, Family] = {"half_up": "esp32s3", "half_even": "esp32p4"}
"""A family that rounds so, for layers that have no kernel of ours to break: they have no filter packed for a family."""


def numbers_of(model: EspdlModel, fault: OperatorFault) -> list[int]:
    """Which nodes of a model a fault of their type hits."""
    kinds = {0: None, 8: "S8", 16: "S16", 32: "F32"}
    wanted = kinds[fault.bits]
    return [
        number
        for number, node in enumerate(model.graph.nodes)
        if node.op_type == fault.operator and wanted in {None, text(node, "quant_type", "S8")}
    ]


def _largest_for_smallest(array: Array) -> Array:
    if array.dtype.kind != "i":
        return array
    limits = np.iinfo(array.dtype)
    return np.where(array == limits.min, array.dtype.type(limits.max), array)


def _turned_round(array: Array) -> Array:
    if array.dtype.kind == "b":
        return ~array
    return np.frombuffer(bytes(~np.frombuffer(array.tobytes(), np.uint8)), array.dtype).reshape(array.shape)


class BrokenNetwork:
    """Runs a model with faults in it, in the form of `ExactReference.run`.

    Args:
        model: as it was read.
        family: whose numerics it has otherwise.
        faults: one a node, or a graph input.
        operators: of layers by their type.
        threads: of onnxruntime.

    Raises:
        ConfigError: a fault names nothing in the model, or cannot happen there.
    """

    def __init__(
        self,
        model: EspdlModel,
        family: Family,
        faults: Sequence[NodeFault],
        operators: Sequence[OperatorFault] = (),
        *,
        threads: int = 1,
    ) -> None:
        self._model, self._family, self._threads = model, family, threads
        self._infos = computed_infos(model, family)
        self._inputs = {fault.node: fault for fault in faults if fault.node in self._input_names()}
        self._faults: dict[int, NodeFault | OperatorFault] = {}
        for fault in operators:
            self._faults |= dict.fromkeys(numbers_of(model, fault), fault)
        self._faults |= {self._number(fault): fault for fault in faults if fault.node not in self._inputs}
        self._parts: dict[tuple[int, int], ExactReference] = {}
        self._before: dict[str, Array] = {}

    def run(self, inputs: Arrays, *, tensors: Sequence[str], keep_state: bool = False) -> dict[str, Array]:
        """One inference; the tensors asked for by name. `keep_state` as for `ExactReference.run`."""
        values: dict[str, Array] = {name: self._after(name, array) for name, array in inputs.items()}
        start = 0
        for number in (*sorted(self._faults), len(self._model.graph.nodes)):
            if number > start:
                values |= self._run_part(start, number, values, tensors, keep_state=keep_state)
            if number in self._faults:
                values |= self._run_broken(number, values, keep_state=keep_state)
            start = number + 1
        return {name: values[name] for name in tensors}

    def _input_names(self) -> set[str]:
        return {value.name for value in self._model.graph.inputs}

    def _number(self, fault: NodeFault) -> int:
        for number, node in enumerate(self._model.graph.nodes):
            if fault.node == node.name or fault.node in node.outputs:
                if fault.fault not in {"layout", "stale"} and node.op_type not in {"Conv", "Gemm"}:
                    raise ConfigError(
                        f"fault plan: {node.op_type} {node.name} cannot have a {fault.fault} fault",
                        hint="Conv and Gemm can; layout and stale go with every node",
                    )
                return number
        names = ", ".join(node.name for node in self._model.graph.nodes)
        raise ConfigError(f"fault plan: the model has no node {fault.node!r}", hint=f"it has: {names}")

    def _run_part(
        self,
        start: int,
        stop: int,
        values: dict[str, Array],
        tensors: Sequence[str],
        *,
        keep_state: bool,
        family: Family | None = None,
    ) -> dict[str, Array]:
        key = (start, stop)
        if key not in self._parts:
            part = part_of(self._model, start, stop, infos=self._infos)
            self._parts[key] = ExactReference(part, family or self._family, threads=self._threads)
        reference = self._parts[key]
        wanted = [value.name for value in reference.outputs]
        wanted += [name for name in tensors if name in reference.tensor_names and name not in wanted]
        inputs = {value.name: values[value.name] for value in reference.inputs}
        return reference.run(inputs, tensors=wanted, keep_state=keep_state)

    def _run_broken(self, number: int, values: dict[str, Array], *, keep_state: bool) -> dict[str, Array]:
        node, fault = self._model.graph.nodes[number], self._faults[number]
        if isinstance(fault, OperatorFault):
            return self._run_wrong_kernel(number, fault, values, keep_state=keep_state)
        if fault.fault in {"layout", "stale"}:
            answers = self._run_part(number, number + 1, values, (), keep_state=keep_state)
            return {name: self._spoilt(fault, name, array) for name, array in answers.items()}
        wrong = Wrong(
            rounding=fault.mode or rounding_of(self._family),
            add_shift=fault.amount if fault.fault == "exponent" else 0,
            add_padding=fault.amount if fault.fault == "padding" else 0,
            accumulator_bits=fault.amount if fault.fault == "accumulator" else 0,
        )
        x = values[activations_read(self._model.graph, node)[0]]
        return {node.outputs[0]: run_node(self._model, node, x, wrong)}

    def _run_wrong_kernel(
        self, number: int, fault: OperatorFault, values: dict[str, Array], *, keep_state: bool
    ) -> dict[str, Array]:
        node = self._model.graph.nodes[number]
        if fault.fault == "rounding":
            other: Rounding = "half_up" if rounding_of(self._family) == "half_even" else "half_even"
            if node.op_type in {"Conv", "Gemm"}:
                x = values[activations_read(self._model.graph, node)[0]]
                return {node.outputs[0]: run_node(self._model, node, x, Wrong(rounding=other))}
            return self._run_part(
                number, number + 1, values, (), keep_state=keep_state, family=_ROUNDS[other]
            )
        answers = self._run_part(number, number + 1, values, (), keep_state=keep_state)
        spoil = _largest_for_smallest if fault.fault == "minimum" else _turned_round
        return {name: spoil(array) for name, array in answers.items()}

    def _after(self, name: str, array: Array) -> Array:
        return self._spoilt(self._inputs[name], name, array) if name in self._inputs else array

    def _spoilt(self, fault: NodeFault, name: str, array: Array) -> Array:
        if fault.fault == "stale":
            before = self._before.get(name, np.zeros_like(array))
            self._before[name] = array
            return before
        if fault.fault != "layout" or array.ndim != 4:
            raise ConfigError(f"fault plan: {name} of {array.ndim} axes cannot have a {fault.fault} fault")
        # the bytes of NCHW where NHWC belongs
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2)).reshape(array.shape)

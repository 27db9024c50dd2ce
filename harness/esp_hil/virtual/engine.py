"""The virtual board's runtime: the exact reference, which answers integer for integer as a chip must.

It refuses what the chip would refuse: a file of another numeric family, a model that does not fit its memory.
Its cycles are those predicted for the chip (`esp_hil.virtual.pace`), never this machine's time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from esp_hil import counters
from esp_hil.errors import ConfigError, FormatError, HilError, UnsupportedOperator
from esp_hil.settings import VERSION
from esp_hil.targets import Target
from esp_hil.virtual.faults import EngineFaults, FlippedBit, OffByLsb
from esp_hil.virtual.pace import Pace
from esp_hil.wire.requests import LOAD_PARAMETERS_IN_FLASH
from esp_hil.wire.status import Status

if TYPE_CHECKING:
    from esp_hil.exact import ExactReference
    from esp_hil.formats.espdl import EspdlModel, ValueInfo
    from esp_hil.formats.espdl.memory import MemoryPlan

Role = Literal["input", "output"]
Memory = Literal["internal", "psram"]

SYSTEM_BYTES = 96 * 1024
"""Internal memory for FreeRTOS, drivers and application: an assumption; the heap figures are simulated."""


CRASH = -1
"""In place of a run's number: the chip panics in it."""


class Computation(Protocol):
    """What computes: the exact reference, or one with planted faults."""

    def run(
        self, inputs: Mapping[str, NDArray[Any]], *, tensors: Sequence[str], keep_state: bool
    ) -> dict[str, NDArray[Any]]:
        """One inference; the tensors asked for by name.

        `keep_state`: StreamingCaches go on from the run before, as they do on the chip until a load or reset.
        """
        ...


class EngineError(Exception):
    """What the engine refuses, as the server wants it: a status of docs/PROTOCOL.md and words."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTensor:
    """An input or output, as the server describes it."""

    role: Role
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str
    exponent: int | None
    nbytes: int
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What `load` made of an image."""

    family: str
    name: str
    tensors: tuple[EngineTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One inference: outputs in index order, cycles, the captured tensor, (layer, operator, cycles)."""

    outputs: list[bytes]
    cycles: int
    captured: bytes | None
    profile: list[tuple[str, str, int]]


class ExactEngine:
    """An engine for `esp_hil._device.Server`.

    Args:
        target: the chip that it stands for.
        faults: what is wrong with it.
        on_run: called with the number of each run (from 1) before it, or with CRASH; resets the chip if the plan says
            so.
    """

    name = "exact"

    def __init__(self, target: Target, faults: EngineFaults, on_run: Callable[[int], None]) -> None:
        self.families = (target.family,)
        kernels, _, version = faults.kernels.partition(" ")
        self._esp_dl = version if kernels == "esp-dl" else ""
        self.version = self._esp_dl or VERSION
        self.plan: MemoryPlan | None = None
        self._target = target
        self._faults = faults
        self._on_run = on_run
        self._runs = 0
        self._reference: ExactReference | None = None
        self._network: Computation | None = None
        self._pace = Pace(target, faults)
        self._crashes = False

    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> LoadedModel:
        """Read an .espdl image.

        Raises:
            EngineError: it is damaged, of another family, has an unknown operator, or does not fit.
        """
        del location, path
        self.unload()
        try:
            return self._load(image, cores, copies=not options & LOAD_PARAMETERS_IN_FLASH)
        except UnsupportedOperator as error:
            raise EngineError(Status.UNSUPPORTED_OPERATOR, error.message) from error
        except (FormatError, ConfigError) as error:
            raise EngineError(Status.LOAD_FAILED, error.message) from error

    def _load(self, image: bytes, cores: int, *, copies: bool) -> LoadedModel:
        from esp_hil.exact import ExactReference
        from esp_hil.formats.espdl import possible_families, read_espdl
        from esp_hil.formats.espdl.memory import plan_memory
        from esp_hil.formats.espdl.operators import refusal
        from esp_hil.formats.espdl.shapes import computed_outputs
        from esp_hil.virtual.broken import BrokenNetwork, numbers_of

        model = read_espdl(image)
        possible = possible_families(model.graph, model.metadata)
        if self._target.family not in possible:
            raise EngineError(
                Status.WRONG_FAMILY,
                f"the model is for {' or '.join(possible)}, {self._target.name} runs {self._target.family}",
            )
        plan = plan_memory(model, self._target, param_copy=copies)
        self._check_fit(plan)
        model = with_flipped_bits(with_parameter_faults(model, self._faults.parameter), self._faults.bit)
        family = self._target.family
        if self._faults.kernels and not self._esp_dl:
            raise EngineError(Status.LOAD_FAILED, "planted fault: only TFLM's engine has kernels of ESP-NN")
        self._reference = ExactReference(model, family, threads=cores, esp_dl=self._esp_dl)
        self._network = self._reference
        hit = [fault for fault in self._faults.operator if numbers_of(model, fault)]
        refused = next((fault.operator for fault in hit if fault.fault == "refused"), "")
        if refused:
            raise UnsupportedOperator(refusal(refused))
        self._crashes = any(fault.fault == "crash" for fault in hit)
        if self._faults.node or hit:
            self._network = BrokenNetwork(model, family, self._faults.node, hit, threads=cores)
        self.plan = plan
        self._pace.open(image)
        inputs = [_tensor("input", index, value) for index, value in enumerate(model.graph.inputs)]
        outputs = [
            _tensor("output", index, value) for index, value in enumerate(computed_outputs(model.graph))
        ]
        return LoadedModel(family=self._target.family, name=model.name, tensors=(*inputs, *outputs))

    def _check_fit(self, plan: MemoryPlan) -> None:
        rooms = {"internal": self._target.internal_bytes, "psram": self._target.psram_bytes}
        for memory, room in rooms.items():
            needed = plan.needed_bytes("internal" if memory == "internal" else "psram")
            if needed > room:
                raise EngineError(
                    Status.OUT_OF_MEMORY, f"{needed} bytes of {memory} memory needed, there are {room}"
                )

    def unload(self) -> None:
        """Forget the model."""
        self._reference = None
        self._network = None
        self.plan = None

    def needed_bytes(self, memory: Memory) -> int:
        """What the loaded model takes of a memory."""
        return self.plan.needed_bytes(memory) if self.plan else 0

    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> Result:
        """Infer once.

        Raises:
            EngineError: no model, or the reference failed.
        """
        del cores
        reference, network = self._reference, self._network
        if reference is None or network is None:
            raise EngineError(Status.NO_MODEL, "no model is loaded")
        self._runs += 1
        self._on_run(CRASH if self._crashes else self._runs)
        arrays = {
            value.name: np.frombuffer(data, value.dtype).reshape(value.shape)
            for value, data in zip(reference.inputs, inputs, strict=True)
        }
        names = [value.name for value in reference.outputs]
        captured = capture if capture in reference.tensor_names else None
        wanted = [*names, captured] if captured and captured not in names else names
        if self._faults.delay_s:
            time.sleep(self._faults.delay_s)
        try:
            answers = dict(network.run(arrays, tensors=wanted, keep_state=True))
        except HilError as error:
            raise EngineError(Status.ENGINE_FAILED, error.message) from error
        cycles = self._pace.cycles()
        for fault in self._faults.output:
            if fault.tensor in answers:
                answers[fault.tensor] = off_by_lsb(answers[fault.tensor], fault)
        return Result(
            outputs=[answers[name].tobytes() for name in names],
            cycles=cycles,
            captured=answers[captured].tobytes() if captured else None,
            profile=self._profile(reference, cycles) if profile else [],
        )

    def _profile(self, reference: ExactReference, cycles: int) -> list[tuple[str, str, int]]:
        """The run's cycles, divided among the layers as they are predicted."""
        graph = reference.model.graph
        sizes = [sum(_elements(graph.values.get(name)) for name in node.outputs) for node in graph.nodes]
        return [
            (node.name, node.op_type, max(1, int(cycles * share)))
            for node, share in zip(graph.nodes, self._pace.shares(sizes), strict=True)
        ]

    def counters(self) -> Sequence[tuple[str, str, int]]:
        """What ESP-DL's planner would take, by replaying it; 0 while no model is loaded."""
        plan = self.plan
        figures = {
            counters.ARENA: plan.variable.total_bytes if plan else 0,
            counters.ARENA_INTERNAL: plan.variable.internal_bytes if plan else 0,
            counters.ARENA_PSRAM: plan.variable.psram_bytes if plan else 0,
            counters.PARAMETERS_COPIED_INTERNAL: plan.parameter_copy.internal_bytes if plan else 0,
            counters.PARAMETERS_COPIED_PSRAM: plan.parameter_copy.psram_bytes if plan else 0,
        }
        return [(name, counters.COUNTERS[name], value) for name, value in figures.items()]


def _elements(value: ValueInfo | None) -> int:
    return int(np.prod(value.shape)) if value else 0


def _tensor(role: Role, index: int, value: ValueInfo) -> EngineTensor:
    return EngineTensor(
        role=role,
        index=index,
        name=value.name,
        dtype=value.dtype,
        shape=value.shape,
        layout="as stored",
        exponent=value.exponents[0] if value.exponents else None,
        nbytes=_elements(value) * np.dtype(value.dtype).itemsize,
    )


def off_by_lsb(array: NDArray[Any], fault: OffByLsb) -> NDArray[Any]:
    """The array with one integer changed, saturated at the ends of its type.

    Raises:
        EngineError: it has no such element, or holds no integers.
    """
    if array.dtype.kind not in "iu" or not 0 <= fault.index < array.size:
        raise EngineError(Status.ENGINE_FAILED, f"planted fault: {fault.tensor} has no integer {fault.index}")
    limits = np.iinfo(array.dtype)
    changed = array.copy()
    value = int(changed.flat[fault.index]) + fault.add_lsb
    changed.flat[fault.index] = min(max(value, limits.min), limits.max)
    return changed


def with_parameter_faults(model: EspdlModel, faults: Sequence[OffByLsb]) -> EspdlModel:
    """The model with integers of its initializers changed.

    Raises:
        EngineError: no such initializer, or no such integer in it.
    """
    if not faults:
        return model
    initializers = dict(model.graph.initializers)
    for fault in faults:
        if fault.tensor not in initializers:
            raise EngineError(Status.LOAD_FAILED, f"planted fault: no parameter {fault.tensor!r}")
        tensor = initializers[fault.tensor]
        initializers[fault.tensor] = dataclasses.replace(tensor, data=off_by_lsb(tensor.data, fault))
    # the digest names the model in the cache of lowered graphs: this is another one
    digest = hashlib.sha256(f"{model.sha256} {faults}".encode()).hexdigest()
    graph = dataclasses.replace(model.graph, initializers=initializers)
    return dataclasses.replace(model, graph=graph, sha256=digest)


def with_flipped_bits(model: EspdlModel, faults: Sequence[FlippedBit]) -> EspdlModel:
    """The model with bits of its initializers flipped.

    Raises:
        EngineError: no such initializer, integer or bit.
    """
    offs = []
    for fault in faults:
        tensor = model.graph.initializers.get(fault.tensor)
        if tensor is None or not 0 <= fault.index < tensor.data.size or not 0 <= fault.bit < 8:
            raise EngineError(Status.LOAD_FAILED, f"planted fault: no such bit of parameter {fault.tensor!r}")
        before = int(tensor.data[fault.index])
        raw = np.array([before], tensor.data.dtype)
        raw.view(np.uint8)[0] ^= 1 << fault.bit  # the lowest byte: little-endian
        offs.append(OffByLsb(tensor=fault.tensor, index=fault.index, add_lsb=int(raw[0]) - before))
    return with_parameter_faults(model, offs)

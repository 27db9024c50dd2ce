"""The virtual board's other runtime: TensorFlow Lite Micro's own kernels (`tflite-micro` from PyPI).

It refuses what the firmware would refuse: a file that is no `.tflite`, an operator that TFLM has no kernel
for, tensors that do not fit the board's memory. The arena is measured with this machine's 8-byte pointers, so
a chip needs a little less (and ESP-NN's scratch buffers more). The package offers no profile by operator: the
predicted cycles of a run are divided among them as `hil predict` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil import counters
from esp_hil.errors import FormatError, HilError, OutOfMemory, UnsupportedOperator
from esp_hil.exact.esp_nn import version_of
from esp_hil.exact.tflite import labels
from esp_hil.formats.tflite import TfliteModel
from esp_hil.formats.tflite.interpreter import Interpreter, require_tflm
from esp_hil.formats.tflite.variables import keeps_state
from esp_hil.targets import Target
from esp_hil.virtual.engine import (
    SYSTEM_BYTES,
    EngineError,
    EngineTensor,
    LoadedModel,
    Memory,
    Result,
    Role,
    off_by_lsb,
)
from esp_hil.virtual.esp_nn import EspNnModel
from esp_hil.virtual.faults import EngineFaults, OffByLsb
from esp_hil.virtual.pace import Pace
from esp_hil.wire.status import Status

FAMILY = "tflm"
_STATUS: dict[type[HilError], Status] = {
    FormatError: Status.LOAD_FAILED,
    UnsupportedOperator: Status.UNSUPPORTED_OPERATOR,
    OutOfMemory: Status.OUT_OF_MEMORY,
}


class TflmEngine:
    """An engine for `esp_hil._device.Server`.

    Args:
        target: the chip that it stands for.
        faults: what is wrong with it.
        on_run: called with the number of each run (from 1) before it; resets the chip if the plan says so.

    Raises:
        RuntimeFailed: tflite-micro is not installed.
    """

    name = "tflm"
    families = (FAMILY,)

    def __init__(self, target: Target, faults: EngineFaults, on_run: Callable[[int], None]) -> None:
        require_tflm()
        # as the firmware words it: TFLM's version, then that of ESP-NN and which of its kernels
        kernels = f" {faults.kernels} optimized" if faults.kernels else ""
        self.version = metadata.version("tflite-micro") + kernels
        self._target = target
        self._faults = faults
        self._on_run = on_run
        self._runs = 0
        self._interpreter: Interpreter | None = None
        self._labels: tuple[str, ...] = ()
        self._chip: EspNnModel | None = None
        self._pace = Pace(target, faults)

    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> LoadedModel:
        """Read a .tflite image and find its arena.

        Raises:
            EngineError: it is damaged or no .tflite, has an operator that TFLM refuses, or does not fit.
        """
        del location, path, cores, options
        self.unload()
        try:
            return self._load(image)
        except HilError as error:
            raise EngineError(_STATUS.get(type(error), Status.LOAD_FAILED), error.message) from error

    def _load(self, image: bytes) -> LoadedModel:
        if image[:3] in {b"EDL", b"PDL"}:
            raise EngineError(Status.WRONG_FAMILY, "an .espdl file; this firmware runs .tflite files")
        if self._faults.kernels.startswith("esp-dl"):
            raise EngineError(Status.LOAD_FAILED, "planted fault: only ESP-DL's engine has kernels of ESP-DL")
        if self._faults.node or self._faults.bit or self._faults.operator:
            raise EngineError(Status.LOAD_FAILED, "planted fault: only ESP-DL's engine can have it")
        room = max(self._room("internal"), self._room("psram"))
        damaged = with_parameter_faults(image, self._faults.parameter) if self._faults.parameter else image
        self._interpreter = interpreter = Interpreter(damaged, arena_limit_bytes=room)
        model = interpreter.model
        self._labels = labels(model)
        if self._faults.kernels:
            version = self._faults.kernels.partition(" ")[2]
            self._chip = EspNnModel(model, damaged, self._target.name, version_of(version))
        self._pace.open(image)
        tensors = [self._tensor("input", i, number) for i, number in enumerate(model.inputs)]
        tensors += [self._tensor("output", i, number) for i, number in enumerate(model.outputs)]
        return LoadedModel(family=FAMILY, name=model.description, tensors=tuple(tensors))

    def _room(self, memory: Memory) -> int:
        if memory == "psram":
            return self._target.psram_bytes
        return self._target.internal_bytes - SYSTEM_BYTES

    def _tensor(self, role: Role, index: int, number: int) -> EngineTensor:
        assert self._interpreter is not None
        tensor = self._interpreter.model.tensors[number]
        affine = tensor.affine
        return EngineTensor(
            role=role,
            index=index,
            name=self._labels[number],
            dtype=tensor.dtype,
            shape=tensor.shape,
            layout="as stored",
            exponent=None,
            nbytes=tensor.size_bytes,
            scale=affine.scale if affine else None,
            zero_point=affine.zero_point if affine else None,
        )

    def unload(self) -> None:
        """Forget the model and end the process behind it."""
        for part in (self._interpreter, self._chip):
            if part is not None:
                part.close()
        self._interpreter = self._chip = None

    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> Result:
        """Infer once; a profile divides the run's predicted cycles among the operators.

        Raises:
            EngineError: no model, or TFLM failed.
        """
        del cores
        interpreter = self._interpreter
        if interpreter is None:
            raise EngineError(Status.NO_MODEL, "no model is loaded")
        self._runs += 1
        self._on_run(self._runs)
        model = interpreter.model
        arrays = [
            np.frombuffer(data, tensor.dtype).reshape((1, *tensor.item_shape))
            for tensor, data in zip(model.input_tensors, inputs, strict=True)
        ]
        if self._faults.delay_s:
            time.sleep(self._faults.delay_s)
        try:
            outputs = interpreter.run(arrays)
            values = self._chip.run(arrays) if self._chip else None
            if values is not None:
                outputs = [values[number] for number in model.outputs]
            captured = self._captured(interpreter, arrays, capture, values)
        except HilError as error:
            raise EngineError(Status.ENGINE_FAILED, str(error)) from error
        names = [self._labels[number] for number in model.outputs]
        cycles = self._pace.cycles()
        return Result(
            outputs=[self._faulty(name, array) for name, array in zip(names, outputs, strict=True)],
            cycles=cycles,
            captured=captured,
            profile=self._profile(model, cycles) if profile else [],
        )

    def _profile(self, model: TfliteModel, cycles: int) -> list[tuple[str, str, int]]:
        """Number and type, type, and cycles of each operator, as they are predicted."""
        shares = self._pace.shares([1] * len(model.operators))
        return [
            (f"{operator.index}:{operator.name}", operator.name, max(1, int(cycles * share)))
            for operator, share in zip(model.operators, shares, strict=True)
        ]

    def _captured(
        self,
        interpreter: Interpreter,
        inputs: list[NDArray[Any]],
        capture: str | None,
        values: Mapping[int, NDArray[Any]] | None,
    ) -> bytes | None:
        made = {number for operator in interpreter.model.operators for number in operator.outputs}
        if capture not in self._labels or self._labels.index(capture) not in made:
            return None
        number = self._labels.index(capture)
        if values:
            return self._faulty(capture, values[number])
        # another inference would move the variables on
        kept = keeps_state(interpreter.model)
        return self._faulty(capture, interpreter.last(number) if kept else interpreter.tensor(inputs, number))

    def _faulty(self, name: str, array: NDArray[Any]) -> bytes:
        for fault in self._faults.output:
            if fault.tensor == name:
                array = off_by_lsb(array, fault)
        return array.tobytes()

    def needed_bytes(self, memory: Memory) -> int:
        """What the arena takes of a memory: internal RAM if it fits there, else PSRAM."""
        arena = self._interpreter.memory.arena_bytes if self._interpreter else 0
        fits = arena <= self._room("internal")
        return arena if fits == (memory == "internal") else 0

    def counters(self) -> Sequence[tuple[str, str, int]]:
        """The arena by trial and as TFLM's allocator records it; 0 while no model is loaded."""
        use = self._interpreter.memory if self._interpreter else None
        figures = {
            counters.ARENA: use.arena_bytes if use else 0,
            "arena_activations_bytes": use.head_bytes if use else 0,
            "arena_persistent_bytes": use.tail_bytes if use else 0,
        }
        return [(name, counters.COUNTERS[name], value) for name, value in figures.items()]


def with_parameter_faults(image: bytes, faults: Sequence[OffByLsb]) -> bytes:
    """The file with integers of its constants changed.

    Raises:
        EngineError: no such constant, or no such integer in it. FormatError: the file is damaged.
    """
    from esp_hil.formats.tflite import read_tflite

    model: TfliteModel = read_tflite(image)
    names, changed = labels(model), bytearray(image)
    for fault in faults:
        if fault.tensor not in names or not model.tensors[names.index(fault.tensor)].constant:
            raise EngineError(Status.LOAD_FAILED, f"planted fault: no parameter {fault.tensor!r}")
        tensor = model.tensors[names.index(fault.tensor)]
        buffer = model.buffers[tensor.buffer]
        data = off_by_lsb(np.frombuffer(buffer.data, tensor.dtype), fault).tobytes()
        changed[buffer.data_at : buffer.data_at + len(data)] = data
    return bytes(changed)

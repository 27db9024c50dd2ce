"""TFLM's own kernels on this machine, in a process of their own: `tflite-micro` from PyPI.

with Interpreter(image) as interpreter:
    outputs = interpreter.run([inputs])
    interpreter.memory.arena_bytes
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from esp_hil.errors import FormatError, HilError, InputError, OutOfMemory, RuntimeFailed, UnsupportedOperator
from esp_hil.formats.tflite.model import NUMERIC, TfliteModel
from esp_hil.formats.tflite.operators import resolver_method
from esp_hil.formats.tflite.reader import read_tflite
from esp_hil.formats.tflite.variables import keeps_state, unassigned
from esp_hil.formats.tflite.worker import HEAD
from esp_hil.tensors import Array

INSTALL = "pip install 'esp-hil[tflm]'"
SCHEMA_VERSION = 3
ARENA_LIMIT_BYTES = 1 << 29
LOAD_S = 60.0
RUN_S = 60.0
_SECONDS_PER_INPUT = 5.0

TFLM_TYPES = NUMERIC - {"uint16"} | {"resource", "complex64", "complex128", "int4"}
"""Types that TFLM knows the size of: TfLiteTypeSizeOf, tensorflow/lite/micro/memory_helpers.cc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaUse:
    """What a model takes of the arena, in bytes, with the 8-byte pointers of this machine.

    On a chip the persistent part is smaller, for its pointers have 4 bytes; ESP-NN adds scratch buffers.

    Attributes:
        arena_bytes: the smallest arena that serves, found by trying.
        recorded_bytes: what TFLM's recording allocator says.
        head_bytes: of that, activations and scratch buffers, which share memory over time.
        tail_bytes: of that, what persists: tensor and operator records, quantization parameters.
    """

    arena_bytes: int
    recorded_bytes: int
    head_bytes: int
    tail_bytes: int


def require_tflm() -> None:
    """Make sure that tflite-micro is installed, without importing it.

    Raises:
        RuntimeFailed: it is not.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        raise RuntimeFailed("running .tflite files needs tflite-micro", hint=INSTALL)


def check(model: TfliteModel) -> None:
    """Refuse what TFLM would misread or not run, before it gets the file.

    Raises:
        FormatError: another schema version, or constants outside the FlatBuffer.
        UnsupportedOperator: an operator without a kernel.
    """
    if model.version != SCHEMA_VERSION:
        raise FormatError(f"schema version {model.version}, TFLM reads {SCHEMA_VERSION}")
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    external = [tensor for tensor in tensors if model.buffers[tensor.buffer].external]
    if external:
        raise FormatError(
            f"{len(external)} constants, the first {external[0].name!r}, lie outside the FlatBuffer: "
            "TFLM would compute with garbage",
            hint="esp_hil.formats.tflite.writer.inline_buffers brings them in",
        )
    for graph, operator in model.everywhere():
        if resolver_method(operator.name) is None:
            kind = "custom operator" if operator.custom else "operator"
            where = f" of subgraph {graph.index}" if graph.index else ""
            raise UnsupportedOperator(
                f"TFLM has no kernel for {kind} {operator.name} (number {operator.index}{where})"
            )
    _check_types(model)
    for variable, graph, operator in unassigned(model):
        raise UnsupportedOperator(
            f"{graph.label(operator)} reads variable {variable.name!r}, and nothing in the file assigns it: TFLM has "
            "no memory for it and reads address 0",
            hint="convert again with the function that initializes it, so that the file has its ASSIGN_VARIABLE",
        )


def _check_types(model: TfliteModel) -> None:
    for tensor in (*model.input_tensors, *model.output_tensors):
        if tensor.dtype not in NUMERIC:
            raise UnsupportedOperator(
                f"{'input' if tensor.index in model.inputs else 'output'} {tensor.name!r} is of type {tensor.dtype}, "
                "which nobody can give or take as numbers",
                hint="keep handles and text inside the model: convert a function of number tensors",
            )
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.dtype not in TFLM_TYPES:
                inside = f" of subgraph {graph.index}" if graph.index else ""
                raise UnsupportedOperator(
                    f"tensor {tensor.name or tensor.index!r}{inside} is of type {tensor.dtype}, which TFLM does not "
                    "know the size of: AllocateTensors fails",
                    hint="replace what makes it (lists of tensors, text) by operators on numbers",
                )


class Interpreter:
    """A model in a process that runs tflite-micro. Close it, or use it in a `with` statement.

    Args:
        image: the bytes of the `.tflite` file.
        arena_limit_bytes: the largest arena that may be tried.

    Raises:
        FormatError: the file is damaged, or one that TFLM would misread.
        UnsupportedOperator: an operator has no kernel, or its kernel refuses these tensors; says why.
        OutOfMemory: the tensors do not fit.
        RuntimeFailed: tflite-micro is not installed, or crashed.
    """

    def __init__(self, image: bytes, *, arena_limit_bytes: int = ARENA_LIMIT_BYTES) -> None:
        require_tflm()
        self.model = read_tflite(image)
        check(self.model)
        self._image = image
        self._apart: list[bytes] | None = None
        self._process = _Process()
        try:
            self.memory = self._load(image, arena_limit_bytes)
        except HilError:
            self.close()
            raise

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Infer N inputs one after the other.

        Args:
            inputs: for each input of the model its N values: (N, *item_shape), of its dtype. An input of shape
                [1, ...] has N in place of the 1, one of another shape has N before it.

        Returns:
            For each output (N, *item_shape).

        Raises:
            InputError: another number, dtype or shape. RuntimeFailed: TFLM crashed or ran too long.
        """
        self._check_inputs(inputs)
        deadline_s = RUN_S + _SECONDS_PER_INPUT * len(inputs[0])
        outputs: list[Array] = self._process.ask(("run", list(inputs)), deadline_s)
        return outputs

    def restart(self) -> None:
        """Begin without any state, as after loading; of a model that keeps none nothing happens.

        Raises:
            RuntimeFailed: TFLM crashed or ran too long.
        """
        self._process.ask(("restart",), LOAD_S)

    def last(self, index: int) -> Array:
        """A tensor of the last run, by number, of a model that keeps state.

        Raises:
            InputError: the file has no such tensor. RuntimeFailed: TFLM crashed or ran too long.
        """
        if not 0 <= index < len(self.model.tensors):
            raise InputError(f"no tensor {index}: there are {len(self.model.tensors)}")
        tensor: Array = self._process.ask(("last", index), RUN_S)
        return tensor

    def tensor(self, inputs: Sequence[Array], index: int) -> Array:
        """An intermediate tensor, by number, after an inference of one input each: in the file's shape.

        Raises:
            InputError: as `run`, or the file has no such tensor. RuntimeFailed: TFLM crashed or ran too long.
        """
        self._check_inputs(inputs)
        if not 0 <= index < len(self.model.tensors):
            raise InputError(f"no tensor {index}: there are {len(self.model.tensors)}")
        tensor: Array = self._process.ask(("tensor", list(inputs), index), RUN_S)
        return tensor

    def operator_times_ns(self, inputs: Sequence[Array]) -> list[int]:
        """Nanoseconds of each operator, in their order, on what it gets in an inference of one input each.

        tflite-micro has no profile, so each operator is run as a file of its own. A call from Python is in each
        time, a few microseconds.

        Raises:
            InputError: as `run`. QuantizeError: ai-edge-litert, which cuts the file, is not installed.
            RuntimeFailed: TFLM crashed, ran too long, or takes an operator only as part of its model.
        """
        from esp_hil.formats.tflite.writer import operators_apart

        self._check_inputs(inputs)
        if self._apart is None:
            self._apart = operators_apart(self._image)
        reads = [
            list(dict.fromkeys(n for n in operator.inputs if n >= 0 and not self.model.tensors[n].constant))
            for operator in self.model.operators
        ]
        request = ("time", list(inputs), list(zip(self._apart, reads, strict=True)))
        times: list[int] = self._process.ask(request, RUN_S)
        return times

    def close(self) -> None:
        """End the process; more than once does no harm."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, image: bytes, limit_bytes: int) -> ArenaUse:
        try:
            outputs, state = len(self.model.outputs), keeps_state(self.model)
            request = ("load", image, self._generous_bytes(), limit_bytes, outputs, state)
            use = self._process.ask(request, LOAD_S)
        except _Refusal as refusal:
            raise _typed(refusal.said) from None
        return ArenaUse(
            arena_bytes=use["arena_bytes"],
            recorded_bytes=use["arena_recorded_bytes"],
            head_bytes=use["arena_head_bytes"],
            tail_bytes=use["arena_tail_bytes"],
        )

    def _generous_bytes(self) -> int:
        """More arena than the model can need: all its activations side by side, and room for records."""
        made = sum(tensor.size_bytes for tensor in self.model.tensors if not tensor.constant)
        return 2 * made + 2 * self.model.size_bytes + (1 << 20)

    def _check_inputs(self, inputs: Sequence[Array]) -> None:
        wanted = self.model.input_tensors
        if len(inputs) != len(wanted):
            raise InputError(f"{len(inputs)} inputs, the model has {len(wanted)}")
        for array, tensor in zip(inputs, wanted, strict=True):
            if (
                array.dtype != np.dtype(tensor.dtype)
                or array.shape[1:] != tensor.item_shape
                or not len(array)
            ):
                shape = ", ".join(["N", *map(str, tensor.item_shape)])
                raise InputError(
                    f"{array.dtype} {array.shape} for input {tensor.name!r}",
                    hint=f"give {tensor.dtype} of shape ({shape})",
                )
        if len({len(array) for array in inputs}) > 1:
            raise InputError(f"{[len(array) for array in inputs]} values for the inputs: give each as many")


def _typed(said: str) -> HilError:
    """What TFLM printed when it refused a model, as an error with operator and reason."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    node = re.search(r"Node (\S+) \(number (\d+)f?\) failed to prepare", said)
    missing = [line.removeprefix("missing: ") for line in lines if "missing:" in line]
    if missing and not node:
        return OutOfMemory(missing[-1])
    reasons = [line for line in lines if not line.startswith(("Node ", "Failed starting"))]
    why = re.sub(r"^tensorflow/\S+ ", "", reasons[0]) if reasons else "TFLM does not say why"
    if node:
        return UnsupportedOperator(f"TFLM refuses {node[1]} (number {node[2]}): {why}")
    return UnsupportedOperator(f"TFLM refuses the model: {why}")


class _Refusal(Exception):
    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class _Process:
    """The worker, its pipes and what it printed."""

    def __init__(self) -> None:
        # the directory entry goes at once; the worker reads the file through its own standard error
        self._noise = tempfile.TemporaryFile(prefix="hil-tflm-")  # noqa: SIM115 - closed in close()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "esp_hil.formats.tflite.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            env=environment,
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, request: tuple[Any, ...], deadline_s: float) -> Any:  # noqa: ANN401 - as the worker gives it
        """Send a request and wait for its answer.

        Raises:
            RuntimeFailed: the process died or was too slow; it is ended. _Refusal: TFLM refused the model.
        """
        if self._noise.closed:
            raise RuntimeFailed(
                "tflite-micro was ended after it had given no answer", hint="load the model again"
            )
        data = pickle.dumps(request, protocol=pickle.HIGHEST_PROTOCOL)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(HEAD.pack(len(data)) + data)
            self._process.stdin.flush()
            answer = self._answers.get(timeout=deadline_s)
        except (BrokenPipeError, ValueError):
            answer = b""
        except queue.Empty:
            self.close()
            raise RuntimeFailed(f"tflite-micro gave no answer for {deadline_s:g} s") from None
        if not answer:
            raise self._death()
        status, value, said = pickle.loads(answer)
        if status == "refused":
            raise _Refusal(value or said)
        if status == "failed":
            raise RuntimeFailed(f"tflite-micro failed: {value}", hint=_last_line(said))
        return value

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        for stream in (self._process.stdin, self._process.stdout, self._noise):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what was not yet written to a dead process

    def _death(self) -> RuntimeFailed:
        status = self._process.wait()
        self._noise.seek(0)
        said = _last_line(self._noise.read().decode("utf-8", "replace"))
        self.close()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return RuntimeFailed(f"tflite-micro crashed with {how}", hint=said)

    def _read(self) -> None:
        """Answers into the queue; an empty one at the end."""
        stream: IO[bytes] | None = self._process.stdout
        assert stream is not None
        while len(head := stream.read(HEAD.size)) == HEAD.size:
            self._answers.put(stream.read(HEAD.unpack(head)[0]))
        self._answers.put(b"")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""

"""One inference on a device, from arrays to arrays: what goes over the wire for it, step by step.

Small inputs travel inside the RUN request and small outputs inside its answer: one round trip. Larger ones
are written to the slot before and read from it afterwards. A job never waits: `advance` takes the next step
that is possible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType

import numpy as np

from esp_hil.errors import InputError, WireError
from esp_hil.tensors import Array, Arrays
from esp_hil.wire.answers import FailureAnswer, RunAnswer
from esp_hil.wire.calls import Call, PendingCall
from esp_hil.wire.info import DeviceInfo, TensorSpec
from esp_hil.wire.objects import Object
from esp_hil.wire.requests import (
    RUN_CAPTURE,
    RUN_EXPECT,
    RUN_GOLDEN,
    RUN_INLINE_INPUTS,
    RUN_INLINE_OUTPUTS,
    RUN_PACKED,
    RUN_PROFILE,
    RunRequest,
)
from esp_hil.wire.session import WireSession
from esp_hil.wire.status import Status
from esp_hil.wire.transfers import DownloadTask, UploadTask

DIGEST_BYTES = 16
"""Of the SHA-256 of expected outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """What a device answered.

    Attributes:
        outputs: by name, in the device's shape and dtype; integers stand for integer * 2**exponent.
        cycles: CPU cycles of each recorded repetition.
        cold_cycles: of the first run since the model was loaded, if this job contained it.
    """

    outputs: Arrays
    cycles: tuple[int, ...]
    cold_cycles: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run: recorded repetitions, runs before them, cores; a tensor to keep; layer profile."""

    repeats: int = 1
    warmup: int = 0
    cores: int = 1
    capture: str = ""
    profile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentRecord:
    """A record of the golden set that the device has open.

    Attributes:
        number: from 0.
        expected: bytes of the outputs, one after the other, as they should be: the device then sends them only if
            their digest differs; None: it sends them.
    """

    number: int
    expected: bytes | None = None

    @property
    def inline(self) -> bytes:
        """As RUN has it."""
        number = self.number.to_bytes(4, "little")
        if self.expected is None:
            return number
        return number + hashlib.sha256(self.expected).digest()[:DIGEST_BYTES]

    @property
    def flags(self) -> int:
        """Of RUN."""
        return RUN_GOLDEN | RUN_EXPECT * (self.expected is not None)


def encode_inputs(inputs: Arrays, specs: tuple[TensorSpec, ...]) -> list[bytes]:
    """The bytes of every input in index order.

    Raises:
        InputError: a name is missing or unknown, or an array has another shape or dtype than the device's.
    """
    unknown = sorted(set(inputs) - {spec.name for spec in specs})
    missing = [spec.name for spec in specs if spec.name not in inputs]
    if unknown or missing:
        wrong = f"no input {unknown[0]!r}" if unknown else f"input {missing[0]!r} is missing"
        known = ", ".join(spec.name for spec in specs) or "none: load a model first"
        raise InputError(wrong, hint=f"the model's inputs: {known}", step="infer")
    return [encode_tensor(inputs[spec.name], spec) for spec in specs]


def encode_tensor(array: Array, spec: TensorSpec) -> bytes:
    """The bytes of one tensor, little-endian, in the device's layout.

    Raises:
        InputError: the array has another shape or dtype than the device's.
    """
    if array.dtype != np.dtype(spec.dtype) or array.shape != spec.shape:
        raise InputError(
            f"input {spec.name!r} is {array.dtype} {array.shape}",
            hint=f"the device wants {spec.dtype} {spec.shape}",
            step="infer",
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def decode_tensor(data: bytes, spec: TensorSpec) -> Array:
    """The array of a tensor's bytes."""
    little = np.dtype(spec.dtype).newbyteorder("<")
    return np.frombuffer(data, little).reshape(spec.shape).astype(spec.dtype, copy=False)


class Job:
    """One RUN with its transfers.

    Args:
        session: the open session.
        info: of the loaded model.
        inputs: bytes of every input in index order; None: those that the slot has.
        slot: which slot.
        options: how to run.
        now: the time.
        record: of the open golden set, instead of inputs.
    """

    def __init__(
        self,
        session: WireSession,
        info: DeviceInfo,
        inputs: list[bytes] | None,
        *,
        slot: int,
        options: RunOptions,
        now: float,
        record: ResidentRecord | None = None,
    ) -> None:
        self._session = session
        self._info = info
        self._slot = slot
        self._options = options
        self._inline = b""
        self._flags = RUN_INLINE_OUTPUTS
        self._call: Call | None = None
        self._outputs: list[DownloadTask] = []
        self._cycles: DownloadTask | None = None
        self._uploads: list[UploadTask] = []
        self._again = False
        self._tasks: list[PendingCall] = []
        self._next: Callable[[float], None] | None = self._run
        self._record = record
        if record is not None:
            self._inline = record.inline
            self._flags |= record.flags
        elif inputs is not None and self._fit(inputs):
            self._inline = b"".join(inputs)
            self._flags |= RUN_INLINE_INPUTS
            if (packed := session.packer.pack(self._inline)) is not None:
                self._inline = packed
                self._flags |= RUN_PACKED
        else:
            self._uploads = [
                session.upload(data, Object.INPUT, now, index=index, slot=slot)
                for index, data in enumerate(inputs or [])
            ]
            self._tasks += self._uploads
        self.advance(now)

    def _fit(self, inputs: list[bytes]) -> bool:
        limits = self._session.limits
        head = RunRequest.FORM.size + len(self._options.capture.encode())
        # on a bad line a long frame hardly ever arrives whole
        return limits is not None and head + sum(map(len, inputs)) <= self._session.payload_bytes

    @property
    def failure(self) -> FailureAnswer | None:
        """Why it failed, if it did."""
        early = self._call if self._came_too_early else None
        return next((task.failure for task in self._tasks if task.failure and task is not early), None)

    @property
    def done(self) -> bool:
        """Whether there is a result or a failure."""
        if self._came_too_early:
            return self.failure is not None
        return self.failure is not None or (self._next is None and all(task.done for task in self._tasks))

    @property
    def progress(self) -> int:
        """Grows while anything moves."""
        return sum(task.progress + task.done for task in self._tasks)

    def advance(self, now: float) -> None:
        """Take the next step if what it needs is there."""
        if self._came_too_early:
            if not all(task.done and not task.failure for task in self._uploads):
                return
            assert self._call
            self._tasks.remove(self._call)
            self._call, self._next, self._again = None, self._run, True
        while self._next and self._ready:
            step, self._next = self._next, None
            step(now)

    @property
    def _ready(self) -> bool:
        if self._call is None:
            # RUN may follow the inputs at once: when some of them got lost, the device says `missing_input`
            return all(task.on_its_way and not task.failure for task in self._uploads)
        return all(task.done and not task.failure for task in self._tasks)

    @property
    def _came_too_early(self) -> bool:
        failure = self._call.failure if self._call else None
        missing = bool(failure and failure.status == Status.MISSING_INPUT)
        return missing and bool(self._uploads) and not self._again

    def _run(self, now: float) -> None:
        options = self._options
        name = options.capture.encode()
        flags = self._flags | RUN_CAPTURE * bool(name) | RUN_PROFILE * options.profile
        run = RunRequest(
            self._slot, flags, options.cores, options.warmup, options.repeats, name, self._inline
        )
        self._call = self._session.call(run, now)
        self._tasks.append(self._call)
        self._next = self._collect

    def _collect(self, now: float) -> None:
        answer = self._answer
        if not self._inline_outputs and not self._as_expected:
            self._outputs = [
                self._session.download(Object.OUTPUT, now, index=spec.index, slot=self._slot)
                for spec in self._info.outputs
            ]
        if answer.repeats > 1:
            self._cycles = self._session.download(Object.CYCLES, now)
            self._tasks.append(self._cycles)
        self._tasks += self._outputs

    @property
    def _answer(self) -> RunAnswer:
        assert self._call
        assert isinstance(self._call.answer, RunAnswer)
        return self._call.answer

    def result(self) -> Inference:
        """The answer, once `done` and without `failure`.

        Raises:
            WireError: the device's bytes do not have the lengths that INFO says.
        """
        answer = self._answer
        specs = self._info.outputs
        sizes = [spec.size_bytes for spec in specs]
        pieces = [task.data for task in self._outputs]
        inline = self._inline_outputs
        if self._as_expected:
            assert self._record
            assert self._record.expected is not None
            inline = self._record.expected
        if inline:
            ends = accumulate(sizes)
            pieces = [inline[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        if [len(piece) for piece in pieces] != sizes or len(inline) not in {0, sum(sizes)}:
            raise WireError(
                f"the device gave outputs of {[len(piece) for piece in pieces]} bytes, INFO says {sizes}",
                step="infer",
            )
        outputs = {spec.name: decode_tensor(piece, spec) for spec, piece in zip(specs, pieces, strict=True)}
        return Inference(
            outputs=MappingProxyType(outputs), cycles=self._recorded(), cold_cycles=answer.cold or None
        )

    @property
    def _compared(self) -> bool:
        return self._record is not None and self._record.expected is not None

    @property
    def _as_expected(self) -> bool:
        return self._compared and self._answer.inline[:1] == b"\1"

    @property
    def _inline_outputs(self) -> bytes:
        return self._answer.inline[1:] if self._compared else self._answer.inline

    def _recorded(self) -> tuple[int, ...]:
        if self._cycles is not None:
            return tuple(np.frombuffer(self._cycles.data, "<u8").tolist())
        return (self._answer.last,) * self._answer.repeats

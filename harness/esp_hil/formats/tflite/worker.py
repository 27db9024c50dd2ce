"""The process that runs tflite-micro, so that a kernel that crashes takes nothing else with it.

TFLM checks little: a tensor number out of range or weights that do not fit their operator are read as they
are, and a bad access ends the process. Requests come on standard input and answers go to standard output,
each a length and a pickle; standard error is a file that collects what TFLM prints.

    ("load", image, start_bytes, limit_bytes, outputs, keeps state)
                                         -> ("ok", sizes by name, text) | ("refused", reason, text)
    ("run", [input batches])             -> ("ok", [output batches], text)
    ("last", index)                      -> ("ok", array, text): a tensor of the last run, if the model keeps state
    ("restart",)                         -> ("ok", None, text): variables as after loading
    ("tensor", [one input each], index)  -> ("ok", array, text)
    ("time", [one input each], [(file of one operator, tensors that it reads)])
                                         -> ("ok", [nanoseconds of each], text)

A failure of any other kind is ("failed", "Type: words", text).
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import time
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

HEAD = struct.Struct("<Q")
ALIGNMENT_BYTES = 16
TIMED = 3
"""Runs of an operator that is timed; the first one warms the caches."""

_LARGEST_ARENA_BYTES = 1 << 29


class Refused(Exception):
    """TFLM does not take the model; what it printed says why."""


class Runner:
    """A loaded model: one interpreter that infers; another keeps every tensor, once one is asked for.

    Args:
        image: the file.
        start_bytes: an arena that should be large enough. Smaller ones are tried in processes of their own
            only: kernels use persistent memory without asking whether they got it, and crash.
        limit_bytes: the largest arena that may be used in the end.
        keeps_state: an inference depends on those before it. It is then made with all tensors kept, so that one of
            them can be read without another inference.
    """

    def __init__(self, image: bytes, start_bytes: int, limit_bytes: int, *, keeps_state: bool) -> None:
        from tflite_micro.python.tflite_micro import runtime

        self._runtime = runtime
        self._image = image
        self._start_bytes = start_bytes
        self._keeping: Any = None
        first = self._large(runtime.InterpreterConfig.kAllocationRecording)
        self.recorded = _recorded_allocations(first)
        self.arena_bytes = self._smallest(self.recorded["arena_recorded_bytes"])
        if self.arena_bytes > limit_bytes:
            raise Refused(f"missing: the arena takes {self.arena_bytes:,} bytes, there are {limit_bytes:,}")
        self._keeps_state = keeps_state
        self._running = self._interpreter(self.arena_bytes) or first
        if keeps_state:
            self.restart()

    def describe(self) -> dict[str, Any]:
        """Arena in bytes, what the allocator recorded, element type and shape of inputs and outputs."""
        return {"arena_bytes": self.arena_bytes, **self.recorded}

    def run(self, batches: list[NDArray[Any]], outputs: int) -> list[NDArray[Any]]:
        """Infer each input in turn: arrays (N, *item) to as many answers; item: the shape less a leading 1."""
        made: list[list[NDArray[Any]]] = [[] for _ in range(outputs)]
        for row in range(len(batches[0]) if batches else 1):
            _set_inputs(self._running, [batch[row] for batch in batches])
            self._running.invoke()
            for index, answers in enumerate(made):
                answer = np.array(self._running.get_output(index))
                answers.append(answer if answer.shape[:1] == (1,) else answer[np.newaxis])
        return [np.concatenate(answers) for answers in made]

    def restart(self) -> None:
        """Make the interpreter anew: Reset would leave out what CALL_ONCE has put into variables."""
        if self._keeps_state:
            self._running = self._large(self._runtime.InterpreterConfig.kPreserveAllTensors)

    def last(self, index: int) -> NDArray[Any]:
        """A tensor of the last inference."""
        return np.array(self._running.GetTensor(index, 0)["tensor_data"])

    def tensor(self, inputs: list[NDArray[Any]], index: int) -> NDArray[Any]:
        """An intermediate tensor after one inference."""
        if self._keeping is None:
            config = self._runtime.InterpreterConfig.kPreserveAllTensors
            self._keeping = self._large(config)
        _set_inputs(self._keeping, [one[0] for one in inputs])
        self._keeping.invoke()
        return np.array(self._keeping.GetTensor(index, 0)["tensor_data"])

    def time(self, inputs: list[NDArray[Any]], operators: list[tuple[bytes, list[int]]]) -> list[int]:
        """Nanoseconds of each operator alone, on what it gets in this inference; the fastest of TIMED runs."""
        read = {number for _, numbers in operators for number in numbers}
        values = {number: self.tensor(inputs, number) for number in sorted(read)}
        found = []
        for image, numbers in operators:
            alone = self._interpreter(self._start_bytes, image=image)
            if alone is None:
                raise RuntimeError("TFLM takes an operator only as part of its model")
            _set_inputs(alone, [values[number] for number in numbers])
            found.append(min(_invoke_ns(alone) for _ in range(TIMED)))
        return found

    def _interpreter(self, arena_bytes: int, config: Any = None, image: bytes = b"") -> Any:  # noqa: ANN401
        """An interpreter, or None if TFLM says that it cannot allocate; both for any reason.

        Args:
            arena_bytes: that it gets.
            config: which kind; None: the ordinary one.
            image: another file than the model's.
        """
        config = config or self._runtime.InterpreterConfig.kAllocationRecording
        try:
            return self._runtime.Interpreter.from_bytes(
                image or self._image, arena_size=arena_bytes, intrepreter_config=config
            )
        except RuntimeError:
            return None

    def _large(self, config: Any) -> Any:  # noqa: ANN401
        """An interpreter with more arena than it needs.

        Raises:
            Refused: not even the largest arena helps.
        """
        capacity = self._start_bytes
        while True:
            _forget_noise()
            interpreter = self._interpreter(capacity, config)
            if interpreter is not None:
                return interpreter
            if capacity >= _LARGEST_ARENA_BYTES or not _lacks_memory(_noise()):
                raise Refused
            capacity *= 4

    def _smallest(self, recorded_bytes: int) -> int:
        """The smallest arena that serves, a multiple of 16 bytes; first guess is what was recorded."""
        high = -(-recorded_bytes // ALIGNMENT_BYTES)
        if not hasattr(os, "fork"):
            return high * ALIGNMENT_BYTES
        low = 0
        while not self._serves(high * ALIGNMENT_BYTES):
            low, high = high, high + max(1, high // 8)
        step = 1
        while low < high - step and self._serves((high - step) * ALIGNMENT_BYTES):
            high, step = high - step, 2 * step
        low = max(low, high - step)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._serves(middle * ALIGNMENT_BYTES) else (middle, high)
        return high * ALIGNMENT_BYTES

    def _serves(self, arena_bytes: int) -> bool:
        """Whether the model can be loaded with this arena; a process of its own tries."""
        child = os.fork()
        if child == 0:
            os._exit(0 if self._interpreter(arena_bytes) is not None else 1)
        return os.waitpid(child, 0)[1] == 0


def _invoke_ns(interpreter: Any) -> int:  # noqa: ANN401
    start = time.perf_counter_ns()
    interpreter.invoke()
    return time.perf_counter_ns() - start


def _set_inputs(interpreter: Any, inputs: list[NDArray[Any]]) -> None:  # noqa: ANN401
    """Give each input its values, in the shape that the file has for it."""
    for index, values in enumerate(inputs):
        shape = tuple(int(extent) for extent in interpreter.get_input_details(index)["shape"])
        interpreter.set_input(np.ascontiguousarray(values).reshape(shape), index)


def _recorded_allocations(interpreter: Any) -> dict[str, int]:  # noqa: ANN401
    """The totals that TFLM's recording allocator prints."""
    _forget_noise()
    interpreter.print_allocations()
    found: dict[str, int] = {}
    for line in _noise().splitlines():
        for word, name in (
            ("total", "arena_recorded_bytes"),
            ("head", "arena_head_bytes"),
            ("tail", "arena_tail_bytes"),
        ):
            if f"Arena allocation {word} " in line:
                found[name] = int(line.rsplit(" ", 2)[1])
    _forget_noise()
    if len(found) != 3:
        raise RuntimeError("tflite-micro printed no arena totals: another version than this was written for?")
    return found


def _lacks_memory(said: str) -> bool:
    return "missing:" in said or "Failed to allocate" in said or "is too small" in said


def _noise() -> str:
    """What has been printed to standard error since `_forget_noise`; it is a file of ours."""
    size = os.fstat(2).st_size
    return os.pread(2, size, 0).decode("utf-8", "replace")


def _forget_noise() -> None:
    os.ftruncate(2, 0)
    os.lseek(2, 0, os.SEEK_SET)


def _answered(runner: Runner, request: tuple[Any, ...], outputs: int) -> Any:  # noqa: ANN401
    if request[0] == "run":
        return runner.run(request[1], outputs)
    if request[0] in {"last", "restart"}:
        return getattr(runner, request[0])(*request[1:])
    return runner.time(*request[1:]) if request[0] == "time" else runner.tensor(*request[1:])


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the other side closes."""
    runner: Runner | None = None
    outputs = 0
    while head := requests.read(HEAD.size):
        request = pickle.loads(requests.read(HEAD.unpack(head)[0]))
        try:
            if request[0] == "load":
                runner, outputs = None, request[4]
                runner = Runner(*request[1:4], keeps_state=request[5])
                value: Any = runner.describe()
            else:
                assert runner is not None
                value = _answered(runner, request, outputs)
            answer = ("ok", value, "")
        except Refused as error:
            answer = ("refused", str(error), _noise())
        except Exception as error:  # everything goes back to the other process, which raises it typed
            answer = ("failed", f"{type(error).__name__}: {error}", _noise())
        data = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
        answers.write(HEAD.pack(len(data)) + data)
        answers.flush()
        _forget_noise()


def main() -> None:
    """Serve on standard input and output; whatever prints to standard output lands on standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()

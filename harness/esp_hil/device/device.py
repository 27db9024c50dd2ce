"""A board that answers: hello, model, inputs, inferences, figures. Every wait has a deadline.

    with Device(open_link("/dev/ttyUSB0", 921_600)) as device:
        device.connect()
        device.upload_model(image)
        device.load()
        outputs = device.infer({"input": array}).outputs

All methods that talk raise LinkTimeout, LinkClosed, DeviceReset, DeviceCrashed or DeviceFault, each naming
board and step. After all of these but the last there is no session: `connect` makes a new one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from numpy.typing import NDArray

from esp_hil.device.conversation import ConsoleLine, Conversation, Waitable
from esp_hil.device.handshake import disagreements
from esp_hil.device.inference import (
    Inference,
    Job,
    ResidentRecord,
    RunOptions,
    decode_tensor,
    encode_inputs,
    encode_tensor,
)
from esp_hil.device.link import Link
from esp_hil.device.refusal import refused
from esp_hil.errors import DeviceReset, HandshakeError, InputError, WireError
from esp_hil.tensors import Arrays
from esp_hil.wire.answers import HELLO_GATE, PingAnswer, RunAnswer
from esp_hil.wire.calls import Statistics
from esp_hil.wire.info import (
    Counter,
    DeviceInfo,
    Kind,
    LayerCycles,
    TensorSpec,
    parse_counters,
    parse_info,
    parse_profile,
)
from esp_hil.wire.message import Message
from esp_hil.wire.objects import Location, Object
from esp_hil.wire.requests import (
    NO_GATE,
    RUN_GATE,
    GateRequest,
    LoadRequest,
    PingRequest,
    ResetRequest,
    RunRequest,
)
from esp_hil.wire.status import Status, status_name

if TYPE_CHECKING:
    from esp_hil.models.device_file import FileTensor
    from esp_hil.targets import Target

T = TypeVar("T")

LOG = logging.getLogger(__name__)

CONNECT_S = 10.0
CALL_S = 5.0
STOPPING_S = 0.05
"""Until a device that is about to restart is asked again whether it has."""
LOAD_S = 60.0
RUN_S = 60.0
WINDOW_BYTES = 8
STALL_S = 10.0
"""A transfer may last as long as it likes while bytes arrive; without any it ends after this."""


GPIOS = 64
"""More than any of these chips has."""


class Device:
    """A board behind a link.

    Args:
        link: open; `close` closes it.
        board: name for error messages; the link's URL if empty.
        reopen: opens the link again; `connect` uses it when the port has vanished.
        on_text: gets every line of console text.
        seed: of the session numbers, for tests that must repeat.
    """

    def __init__(
        self,
        link: Link,
        *,
        board: str = "",
        reopen: Callable[[], Link] | None = None,
        on_text: Callable[[str], None] | None = None,
        seed: int | None = None,
    ) -> None:
        self.board = board or link.url
        self._talk = Conversation(link, board=self.board, reopen=reopen, on_text=on_text, seed=seed)
        self.kind: Kind | None = None
        """What answered last: silicon, emulated or virtual; None before INFO was read."""
        self._info: DeviceInfo | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the link."""
        self._talk.close()

    # session

    def connect(self, timeout_s: float = CONNECT_S) -> None:
        """Begin a new session: HELLO until the device answers; a board that is booting gets the time for it.

        Raises:
            LinkTimeout: nothing answered; the hint tells what did come.
            HandshakeError: no common protocol version.
        """
        deadline = self._talk.now() + timeout_s
        self._info = None
        while refusal := self._talk.connect(max(0.0, deadline - self._talk.now())).hello.failure:
            stopping = refusal.status == Status.STOPPING and self._talk.now() < deadline
            if stopping:
                # it answers until it restarts; what the console says meanwhile belongs to the log
                self._talk.pause(STOPPING_S)
            self._talk.end_session()
            if not stopping:
                raise HandshakeError(
                    f"the device refused: {status_name(refusal.status)} {refusal.words}".rstrip(),
                    hint="flash the firmware of this harness",
                    step="hello",
                    board=self.board,
                )

    @property
    def connected(self) -> bool:
        """Whether there is a session; after an error of the line or the device there is none."""
        return self._talk.connected

    @property
    def console(self) -> deque[ConsoleLine]:
        """The last console lines with their times."""
        return self._talk.console

    @property
    def conversation(self) -> Conversation:
        """What runs the link and its sessions, for benchmarks of the line itself."""
        return self._talk

    def link_statistics(self) -> Statistics:
        """What has gone over the line since it was opened: a copy."""
        return replace(self._talk.statistics)

    def reset(self, *, hard: bool = False) -> None:
        """Restart the device: by request, or (hard) by the reset line. `connect` again afterwards."""
        LOG.info("%s: reset by %s", self.board, "its line" if hard else "request")
        if hard:
            self._talk.pull_reset_line()
        else:
            # one that restarted before its answer had left has done what it was asked for
            with suppress(DeviceReset):
                self._call(ResetRequest(0), "reset")
        self._info = None
        self._talk.end_session()

    def drop_link(self) -> None:
        """Close the link; the next `connect` opens it again."""
        self._info = None
        self._talk.drop_link()

    def ping(self, data: bytes = b"") -> bytes:
        """Send bytes there and back."""
        return cast(PingAnswer, self._call(PingRequest(data), "ping")).data

    def info(self) -> DeviceInfo:
        """What the device says of itself and of the loaded model."""
        if self._info is None:
            self._info = self._parsed("info", parse_info, self._read(Object.INFO, "info"))
            self.kind = self._info.kind
        return self._info

    def require(
        self,
        *,
        target: Target | None = None,
        family: str | None = None,
        model_sha256: str | None = None,
        inputs: Iterable[FileTensor] | None = None,
    ) -> DeviceInfo:
        """Check that this device with this model is what the run needs.

        Args:
            target: the chip, and with it the numeric family.
            family: the numeric family of the loaded model.
            model_sha256: hex digest of the image that must be loaded.
            inputs: that the model must have, with name, dtype, shape and exponent.

        Raises:
            HandshakeError: one sentence that names the first disagreement.
        """
        info = self.info()
        found = disagreements(
            info,
            target=target,
            family=family,
            model_sha256=model_sha256,
            inputs=None if inputs is None else tuple(inputs),
        )
        for wrong, hint in found:
            raise HandshakeError(wrong, hint=hint, step="handshake", board=self.board)
        return info

    # model

    def upload_model(
        self,
        image: bytes,
        *,
        location: Location = Location.PARTITION,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write a model image, unless the device has it already; `load` makes it run.

        Args:
            image: an .espdl or .tflite file.
            location: the model partition, or RAM.
            progress: called with the number of bytes that have arrived since its last call.

        Raises:
            InputError: the image is empty.
        """
        if not image:
            raise InputError("the model image is empty", step="upload", board=self.board)
        self._info = None
        session = self._talk.session("upload")
        task = session.upload(image, Object.MODEL, self._talk.now(), index=location, eager=False)
        # erasing a partition comes before the first byte
        self.wait_for(task, "upload", LOAD_S, stall_s=STALL_S, progress=progress)

    def load(
        self,
        location: Location = Location.PARTITION,
        *,
        cores: int = 1,
        options: int = 0,
        path: str = "",
        timeout_s: float = LOAD_S,
    ) -> DeviceInfo:
        """Load the model that lies there; returns INFO with its tensors."""
        self._info = None
        self._call(LoadRequest(location, cores, options, path.encode()), "load", timeout_s)
        return self.info()

    # inference

    def set_input(self, name: str, array: NDArray[Any], *, slot: int = 0) -> None:
        """Write one input into a slot.

        Raises:
            InputError: no such input, or the array has another shape or dtype.
        """
        spec = self._input(name)
        self.set_input_bytes(spec.index, encode_tensor(array, spec), slot=slot)

    def set_input_bytes(self, index: int, data: bytes, *, slot: int = 0) -> None:
        """Write raw bytes as an input; only the device checks them."""
        task = self._talk.session("input").upload(
            data, Object.INPUT, self._talk.now(), index=index, slot=slot
        )
        self.wait_for(task, "input", STALL_S, stall_s=STALL_S)

    def read_input(self, name: str, *, slot: int = 0) -> NDArray[Any]:
        """What a slot holds as one input.

        Raises:
            InputError: no such input.
        """
        spec = self._input(name)
        return decode_tensor(self._read(Object.INPUT, "input", spec.index, slot), spec)

    def infer(
        self,
        inputs: Arrays,
        *,
        repeats: int = 1,
        warmup: int = 0,
        cores: int = 1,
        timeout_s: float = RUN_S,
    ) -> Inference:
        """Run once, or `warmup` + `repeats` times with the cycles of each repetition.

        Args:
            inputs: by name, in the device's shape and dtype.
            repeats: recorded runs.
            warmup: runs before them.
            cores: 1 or 2.
            timeout_s: for the whole job; the harness cannot know how long a run may take.

        Raises:
            InputError: wrong name, shape or dtype.
        """
        options = RunOptions(repeats=repeats, warmup=warmup, cores=cores)
        return self.outcome_of(self.start(inputs, 0, options), timeout_s)

    @property
    def has_gate(self) -> bool:
        """Whether its firmware can raise a pin for the timed window."""
        return self._talk.session("gate").offers(HELLO_GATE)

    def choose_gate(self, pin: int | None, *, high: bool = False) -> None:
        """Make a GPIO the gate, or none; it is an output from then on.

        Raises:
            InputError: no chip has such a pin.
            DeviceFault: this one has none to spare.
        """
        if pin is not None and not 0 <= pin < GPIOS:
            raise InputError(
                f"no chip has a GPIO {pin}",
                hint=f"0 to {GPIOS - 1}: gate_gpio, or --gate-gpio (pytest: --hil-gate-gpio)",
            )
        self._call(GateRequest(NO_GATE if pin is None else pin, int(high)), "gate")

    def run_window(
        self, repeats: int, *, warmup: int = 0, cores: int = 1, gated: bool, timeout_s: float = RUN_S
    ) -> float | None:
        """Run what slot 0 holds, so often, and have nothing sent but that it is done.

        Args:
            repeats: inferences, 1..65535; with the gate high for exactly these if `gated`.
            warmup: before them.
            cores: 1 or 2.
            gated: whether the gate that was chosen is raised.
            timeout_s: for all.

        Returns:
            Seconds from the gate's rise to its fall on the device's clock; None without gate.
        """
        if gated:
            request = RunRequest(0, RUN_GATE, cores, warmup, repeats)
        else:
            # what is not recorded needs no memory, however many there are
            request = RunRequest(0, 0, cores, warmup + repeats - 1, 1)
        answer = cast(RunAnswer, self._call(request, "window", timeout_s))
        if not gated:
            return None
        if len(answer.inline) != WINDOW_BYTES:
            raise WireError("the device does not tell the window's length", step="window", board=self.board)
        return int.from_bytes(answer.inline, "little") / self.info().clock_hz

    def infer_many(
        self, inputs: Iterable[Arrays | ResidentRecord], *, cores: int = 1, timeout_s: float = RUN_S
    ) -> Iterator[Inference]:
        """Run once for each element, in order; while one is computed the next one is already sent.

        Args:
            inputs: or records of the open golden set; read as far ahead as the device has slots.
            cores: 1 or 2.
            timeout_s: for each inference.
        """
        options = RunOptions(cores=cores)
        slots = max(1, self.info().slots)
        running: deque[Job] = deque()
        for number, what in enumerate(inputs):
            running.append(self.start(what, number % slots, options))
            if len(running) == slots:
                yield self.outcome_of(running.popleft(), timeout_s)
        while running:
            yield self.outcome_of(running.popleft(), timeout_s)

    def tensor(self, name: str, inputs: Arrays | None = None, *, timeout_s: float = RUN_S) -> bytes:
        """The bytes of an intermediate tensor, by its name in the model file, in the device's layout.

        Args:
            name: of the tensor.
            inputs: what to run; None: again what slot 0 holds.
            timeout_s: for run and transfer.
        """
        self.outcome_of(self.start(inputs, 0, RunOptions(repeats=0, capture=name)), timeout_s)
        return self._read(Object.TENSOR, "tensor")

    def profile(
        self, inputs: Arrays | None = None, *, cores: int = 1, timeout_s: float = RUN_S
    ) -> tuple[LayerCycles, ...]:
        """Cycles of each layer, from a run of its own."""
        self.outcome_of(self.start(inputs, 0, RunOptions(repeats=0, cores=cores, profile=True)), timeout_s)
        return self._parsed("profile", parse_profile, self._read(Object.PROFILE, "profile"))

    def counters(self) -> dict[str, Counter]:
        """All counters of the device now, by name."""
        specs = self.info().counters
        data = self._read(Object.COUNTERS, "counters")
        values = self._parsed("counters", lambda data: parse_counters(data, specs), data)
        return {
            spec.name: Counter(name=spec.name, unit=spec.unit, value=values[spec.name])
            for spec in specs
            if spec.name in values
        }

    def start(self, inputs: Arrays | ResidentRecord | None, slot: int, options: RunOptions) -> Job:
        """Begin a run of these inputs, of a record of the open golden set, or (None) of what the slot holds."""
        info = self.info()
        arrays, record = (None, inputs) if isinstance(inputs, ResidentRecord) else (inputs, None)
        try:
            data = None if arrays is None else encode_inputs(arrays, info.inputs)
        except InputError as error:
            raise error.at(board=self.board) from None
        session = self._talk.session("infer")
        job = Job(session, info, data, slot=slot, options=options, now=self._talk.now(), record=record)
        self._talk.stepping.append(job)
        return job

    def outcome_of(self, job: Job, timeout_s: float = RUN_S) -> Inference:
        """Wait for a job that `start` began."""
        self.wait_for(job, "infer", timeout_s)
        try:
            return job.result()
        except WireError as error:
            raise error.at(board=self.board) from None

    # plumbing

    def _input(self, name: str) -> TensorSpec:
        for spec in self.info().inputs:
            if spec.name == name:
                return spec
        raise InputError(f"no input {name!r}", step="input", board=self.board)

    def _call(self, message: Message, step: str, timeout_s: float = CALL_S) -> Message:
        call = self._talk.session(step).call(message, self._talk.now())
        self.wait_for(call, step, timeout_s)
        assert call.answer
        return call.answer

    def _read(self, source: Object, step: str, index: int = 0, slot: int = 0) -> bytes:
        task = self._talk.session(step).download(source, self._talk.now(), index=index, slot=slot)
        self.wait_for(task, step, STALL_S, stall_s=STALL_S)
        return task.data

    def wait_for(
        self,
        task: Waitable,
        step: str,
        timeout_s: float,
        *,
        stall_s: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Wait for one thing; its refusal becomes an error."""
        self._talk.wait([task], step, timeout_s, stall_s=stall_s, progress=progress)
        if task.failure:
            raise refused(task.failure, step=step, board=self.board)

    def _parsed(self, step: str, parse: Callable[[bytes], T], data: bytes) -> T:
        try:
            return parse(data)
        except WireError as error:
            raise error.at(step=step, board=self.board) from None

"""A run as one row.

`Run` is the only row type: a suite makes it, one line of JSON keeps it, every metric and report reads it. Raw
cycles are kept, not means, so that a new statistic needs no new board time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from esp_hil.energy.figures import Energy
from esp_hil.errors import (
    BuildError,
    DeviceCrashed,
    DeviceFault,
    DeviceReset,
    DoesNotFit,
    FlashError,
    HandshakeError,
    HilError,
    LinkError,
    LinkTimeout,
    LintError,
    OutOfMemory,
    ReportError,
    WireError,
)
from esp_hil.json_text import parse_json
from esp_hil.results.codec import from_plain, to_plain
from esp_hil.settings import VERSION
from esp_hil.verdict.difference import FloatDiff, IntegerDiff
from esp_hil.verdict.verdict import Verdict
from esp_hil.wire.status import Status

SCHEMA = 11
"""Version of the row. Raised by every change of a field's name, type or meaning, and by every new field."""

OLDEST_SCHEMA = 2
"""Rows from this version on can be read: what has been added since has a value for "not known"."""

BoardKind = Literal["silicon", "emulated", "virtual"]
FailureClass = Literal[
    "build",
    "flash",
    "boot",
    "link",
    "handshake",
    "load",
    "out_of_memory",
    "numerics",
    "timeout",
    "crash",
    "reset",
    "other",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """What the device says of itself in its INFO answer; see docs/PROTOCOL.md section 5.

    `revision` is ESP-IDF's: 100 * major + minor. `mac` is "" on a board without one.
    """

    chip: str
    revision: int
    cores: int
    clock_hz: int
    flash_bytes: int
    psram_bytes: int
    idf: str
    engine: str
    engine_version: str
    protocol: int
    sdkconfig_sha256: str
    image_sha256: str
    mac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the row was made from: without it a figure cannot be made again.

    `git_sha` is "" outside a git checkout; `tools` maps each host tool to its version; `machine` names the
    host without telling its name: simulated time is that machine's.
    """

    harness: str = VERSION
    git_sha: str
    dirty: bool
    model_sha256: str
    golden_sha256: str
    tools: Mapping[str, str]
    machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStats:
    """What went over the line, both ways, and what went wrong on it.

    `seconds` is the time spent there; `baud` the line's rate at the end, None if it has none or that was not kept.
    """

    bytes_up: int
    bytes_down: int
    frames_up: int
    frames_down: int
    retransmissions: int
    errors: int
    seconds: float
    baud: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """Where the board was, and who had it.

    Attributes:
        host: machine that its cable ends at; of a network port the server.
        port: there, or URL.
        cable: USB path, such as 1-1.2; "" if the port is not USB or another machine's.
        place: of a farm; "" outside one.
        lease: a UUID: runs with the same one had the board without a break.
        since_utc: when that began, ISO 8601.
    """

    host: str
    port: str
    cable: str = ""
    place: str = ""
    lease: str = ""
    since_utc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockCheck:
    """What passed on the device during its timed job: by its cycle counter, and by its timer.

    The counter runs from the CPU's clock, the timer from the crystal: together they tell the CPU's true clock.
    """

    cycles: int
    timer_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Where the time around the inference goes, in ms on the host's clock.

    Attributes:
        load_ms: of one LOAD: the model was on the board, and is made ready to run.
        pre_ms: to make the device's integers of one input's floats.
        post_ms: to make classes of one input's answer; None for a model without classes.
    """

    load_ms: float
    pre_ms: float
    post_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer as the device profiled it: raw cycles; its work if the graph gives it.

    `bits` is the width of the integers that it computes with; see `esp_hil.results.timing.work.LayerWork` for the
    others.
    """

    name: str
    operator: str
    cycles: tuple[int, ...]
    macs: int | None = None
    parameter_bytes: int | None = None
    activation_bytes: int | None = None
    bits: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """What a device answered for one class: its number, what that stands for, its share after postprocessing.

    `raw` and `real` are None for a class that has no number of its own: class 0 of a model with one output.
    """

    label: str
    raw: float | None
    real: float | None
    share: float
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownInput:
    """An input and the scores that the device gave it; `label` is "" if its class is not known."""

    input: str
    label: str
    scores: tuple[ClassScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One element near the worst one: its index in the tensor, what the device has there and what is right."""

    index: tuple[int, ...]
    got: float
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstWrong:
    """The first tensor of the graph that a device computes wrongly.

    Attributes:
        tensor: its name.
        place: the node that makes it, as `node 3 of 8, Conv /conv2/Conv`; or the graph input.
        shape: as the device has it, batch of 1 first.
        scale: exponent, or scale and zero point, in words.
        why: what explains its values.
        diff: device against exact reference, over the whole tensor.
        around: elements along the last axis around the worst one.
        file: both tensors and the node's inputs, an .npz below the results folder; "" if it was not kept.
    """

    tensor: str
    place: str
    shape: tuple[int, ...]
    scale: str
    why: str
    diff: IntegerDiff | FloatDiff
    around: tuple[Neighbour, ...] = ()
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """What a row of the conformance suite is about; see `esp_hil.models.operators.OperatorCase`.

    Attributes:
        name: of the case.
        operator: as the runtime names it.
        bits: 8 or 16, of the integers that it computes with; 32 of floats.
        what: shapes and attributes, for people.
        origin: where the expected integers come from: assembly, portable, tflite-micro or reference.
        elements: of all outputs.
        wrong_in: the operator that a wrong answer comes from: this one, or one before it in the case's model; "" if
            the answer is right, or nobody knows.
        fault: name of a known fault of the chip's kernels that explains a wrong answer; "" if none does.
    """

    name: str
    operator: str
    bits: int
    what: str
    origin: str
    elements: int
    wrong_in: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run has no verdict or no figures: what went wrong in which step, in one line."""

    kind: FailureClass
    message: str
    step: str

    @staticmethod
    def of(error: HilError) -> Failure:
        """The failure that an error of ours stands for; its board and its step have places of their own in a row."""
        hint = f" ({error.hint})" if error.hint else ""
        return Failure(kind=_class_of(error), message=error.message + hint, step=error.step)


CheckOutcome = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one test of the suites said of a run.

    Attributes:
        suite: what the test is about: its file without `test_` (numerics, latency, memory, regression, ...).
        name: the test's name without its parameters.
        outcome: as pytest has it; `error`: it could not be asked, because the board or a fixture failed.
        message: why it failed or was skipped, in one line; "" if it passed.
        seconds: of the test itself, without what was measured before it.
    """

    suite: str
    name: str
    outcome: CheckOutcome
    message: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it neither failed nor was in vain."""
        return self.outcome in {"passed", "skipped"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model, recipe and runtime on one board, over `inputs` golden inputs.

    Attributes:
        run_id: a UUID.
        session_id: a UUID that all runs of one pytest session share.
        started_utc: ISO 8601 with a trailing Z; waiting for the board came before.
        duration_s: wall time of the whole run, host side included.
        target: chip, as in targets.toml.
        board: id or URL of the board.
        kind: what answered; figures of anything but silicon are simulated.
        location: where the model lay (partition, rodata, psram, ...).
        cores_used: cores that the runtime was allowed to use.
        inputs: how many inputs were inferred for the verdict.
        warmup: inferences before `cycles` that were not kept; the cold one is not among them.
        cold_cycles: cycles of the first inference after loading; None if it was not timed.
        cycles: cycles of every timed repetition, in the order they were made.
        macs: multiply-accumulates of one inference; None if unknown.
        counters: device counter -> (value, unit).
        device: None if the run failed before the handshake.
        link: None if no line was opened.
        verdict: None if there was nothing to compare.
        failure: None if the run came to its end.
        layers: None if the device was not asked to profile.
        attempt: 1, or a higher number for a run that was repeated to confirm what the first one said.
        timed_s: the host's seconds around the timed job, warm-up and transfers included; None if not taken.
        predicted: what the model file alone says of its memory: counter -> (value, unit).
        sizes: bytes of the firmware by section or archive; empty if its build is not known.
        confusion: (label, class that the device chose, how often); empty without labels.
        labels: names of the classes.
        clock: None if the device has no timer to hold its cycle counter against.
        steps: None if it did not come so far.
        leak_bytes: free heap that loading the same model once more cost; None if the heap is not counted.
        custody: where the board was, and who had it; None of a process on this machine, which is nobody else's.
        divergence: where a wrong device first goes wrong and why, one sentence; "" if it does not, or if that
            could not be found out.
        shown: a few inputs with the device's scores for them, class by class: the first one, and wrong ones.
        first_wrong: the tensor that `divergence` is about, with its differences; None if there is none.
        checks: what each test of the suites said of this run; empty in rows that no suite judged.
        case: the operator that the run is about; None if it is about a model.
        energy: what a meter saw of the board; None if there was none beside it.
    """

    run_id: str
    session_id: str
    started_utc: str
    duration_s: float
    model: str
    recipe: str
    runtime: str
    target: str
    board: str
    kind: BoardKind
    location: str
    cores_used: int
    inputs: int
    warmup: int = 0
    cold_cycles: int | None = None
    cycles: tuple[int, ...] = ()
    macs: int | None = None
    counters: Mapping[str, tuple[int | float, str]]
    device: DeviceRow | None
    provenance: Provenance
    link: LinkStats | None = None
    verdict: Verdict | None = None
    failure: Failure | None = None
    layers: tuple[Layer, ...] | None = None
    attempt: int = 1
    timed_s: float | None = None
    predicted: Mapping[str, tuple[int | float, str]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    confusion: tuple[tuple[int, int, int], ...] = ()
    labels: tuple[str, ...] = ()
    divergence: str = ""
    shown: tuple[ShownInput, ...] = ()
    clock: ClockCheck | None = None
    steps: Steps | None = None
    leak_bytes: int | None = None
    custody: Custody | None = None
    first_wrong: FirstWrong | None = None
    checks: tuple[Check, ...] = ()
    case: OperatorRow | None = None
    energy: Energy | None = None

    @property
    def simulated(self) -> bool:
        """Whether the figures of time and memory are not a chip's: a PC or an emulator answered."""
        return self.kind != "silicon"

    @property
    def title(self) -> str:
        """Names the combination: model, recipe, runtime, target and board."""
        return f"{self.model}-{self.recipe}-{self.runtime}-{self.target}@{self.board}"

    @property
    def failure_words(self) -> str:
        """Class, step and message of the failure, or ""."""
        if self.failure is None:
            return ""
        step = f" in {self.failure.step}" if self.failure.step not in {"", self.failure.kind} else ""
        return f"{self.failure.kind}{step}: {self.failure.message}"

    @property
    def passed(self) -> bool:
        """Whether the run came to its end, its verdict, if any, is ok, and no test of the suites was red."""
        return self.failure is None and (self.verdict is None or self.verdict.ok) and not self.red_checks

    @property
    def red_checks(self) -> tuple[Check, ...]:
        """The tests that turned red."""
        return tuple(check for check in self.checks if not check.ok)

    def to_json(self) -> str:
        """The row as one line of ASCII JSON, `schema` first; `simulated` is there for other readers.

        Raises:
            ReportError: a field does not hold what its type says; the message names it.
        """
        row = {"schema": SCHEMA, "simulated": self.simulated, **to_plain(Run, self)}
        return json.dumps(row, allow_nan=False, separators=(",", ":"))

    def judged(self, check: Check) -> Run:
        """The row with what a test said of it; a test that is run again replaces what it said before."""
        others = tuple(one for one in self.checks if (one.suite, one.name) != (check.suite, check.name))
        return replace(self, checks=(*others, check))

    @staticmethod
    def from_json(line: str | bytes) -> Run:
        """The row of a line that `to_json` made, equal in every field.

        Raises:
            ReportError: not a row, a row of another schema, or one with unknown, missing or ill-typed fields.
        """
        row = _row(line)
        simulated = row.pop("simulated", None)
        run: Run = from_plain(Run, row)
        if simulated is not run.simulated:
            raise ReportError(f"row says simulated: {simulated}, but a {run.kind} board answered")
        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Addendum:
    """What a test said of a run whose row is already on the disk: a line of its own behind it."""

    check_of: str
    check: Check

    def to_json(self) -> str:
        """One line of ASCII JSON, `schema` first."""
        row = {"schema": SCHEMA, **to_plain(Addendum, self)}
        return json.dumps(row, allow_nan=False, separators=(",", ":"))

    @staticmethod
    def is_one(line: bytes) -> bool:
        """Whether a line begins like one."""
        return _ADDENDUM.match(line) is not None

    @staticmethod
    def from_json(line: str | bytes) -> Addendum:
        """The addendum of a line that `to_json` made.

        Raises:
            ReportError: as `Run.from_json`.
        """
        found: Addendum = from_plain(Addendum, _row(line))
        return found


_ADDENDUM = re.compile(rb'\{"schema":\d+,"check_of":')


def _row(line: str | bytes) -> dict[str, Any]:
    """The fields of a line whose schema this version reads, without the schema."""
    row = _json(line)
    if not isinstance(row, dict) or type(row.get("schema")) is not int:
        raise ReportError("not a row of esp-hil: no schema")
    if not OLDEST_SCHEMA <= (schema := row.pop("schema")) <= SCHEMA:
        said = f"row has schema {schema}, esp-hil {VERSION} reads {OLDEST_SCHEMA} to {SCHEMA}"
        raise ReportError(said, hint=_needs(row))
    return row


def _json(line: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON there is
    """The value of a line of JSON.

    msgspec is several times as fast. What it refuses (half surrogates in the name of a file) may still be JSON
    to Python's own parser, whose words are also the better ones.
    """
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return parse_json(line if isinstance(line, str) else line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ReportError("not text in UTF-8") from None
    except ValueError as error:
        raise ReportError(f"not JSON: {error}") from None


def _needs(row: Mapping[str, object]) -> str:
    """Which esp-hil can read a row of another schema: the one that wrote it."""
    provenance = row.get("provenance")
    writer = provenance.get("harness") if isinstance(provenance, dict) else None
    return f"read it with esp-hil {writer} or later" if writer else "read it with the esp-hil that wrote it"


_CLASSES: tuple[tuple[type[HilError], FailureClass], ...] = (
    (BuildError, "build"),
    (FlashError, "flash"),
    (LinkTimeout, "timeout"),
    (LinkError, "link"),
    (WireError, "link"),
    (HandshakeError, "handshake"),
    (DeviceReset, "reset"),
    (DoesNotFit, "out_of_memory"),
    (OutOfMemory, "out_of_memory"),
    (LintError, "load"),
)

_STATUS_CLASSES: Mapping[int, FailureClass] = {
    Status.OUT_OF_MEMORY: "out_of_memory",
    Status.LOAD_FAILED: "load",
    Status.WRONG_FAMILY: "load",
    Status.UNSUPPORTED_OPERATOR: "load",
}


_CRASH_CLASSES: Mapping[str, FailureClass] = {
    "out_of_memory": "out_of_memory",
    "unsupported_operator": "load",
    "model_file": "load",
    "model": "load",
    "flash_read": "boot",
    "invalid_image": "boot",
    "partition_table": "boot",
    "psram": "boot",
}


def _class_of(error: HilError) -> FailureClass:
    if isinstance(error, DeviceCrashed):
        return _CRASH_CLASSES.get(error.kind, "crash")
    if isinstance(error, DeviceFault) and error.status in _STATUS_CLASSES:
        return _STATUS_CLASSES[error.status]
    if isinstance(error, LinkError) and error.step == "boot":
        return "boot"
    for kind, name in _CLASSES:
        if isinstance(error, kind):
            return name
    return "load" if error.step == "load" else "other"

"""A row, made of what the steps of a run returned; the only place where rows of boards are written.

    builder = RunBuilder(combination, session_id=..., attempt=1)
    builder.opened(session)                     from here on the line is counted
    builder.add(run_golden(board, ...))         what a step returned: a frozen value
    builder.build()                             the row of what there is; `failure` says why there is no more

A step that was not reached has not returned, and its columns say "not known".
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from esp_hil.boards import emulator
from esp_hil.boards.provision import sizes_of
from esp_hil.boards.select import rows
from esp_hil.energy.figures import Energy
from esp_hil.results.provenance import provenance_of
from esp_hil.results.record import (
    BoardKind,
    ClockCheck,
    DeviceRow,
    Failure,
    FirstWrong,
    Layer,
    LinkStats,
    Neighbour,
    Run,
    ShownInput,
    Steps,
)
from esp_hil.session.board_session import BoardSession
from esp_hil.session.options import Combination
from esp_hil.verdict.diverge import Divergence
from esp_hil.verdict.verdict import Verdict
from esp_hil.wire.calls import Statistics
from esp_hil.wire.info import DeviceInfo

Figures = Mapping[str, tuple[int | float, str]]
P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBoard:
    """The model is on the board and loaded: what the device said of itself, and which file it is."""

    info: DeviceInfo | None = None
    model_sha256: str = ""
    labels: tuple[str, ...] = ()
    macs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """The device answered all inputs.

    Attributes:
        inputs: how many.
        outputs: its integers by output, (N, *shape without batch), device layout.
        golden_sha256: of the inputs, "" if they have no name.
        sent: all inputs as the device got them, likewise.
        what: the inputs, for people, where they are not the golden ones.
        pre_ms: to prepare one input on the host.
        seconds: that all answers took, with what they took over the line.
    """

    inputs: int = 0
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sent: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    golden_sha256: str = ""
    what: str = ""
    pre_ms: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The device loaded the model twice and repeated one input; see `Run` for the fields."""

    load_ms: float | None = None
    leak_bytes: int | None = None
    warmup: int = 0
    cold_cycles: int | None = None
    cycles: tuple[int, ...] = ()
    timed_s: float | None = None
    counters: Figures = field(default_factory=dict)
    clock: ClockCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """The device's cycles of each layer, beside what the graph says of its work and memory."""

    layers: tuple[Layer, ...] | None = None
    macs: int | None = None
    predicted: Figures = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What a meter saw of windows of inferences; nothing without one."""

    energy: Energy | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The answers beside the references'; see `Run` for the fields."""

    verdict: Verdict | None = None
    confusion: tuple[tuple[int, int, int], ...] = ()
    shown: tuple[ShownInput, ...] = ()
    post_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where a wrong device first goes wrong; nothing of a right one."""

    divergence: Divergence | None = None
    file: str = ""
    notes: tuple[str, ...] = ()


Part = OnBoard | Answered | Timed | Metered | Profiled | Judged | Located


class RunBuilder:
    """One row in the making.

    Args:
        combination: what is run.
        session_id: that all rows of the session share.
        attempt: 1, or a higher number for a run that is made again.
        cores: that the runtime may use.
        model: the row's name of the model, where it is not the combination's: an operator's case.
    """

    def __init__(
        self,
        combination: Combination,
        *,
        session_id: str,
        attempt: int = 1,
        cores: int = 1,
        model: str = "",
    ) -> None:
        self.combination = combination
        self._model = model or combination.model
        self._session_id = session_id
        self._attempt = attempt
        self._cores = cores
        self._started, self._began_s = datetime.now(UTC), time.monotonic()
        self._session: BoardSession | None = None
        self._opened_s = 0.0
        self._before = Statistics()
        self._parts: dict[type, Part] = {}

    def of_network(self, name: str) -> RunBuilder:
        """A builder for the row of one network of the combination, as an operator's cases are, on the same board."""
        builder = RunBuilder(
            self.combination,
            session_id=self._session_id,
            attempt=self._attempt,
            cores=self._cores,
            model=f"{self._model}-{name}",
        )
        if self._session is not None:
            builder.opened(self._session)
        return builder

    def opened(self, session: BoardSession) -> None:
        """The board is open; from here on its line is counted. Waiting for it is no part of the run."""
        self._session = session
        if (waited_s := session.board.held_s - self._began_s) > 0:
            self._began_s += waited_s
            self._started += timedelta(seconds=waited_s)
        self._before = session.device.link_statistics()
        self._opened_s = time.monotonic()

    def add(self, *parts: Part) -> None:
        """Take what a step returned; a step that is made again replaces what it returned before."""
        self._parts.update((type(part), part) for part in parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know beside the figures."""
        return tuple(note for part in self._parts.values() for note in getattr(part, "notes", ()))

    def build(self, failure: Failure | None = None) -> Run:
        """The row of what there is."""
        on_board, answered, timed = self.part(OnBoard), self.part(Answered), self.part(Timed)
        profiled, judged, located = self.part(Profiled), self.part(Judged), self.part(Located)
        info, asked = on_board.info, self.combination
        return Run(
            run_id=str(uuid.uuid4()),
            session_id=self._session_id,
            started_utc=self._started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            duration_s=time.monotonic() - self._began_s,
            model=self._model,
            recipe=asked.recipe,
            runtime=asked.runtime,
            target=asked.target.name,
            board=self._session.id if self._session else asked.board or "",
            kind=self._session.board.kind if self._session else _kind_asked_for(asked),
            location=info.model.location if info and info.model else "",
            cores_used=self._cores,
            inputs=answered.inputs,
            warmup=timed.warmup,
            cold_cycles=timed.cold_cycles,
            cycles=timed.cycles,
            macs=profiled.macs if profiled.macs is not None else on_board.macs,
            counters=timed.counters,
            device=DeviceRow(**{f.name: getattr(info, f.name) for f in fields(DeviceRow)}) if info else None,
            provenance=provenance_of(
                model_sha256=on_board.model_sha256,
                golden_sha256=answered.golden_sha256,
                inputs=answered.what,
            ),
            link=self._link(),
            verdict=judged.verdict,
            failure=failure,
            layers=profiled.layers,
            attempt=self._attempt,
            timed_s=timed.timed_s,
            predicted=profiled.predicted,
            sizes=sizes_of(self._session.image) if self._session else {},
            confusion=judged.confusion,
            labels=on_board.labels,
            divergence=located.divergence.summary if located.divergence else "",
            first_wrong=_first_wrong(located.divergence, located.file) if located.divergence else None,
            shown=judged.shown,
            clock=timed.clock,
            steps=_steps(answered, timed, judged),
            leak_bytes=timed.leak_bytes,
            custody=self._session.board.custody if self._session else None,
            energy=self.part(Metered).energy,
        )

    def part(self, kind: type[P]) -> P:
        """What the step of this kind returned; of one that was not reached, that nothing is known."""
        found = self._parts.get(kind)
        return found if isinstance(found, kind) else kind()

    def _link(self) -> LinkStats | None:
        if self._session is None:
            return None
        device = self._session.device
        now, before = device.link_statistics(), self._before
        moved = {f.name: getattr(now, f.name) - getattr(before, f.name) for f in fields(Statistics)}
        return LinkStats(
            bytes_up=moved["sent_bytes"],
            bytes_down=moved["received_bytes"],
            frames_up=moved["sent_frames"],
            frames_down=moved["received_frames"],
            retransmissions=moved["repeated_requests"] + moved["restarted_transfers"],
            errors=moved["noise_segments"],
            seconds=time.monotonic() - self._opened_s,
            baud=device.conversation.link.baud,
        )


def _steps(answered: Answered, timed: Timed, judged: Judged) -> Steps | None:
    if timed.load_ms is None or answered.pre_ms is None:
        return None
    return Steps(load_ms=timed.load_ms, pre_ms=answered.pre_ms, post_ms=judged.post_ms)


def _kind_asked_for(combination: Combination) -> BoardKind:
    if combination.board == "virtual":
        return "virtual"
    if combination.board and emulator.named(combination.board):
        return "emulated"
    row = rows().get(combination.board or "")
    return "emulated" if row is not None and row.kind == "emulated" else "silicon"


class HasRuns(Protocol):
    """What running something on a board gives: at least its rows."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """To be recorded, in this order."""
        ...


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt at running something on a board.

    Attributes:
        session: the board.
        builder: of the row that a failure would be told in; an operator has one for each case.
        finished: rows that are complete, by case; they are recorded even if the next case fails.
    """

    session: BoardSession
    builder: RunBuilder
    finished: dict[str, Run] = field(default_factory=dict)


def _first_wrong(found: Divergence, file: str) -> FirstWrong:
    return FirstWrong(
        tensor=found.tensor,
        place=found.place,
        shape=tuple(found.expected.shape),
        scale=found.scale,
        why=found.diagnosis.summary,
        diff=found.diff,
        around=tuple(
            Neighbour(index=tuple(int(part) for part in index), got=got, expected=expected)
            for index, got, expected in found.around()
            if math.isfinite(got) and math.isfinite(expected)  # JSON has no others
        ),
        file=file,
    )

"""Requests and their answers: consecutive seq, repetition until answered, each executed once.

docs/PROTOCOL.md section 2. Sans-I/O: the time is passed in, what is to be sent is given out.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from esp_hil.wire.answers import ANSWER, FailureAnswer, parse_answer
from esp_hil.wire.frame import Frame
from esp_hil.wire.message import Message
from esp_hil.wire.pace import RoundTrip
from esp_hil.wire.requests import (
    GoldenRequest,
    LoadRequest,
    OpenReadRequest,
    OpenWriteRequest,
    PingRequest,
    Reminder,
    RunRequest,
)
from esp_hil.wire.status import Status
from esp_hil.wire.stream import Fault

REMEMBERED = 15
"""A host stays within so many requests of its oldest unanswered one."""
BUSY_WAIT_S = 0.001
BUSY_WAIT_MAX_S = 0.1
"""Wait before a request that was answered `busy` is made again; it doubles up to the second."""

SMALL_BYTES = 100
"""A RUN with inputs of so many bytes is repeated at once: to ask first would cost about as much."""

_MAY_BE_BUSY = (OpenWriteRequest, OpenReadRequest, RunRequest, LoadRequest, GoldenRequest)
_WORKS = (RunRequest, LoadRequest, GoldenRequest)
"""Answered when their work is done, behind that of others."""


@dataclass(slots=True)
class Statistics:
    """What went over the line: bytes in all, frames, noise, what was sent again."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_frames: int = 0
    received_frames: int = 0
    noise_segments: int = 0
    repeated_requests: int = 0
    retransmitted_bytes: int = 0
    restarted_transfers: int = 0


class PendingCall:
    """Something asked of the device: `done`, and then `failure` or a result."""

    def __init__(self) -> None:
        self.done = False
        self.failure: FailureAnswer | None = None
        self.progress = 0

    def end(self, failure: FailureAnswer | None = None) -> None:
        """It is over."""
        self.done = True
        self.failure = failure


Hook = Callable[["Call", float], None]


class Call(PendingCall):
    """A request. `answer` is what came back when it went well.

    Args:
        message: the request.
        on_issue: called when it gets a seq: at first, and again after each `busy`.
        on_done: called when it is done.
    """

    def __init__(self, message: Message, on_issue: Hook | None = None, on_done: Hook | None = None) -> None:
        super().__init__()
        self.message = message
        self.answer: Message | None = None
        self.seq = -1
        self.on_issue = on_issue
        self.on_done = on_done
        self.sent_at = 0.0
        self.asked_at = 0.0
        self.first_sent_at = 0.0
        self.attempt = 0
        self.received = False
        self.due = False
        self.busy = 0


class Calls:
    """The requests of one session.

    Args:
        first_seq: of the first request.
        round_trip: where answers are measured and time-outs come from.
        statistics: counted into.
    """

    def __init__(self, first_seq: int, round_trip: RoundTrip, statistics: Statistics) -> None:
        self.queue = 1
        self.refused_as_busy = False
        self._next_seq = first_seq
        self._round_trip = round_trip
        self._work = RoundTrip()
        self._statistics = statistics
        self._waiting: deque[Call] = deque()
        self._sent: OrderedDict[int, Call] = OrderedDict()
        self._later: list[tuple[float, Call]] = []
        self._question: Call | None = None

    def issue(self, call: Call, now: float) -> Call:
        """Give it the next seq; it is sent when the device's queue has room."""
        call.seq = self._next_seq
        call.attempt = 0
        call.received = False
        self._next_seq = (self._next_seq + 1) & 0xFFFF
        self._waiting.append(call)
        if call.on_issue:
            call.on_issue(call, now)
        return call

    @property
    def idle(self) -> bool:
        """No request is without its answer."""
        return not (self._waiting or self._sent or self._later)

    def is_out(self, seq: int) -> bool:
        """Whether the request of that seq was sent and is not answered."""
        return seq in self._sent

    @property
    def deadline(self) -> float:
        """When something is to be sent again."""
        times = [at for at, _ in self._later]
        times += [self._repeat_at(call) for call in self._sent.values()]
        return min(times, default=float("inf"))

    def _repeat_at(self, call: Call) -> float:
        # a request whose work is going on is asked after more slowly, in case its answer gets lost
        wait_s = self._round_trip.timeout_s(call.attempt + (2 if call.received else 0))
        if call.received and isinstance(call.message, _WORKS):
            wait_s = max(wait_s, self._work.timeout_s(call.attempt))
        return max(call.sent_at, call.asked_at) + wait_s

    def transmit(self, now: float) -> list[tuple[Message, int]]:
        """The requests to send now, with their seq."""
        out: list[tuple[Message, int]] = []
        due = [call for at, call in self._later if at <= now]
        self._later = [(at, call) for at, call in self._later if at > now]
        for call in due:
            self.issue(call, now)
        for call in self._sent.values():
            if not call.due and now < self._repeat_at(call):
                continue
            call.attempt += 1
            if not call.due and self._asks_first(call):
                call.asked_at = now
                continue
            self._statistics.repeated_requests += 1
            self._send(call, now, out)
        if self._question and not self._question.done and self._question.seq < 0:
            self.issue(self._question, now)
        while self._waiting and len(self._sent) < min(self.queue, REMEMBERED):
            call = self._waiting[0]
            oldest = next(iter(self._sent), call.seq)
            if (call.seq - oldest) & 0xFFFF >= REMEMBERED:
                break
            self._sent[call.seq] = self._waiting.popleft()
            self._send(call, now, out)
        return out

    def _asks_first(self, call: Call) -> bool:
        """Whether an empty PING goes out instead of a request that takes long and holds its inputs.

        Requests are executed in order: the answer to a later one says that the device has this one and works,
        and a gap says that it was lost.
        """
        if call.received or not isinstance(call.message, RunRequest) or len(self._sent) >= self.queue:
            return False
        if len(call.message.inline) <= SMALL_BYTES:
            return False
        if self._question is None or self._question.done:
            self._question = Call(PingRequest(b""))
        return True

    @staticmethod
    def _send(call: Call, now: float, out: list[tuple[Message, int]]) -> None:
        call.sent_at = now
        call.due = False
        message = call.message
        reminds = call.received and isinstance(message, _WORKS)
        out.append((Reminder(message.kind) if reminds else message, call.seq))

    def departs(self, seq: int, at: float) -> None:
        """The request of that seq has left at `at`: its answer is waited for from then on."""
        call = self._sent.get(seq)
        if call is not None:
            call.sent_at = at
            if not call.attempt:
                call.first_sent_at = at

    def on_answer(self, frame: Frame, now: float) -> None:
        """Take a frame of kind A0..A7.

        Raises:
            WireError: it answers a request and does not parse.
        """
        call = self._sent.get(frame.seq)
        for seq, earlier in self._sent.items():
            # they were executed in order
            earlier.received = earlier.received or (frame.seq - seq) & 0xFFFF < REMEMBERED
        if call is None or frame.kind != call.message.kind + ANSWER:
            return
        answer = parse_answer(frame)
        if isinstance(answer, FailureAnswer) and answer.status == Status.PENDING:
            return
        if isinstance(call.message, _WORKS):
            # done once, however often it was asked for
            self._work.measured(max(0.0, now - call.first_sent_at))
        elif not call.attempt:
            self._round_trip.measured(max(0.0, now - call.sent_at))
        self._finish(call, answer, now)

    def _finish(self, call: Call, answer: Message | FailureAnswer, now: float) -> None:
        del self._sent[call.seq]
        if isinstance(answer, FailureAnswer):
            if answer.status == Status.BUSY and isinstance(call.message, _MAY_BE_BUSY):
                self.refused_as_busy = True
                self._later.append((now + min(BUSY_WAIT_MAX_S, BUSY_WAIT_S * 2.0**call.busy), call))
                call.busy = min(call.busy + 1, 10)
                return
            call.end(answer)
        else:
            call.answer = answer
            call.end()
        if call.on_done:
            call.on_done(call, now)

    def on_fault(self, fault: Fault, seq: int, now: float) -> None:
        """Take a FAULT that concerns a request: a gap, or the refusal of a frame."""
        if fault.status == Status.GAP:
            self._on_gap(fault, now)
        elif fault.status != Status.BUSY and (call := self._sent.get(seq)):
            # `busy` here means: not executed, repeat the same request; its timer does
            self._finish(call, FailureAnswer(fault.status, fault.detail.decode("utf-8", "replace")), now)

    def _on_gap(self, fault: Fault, now: float) -> None:
        expected = fault.expected_seq
        lost = self._sent.get(expected)
        # each request behind the lost one makes a gap: repeat them once a round trip, from the lost one on
        if lost is None or (lost.attempt and now < lost.sent_at + self._round_trip.timeout_s() / 2):
            return
        for seq, call in self._sent.items():
            if (seq - expected) & 0xFFFF < 0x8000:
                call.due = True

"""The host's side run against a recording: what was asked, what came of it, what went wrong, without the board."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field

from esp_hil.device.recording import Moment
from esp_hil.errors import WireError
from esp_hil.esp.supervise import Watch
from esp_hil.wire.answers import ANSWER, FailureAnswer, OpenReadAnswer, parse_answer
from esp_hil.wire.frame import Frame, FrameDecoder, Noise, Text
from esp_hil.wire.message import Message
from esp_hil.wire.pace import RoundTrip
from esp_hil.wire.requests import REQUESTS, HelloRequest, OpenReadRequest, OpenWriteRequest
from esp_hil.wire.status import Status, status_name
from esp_hil.wire.stream import Ack, Boot, Data, Fault, parse_unanswered
from esp_hil.wire.transfer import Download


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line: `at` seconds, what kind of thing, words."""

    at: float
    kind: str
    words: str


@dataclass(slots=True)
class Replayed:
    """What a recording tells.

    Attributes:
        events: in order.
        requests: seq's that were used for requests.
        repeated: requests that were sent again.
        answered: requests with an answer that is ok.
        refused: with another one.
        reads: objects that were read to their end and whose CRC holds.
        damaged_reads: likewise, and it does not.
        sent_bytes: to the board.
        received_bytes: from it.
        noise: damaged segments that were received.
        boots: BOOT frames.
        crash: reason of a crash on the console, or "".
        console: its text.
    """

    events: list[Event] = field(default_factory=list)
    requests: int = 0
    repeated: int = 0
    answered: int = 0
    refused: int = 0
    reads: int = 0
    damaged_reads: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    noise: int = 0
    boots: int = 0
    crash: str = ""
    console: str = ""

    @property
    def unanswered(self) -> int:
        """Requests without an answer."""
        return self.requests - self.answered - self.refused


def replay(moments: Iterable[Moment]) -> Replayed:
    """Run decoder, answers, transfers and supervision over a recording."""
    replayer = _Replayer()
    for moment in moments:
        replayer.take(moment)
    return replayer.finished()


class _Replayer:
    def __init__(self) -> None:
        self._out = Replayed()
        self._at = 0.0
        self._to_board, self._from_board = FrameDecoder(), FrameDecoder()
        self._watch = Watch()
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._session = -1
        self._open: dict[int, Message] = {}
        self._done: set[int] = set()
        self._reads: dict[int, Download] = {}
        self._round_trip = RoundTrip()

    def take(self, moment: Moment) -> None:
        self._at = moment.at
        if moment.what == "tx":
            self._out.sent_bytes += len(moment.data)
            for item in self._to_board.feed(moment.data):
                if isinstance(item, Frame):
                    self._sent(item)
        elif moment.what == "rx":
            self._out.received_bytes += len(moment.data)
            for received in self._from_board.feed(moment.data):
                self._received(received)
        elif moment.what == "baud":
            self._say("line", f"{moment.baud} baud")
        else:
            self._say("line", f"closed: {moment.words}")

    def finished(self) -> Replayed:
        for message in self._open.values():
            self._say("unanswered", message.said())
        crash = self._watch.crash
        self._out.crash = crash.reason if crash else ""
        return self._out

    def _say(self, kind: str, words: str) -> None:
        self._out.events.append(Event(self._at, kind, words))

    def _sent(self, frame: Frame) -> None:
        request = REQUESTS.get(frame.kind)
        if request is None:
            return
        if frame.seq in self._open or frame.seq in self._done:
            self._out.repeated += 1
            self._say("repeated", request.said())
            return
        try:
            message = request.parse(frame.payload)
        except WireError:
            return
        if isinstance(message, HelloRequest):
            self._session = frame.session
            self._open.clear()
            self._done.clear()
            self._reads.clear()
        self._out.requests += 1
        self._open[frame.seq] = message
        if isinstance(message, OpenReadRequest):
            self._reads[frame.seq] = Download(frame.seq, round_trip=self._round_trip, now=self._at)
        self._say("request", _words(message))

    def _received(self, item: Frame | Text | Noise) -> None:
        if isinstance(item, Text):
            text = self._text.decode(item.data)
            self._watch.feed(text)
            self._out.console += text
        elif isinstance(item, Noise):
            self._out.noise += 1
            self._say("noise", f"{item.size} bytes: {item.reason}")
        elif item.kind - ANSWER in REQUESTS:
            self._answered(item)
        else:
            self._unasked(item)

    def _answered(self, frame: Frame) -> None:
        message = self._open.get(frame.seq)
        if message is None or frame.session != self._session or frame.kind != message.KIND + ANSWER:
            return
        try:
            answer = parse_answer(frame)
        except WireError as error:
            self._say("malformed", error.message)
            return
        if isinstance(answer, FailureAnswer):
            if answer.status == Status.PENDING:
                return
            self._out.refused += 1
            self._say("refused", f"{message.said()}: {status_name(answer.status)} {answer.words}".rstrip())
        else:
            self._out.answered += 1
            if isinstance(answer, OpenReadAnswer) and frame.seq in self._reads:
                self._reads[frame.seq].opened(answer.length, answer.crc, self._at)
                self._look_at(frame.seq)
        del self._open[frame.seq]
        self._done.add(frame.seq)

    def _unasked(self, frame: Frame) -> None:
        try:
            message = parse_unanswered(frame)
        except WireError as error:
            self._say("malformed", error.message)
            return
        if isinstance(message, Data) and message.transfer in self._reads:
            self._reads[message.transfer].receive(message, self._at)
            self._look_at(message.transfer)
        elif isinstance(message, Boot):
            self._out.boots += 1
            self._say("boot", f"reset reason {message.reset_reason}")
        elif isinstance(message, Fault):
            self._say("fault", status_name(message.status))
        elif isinstance(message, Ack) and message.status != Status.OK:
            self._say("transfer", status_name(message.status))

    def _look_at(self, transfer: int) -> None:
        download = self._reads[transfer]
        if not download.done:
            return
        del self._reads[transfer]
        if download.intact:
            self._out.reads += 1
            self._say("read", f"{len(download.data)} bytes")
        else:
            self._out.damaged_reads += 1
            self._say("read", f"{len(download.data)} bytes with a wrong CRC")


def _words(message: Message) -> str:
    if isinstance(message, (OpenReadRequest, OpenWriteRequest)):
        return f"{message.said()} of object {message.object}, slot {message.slot}"
    return message.said()

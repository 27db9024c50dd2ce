"""A link and the session over it: the loop that sends, reads and waits, and the errors that end a wait.

Everything that talks to a device goes through `Conversation.wait`: it has a deadline, sees a reset, a crash
or a lost port the moment the stream tells, and names board and step in what it raises.
"""

from __future__ import annotations

import codecs
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from esp_hil.device.link import Link
from esp_hil.errors import BoardUnavailable, DeviceReset, HilError, LinkClosed, LinkError, LinkTimeout
from esp_hil.esp.supervise import Watch, crashed
from esp_hil.wire.answers import FailureAnswer
from esp_hil.wire.calls import Statistics
from esp_hil.wire.frame import FrameDecoder
from esp_hil.wire.pace import ChunkSize
from esp_hil.wire.session import WireSession

LOG = logging.getLogger(__name__)

CRASH_TEXT_S = 0.5
"""How long the rest of a crash's text (registers, backtrace) is waited for."""
RETRANSMIT_S = 0.3
REOPEN_S = 0.1
OUTGOING_BYTES = 1 << 16
OUTGOING_MIN_BYTES = 512
AHEAD_S = 0.01
"""How much of a slow line's time is encoded ahead of it."""
CONSOLE_LINES = 2000


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """A line of console text and when its end came (the link's clock, seconds)."""

    at: float
    text: str


class Waitable(Protocol):
    """Something that gets done while the conversation goes on: a request, a transfer, an inference."""

    @property
    def done(self) -> bool:
        """Whether there is a result or a failure."""
        ...

    @property
    def failure(self) -> FailureAnswer | None:
        """The device's refusal."""
        ...

    @property
    def progress(self) -> int:
        """Grows while anything moves."""
        ...


class Stepping(Waitable, Protocol):
    """A waitable that takes further steps of its own."""

    def advance(self, now: float) -> None:
        """Take the next step if what it needs is there."""
        ...


class Conversation:
    """Host and device, talking.

    Args:
        link: open.
        board: name for error messages.
        reopen: opens the link again after it was lost; None: it stays lost.
        on_text: gets every line of console text.
        seed: of session numbers; None: random.
    """

    def __init__(
        self,
        link: Link,
        *,
        board: str,
        reopen: Callable[[], Link] | None = None,
        on_text: Callable[[str], None] | None = None,
        seed: int | None = None,
    ) -> None:
        self.board = board
        self.console: deque[ConsoleLine] = deque(maxlen=CONSOLE_LINES)
        self.statistics = Statistics()
        self.stepping: list[Stepping] = []
        """Advanced while anything is waited for, until they are done."""
        self._link = link
        self._reopen = reopen
        self._link_lost = False
        self._on_text = on_text
        self._random = random.Random(seed)
        self._number = 0
        self._decoder = FrameDecoder()
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._watch = Watch()
        self._boots = 0
        self._past = True
        """What the console says now happened before the session began."""
        self._session: WireSession | None = None
        self._chunk = ChunkSize(1)
        self._outgoing = b""
        self.connect_baud = link.baud
        """The rate at which a session begins; None: the line has none."""
        self._pace_outgoing()

    def _pace_outgoing(self) -> None:
        rate = self._link.bytes_per_s
        # what was handed out cannot be overtaken by a request; a line without a rate wants large pieces
        self._ahead_bytes = (
            min(OUTGOING_BYTES, max(OUTGOING_MIN_BYTES, int(rate * AHEAD_S))) if rate else OUTGOING_BYTES
        )

    # session

    @property
    def connected(self) -> bool:
        """Whether there is a session; after an error of the line or the device there is none."""
        return self._session is not None

    def session(self, step: str) -> WireSession:
        """The open session.

        Raises:
            LinkError: there is none.
        """
        if self._session is None:
            raise LinkError("no session", hint="connect first", step=step, board=self.board)
        return self._session

    def now(self) -> float:
        """The link's time."""
        return self._link.now()

    def connect(self, timeout_s: float) -> WireSession:
        """Begin a new session; what the last one waited for is forgotten."""
        deadline = self.now() + timeout_s
        self._recover_link(deadline)
        if self.connect_baud and self._link.baud not in {None, self.connect_baud}:
            # after a restart the device is at the rate of its start; one that is not goes there when it hears noise
            self.set_baud(self.connect_baud)
        self._watch.clear()
        self._boots = self._watch.boots
        self._past = True
        self.stepping.clear()
        self._outgoing = b""
        self._number = self._random.choice([n for n in range(1, 256) if n != self._number])
        session = self._session = WireSession(
            self._number,
            first_seq=self._random.randrange(1 << 16),
            nonce=self._random.randrange(1 << 32),
            now=self.now(),
            round_trip_s=RETRANSMIT_S,
            line_bytes_per_s=self._link.bytes_per_s,
            decoder=self._decoder,
            on_text=self._take_text,
            statistics=self.statistics,
            chunk=self._chunk,
            board=self.board,
        )
        self.wait([session.hello], "hello", max(0.0, deadline - self.now()))
        return session

    def _recover_link(self, deadline: float) -> None:
        """Open the link again if it was lost: a board that was unplugged or power-cycled comes back."""
        while self._link_lost and self._reopen:
            try:
                link = self._reopen()
            except BoardUnavailable:
                if self.now() >= deadline:
                    raise
                time.sleep(REOPEN_S)
            else:
                self._link.close()
                self._link, self._link_lost = link, False
                self._decoder = FrameDecoder()
                self._chunk.forget()
                self._pace_outgoing()
                LOG.info("%s: its port is open again", self.board)

    @property
    def link(self) -> Link:
        """The line."""
        return self._link

    def set_baud(self, baud: int) -> None:
        """Go on at another rate; everything that was to be sent must have been answered.

        Raises:
            LinkError: the line has no rate, or not this one.
        """
        self._link.set_baud(baud)
        LOG.info("%s: the line goes on at %d baud", self.board, baud)
        self._pace_outgoing()
        self._chunk.forget()
        if self._session is not None and self._link.bytes_per_s:
            self._session.set_rate(self._link.bytes_per_s)

    def pause(self, seconds: float) -> None:
        """Let the line's time pass; what comes meanwhile goes to the session, if there is one.

        Raises:
            LinkClosed: the port vanished.
        """
        until = self.now() + seconds
        while self.now() < until:
            _, data = self._link.exchange(b"", until)
            if data and self._session is not None:
                self._session.receive(data, self.now())

    def end_session(self) -> None:
        """Forget the session; the device's end of it goes with its next HELLO."""
        self._session = None

    def drop_link(self) -> None:
        """Close the link, so that the next session opens it again: the board is restarted or lent out."""
        self._session = None
        self._link.close()
        self._link_lost = True

    def pull_reset_line(self) -> None:
        """Reset the chip through the port's wires."""
        self._link.reset()

    def close(self) -> None:
        """Close the link."""
        self._session = None
        self._link.close()

    # waiting

    def wait(
        self,
        tasks: Sequence[Waitable],
        step: str,
        timeout_s: float,
        *,
        stall_s: float | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Go on until all are done.

        Args:
            tasks: what to wait for; whether they failed is for the caller to see.
            step: for error messages.
            timeout_s: until the deadline.
            stall_s: if given, each progress moves the deadline to that far from now.
            progress: called with how much `progress` of the tasks has grown.

        Raises:
            LinkTimeout: the deadline passed; the hint says what did come.
            LinkClosed: the port vanished.
            DeviceReset: the device restarted.
            DeviceCrashed: its console shows a crash.
        """
        before = self._heard()
        deadline = self.now() + timeout_s
        done = 0
        try:
            while not all(task.done for task in tasks):
                if self.now() >= deadline:
                    raise self._timeout(step, stall_s or timeout_s, before)
                self._turn(deadline)
                moved = sum(task.progress for task in tasks) - done
                if moved:
                    done += moved
                    if progress:
                        progress(moved)
                    if stall_s:
                        deadline = self.now() + stall_s
        except HilError as error:
            # whatever went wrong here, the session's state is unknown now: the next one starts afresh
            self._session = None
            self._link_lost = self._link_lost or isinstance(error, LinkClosed)
            error.at(step=step, board=self.board)
            LOG.info("%s", error)
            raise

    def _turn(self, until: float) -> None:
        """Send what is due, take what has come, at `until` at the latest."""
        session = self.session("link")
        if len(self._outgoing) < self._ahead_bytes:
            self._outgoing += session.transmit(self.now(), self._ahead_bytes)
        due = min(until, session.deadline)
        behind = len(self._outgoing) >= self._ahead_bytes
        sent, data = 0, b""
        if behind or session.has_more:
            # as long as the driver takes all, go on
            sent, data = self._link.exchange(self._outgoing, self.now())
        if not (sent or data):
            # while the driver is full, nothing that becomes due could be sent
            sent, data = self._link.exchange(self._outgoing, until if behind else due)
        if sent:
            self._outgoing = self._outgoing[sent:]
        if data:
            session.receive(data, self.now())
            self._check(session)
        if self.stepping:
            now = self.now()
            for task in self.stepping:
                task.advance(now)
            self.stepping = [task for task in self.stepping if not task.done]

    def _heard(self) -> tuple[int, int, int]:
        """Bytes, frames and noise segments that have come so far."""
        now = self.statistics
        return now.received_bytes, now.received_frames, now.noise_segments

    def _timeout(self, step: str, timeout_s: float, before: tuple[int, int, int]) -> HilError:
        if step == "hello" and (crash := self._watch.crash):
            return crashed(crash)
        size, frames, noise = (now - then for now, then in zip(self._heard(), before, strict=True))
        if not size:
            hint = (
                "not a byte came: is it the right port, is the board powered, does another program read it?"
            )
        elif frames:
            hint = "it answers, but not this: give it longer, or reset it and connect again"
        elif noise:
            hint = f"{noise} damaged frames came: check the baud rate and the cable"
        else:
            hint = "only console text came: is the firmware of this harness on it?"
        return LinkTimeout(f"no answer within {timeout_s:g} s", hint=hint)

    # what the stream says beside answers

    def _take_text(self, data: bytes) -> None:
        greeted = self._session is not None and self._session.limits is not None
        if greeted and self._past:
            # until HELLO was answered it told the past: boot text, perhaps an earlier crash
            self._watch.clear()
            self._past = False
        text = self._text.decode(data)
        self._watch.feed(text)
        if not greeted:
            self._boots = self._watch.boots
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            whole = line.rstrip("\r")
            self.console.append(ConsoleLine(self.now(), whole))
            if self._on_text:
                self._on_text(whole)

    def _check(self, session: WireSession) -> None:
        if session.limits is None:
            return
        if not self._past and self._watch.crash:
            raise self._crash(session)
        if session.reset or self._watch.boots != self._boots:
            raise DeviceReset(
                f"the device restarted: {session.reset or 'its boot log appeared'}",
                hint="connect and load again; the console log tells why, if it said so",
            )

    def _crash(self, session: WireSession) -> HilError:
        """The crash with the rest of its text, as far as that comes in time."""
        until = self.now() + CRASH_TEXT_S
        try:
            while not self._watch.crash_ended and self.now() < until:
                _, data = self._link.exchange(b"", until)
                session.receive(data, self.now())
        except LinkClosed:
            self._link_lost = True
        crash = self._watch.crash
        assert crash
        return crashed(crash)

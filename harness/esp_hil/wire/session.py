"""The host's side of a session as a state machine: requests and transfers over one byte stream.

It reads no port and no clock: `receive` takes what came and the time, `transmit` gives what is to be sent,
`deadline` says when to call `transmit` again though nothing came. docs/PROTOCOL.md section 2.

Waiting, and what an answer means, are the business of esp_hil.device.device.

It logs what is wrong with the line (INFO) and every frame (DEBUG), with the board's name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from esp_hil.errors import WireError
from esp_hil.wire.answers import ANSWERS, HELLO_PACKED, HelloAnswer
from esp_hil.wire.calls import Call, Calls, Statistics
from esp_hil.wire.frame import (
    MAX_PAYLOAD,
    PAYLOAD_BEFORE_HELLO,
    Frame,
    FrameDecoder,
    Noise,
    Text,
    encode_frame,
)
from esp_hil.wire.message import Message
from esp_hil.wire.objects import Object
from esp_hil.wire.pace import ChunkSize, Departures, RoundTrip
from esp_hil.wire.packing import Packer
from esp_hil.wire.pattern import pattern
from esp_hil.wire.requests import WHOLE, HelloRequest, OpenReadRequest
from esp_hil.wire.status import Status
from esp_hil.wire.stream import UNANSWERED, Ack, Boot, Data, Fault, Log, Pattern, parse_unanswered
from esp_hil.wire.transfers import DownloadTask, Transfers, UploadTask

LOG = logging.getLogger(__name__)

VERSION = 1
DATA_HEADER_BYTES = 6
LAST_REQUEST = 0x8F
UNLIMITED = 1 << 30
_NAMES = {kind: message.said() for kind, message in (ANSWERS | UNANSWERED).items()}


class WireSession:
    """One session from its HELLO on; a new HELLO is a new Session.

    Args:
        number: 1..255, another one than the last.
        first_seq: seq of the HELLO.
        nonce: random; tells a repeated HELLO from a new one.
        now: the time.
        round_trip_s: the first retransmission time-out.
        line_bytes_per_s: what the line carries, or None if it has no known limit.
        decoder: of the line; what an earlier session left in it goes on.
        on_text: gets console text as it comes.
        statistics: counted into; the sessions of a device share it.
        chunk: what earlier sessions learnt of the line; None: nothing is known.
        board: name for the log.
    """

    def __init__(
        self,
        number: int,
        *,
        first_seq: int,
        nonce: int,
        now: float,
        round_trip_s: float,
        line_bytes_per_s: float | None,
        decoder: FrameDecoder,
        on_text: Callable[[bytes], None],
        statistics: Statistics,
        chunk: ChunkSize | None = None,
        board: str = "",
    ) -> None:
        self.number = number
        self._board = board
        self.limits: HelloAnswer | None = None
        self.reset = ""
        """Why the device must have restarted since the HELLO; empty while nothing says so."""
        self._decoder = decoder
        self._on_text = on_text
        self._statistics = statistics
        round_trip = RoundTrip(round_trip_s)
        self._line_bytes_per_s = line_bytes_per_s
        self._departures = Departures(line_bytes_per_s)
        self._calls = Calls(first_seq, round_trip, statistics)
        self._transfers = Transfers(self._calls, round_trip, statistics, line_bytes_per_s)
        self._transfers.chunk = chunk or ChunkSize(1)
        self.patterns_received = 0
        self.patterns_wrong = 0
        self._patterns: list[Pattern] = []
        hello = HelloRequest(VERSION, VERSION, nonce, MAX_PAYLOAD)
        self.hello = self._calls.issue(Call(hello, on_done=self._greeted), now)

    def _greeted(self, call: Call, _: float) -> None:
        if isinstance(call.answer, HelloAnswer):
            self.limits = call.answer
            self._calls.queue = max(1, call.answer.queue)
            payload = max(PAYLOAD_BEFORE_HELLO, call.answer.max_payload)
            self._transfers.chunk.allow(payload - DATA_HEADER_BYTES)
            self._transfers.rx_window = call.answer.rx_window
            # on a line without a limit packing takes longer than it saves
            packs = bool(call.answer.flags & HELLO_PACKED) and self._line_bytes_per_s is not None
            self.packer.enabled = packs

    @property
    def packer(self) -> Packer:
        """Packs what is sent, if the device unpacks and the line is slow enough."""
        return self._transfers.packer

    def set_rate(self, bytes_per_s: float) -> None:
        """The line has another rate now."""
        self._line_bytes_per_s = bytes_per_s
        self._departures = Departures(bytes_per_s)
        self._transfers.set_rate(bytes_per_s)

    def offers(self, flag: int) -> bool:
        """Whether the device said so in its answer to HELLO (the HELLO_ constants)."""
        return self.limits is not None and bool(self.limits.flags & flag)

    def send_patterns(self, frames: int, size_bytes: int) -> None:
        """Send so many PATTERN frames with the next `transmit`; what comes of them PRBS tells."""
        self._patterns += [Pattern(number, pattern(number, size_bytes)) for number in range(frames)]

    def call(self, message: Message, now: float) -> Call:
        """Make a request; it is sent when the device's queue has room for it."""
        return self._calls.issue(Call(message), now)

    def upload(
        self, data: bytes, target: Object, now: float, *, index: int = 0, slot: int = 0, eager: bool = True
    ) -> UploadTask:
        """Write an object. `eager`: send data before the device has answered that it wants them."""
        return self._transfers.upload(data, target, index, slot, now, eager=eager)

    def download(
        self,
        source: Object,
        now: float,
        *,
        index: int = 0,
        slot: int = 0,
        offset: int = 0,
        length: int = WHOLE,
    ) -> DownloadTask:
        """Read an object, or `length` bytes of it from `offset` on."""
        return self._transfers.download(OpenReadRequest(source, index, slot, offset, length), now)

    @property
    def idle(self) -> bool:
        """Nothing was asked that is not done."""
        return self._calls.idle and self._transfers.idle

    @property
    def deadline(self) -> float:
        """When something is to be sent again."""
        return min(self._calls.deadline, self._transfers.deadline)

    @property
    def payload_bytes(self) -> int:
        """The best size of a payload on this line now: at most the device's largest one."""
        return self._transfers.chunk.next_bytes + DATA_HEADER_BYTES

    @property
    def has_more(self) -> bool:
        """The last `transmit` held DATA back because of its limit: call it again when those bytes are written."""
        return self._transfers.has_more

    def transmit(self, now: float, limit_bytes: int = UNLIMITED) -> bytes:
        """The bytes to send now; call it after `receive`, after new requests and at `deadline`.

        Args:
            now: the time.
            limit_bytes: no further DATA once there are so many bytes; what is not sent yet can still be overtaken.
        """
        outgoing = self._transfers.acknowledge(now)
        self._missed(outgoing)
        outgoing += [(frame, frame.number) for frame in self._patterns]
        self._patterns.clear()
        repeated = self._statistics.repeated_requests
        requests = self._calls.transmit(now)
        self._repeated(requests[: self._statistics.repeated_requests - repeated])
        outgoing += requests
        outgoing += self._transfers.transmit(now, limit_bytes)
        if self._transfers.repeated_bytes:
            LOG.info("%s: %d bytes of DATA are sent again", self._board, self._transfers.repeated_bytes)
        logs = LOG.isEnabledFor(logging.DEBUG)
        if not outgoing:
            return b""
        frames = []
        for message, seq in outgoing:
            frame = encode_frame(message.kind, self.number, seq, message.payload())
            frames.append(frame)
            if logs:
                name = message.said()
                LOG.debug("%s: > %s, seq %d, %d bytes", self._board, name, seq, len(frame))
            at = self._departures.send(len(frame), now)
            if message.kind <= LAST_REQUEST:
                self._calls.departs(seq, at)
                self._transfers.chunk.sent(len(frame))
        data = b"".join(frames)
        self._statistics.sent_frames += len(frames)
        self._statistics.sent_bytes += len(data)
        return data

    def _missed(self, outgoing: list[tuple[Message, int]]) -> None:
        """Of these ACKs, some ask again for what did not come."""
        for ack, _ in outgoing:
            if isinstance(ack, Ack) and ack.status == Status.GAP:
                what = (self._board, ack.transfer, ack.cumulative)
                LOG.info("%s: transfer %d is asked for again from byte %d on", *what)

    def _repeated(self, requests: list[tuple[Message, int]]) -> None:
        """These are sent again; a HELLO also because the device has just booted, which tells nothing of the line."""
        for message, seq in requests:
            if self.limits:
                self._transfers.chunk.lost()
                name = message.said()
                LOG.info("%s: %s, seq %d, is sent again: no answer came", self._board, name, seq)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the line."""
        self._statistics.received_bytes += len(data)
        restarted = self._statistics.restarted_transfers
        for item in self._decoder.feed(data):
            if isinstance(item, Text):
                self._on_text(item.data)
            elif isinstance(item, Noise):
                self._statistics.noise_segments += 1
                if self.limits:
                    # before the first answer it may be the tail of anything
                    LOG.info("%s: a damaged frame came: %d bytes", self._board, item.size)
            else:
                self._statistics.received_frames += 1
                if LOG.isEnabledFor(logging.DEBUG):
                    name = _NAMES.get(item.kind, f"kind {item.kind:#04x}")
                    LOG.debug("%s: < %s, seq %d, %d bytes", self._board, name, item.seq, len(item.payload))
                self._on_frame(item, now)
        if restarted != self._statistics.restarted_transfers:
            LOG.info("%s: a transfer arrived damaged and starts again", self._board)

    def _on_frame(self, frame: Frame, now: float) -> None:
        try:
            if frame.session == self.number:
                self._on_own(frame, now)
            elif frame.session == 0:
                self._on_sessionless(parse_unanswered(frame))
        except WireError:
            # intact, but not of this protocol's form: whoever waits for it runs into its deadline
            self._statistics.noise_segments += 1

    def _on_own(self, frame: Frame, now: float) -> None:
        if frame.kind in ANSWERS:
            self._calls.on_answer(frame, now)
            return
        message = parse_unanswered(frame)
        if isinstance(message, Data):
            self._transfers.on_data(message, now)
        elif isinstance(message, Ack):
            self._transfers.on_ack(message, now)
        elif isinstance(message, Pattern):
            self.patterns_received += 1
            self.patterns_wrong += message.data != pattern(message.number, len(message.data))
        elif isinstance(message, Fault) and message.status == Status.NO_SESSION:
            if self.limits:
                self.reset = "it knows nothing of this session"
        elif isinstance(message, Fault):
            self._calls.on_fault(message, frame.seq, now)

    def _on_sessionless(self, message: Message | None) -> None:
        if isinstance(message, Boot):
            if self.limits is None:
                # what was sent before it booted is lost
                self.hello.due = True
            elif message.boot_id != self.limits.boot_id:
                self.reset = f"it restarted (reset reason {message.reset_reason})"
        elif isinstance(message, Log):
            self._on_text(message.text + b"\n" * (not message.text.endswith(b"\n")))

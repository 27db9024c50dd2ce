"""The two directions of a transfer as state machines; docs/PROTOCOL.md section 4.

They take what arrived and the time, and give what is to be sent; they neither read nor wait.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass

from esp_hil.wire.pace import ChunkSize, RoundTrip
from esp_hil.wire.packing import Packer
from esp_hil.wire.ranges import ByteRanges
from esp_hil.wire.requests import WHOLE
from esp_hil.wire.status import Status
from esp_hil.wire.stream import Ack, Data, Packed

READ_CREDIT_BYTES = 65_536
"""What the device may have in flight before the first ACK, and what each of ours grants."""

GAP_DOUBLINGS = 2
"""How often the wait before a read is asked for again doubles: each asking brings one credit at most, so
that it cannot flood the line, and it is what tells the device to make its chunks smaller."""


@dataclass(slots=True)
class _Flight:
    """A chunk on its way: when it was sent, as which transmission, and whether for the first time."""

    end: int
    sent_at: float
    number: int
    first: bool


class Upload:
    """Sends `data` as DATA of one transfer until the device's ACK covers it.

    Args:
        transfer: its number: the seq of its OPEN_WRITE.
        data: all bytes.
        chunk: sizes for the chunks; shared by the transfers of a line, which they all learn about.
        round_trip: likewise.
        now: the time, in seconds of any clock.
        packer: packs chunks.
    """

    def __init__(
        self,
        transfer: int,
        data: bytes,
        *,
        chunk: ChunkSize,
        round_trip: RoundTrip,
        now: float,
        packer: Packer | None = None,
    ) -> None:
        self._packer = packer or Packer(enabled=False)
        self.transfer = transfer
        self.acknowledged_bytes = 0
        self.retransmitted_bytes = 0
        self.credit: int | None = None
        self._data = memoryview(data)
        self._chunk = chunk
        self._round_trip = round_trip
        self._next = 0
        self._flights: OrderedDict[int, _Flight] = OrderedDict()
        self._lost: list[tuple[int, int]] = []
        self._number = 0
        self._progress_at = now
        self._attempt = 0

    @property
    def done(self) -> bool:
        """Whether the device has everything and its CRC held."""
        return self.acknowledged_bytes == len(self._data)

    @property
    def all_sent(self) -> bool:
        """Whether every byte was sent and none is known to be lost."""
        return self._next >= len(self._data) and not self._lost

    @property
    def in_flight_bytes(self) -> int:
        """Bytes sent and not yet acknowledged."""
        return sum(flight.end - start for start, flight in self._flights.items())

    @property
    def deadline(self) -> float:
        """When `expire` is due: nothing moved for a retransmission time-out."""
        if not self._flights and not self._blocked:
            return float("inf")
        return self._progress_at + self._round_trip.timeout_s(self._attempt)

    @property
    def _blocked(self) -> bool:
        return not self.done and self.credit == 0

    def take(self, now: float, allowance: int) -> Data | Packed | None:
        """The next chunk, at most `allowance` bytes, a lost one first; None if there is nothing to send."""
        size = min(allowance, self._chunk.next_bytes)
        if size <= 0 or self.done:
            return None
        if self._lost:
            start, end = self._lost[0]
            if end - start > size:
                self._lost[0] = (start + size, end)
                end = start + size
            else:
                self._lost.pop(0)
            self.retransmitted_bytes += end - start
            return self._send(start, end, now, first=False)
        if self._next >= len(self._data):
            return None
        start, end = self._next, min(self._next + size, len(self._data))
        self._next = end
        return self._send(start, end, now, first=True)

    def _send(self, start: int, end: int, now: float, *, first: bool) -> Data | Packed:
        if not self._flights:
            self._progress_at = now
        self._number += 1
        self._flights[start] = _Flight(end, now, self._number, first)
        self._flights.move_to_end(start)
        self._chunk.sent(end - start)
        data = bytes(self._data[start:end])
        if (packed := self._packer.pack(data)) is not None:
            return Packed(self.transfer, start, packed)
        return Data(self.transfer, start, data)

    def acknowledge(self, ack: Ack, now: float) -> None:
        """Take an ACK of status ok: it names what has arrived; what was sent before that is lost."""
        there = ByteRanges()
        there.add(0, min(ack.cumulative, len(self._data)))
        for start, end in ack.ranges:
            there.add(start, end)
        self.credit = ack.credit
        newest = 0
        measured: float | None = None
        for start in [s for s, flight in self._flights.items() if there.holds(s, flight.end)]:
            flight = self._flights.pop(start)
            newest = max(newest, flight.number)
            if flight.first and measured is None:
                measured = now - flight.sent_at
        if measured is not None:
            self._round_trip.measured(measured)
        self._lost = [span for span in self._lost if not there.holds(*span)]
        for start in [s for s, flight in self._flights.items() if flight.number < newest]:
            self._lose(start)
        self._lost.sort()
        if newest or ack.cumulative > self.acknowledged_bytes:
            self._progress_at = now
            self._attempt = 0
        self.acknowledged_bytes = max(self.acknowledged_bytes, min(ack.cumulative, len(self._data)))

    def _lose(self, start: int) -> None:
        flight = self._flights.pop(start)
        self._lost.append((start, flight.end))
        self._chunk.lost()

    def expire(self, now: float) -> Data | Packed | None:
        """Nothing moved for a time-out: repeat the first missing chunk, whatever the credit, to get an ACK.

        What else is on its way counts as lost too and follows as `take` allows.
        """
        for start in list(self._flights):
            self._lose(start)
        self._lost.sort()
        self._attempt += 1
        self._progress_at = now
        return self.take(now, self._chunk.next_bytes)

    def resend_all(self, now: float) -> None:
        """The device does not know this transfer yet (its OPEN_WRITE was lost): nothing has arrived."""
        for start in list(self._flights):
            flight = self._flights.pop(start)
            self._lost.append((start, flight.end))
        self._lost.sort()
        self._progress_at = now


class Download:
    """Collects the DATA of one transfer and says what to acknowledge.

    DATA may come before the answer that tells the length and CRC (that answer was lost then).
    """

    def __init__(self, transfer: int, *, round_trip: RoundTrip, now: float) -> None:
        self.transfer = transfer
        self._round_trip = round_trip
        self._data = bytearray()
        self._ranges = ByteRanges()
        self._length: int | None = None
        self._crc = 0
        self._unacknowledged = 0
        self._ack_status: Status | None = None
        self._heard_at = now
        self._asked_at = float("-inf")
        self._attempt = 0

    def opened(self, length: int, crc: int, now: float) -> None:
        """The answer to OPEN_READ has come."""
        self._length, self._crc = length, crc
        self._heard_at = now

    @property
    def received_bytes(self) -> int:
        """Bytes that are there without a gap."""
        return self._ranges.cumulative

    @property
    def missing_bytes(self) -> int:
        """Bytes that are still to come, as far as the length is known."""
        return max(0, (self._length or 0) - self._ranges.cumulative)

    @property
    def done(self) -> bool:
        """Whether every byte is there."""
        return self._length is not None and self._ranges.cumulative >= self._length

    @property
    def intact(self) -> bool:
        """Whether the CRC-32 of the whole holds; only meaningful when done."""
        return zlib.crc32(self._data) == self._crc

    @property
    def data(self) -> bytes:
        """The bytes, when done."""
        return bytes(self._data)

    @property
    def deadline(self) -> float:
        """When `expire` is due."""
        if self.done or self._length is None:
            return float("inf")
        return self._heard_at + self._round_trip.timeout_s(min(self._attempt, GAP_DOUBLINGS))

    def heard_of_another(self, now: float, *, younger: bool) -> None:
        """The device is sending another object.

        It sends the oldest first: a younger one means that of this one nothing is left to send, unless it waits for
        credit; so what is missing was lost.
        """
        asked_s = now - self._asked_at
        if (
            younger
            and (self._length or WHOLE) <= READ_CREDIT_BYTES
            and asked_s > self._round_trip.timeout_s()
        ):
            self.expire(now)
        self._heard_at = now

    def receive(self, data: Data, now: float) -> None:
        """Take a chunk."""
        end = data.offset + len(data.data)
        # a device sends at most a credit ahead; anything else must not make us reserve its offset's memory
        limit = self._ranges.cumulative + 2 * READ_CREDIT_BYTES
        if end > (limit if self._length is None else min(limit, self._length)):
            return
        if len(self._data) < end:
            self._data.extend(bytes(end - len(self._data)))
        gap = data.offset > self._ranges.end
        if self._ranges.add(data.offset, end):
            self._data[data.offset : end] = data.data
            self._unacknowledged += len(data.data)
        self._heard_at = now
        self._attempt = 0
        if gap or self.done or self._unacknowledged >= READ_CREDIT_BYTES // 4:
            self._ack_status = self._ack_status or Status.OK

    def expire(self, now: float) -> None:
        """Nothing came for a time-out: ask again for all that is missing."""
        self._ack_status = Status.GAP
        self._attempt += 1
        self._heard_at = self._asked_at = now

    def take_ack(self) -> Ack | None:
        """The ACK that is due, if one is."""
        if self._ack_status is None:
            return None
        status, self._ack_status = self._ack_status, None
        self._unacknowledged = 0
        ranges = tuple(self._ranges.beyond[:8])
        return Ack(self.transfer, status, self._ranges.cumulative, READ_CREDIT_BYTES, ranges)

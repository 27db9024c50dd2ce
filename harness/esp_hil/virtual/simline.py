"""A serial line with a clock of its own: bits a second, driver buffers, the packets and latency of a USB bridge.

    PC's driver buffer -> bridge -> TX ... RX -> FIFO and driver of the chip        (to the device)
    chip's driver buffer and FIFO -> TX ... RX -> bridge's packet -> USB -> PC      (to the host)

A byte takes 10 bit times (8N1). Buffers drain at the line's rate, so that their level follows from when the
line is free again. Bytes are handed on in batches, as hardware does: the chip's FIFO interrupts when it is nearly
full or the line was idle; a bridge sends its packet when it is full or its latency timer has run out. No wall
clock is involved: the same calls give the same times.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from esp_hil.virtual.line import BadLine, Happening

BITS_PER_BYTE = 10
"""8N1: a start bit, 8 data bits, a stop bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineModel:
    """What the line can do.

    Attributes:
        baud: bits a second, both directions at once.
        latency_s: how long the bridge keeps bytes for the host that fill no packet (FTDI: 16 ms, or 1 ms when told).
        packet_bytes: that fill a packet of the bridge (FTDI: 64 with 2 of status).
        write_delay_s: from a write on the PC to the first bit on the line (a USB frame is 1 ms).
        host_buffer_bytes: what the PC's driver takes before a write has to wait.
        device_buffer_s: what the firmware keeps waiting in front of the line at most: longer than its 10 ms tick, and
            not more, because an answer waits behind it (256 bytes at least, 4,096 at most).
        fifo_bytes: at which the chip's receive FIFO interrupts.
        fifo_idle_bytes: byte times without a byte after which it does so all the same.
        limit_baud: above this rate bits are flipped (1e-3); 0: there is no such rate.
    """

    baud: int
    latency_s: float = 0.001
    packet_bytes: int = 62
    write_delay_s: float = 0.0005
    host_buffer_bytes: int = 4096
    device_buffer_s: float = 0.012
    fifo_bytes: int = 120
    fifo_idle_bytes: int = 10
    limit_baud: int = 0

    @property
    def byte_s(self) -> float:
        """Seconds a byte takes."""
        return BITS_PER_BYTE / self.baud

    @property
    def device_buffer_bytes(self) -> int:
        """What waits in the chip to be sent, at most."""
        return max(256, min(4096, int(self.device_buffer_s / self.byte_s)))

    @property
    def bytes_per_s(self) -> float:
        """What the line carries in one direction."""
        return self.baud / BITS_PER_BYTE


class Wire:
    """One direction: what is pushed in comes out later, in batches, perhaps damaged.

    Args:
        byte_s: seconds a byte takes.
        buffer_bytes: what waits in front of the line at most.
        delay_s: from a push to the first bit.
        batch_bytes: that are handed on at once.
        hold_s: when an unfilled batch is handed on, counted
        hold_from_first: from its first byte, or else from its last.
        bad: what damages the bytes, if anything does.
    """

    def __init__(
        self,
        *,
        byte_s: float,
        buffer_bytes: int,
        delay_s: float,
        batch_bytes: int,
        hold_s: float,
        hold_from_first: bool,
        bad: BadLine | None = None,
    ) -> None:
        self.pushed_bytes = 0
        self.free_at = 0.0
        """When the last byte pushed so far has left."""
        self._delay_s = delay_s
        self._full_batch_bytes = batch_bytes
        self._hold_from_first = hold_from_first
        self._bad = bad
        self.garbles: random.Random | None = None
        """The two ends have different rates: what is sent arrives as something else."""
        self.set_rate(byte_s, buffer_bytes, hold_s)
        self._ready: deque[tuple[float, bytes]] = deque()
        self._open = bytearray()
        self._first_at = self._last_at = 0.0

    def set_rate(self, byte_s: float, buffer_bytes: int, hold_s: float) -> None:
        """Send at another rate from the next push on."""
        self._byte_s = byte_s
        self._buffer_bytes = buffer_bytes
        self._hold_s = hold_s
        most = self._full_batch_bytes
        in_time = 1 + int(hold_s / byte_s) if self._hold_from_first else most
        self._batch_bytes = min(most, in_time)
        self._waits_when_full = self._hold_from_first and in_time < most

    def spoil(self, bad: BadLine | None) -> None:
        """Another kind of damage from the next push on."""
        self._bad = bad

    def room(self, now: float) -> int:
        """Bytes that a push may have now."""
        waiting = max(0.0, self.free_at - now) / self._byte_s
        return max(0, self._buffer_bytes - int(waiting + 1e-6))

    def room_at(self, room_bytes: int) -> float:
        """When there will be so much room."""
        return self.free_at - (self._buffer_bytes - min(room_bytes, self._buffer_bytes)) * self._byte_s

    def push(self, data: bytes, now: float) -> list[Happening]:
        """Send bytes; returns what happens to the board on their way."""
        start = max(self.free_at, now + self._delay_s)
        self.pushed_bytes += len(data)
        self.free_at = start + len(data) * self._byte_s
        happened: list[Happening] = []
        if self.garbles is not None:
            data = self.garbles.randbytes(len(data))
        if self._bad is not None:
            data, happened = self._bad.pass_on(data)
        for happening in happened:
            if happening.what == "stall":
                self.free_at += happening.seconds
        self._arrive(data, start)
        return happened

    def _arrive(self, data: bytes, start: float) -> None:
        if self._open and self._open_due <= start:
            self._hand_on(self._open_due)
        at = 0
        while at < len(data):
            piece = data[at : at + self._batch_bytes - len(self._open)]
            if not self._open:
                self._first_at = start + (at + 1) * self._byte_s
            self._open += piece
            at += len(piece)
            self._last_at = start + at * self._byte_s
            if len(self._open) >= self._batch_bytes:
                self._hand_on(self._open_due if self._waits_when_full else self._last_at)

    @property
    def _open_due(self) -> float:
        return (self._first_at if self._hold_from_first else self._last_at) + self._hold_s

    def _hand_on(self, at: float) -> None:
        self._ready.append((at, bytes(self._open)))
        self._open.clear()

    @property
    def due(self) -> float:
        """When the next bytes arrive."""
        if self._ready:
            return self._ready[0][0]
        return self._open_due if self._open else float("inf")

    def pop(self, now: float) -> bytes:
        """What has arrived by now."""
        if self._open and self._open_due <= now:
            self._hand_on(self._open_due)
        parts = []
        while self._ready and self._ready[0][0] <= now:
            parts.append(self._ready.popleft()[1])
        return b"".join(parts)

    def lose(self) -> None:
        """Everything on its way is lost."""
        self._ready.clear()
        self._open.clear()


def wires(
    model: LineModel, to_device: BadLine | None = None, to_host: BadLine | None = None
) -> tuple[Wire, Wire]:
    """The two directions of a line: to the device, to the host."""
    down = Wire(
        byte_s=model.byte_s,
        buffer_bytes=model.host_buffer_bytes,
        delay_s=model.write_delay_s,
        batch_bytes=model.fifo_bytes,
        hold_s=model.fifo_idle_bytes * model.byte_s,
        hold_from_first=False,
        bad=to_device,
    )
    up = Wire(
        byte_s=model.byte_s,
        buffer_bytes=model.device_buffer_bytes,
        delay_s=0.0,
        batch_bytes=model.packet_bytes,
        hold_s=model.latency_s,
        hold_from_first=True,
        bad=to_host,
    )
    return down, up

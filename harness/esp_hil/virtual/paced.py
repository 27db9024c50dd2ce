"""A virtual board whose line takes time: bits a second, buffers, the latency of a bridge; by this machine's clock.

The model is that of the simulated line (`esp_hil.virtual.simline`), so the figures of `hil bench link` can be seen on
a real port. Host and board may have different rates, then they hear garbage: the host's is the one that it has set
on the pty.
"""

from __future__ import annotations

import dataclasses
import os
import random
import select
import socket
import sys
import time
from pathlib import Path

from esp_hil.errors import ConfigError
from esp_hil.virtual.faults import LineFaults
from esp_hil.virtual.line import BadLine
from esp_hil.virtual.loop import IDLE_S, Loop
from esp_hil.virtual.settings import VirtualSettings
from esp_hil.virtual.simline import BITS_PER_BYTE, LineModel, wires

MAX_BAUD = 5_000_000
BEYOND = LineFaults(bit_error_rate=1e-3)
"""Of a line above its `limit`."""
_KEYS = {
    "latency_ms": "latency_s",
    "limit": "limit_baud",
    "fifo": "fifo_bytes",
    "buffer": "host_buffer_bytes",
}


def parse_model(text: str) -> LineModel:
    """A model as the command line has it: `921600,latency_ms=16,limit=1500000,fifo=120,buffer=4096`.

    Raises:
        ConfigError: no rate, or a key or value without meaning.
    """
    baud, *options = text.split(",")
    values: dict[str, int | float] = {}
    try:
        values["baud"] = int(baud)
        for option in options:
            key, _, value = option.partition("=")
            number = float(value)
            values[_KEYS[key]] = number / 1e3 if key == "latency_ms" else int(number)
    except (KeyError, ValueError):
        values = {}
    if not 300 <= values.get("baud", 0) <= MAX_BAUD or min(values.values()) < 0:
        raise ConfigError(
            f"--baud-model {text!r} is not a model of a line",
            hint=f"bits a second (300 to {MAX_BAUD}), then latency_ms=, limit=, fifo=, buffer=: 921600,latency_ms=16",
        )
    return LineModel(**values)  # type: ignore[arg-type]  # the keys are those of _KEYS


class PacedLoop(Loop):
    """Port, line and chip, and the time between them."""

    def __init__(self, settings: VirtualSettings, folder: Path, model: LineModel) -> None:
        self.baud = self._start_baud = model.baud
        self._host_baud = model.baud
        self._model = model
        self._waiting = b""
        plan = settings.faults
        self._bad = (BadLine(plan.to_device, plan.seed), BadLine(plan.to_host, plan.seed + 1))
        self._down, self._up = wires(model, *self._bad)
        super().__init__(settings, folder, rate=self)

    # what the device core asks of its line

    def possible(self, baud: int) -> bool:
        """Whether the chip's UART can do it."""
        return 9600 <= baud <= MAX_BAUD

    def set_baud(self, baud: int) -> None:
        """The device's end changes; what it has pushed leaves at the former rate."""
        self.baud = baud
        self._rates_changed()

    def now_ms(self) -> int:
        """For the core's time-outs."""
        return int(time.monotonic() * 1000)

    def restarted(self, last_words: bytes) -> None:
        """The chip starts anew, at the rate of its start; what has left it before still arrives."""
        self._suffer(self._up.push(last_words, time.monotonic()))
        if self.baud != self._start_baud:
            self.set_baud(self._start_baud)

    def _rates_changed(self) -> None:
        for wire, baud in ((self._down, self._host_baud), (self._up, self.baud)):
            model = dataclasses.replace(self._model, baud=baud)
            if wire is self._down:
                wire.set_rate(model.byte_s, model.host_buffer_bytes, model.fifo_idle_bytes * model.byte_s)
            else:
                wire.set_rate(model.byte_s, model.device_buffer_bytes, model.latency_s)
            wire.garbles = random.Random(baud) if self.baud != self._host_baud else None
        limit = self._model.limit_baud
        beyond = bool(limit) and max(self.baud, self._host_baud) > limit
        for number, wire in enumerate((self._down, self._up)):
            wire.spoil(BadLine(BEYOND, number) if beyond else self._bad[number])

    def _look_at_host(self) -> None:
        """The rate that the host has set on the pty; a socket has none."""
        readers = self.port.readers()
        if sys.platform == "win32" or not readers or not isinstance(readers[0], int):
            return
        import termios

        speed = termios.tcgetattr(readers[0])[5]
        # a pty is made with 38400: a host that has set nothing talks at the rate of the start
        baud = self._start_baud if speed == termios.B38400 else _SPEEDS.get(speed, self._host_baud)
        if baud != self._host_baud:
            self._host_baud = baud
            self._rates_changed()

    # the loop

    def _turn(self) -> None:
        ends: list[int | socket.socket] = [self._wake_read]
        if not self._waiting:
            ends += self.port.readers()
        writers = self.port.writers() if self._outgoing else []
        readable, _, _ = select.select(ends, writers, [], self._wait_s())
        if self._wake_read in readable:
            self._wake_read.recv(4096)
            while not self._commands.empty():
                self._obey(self._commands.get())
        if len(readable) > (self._wake_read in readable):
            self._waiting += self.port.read()
        self._look_at_host()
        now = time.monotonic()
        if self._waiting and (room := self._down.room(now)):
            self._suffer(self._down.push(self._waiting[:room], now))
            self._waiting = self._waiting[room:]
        if arrived := self._down.pop(now):
            self._chip.receive(arrived)
        restarting = self._chip.restart is not None
        self._chip.work()
        if restarting:
            self._outgoing = b""
        self._send()

    def _obey(self, word: str) -> None:
        if word in {"power_cycle", "disconnect"}:
            # with the port goes what the bridge still held
            self._down.lose()
            self._up.lose()
            self._waiting = b""
        super()._obey(word)

    def _wait_s(self) -> float:
        now = time.monotonic()
        due = min(self._down.due, self._up.due, now + IDLE_S)
        if self._waiting:
            due = min(due, self._down.room_at(1))
        if self._held_back:
            due = min(due, self._up.room_at(self._model.device_buffer_bytes // 4))
        return max(0.0, due - now)

    _held_back = False

    def _send(self) -> None:
        now = time.monotonic()
        self._held_back = False
        while room := self._up.room(now):
            data = self._chip.transmit(room)
            if not data:
                break
            self._suffer(self._up.push(data, now))
        else:
            self._held_back = True
        self._outgoing += self._up.pop(now)
        while self._outgoing:
            written = self.port.write(self._outgoing)
            if not written:
                return
            self._outgoing = self._outgoing[written:]


def _speeds() -> dict[int, int]:
    if os.name != "posix":
        return {}
    import termios

    return {
        value: int(name[1:])
        for name, value in vars(termios).items()
        if name[0] == "B" and name[1:].isdecimal()
    }


_SPEEDS = _speeds()
assert BITS_PER_BYTE == 10  # as the host counts

"""The process of a virtual board: the loop between port and chip, and what a hand at the board can do.

It prints one line of JSON with its URL and ends with its parent: whoever starts it with `control` holds its
standard input, where each line is a command (reset, power_cycle, quit), and end of file means quit.
"""

from __future__ import annotations

import json
import os
import queue
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from esp_hil.targets import Runtime, Target
from esp_hil.virtual.chip import Chip, Identity
from esp_hil.virtual.faults import FaultPlan
from esp_hil.virtual.flash import Flash
from esp_hil.virtual.line import BadLine, Happening
from esp_hil.virtual.ports import Port, open_port

OUTGOING_BYTES = 1 << 16
POWER_OFF_S = 0.2
IDLE_S = 1.0
SWITCH_S = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run a virtual board.

    Attributes:
        target: the chip.
        runtime: of its firmware.
        flash: the flash image; None: a new one that is removed at the end.
        listen: `pty`, `pty:PATH`, `tcp` or `tcp:NUMBER`.
        faults: planted ones.
        control: take commands from standard input and end with it.
        line: model of the line, as `esp_hil.virtual.paced.parse_model` reads it; "": it takes no time.
    """

    target: Target
    runtime: Runtime
    flash: Path | None
    listen: str
    faults: FaultPlan
    control: bool
    line: str = ""


class Rate(Protocol):
    """The rate of a line, as the device core wants it."""

    baud: int

    def possible(self, baud: int) -> bool:
        """Whether the UART can do it."""
        ...

    def set_baud(self, baud: int) -> None:
        """Change it."""
        ...

    def now_ms(self) -> int:
        """A clock for time-outs."""
        ...


class Board:
    """Port, line and chip; `run` until told to quit."""

    def __init__(self, settings: Settings, folder: Path, rate: Rate | None = None) -> None:
        flash = Flash(settings.flash or folder / "flash.bin", settings.target.flash_bytes)
        self.port: Port = open_port(settings.listen, folder)
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        name = str(settings.flash.resolve()) if settings.flash else self.port.url
        self._chip = Chip(
            Identity(target=settings.target, name=name),
            settings.runtime,
            flash,
            settings.faults.engine,
            self.wake,
            rate=rate,
        )
        plan = settings.faults
        self._to_device = BadLine(plan.to_device, plan.seed)
        self._to_host = BadLine(plan.to_host, plan.seed + 1)
        self._commands: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._outgoing = b""
        self._stalled_until = 0.0
        self._running = True

    def wake(self) -> None:
        """Make the loop turn; from any thread or signal handler."""
        try:
            self._wake_write.send(b"\0")
        except BlockingIOError:
            # it is full of wake-ups already
            return

    def command(self, word: str) -> None:
        """Have the loop do it: reset, power_cycle or quit; from any thread."""
        self._commands.put(word)
        self.wake()

    def run(self) -> None:
        """Serve until `quit`."""
        self._chip.start("power_on")
        try:
            while self._running:
                self._turn()
        finally:
            self.port.vanish()

    def _turn(self) -> None:
        wait_s = self._stalled_until - time.monotonic()
        ends: list[int | socket.socket] = [self._wake_read]
        if wait_s <= 0:
            self._fill()
            readable, _, _ = select.select(
                ends + self.port.readers(), self.port.writers() if self._outgoing else [], [], IDLE_S
            )
        else:
            readable, _, _ = select.select(ends, [], [], wait_s)
        if self._wake_read in readable:
            self._wake_read.recv(4096)
            while not self._commands.empty():
                self._obey(self._commands.get())
        if len(readable) > (self._wake_read in readable):
            data, happened = self._to_device.pass_on(self.port.read())
            self._chip.receive(data)
            self._suffer(happened)
        restarting = self._chip.restart is not None
        self._chip.work()
        if restarting:
            self._outgoing = b""
        if wait_s <= 0 and self._running:
            self._fill()

    def _fill(self) -> None:
        """Hand to the port what it takes."""
        while self._outgoing or self._refill():
            written = self.port.write(self._outgoing)
            if not written:
                return
            self._outgoing = self._outgoing[written:]

    def _refill(self) -> bool:
        data, happened = self._to_host.pass_on(self._chip.transmit(OUTGOING_BYTES))
        self._outgoing += data
        self._suffer(happened)
        return bool(self._outgoing)

    def _suffer(self, happened: list[Happening]) -> None:
        for happening in happened:
            if happening.what == "stall":
                self._stalled_until = time.monotonic() + happening.seconds
            else:
                self.command("reset" if happening.what == "reset" else "disconnect")

    def _obey(self, word: str) -> None:
        if word == "quit":
            self._running = False
        elif word == "reset":
            self._chip.restart = "software"
        elif word in {"power_cycle", "disconnect"}:
            self.port.vanish()
            self._outgoing = b""
            time.sleep(POWER_OFF_S)
            self.port.appear()
            if word == "power_cycle":
                self._chip.start("power_on")
        else:
            print(f"unknown command {word!r}", file=sys.stderr)


def serve(settings: Settings) -> None:
    """Run a virtual board until it is told to quit.

    Raises:
        HilError: the flash file or the port cannot be used.
    """
    # the engine's thread must not keep the loop waiting for the interpreter (the default is 5 ms)
    sys.setswitchinterval(SWITCH_S)
    folder = Path(tempfile.mkdtemp(prefix="hil-virtual-"))
    try:
        board = _board(settings, folder)
        _listen_to_signals(board)
        if settings.control:
            threading.Thread(target=_obey_stdin, args=(board,), daemon=True).start()
        hello = {"url": board.port.url, "target": settings.target.name, "pid": os.getpid()}
        print(json.dumps(hello), flush=True)
        board.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _board(settings: Settings, folder: Path) -> Board:
    if not settings.line:
        return Board(settings, folder)
    from esp_hil.virtual.paced import PacedBoard, parse_model

    return PacedBoard(settings, folder, parse_model(settings.line))


def _listen_to_signals(board: Board) -> None:
    for name, word in (("SIGTERM", "quit"), ("SIGINT", "quit"), ("SIGUSR1", "reset")):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda *_, word=word: board.command(word))


def _obey_stdin(board: Board) -> None:
    for line in sys.stdin:
        board.command(line.strip())
    board.command("quit")


def exit_now(status: int) -> None:
    """Leave without waiting for an inference that may still run in a core that was let go."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

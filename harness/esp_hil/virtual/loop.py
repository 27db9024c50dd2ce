"""The loop of a virtual board between its port and its chip, with the planted faults of the line."""

from __future__ import annotations

import queue
import select
import socket
import sys
import time
from pathlib import Path

from esp_hil.errors import ConfigError
from esp_hil.virtual.chip import ChipIdentity, VirtualChip
from esp_hil.virtual.flash import Flash
from esp_hil.virtual.line import BadLine, Happening
from esp_hil.virtual.ports import Port, open_port
from esp_hil.virtual.settings import Rate, VirtualSettings

OUTGOING_BYTES = 1 << 16
POWER_OFF_S = 0.2
IDLE_S = 1.0


class Loop:
    """Port, line and chip; `run` until told to quit."""

    def __init__(self, settings: VirtualSettings, folder: Path, rate: Rate | None = None) -> None:
        flash = Flash(settings.flash or folder / "flash.bin", settings.target.flash_bytes)
        try:
            self.port: Port = open_port(settings.listen, folder)
        except ConfigError:
            flash.close()
            raise
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        name = str(settings.flash.resolve()) if settings.flash else self.port.url
        self._chip = VirtualChip(
            ChipIdentity(target=settings.target, name=name),
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

"""The process of a virtual MicroPython board: port, interpreter and helper.

It prints one line of JSON with its URL. Whoever starts it with `control` holds its standard input, where each
line is a command (reset, power_cycle, cut N, free N, panic OPERATION KIND, quit) and end of file means quit. What was
done is told by a line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from esp_hil.micropython.bindings import binding
from esp_hil.micropython.virtual.console_rate import ConsoleRate
from esp_hil.micropython.virtual.helper import PSRAM_BYTES, Helper, Panicked, ResetAsked
from esp_hil.micropython.virtual.interpreter import interpreter, node
from esp_hil.micropython.virtual.storage import PowerLost, Storage
from esp_hil.micropython.virtual.usb import UsbPort
from esp_hil.virtual.ports import Port, open_port

READ_BYTES = 1 << 16
POWER_OFF_S = 0.2
IDLE_S = 1.0
INTERRUPT = b"\x03"
UNSENT_BYTES = 1 << 16
"""What nobody reads is lost, as at a UART; so much stays."""
RING_BYTES = 260
"""What the ESP32 port's receiver holds (MICROPY_HW... stdin ring buffer); more is lost, as on a chip."""
BOOT_TEXT = "ESP-ROM:virtual\r\nrst:0x{cause:x} ({name}),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\n"
_LIBRARY = Path(__file__).with_name("lib")
_CONSOLE = Path(__file__).with_name("console.mjs")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterpreterSettings:
    """How to run a virtual MicroPython board.

    Attributes:
        target: the chip whose numerics the networks have.
        zoo: folder with the weights.
        listen: a UART at `pty`, `pty:PATH`, `tcp` or `tcp:NUMBER`, or the chip's own USB at `usb` or `usb:NUMBER`.
        binding: whose ways the firmware has; "": the newest that has images for the chip.
        direct_writes: whether its file system takes each write at once, as FAT, and not at a file's end, as LittleFS.
        psram_bytes: what frames and networks share.
        flash: folder of the board's files; None: a new one that is removed at the end.
        quirks: what is wrong on purpose.
        classes: what the firmware offers; empty: all whose weights are there.
        ring_bytes: what the receiver holds before it loses bytes.
        control: take commands from standard input and end with it.
    """

    target: str
    zoo: Path
    listen: str
    binding: str = ""
    direct_writes: bool = False
    psram_bytes: int = PSRAM_BYTES
    flash: Path | None = None
    quirks: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ()
    ring_bytes: int = RING_BYTES
    control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the loop shall do; `told`: by whoever started the board, who hears when it is done."""

    word: str
    told: bool = False


class InterpreterProcess:
    """The interpreter's process and the thread that answers its questions, from power-on to power-off."""

    def __init__(self, helper: Helper, tell: queue.SimpleQueue[Command], ring_bytes: int) -> None:
        asked_read, asked_write = os.pipe()
        answer_read, answer_write = os.pipe()
        uart_read, self._uart = os.pipe()
        interrupts_read, self._interrupts = os.pipe()
        self._unread = uart_read  # kept open: its count of unread bytes is the receiver's
        self._ring_bytes, self._helper, self._tell = ring_bytes, helper, tell
        self._received = 0
        for end in (interrupts_read, self._interrupts):
            os.set_blocking(end, False)
        command = [node(), str(_CONSOLE), str(interpreter()), str(_LIBRARY)]
        self._process = subprocess.Popen(
            [*command, str(asked_write), str(answer_read), str(interrupts_read)],
            stdin=uart_read,
            stdout=subprocess.PIPE,
            pass_fds=(asked_write, answer_read, interrupts_read),
        )
        os.close(interrupts_read)
        os.close(asked_write)
        os.close(answer_read)
        assert self._process.stdout
        self.output = self._process.stdout.fileno()
        if sys.platform == "linux":
            # as little as there is: a chip has no more than its UART's buffer on the way
            fcntl.fcntl(self.output, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self._uart, False)
        self._thread = threading.Thread(target=self._serve, args=(asked_read, answer_write), daemon=True)
        self._thread.start()

    def receive(self, data: bytes) -> None:
        """Bytes from the line; those that the receiver has no room for are lost, but for control-C."""
        unread = struct.unpack("i", fcntl.ioctl(self._unread, termios.FIONREAD, bytes(4)))[0]
        kept = data[: max(0, self._ring_bytes - unread)]
        if INTERRUPT in data[len(kept) :]:
            # the interrupt handler acts on it; it needs no room
            kept += INTERRUPT
        if kept:
            os.write(self._uart, kept)
            self._received = (self._received + len(kept)) & 0xFFFFFFFF
        if INTERRUPT in kept:
            with contextlib.suppress(BlockingIOError):
                os.write(self._interrupts, struct.pack("<I", self._received))

    def end(self) -> None:
        """Power off, at once."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout
        self._process.stdout.close()
        for end in (self._uart, self._unread, self._interrupts):
            os.close(end)

    def _serve(self, asked: int, answers: int) -> None:
        with os.fdopen(asked, "rb") as reader, os.fdopen(answers, "wb") as writer:
            while lengths := reader.read(8):
                head, body = struct.unpack("<II", lengths)
                question, payload = json.loads(reader.read(head)), reader.read(body)
                try:
                    answer, rest = self._helper.answer(question, payload)
                except ResetAsked:
                    self._tell.put(Command(word="reset"))
                    return
                except PowerLost:
                    self._tell.put(Command(word="power_cycle"))
                    return
                except Panicked as panic:
                    self._tell.put(Command(word=f"panicked {panic}"))
                    return
                words = json.dumps(answer).encode()
                try:
                    writer.write(struct.pack("<II", len(words), len(rest)) + words + rest)
                    writer.flush()
                except BrokenPipeError:
                    return


class BoardProcess:
    """Port and chip; `run` until told to quit."""

    def __init__(self, settings: InterpreterSettings, folder: Path) -> None:
        self._settings = settings
        self._storage = Storage(settings.flash or folder / "flash", direct=settings.direct_writes)
        self._helper = Helper(
            settings.target,
            settings.zoo,
            self._storage,
            binding=binding(settings.binding, settings.target),
            quirks=settings.quirks,
            classes=settings.classes,
            psram_bytes=settings.psram_bytes,
        )
        kind, _, where = settings.listen.partition(":")
        self._usb = kind == "usb"
        self.port: Port = UsbPort(int(where or 0)) if self._usb else open_port(settings.listen, folder)
        self._wake_read, self._wake_write = socket.socketpair()
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._outgoing = b""
        self._rate = ConsoleRate(self._helper.console_bytes_per_s)
        self._received = 0
        self._running = True

    def command(self, word: str, *, told: bool = False) -> None:
        """Have the loop do it: reset, power_cycle, cut N or quit; from any thread."""
        self._commands.put(Command(word=word, told=told))
        self._wake_write.send(b"\0")

    def run(self) -> None:
        """Serve until `quit`."""
        self._start(1, "POWERON")
        try:
            while self._running:
                self._turn()
        finally:
            self._chip.end()
            self.port.vanish()

    def _start(self, cause: int, name: str, last_words: str = "") -> None:
        # what the ROM and a panic print goes to the UART; on the chip's own USB only the interpreter is heard
        boot = BOOT_TEXT.format(cause=cause, name=name)
        self._outgoing = b"" if self._usb else f"{last_words}{boot}".encode()
        self._storage.power_off()
        self._chip = InterpreterProcess(self._helper, self._commands, self._settings.ring_bytes)

    def _turn(self) -> None:
        ends: list[int | socket.socket] = [self._wake_read, *self.port.readers()]
        wait_s = self._rate.wait_s(time.monotonic())
        if not wait_s:
            ends.append(self._chip.output)
        writers = self.port.writers() if self._outgoing else []
        readable, _, _ = select.select(ends, writers, [], min(wait_s or IDLE_S, IDLE_S))
        if self._wake_read in readable:
            self._wake_read.recv(4096)
        if self._chip.output in readable:
            said = os.read(self._chip.output, READ_BYTES)
            self._rate.spent(len(said))
            self._outgoing = (self._outgoing + said)[-UNSENT_BYTES:]
            if not said and self._commands.empty():
                # the interpreter ended without being told to, as a chip does that panics
                self.command("reset")
        if any(end in readable for end in self.port.readers()):
            self._chip.receive(self._damaged(self.port.read()))
        while self._outgoing:
            written = self.port.write(self._outgoing)
            if not written:
                break
            self._outgoing = self._outgoing[written:]
        while not self._commands.empty():
            command = self._commands.get()
            self._obey(command.word)
            if command.told:
                print(json.dumps({"done": command.word}), flush=True)

    def _damaged(self, data: bytes) -> bytes:
        if "drops_bytes" not in self._settings.quirks:
            return data
        kept = bytes(byte for at, byte in enumerate(data, self._received + 1) if at % 4096)
        self._received += len(data)
        return kept

    def _obey(self, word: str) -> None:
        if word == "quit":
            self._running = False
        elif word.startswith("cut "):
            self._storage.cut_power_after(int(word.split()[1]))
        elif word.startswith("free "):
            count = int(word.split()[1])
            self._storage.leave_free(None if count < 0 else count)
        elif word.startswith("panic "):
            self._helper.panic_at(*word.split()[1:])
        elif word.startswith("panicked "):
            self._restart(
                12, "RTC_SW_CPU_RST", f"\r\n{word.removeprefix('panicked ')}\r\n\r\nRebooting...\r\n"
            )
        elif word == "reset":
            self._restart(3, "RTC_SW_SYS_RST")
        elif word == "power_cycle":
            self._restart(1, "POWERON", vanishes=True)
        else:
            print(f"unknown command {word!r}", file=sys.stderr)

    def _restart(self, cause: int, name: str, last_words: str = "", *, vanishes: bool = False) -> None:
        """The chip starts anew; its own USB port goes with it and comes back, a UART bridge stays."""
        self._chip.end()
        if vanishes or self._usb:
            self.port.vanish()
            time.sleep(POWER_OFF_S)
            self.port.appear()
        self._start(cause, name, last_words)


def serve(settings: InterpreterSettings) -> None:
    """Run a virtual MicroPython board until it is told to quit.

    Raises:
        HilError: no interpreter, no weights, or the port cannot be had.
    """
    node()
    interpreter()
    folder = Path(tempfile.mkdtemp(prefix="hil-micropython-"))
    try:
        board = BoardProcess(settings, folder)
        for name, word in ((signal.SIGTERM, "quit"), (signal.SIGINT, "quit"), (signal.SIGUSR1, "reset")):
            signal.signal(name, lambda *_, word=word: board.command(word))
        if settings.control:
            threading.Thread(target=_obey_stdin, args=(board,), daemon=True).start()
        hello = {"url": board.port.url, "target": settings.target, "pid": os.getpid()}
        print(json.dumps(hello), flush=True)
        board.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _obey_stdin(board: BoardProcess) -> None:
    for line in sys.stdin:
        board.command(line.strip(), told=True)
    board.command("quit")

"""MicroPython's raw REPL: programs in, their output out; and bytes to a running program.

The protocol is that of shared/runtime/pyexec.c: control-A enters, control-D runs, the answer is standard output,
0x04, standard error, 0x04, ">". Programs go in by raw paste, whose window keeps a receiver of a few hundred
bytes from losing any; a firmware without it gets the program in small pieces. A running program is fed in the
same manner: it acknowledges each window with 0x01.

The transport is the harness' own `Link` and not that of mpremote: it is the same for serial ports, ptys, sockets
and rfc2217, its waits have deadlines, and its errors are ours (docs/adr/0006-micropython-over-our-link.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from esp_hil.device.link import Link
from esp_hil.errors import BoardUnavailable, DeviceReset, LinkClosed, LinkError, LinkTimeout, WireError

ENTER_S = 10.0
ASK_S = 0.5
SETTLE_S = 0.1
FULL_PAUSE_S = 0.002
PIECE_BYTES = 128
PIECE_PAUSE_S = 0.02
RAW_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
BANNER = b"\r\nMicroPython v"
LAST_WORDS = (BANNER, b"Guru Meditation Error", b"abort() was called", b"rst:0x")
"""What a board says that panics or starts anew while something else is waited for."""
RESET_WORDS = (BANNER, b"rst:0x")
"""What is heard of a reset: the ROM at the UART, or the interpreter when it is ready."""
PANIC_S = 0.5
"""In which a chip has said the first words of a panic."""
RESET_S = 1.0
"""In which something is heard of a chip whose reset wire was pulled."""
BANNER_S = 3.0
"""In which a board says its banner after a reset, unless its `main.py` holds the REPL."""
SOFT_S = 3.0
"""In which the interpreter has started anew, unless `boot.py` holds it."""
_CONTROL_A, _CONTROL_B, _CONTROL_C, _CONTROL_D = b"\x01", b"\x02", b"\x03", b"\x04"
_PASTE = b"\x05A\x01"
_WINDOW_FREE = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOutput:
    """What a program printed.

    Attributes:
        stdout: as bytes.
        stderr: the traceback; "" if it ended well.
    """

    stdout: bytes
    stderr: str


class RawRepl:
    """The raw REPL of a board.

    Args:
        link: it is open, and stays open.
        board: name for error messages.
    """

    def __init__(self, link: Link, *, board: str = "") -> None:
        self.link = link
        self.board = board or link.url
        self.lost = False
        """Whether the board began anew, or its port went, and nobody has entered since."""
        self._waiting = bytearray()
        self._paste = True

    # line

    def _exchange(self, data: bytes, until: float) -> tuple[int, bytes]:
        try:
            return self.link.exchange(data, until)
        except LinkClosed:
            # a chip's own USB port goes with a panic or a reset, whatever was under way
            self.lost = True
            raise

    def _send(self, data: bytes, until: float) -> None:
        while data:
            # an exchange that could write all waits for an answer, which may only come after the next bytes
            sent, came = self._exchange(data, self.link.now())
            data = data[sent:]
            self._waiting += came
            if data and self.link.now() >= until:
                raise self._late("the line accepts no data")
            if data and not sent:
                time.sleep(FULL_PAUSE_S)

    def _late(self, what: str) -> LinkTimeout:
        last = bytes(self._waiting[-60:])
        said = f"; last heard: {last!r}" if last else ""
        return LinkTimeout(
            f"{what}{said}",
            hint="is it MicroPython, at this baud rate, and does its main.py let itself be interrupted?",
            step="repl",
            board=self.board,
        )

    def _until(self, mark: bytes, until: float, what: str, *, heed_reset: bool = False) -> bytes:
        """Everything up to a mark, which is taken away."""
        while (at := self._waiting.find(mark)) < 0:
            # a program may print such words itself; then its own end follows them
            if heed_reset and any(word in self._waiting for word in LAST_WORDS):
                raise self._reset_error()
            if self.link.now() >= until:
                raise self._late(f"no {what}")
            self._waiting += self._exchange(b"", until)[1]
        found = bytes(self._waiting[:at])
        del self._waiting[: at + len(mark)]
        return found

    def _reset_error(self) -> DeviceReset:
        said = bytes(self._waiting).decode("utf-8", "replace")
        panic = next((line.strip() for line in said.splitlines() if "Guru" in line or "abort()" in line), "")
        self.lost = True
        return DeviceReset(
            f"the board panicked: {panic}" if panic else "the board restarted while the program ran",
            hint="out of memory and a network that the image lacks end so; else look at its supply and its console",
            step="script",
            board=self.board,
        )

    def _take(self, count: int, until: float, what: str) -> bytes:
        while len(self._waiting) < count:
            if self.link.now() >= until:
                raise self._late(f"no {what}")
            self._waiting += self._exchange(b"", until)[1]
        found = bytes(self._waiting[:count])
        del self._waiting[:count]
        return found

    # programs

    def enter(self, wait_s: float = ENTER_S) -> None:
        """Interrupt what runs and enter the raw REPL.

        Raises:
            LinkTimeout: nothing that is a raw REPL answered.
        """
        until = self.link.now() + wait_s
        self.lost = False
        while True:
            self._waiting.clear()
            self._send(b"\r" + _CONTROL_C + _CONTROL_C, until)
            self._drain(SETTLE_S)
            self._waiting.clear()
            self._send(b"\r" + _CONTROL_A, until)
            try:
                self._until(RAW_PROMPT, min(until, self.link.now() + ASK_S), "raw REPL")
                self._in_step(min(until, self.link.now() + ASK_S))
            except LinkTimeout:
                # a board that boots does not hear what was sent before it was ready
                if self.link.now() >= until:
                    raise
                continue
            return

    def begin(self, wait_s: float = ENTER_S) -> None:
        """Enter the raw REPL of an interpreter that has started anew, so that nothing is left of what ran before.

        What `main.py` made is in memory after it was interrupted, and its threads and timers go on; the raw REPL's
        soft reset does not run it again.

        Raises:
            LinkTimeout: nothing that is a raw REPL answers.
        """
        self.enter(wait_s)
        self.soft_reset(wait_s)

    def await_banner(self, wait_s: float = BANNER_S) -> None:
        """Let a board boot: an interrupt in the middle would leave it without its file system.

        A `main.py` that does not end says no banner; it is interrupted when its time is over.
        """
        until = self.link.now() + wait_s
        while BANNER not in self._waiting and self.link.now() < until:
            self._waiting += self._exchange(b"", until)[1]

    def _in_step(self, until: float) -> None:
        """Have the board say what nothing else says.

        One that was asked several times answers as often, and one whose `boot.py` was interrupted says its prompt
        before it is asked.
        """
        word = b"in step %d" % time.monotonic_ns()
        self._send(b"print('%s')" % word + _CONTROL_D, until)
        self._until(b"OK" + word, until, "answer to a first program")
        self._until(b"\x04\x04>", until, "end of a first program")

    def _drain(self, quiet_s: float) -> None:
        until = self.link.now() + quiet_s
        while self.link.now() < until:
            self._waiting += self._exchange(b"", until)[1]

    def start(self, program: str, wait_s: float) -> None:
        """Run a program and leave it running; `feed` and `finish` follow.

        Raises:
            LinkTimeout: it was not taken.
            WireError: the answer is none of a raw REPL's.
        """
        until = self.link.now() + wait_s
        self._waiting.clear()
        if self._paste and self._start_paste(program.encode(), until):
            return
        self._paste = False
        for at in range(0, len(program.encode()), PIECE_BYTES):
            self._send(program.encode()[at : at + PIECE_BYTES], until)
            time.sleep(PIECE_PAUSE_S)
        self._send(_CONTROL_D, until)
        answer = self._take(2, until, "answer to a program")
        if answer != b"OK":
            raise self._strange("a program", answer)

    def _start_paste(self, program: bytes, until: float) -> bool:
        self._send(_PASTE, until)
        answer = self._take(2, until, "answer to raw paste")
        if answer in {b"R\x00", b"ra"}:
            if answer == b"ra":
                # older than 1.14: it took control-A for itself and says its prompt again
                self._until(b"w REPL; CTRL-B to exit\r\n>", until, "raw REPL")
            return False
        if answer != b"R\x01":
            raise self._strange("raw paste", answer)
        window = int.from_bytes(self._take(2, until, "size of the window"), "little")
        refused, _ = self._feed(program, window, window, until)
        if refused:
            raise self._strange("a program", bytes(self._waiting[:20]))
        self._send(_CONTROL_D, until)
        # windows may still be given back before the end is acknowledged
        while (mark := self._take(1, until, "end of the program")) == _WINDOW_FREE:
            pass
        if mark != _CONTROL_D:
            raise self._strange("the end of a program", mark)
        return True

    def _feed(self, data: bytes, window: int, left: int, until: float) -> tuple[bytes, int]:
        """Send within the windows that are given; returns what was not taken, and what is left of the windows.

        It ends early when the board says something else than that a window is free.
        """
        while data:
            while self._waiting[:1] == _WINDOW_FREE:
                del self._waiting[:1]
                left += window
            if left:
                piece, data = data[:left], data[left:]
                left -= len(piece)
                self._send(piece, until)
            elif self._waiting:
                break
            elif self.link.now() >= until:
                raise self._late("no free window")
            else:
                self._waiting += self._exchange(b"", until)[1]
        return data, left

    def _strange(self, what: str, answer: bytes) -> WireError | DeviceReset:
        """Why an answer is none: a chip that panics at once speaks instead of the interpreter."""
        self._waiting[:0] = answer
        until = self.link.now() + PANIC_S
        while self.link.now() < until and not any(word in self._waiting for word in LAST_WORDS):
            self._waiting += self._exchange(b"", until)[1]
        if any(word in self._waiting for word in LAST_WORDS):
            return self._reset_error()
        error = WireError(
            f"the answer to {what} was {answer!r}", hint="the REPL was left or another program uses the port"
        )
        error.at(step="repl", board=self.board)
        return error

    def feed(self, data: bytes, window: int, wait_s: float) -> int:
        """Send bytes to the running program, which gives each window with 0x01; returns how many it took.

        Raises:
            LinkTimeout: it took no more, but still runs.
        """
        refused, _ = self._feed(data, window, 0, self.link.now() + wait_s)
        return len(data) - len(refused)

    def fill(self, count: int, window: int, pause_s: float) -> None:
        """Feed zeros to a program that waits for bytes that were lost, until it ends or `count` are sent.

        Raises:
            LinkTimeout: it waits still.
        """
        for _ in range(0, count, window):
            self._send(bytes(window), self.link.now() + pause_s)
            self._drain(pause_s)
            if _CONTROL_D in self._waiting:
                while self._waiting[:1] == _WINDOW_FREE:
                    del self._waiting[:1]
                return
        raise self._late("the program does not end")

    def finish(self, wait_s: float) -> ProgramOutput:
        """Wait for the program to end.

        Raises:
            LinkTimeout: it still runs.
            DeviceReset: the board started anew in the meantime.
        """
        until = self.link.now() + wait_s
        stdout = self._until(_CONTROL_D, until, "end of the program", heed_reset=True)
        stderr = self._until(_CONTROL_D, until, "end of the traceback")
        self._until(b">", until, "prompt")
        return ProgramOutput(stdout=stdout, stderr=stderr.decode("utf-8", "replace").replace("\r\n", "\n"))

    def run(self, program: str, wait_s: float) -> ProgramOutput:
        """Run a program to its end; an exception in it is an output.

        Raises:
            LinkTimeout: it was not taken, or did not end.
        """
        self.start(program, wait_s)
        return self.finish(wait_s)

    def soft_reset(self, wait_s: float = ENTER_S) -> None:
        """Start the interpreter anew: RAM is empty, files stay; a `boot.py` that does not end is interrupted.

        Raises:
            LinkTimeout: it did not come back.
        """
        until = self.link.now() + wait_s
        self._waiting.clear()
        self._send(_CONTROL_D, until)
        self._until(b"soft reboot", until, "soft reboot")
        try:
            self._until(RAW_PROMPT, min(until, self.link.now() + SOFT_S), "raw REPL after the soft reboot")
        except LinkTimeout:
            self.enter(max(0.0, until - self.link.now()))

    def hard_reset(self, wait_s: float = ENTER_S) -> None:
        """Reset the chip: by its wires where there are any, else by `machine.reset()`; then begin anew.

        Raises:
            LinkTimeout: it did not come back.
            LinkClosed: the port went away with it, as a chip's own USB port does; `reconnect` follows.
        """
        until = self.link.now() + wait_s
        self._waiting.clear()
        if not self._pulled_down():
            # a chip's own USB port has no wire that resets it
            self.enter(max(0.0, until - self.link.now()))
            # by raw paste its end could not be acknowledged any more
            self._send(b"import machine\nmachine.reset()" + _CONTROL_D, until)
            if not self._heard_of_reset(until):
                raise self._late("nothing is heard of the reset")
        self.await_banner()
        self.begin(wait_s)

    def _pulled_down(self) -> bool:
        """Pull the reset wire; whether anything was heard of it."""
        try:
            self.link.reset()
        except LinkClosed:
            raise
        except LinkError:
            return False
        return self._heard_of_reset(self.link.now() + RESET_S)

    def _heard_of_reset(self, until: float) -> bool:
        while not any(word in self._waiting for word in RESET_WORDS):
            if self.link.now() >= until:
                return False
            self._waiting += self._exchange(b"", until)[1]
        return True

    def reconnect(self, reopen: Callable[[], Link], wait_s: float = ENTER_S) -> None:
        """Open the port anew after it vanished, and begin anew.

        Raises:
            BoardUnavailable: it did not come back.
            LinkTimeout: it did, but nothing answers.
        """
        self.link.close()
        until = time.monotonic() + wait_s
        while True:
            try:
                self.link = reopen()
                self.begin(wait_s)
            except (BoardUnavailable, LinkClosed):
                # not yet there, or what was opened was still about to go
                if time.monotonic() >= until:
                    raise
                time.sleep(SETTLE_S)
            else:
                return

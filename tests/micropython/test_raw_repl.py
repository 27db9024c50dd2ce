"""The raw REPL against a scripted line: entering, raw paste and its windows, old firmware, resets, silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from esp_hil.errors import DeviceReset, LinkClosed, LinkTimeout, WireError
from esp_hil.micropython.raw_repl import RAW_PROMPT, RawRepl

PASTE = b"\x05A\x01"


class Scripted:
    """A line whose other end is a function of all that has been sent; its clock only runs while one waits."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.url = "scripted"
        self.bytes_per_s: float | None = None
        self.baud: int | None = None
        self.sent = b""
        self._answer = answer
        self._now = 0.0
        self._unread = b""
        self.most_bytes = 1 << 16

    def now(self) -> float:
        return self._now

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        taken = outgoing[: self.most_bytes]
        self.sent += taken
        if taken:
            said = self._answer(self.sent)
            if said is None:
                raise LinkClosed("gone")
            self._unread += said
        came, self._unread = self._unread, b""
        if not came:
            self._now = max(self._now, until) + 0.001
        return len(taken), came

    def set_baud(self, baud: int) -> None: ...

    def reset(self, *, to_loader: bool = False) -> None:
        del to_loader

    def close(self) -> None: ...


def board(
    program_output: bytes = b"hi\r\n", error: bytes = b"", window: int = 32
) -> Callable[[bytes], bytes]:
    """A board with raw paste that holds two windows and says when it is fed more."""
    seen, state = 0, {"paste": -1, "given": 0}

    def answer(sent: bytes) -> bytes:
        nonlocal seen
        new, seen, said = sent[seen:], len(sent), b""
        told = state["given"]  # a window that is given now is only known after this
        for at, byte in enumerate(new):
            upto = sent[: len(sent) - len(new) + at + 1]
            if state["paste"] >= 0:
                if byte == 4:
                    state["paste"] = -1
                    said += b"\x04" + program_output + b"\x04" + error + b"\x04>"
                    continue
                state["paste"] += 1
                assert state["paste"] <= told, "more was sent than there were windows for"
                if state["paste"] % window == 0:
                    state["given"] += window
                    said += b"\x01"
            elif upto.endswith(PASTE):
                state.update(paste=0, given=2 * window)
                told = 2 * window
                said += b"R\x01" + window.to_bytes(2, "little") + b"\x01"
            elif byte == 1 and not upto.endswith(PASTE):
                said += b"\r\n" + RAW_PROMPT
            elif byte == 4:
                # a program of one line that prints a word
                said += b"OK" + upto.rpartition(b"print('")[2].partition(b"'")[0] + b"\r\n\x04\x04>"
        return said

    return answer


def repl(answer: Callable[[bytes], bytes | None]) -> RawRepl:
    return RawRepl(Scripted(answer))


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 64, 65, 1000])
def test_a_program_goes_in_by_windows_and_its_output_comes_back(length: int) -> None:
    made = repl(board())
    made.enter()
    output = made.run("#" + "x" * length, 5.0)
    assert output.stdout == b"hi\r\n"
    assert output.stderr == ""


def test_a_line_that_takes_a_byte_at_a_time_loses_none() -> None:
    made = repl(board())
    made.link.most_bytes = 1  # type: ignore[attr-defined]
    made.enter()
    assert made.run("x" * 100, 5.0).stdout == b"hi\r\n"
    assert b"x" * 100 + b"\x04" in made.link.sent  # type: ignore[attr-defined]


def test_a_traceback_is_an_output() -> None:
    made = repl(board(b"before", b"Traceback (most recent call last):\r\nValueError: no\r\n"))
    made.enter()
    output = made.run("raise", 5.0)
    assert output.stdout == b"before"
    assert output.stderr == "Traceback (most recent call last):\nValueError: no\n"


def test_a_firmware_without_raw_paste_gets_the_program_in_pieces() -> None:
    program = "y" * 300

    def answer(sent: bytes) -> bytes:
        if sent.endswith(PASTE):
            return b"R\x00"
        return b"OKdone\x04\x04>" if sent.endswith(program.encode() + b"\x04") else b""

    made = repl(answer)
    assert made.run(program, 5.0).stdout == b"done"
    # it is not asked for raw paste again
    assert made.run(program, 5.0).stdout == b"done"
    assert made.link.sent.count(PASTE) == 1  # type: ignore[attr-defined]


def test_silence_is_a_timeout_that_names_the_board() -> None:
    with pytest.raises(LinkTimeout, match="scripted: repl: no raw REPL"):
        repl(lambda sent: b"").enter(2.0)


def test_another_program_on_the_port_is_told_from_a_repl() -> None:
    with pytest.raises(WireError, match="raw paste"):
        repl(lambda sent: b"log line\r\n" if sent.endswith(PASTE) else b"").run("pass", 2.0)


def test_a_board_that_restarts_in_the_middle_is_noticed() -> None:
    banner = b"\x04half\r\nrst:0x8 (TG1WDT)\r\n\r\nMicroPython v1.26.0 on 2025-08-09; board\r\n>>> "

    def answer(sent: bytes) -> bytes:
        if sent.endswith(PASTE):
            return b"R\x01\x20\x00\x01"
        return banner if sent.endswith(b"\x04") else b""

    with pytest.raises(DeviceReset, match="restarted"):
        repl(answer).run("pass", 2.0)


def test_feeding_stops_where_the_program_ends_early() -> None:
    made = repl(board(b"", b"MemoryError: \r\n"))
    made.enter()
    made.start("take()", 2.0)
    assert made.feed(b"data", 2, 1.0) == 0
    assert "MemoryError" in made.finish(1.0).stderr


def test_a_port_that_vanishes_is_a_closed_link() -> None:
    with pytest.raises(LinkClosed):
        repl(lambda sent: None).enter()

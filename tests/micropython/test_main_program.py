"""Boards as people have them: a boot.py or main.py that prints, sleeps, reads, or leaves things behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from esp_hil.device.ports import open_link
from esp_hil.errors import LinkTimeout, ScriptFailed
from esp_hil.micropython.driver import LEAST_BYTES_PER_S, PROGRAM_S, MicroPythonBoard, open_board
from esp_hil.micropython.raw_repl import RawRepl
from esp_hil.micropython.virtual import VirtualMicroPython, missing
from esp_hil.micropython.virtual.console_rate import UART_FIFO_BYTES, ConsoleRate

needs_interpreter = pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
PRINTS = "while True: print('temperature', 21.5)"
SLEEPS = "import time\nwhile True: time.sleep(3600)"
STUBBORN = "import time\nwhile True:\n try:\n  while True: time.sleep_ms(5)\n except BaseException: pass"


@pytest.fixture(scope="module", params=["pty", "usb"])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VirtualMicroPython]:
    with VirtualMicroPython("esp32s3", tmp_path_factory.mktemp("zoo"), listen=request.param) as made:
        yield made


@pytest.fixture
def board(machine: VirtualMicroPython) -> Iterator[MicroPythonBoard]:
    with open_board(machine.url) as made:
        yield made
    # as a reflash would: the next test's reset finds none of them
    for name in ("main.py", "boot.py", "other.py"):
        (machine.flash / name).unlink(missing_ok=True)
    machine.reset()


@needs_interpreter
@pytest.mark.parametrize("program", [PRINTS, SLEEPS], ids=["prints", "sleeps"])
def test_a_main_py_that_does_not_end_is_interrupted(board: MicroPythonBoard, program: str) -> None:
    """It says no banner after a reset; whoever waits for one waits in vain."""
    board.write_file("/main.py", program.encode())
    board.reset()
    assert board.read_file("/main.py") == program.encode()
    board.reset(hard=False)
    assert board._script("print(1)").strip() == b"1"


@needs_interpreter
def test_a_boot_py_that_does_not_end_is_interrupted(board: MicroPythonBoard) -> None:
    """The raw REPL's soft reset runs it again."""
    board.write_file("/boot.py", PRINTS.encode())
    board.reset(hard=False)
    assert board.read_file("/boot.py") == PRINTS.encode()


@needs_interpreter
def test_a_board_that_prints_is_opened_by_the_next_program(
    machine: VirtualMicroPython, board: MicroPythonBoard
) -> None:
    board.write_file("/main.py", PRINTS.encode())
    board.close()
    machine.reset()
    # what is printed until somebody listens is lost, as at a UART
    with open_board(machine.url) as again:
        assert again.read_file("/main.py") == PRINTS.encode()


@needs_interpreter
def test_nothing_of_main_py_is_left_when_our_program_begins(board: MicroPythonBoard) -> None:
    """Networks that it loaded would take the PSRAM of ours; boot.py is what a board needs, and runs."""
    board.write_file("/main.py", b"left = open('/other.py', 'w')\nleft.close()\n")
    board.write_file("/boot.py", b"wanted = 1")
    board.reset()
    assert board.read_file("/other.py") == b""
    with pytest.raises(ScriptFailed, match="NameError"):
        board._script("print(left)")
    assert board._script("print(wanted)").strip() == b"1"


@needs_interpreter
def test_after_an_exception_in_boot_py_there_is_no_main_py(board: MicroPythonBoard) -> None:
    board.write_file("/boot.py", b"1/0")
    board.write_file("/main.py", b"open('/other.py', 'w').close()")
    board.reset()
    with pytest.raises(ScriptFailed, match="OSError"):
        board.read_file("/other.py")


@needs_interpreter
def test_a_program_that_catches_every_interrupt_is_said_to_hold_the_board(
    machine: VirtualMicroPython, board: MicroPythonBoard
) -> None:
    board.write_file("/main.py", STUBBORN.encode())
    board.close()
    machine.reset()
    link = open_link(machine.url, listening=True)
    try:
        with pytest.raises(LinkTimeout, match=r"no raw REPL.*main\.py"):
            RawRepl(link).enter(2.0)
    finally:
        link.close()


@needs_interpreter
def test_a_program_is_interrupted_while_it_prints_or_sleeps(machine: VirtualMicroPython) -> None:
    """By the UART's interrupt handler, not by whoever reads."""
    with open_board(machine.url) as board:
        for program in (PRINTS, SLEEPS):
            board.repl.start(program, 5.0)
            board.repl.enter()
            assert board.repl.run("print(2)", 5.0).stdout.strip() == b"2"


def test_output_is_no_faster_than_the_uart_that_it_is_mirrored_to() -> None:
    pace = ConsoleRate(11_520)
    now, sent = 0.0, 0
    while sent < 11_520:
        now += pace.wait_s(now)
        pace.spent(512)
        sent += 512
    assert now == pytest.approx(1.0, abs=(UART_FIFO_BYTES + 512) / 11_520)
    assert ConsoleRate(0).wait_s(0.0) == 0.0


@needs_interpreter
def test_a_long_file_is_given_the_time_that_a_slow_uart_needs(
    board: MicroPythonBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def script(program: str, wait_s: float = PROGRAM_S) -> bytes:
        waits.append(wait_s)
        return b"300000\n" if "os.stat" in program else b""

    monkeypatch.setattr(board, "_script", script)
    board.read_file("/face.db")
    assert waits[-1] > 400_000 / 11_520
    assert waits[-1] > 400_000 / LEAST_BYTES_PER_S
    monkeypatch.undo()

from __future__ import annotations

import io

from esp_hil.progress import Bars, Lines, progress_on


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_a_quarter() -> None:
    log = io.StringIO()
    with progress_on(log).task("upload", total=1000, unit="B") as advance:
        for _ in range(1000):
            advance(1)
    assert log.getvalue().splitlines() == [
        "upload: 25 % (250 of 1,000 B)",
        "upload: 50 % (500 of 1,000 B)",
        "upload: 75 % (750 of 1,000 B)",
        "upload: 100 % (1,000 of 1,000 B)",
    ]


def test_one_large_step_gives_one_line() -> None:
    log = io.StringIO()
    with Lines(log).task("upload", total=10, unit="B") as advance:
        advance(10)
    assert log.getvalue() == "upload: 100 % (10 of 10 B)\n"


def test_a_terminal_gets_a_bar_that_shows_the_count() -> None:
    terminal = Terminal()
    progress = progress_on(terminal)
    assert isinstance(progress, Bars)
    with progress.task("upload", total=4) as advance:
        advance(3)
    assert "upload" in terminal.getvalue()
    assert "3/4" in terminal.getvalue()

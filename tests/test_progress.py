from __future__ import annotations

import io

from esp_hil.progress import Bars, Lines, progress_on


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_every_quarter_of_a_minute_however_many_tasks_there_are() -> None:
    log = io.StringIO()
    now_s = 0.0
    lines = Lines(log, clock=lambda: now_s)
    for name in ("upload", "infer"):
        with lines.task(name, total=100, unit="B") as advance:
            for _ in range(100):
                now_s += 0.5
                advance(1)
    assert log.getvalue().splitlines() == [
        "upload: 30 % (30 of 100 B)",
        "upload: 60 % (60 of 100 B)",
        "upload: 90 % (90 of 100 B)",
        "infer: 20 % (20 of 100 B)",
        "infer: 50 % (50 of 100 B)",
        "infer: 80 % (80 of 100 B)",
    ]


def test_short_work_says_nothing_in_a_log() -> None:
    log = io.StringIO()
    progress = progress_on(log)
    assert isinstance(progress, Lines)
    with progress.task("upload", total=10, unit="B") as advance:
        advance(10)
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar_that_shows_the_count() -> None:
    terminal = Terminal()
    progress = progress_on(terminal)
    assert isinstance(progress, Bars)
    with progress.task("upload", total=4) as advance:
        advance(3)
    assert "upload" in terminal.getvalue()
    assert "3/4" in terminal.getvalue()


def test_work_that_goes_on_without_getting_further_says_so() -> None:
    log = io.StringIO()
    now_s = 0.0
    with Lines(log, clock=lambda: now_s).task("build", total=100, unit="%") as advance:
        advance(7)
        for _ in range(40):
            now_s += 1
            advance(0)
    assert log.getvalue().splitlines() == ["build: 7 %", "build: 7 %"]

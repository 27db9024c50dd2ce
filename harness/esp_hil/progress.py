"""Progress of long work: a rich bar on a terminal, a line now and then elsewhere, lines beside pytest's own output.

with progress.task("upload mnist", total=429_456, unit="B") as advance:
    advance(1024)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

EVERY_S = 15.0
"""Between two lines of progress where there is no terminal."""

Advance = Callable[[int], None]


class Progress(Protocol):
    """Something that can show how far a piece of work has got."""

    def task(self, description: str, *, total: int, unit: str = "") -> AbstractContextManager[Advance]:
        """Show a piece of work of `total` units; the context gives a function that adds to what is done."""
        ...

    def say(self, text: str) -> None:
        """Show one line."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, description: str, *, total: int, unit: str = "") -> Iterator[Advance]:
        """Count nothing."""
        del description, total, unit
        yield lambda _count: None

    def say(self, text: str) -> None:
        """Show nothing."""


class Lines:
    """A plain line every quarter of a minute, for CI logs, where a bar would be a thousand lines; short work has none.

    Args:
        stream: where to.
        clock: seconds; another one in tests.
        before: what each line is preceded by, where others write to the same terminal.
    """

    def __init__(
        self,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
        before: Callable[[], str] = str,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._before = before
        self._last_s = clock()

    @contextmanager
    def task(self, description: str, *, total: int, unit: str = "") -> Iterator[Advance]:
        """Print how far it is, at most every EVERY_S seconds over all tasks; `advance(0)` says that it goes on."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            now_s = self._clock()
            if now_s - self._last_s >= EVERY_S:
                self._last_s = now_s
                share = 100 * done // total if total > 0 else 100
                counted = "" if unit == "%" else f" ({done:,} of {total:,} {unit})".replace(" )", ")")
                self.say(f"{description}: {share} %{counted}")

        yield advance

    def say(self, text: str) -> None:
        """Print the line at once."""
        print(f"{self._before()}{text}", file=self._stream, flush=True)


class Bars:
    """Rich bars on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream)

    @contextmanager
    def task(self, description: str, *, total: int, unit: str = "") -> Iterator[Advance]:
        """Draw a bar with count, rate and time left; it disappears when the work is done."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(description, total=total)
            yield lambda count: bars.advance(task, count)

    def say(self, text: str) -> None:
        """Print the line above the bars."""
        self._console.print(text, markup=False, highlight=False)


def progress_on(stream: TextIO) -> Progress:
    """Bars if the stream is a terminal, lines otherwise."""
    return Bars(stream) if stream.isatty() else Lines(stream)

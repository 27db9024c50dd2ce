"""Progress of long work: a rich bar on a terminal, a line now and then elsewhere, nothing in tests.

with progress.task("upload mnist", total=429_456, unit="B") as advance:
    advance(1024)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

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
    """A plain line at each quarter: for CI logs, where a bar would be a thousand lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def task(self, description: str, *, total: int, unit: str = "") -> Iterator[Advance]:
        """Print a line when the work passes 25, 50, 75 and 100 %."""
        done = 0
        shown = 0

        def advance(count: int) -> None:
            nonlocal done, shown
            done += count
            quarter = 4 if total <= 0 else min(4, 4 * done // total)
            if quarter > shown:
                shown = quarter
                self.say(f"{description}: {25 * quarter} % ({done:,} of {total:,} {unit})".replace(" )", ")"))

        yield advance

    def say(self, text: str) -> None:
        """Print the line at once."""
        print(text, file=self._stream, flush=True)


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

"""What a byte stream to a board can do, however it was opened.

A `Link` neither frames nor interprets. Its one operation, `exchange`, writes what the line takes and returns
what has come, as soon as anything has: nothing polls, and a line that is full in one direction never blocks
the other.
"""

from __future__ import annotations

from typing import Protocol


class Link(Protocol):
    """An open byte stream.

    Attributes:
        url: where it leads, as it was given.
        bytes_per_s: what the line carries (10 bits a byte), or None if it has no rate of its own.
        baud: its rate, if `set_baud` can change it; None: it has none.
    """

    @property
    def url(self) -> str:
        """See above."""
        ...

    @property
    def bytes_per_s(self) -> float | None:
        """See above."""
        ...

    @property
    def baud(self) -> int | None:
        """See above."""
        ...

    def now(self) -> float:
        """The time by which `until` is meant, in seconds."""
        ...

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """Write from `outgoing` what the line takes; return how much that was and what has come.

        Returns as soon as bytes have come or, while some are left to write, were written; else at `until`.

        Raises:
            LinkClosed: the port vanished or the peer closed.
        """
        ...

    def set_baud(self, baud: int) -> None:
        """Change the rate once everything written has left.

        Raises:
            LinkError: this line has no rate, or not this one.
        """
        ...

    def reset(self, *, to_loader: bool = False) -> None:
        """Reset the chip through DTR and RTS.

        Raises:
            LinkError: this line has no such wires.
        """
        ...

    def close(self) -> None:
        """Close it; more than once does no harm."""
        ...

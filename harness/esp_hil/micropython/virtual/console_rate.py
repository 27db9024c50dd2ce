"""How fast a firmware speaks that mirrors its output to a UART: no faster than that UART, at USB as well."""

from __future__ import annotations

UART_FIFO_BYTES = 128


class ConsoleRate:
    """How fast the firmware's output goes: that of the UART which it is mirrored to.

    Args:
        bytes_per_s: of that UART; 0: there is none, and nothing holds it up.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._left = float(UART_FIFO_BYTES)
        self._at: float | None = None

    def wait_s(self, now: float) -> float:
        """In how many seconds it takes more; 0: now.

        What the interpreter says at once is given to USB as a whole, and only then to the UART that takes its time
        (ports/esp32/mphalport.c, mp_hal_stdout_tx_strn).
        """
        if not self._bytes_per_s:
            return 0.0
        since = 0.0 if self._at is None else now - self._at
        self._left = min(float(UART_FIFO_BYTES), self._left + since * self._bytes_per_s)
        self._at = now
        return max(0.0, -self._left / self._bytes_per_s)

    def spent(self, count: int) -> None:
        """So many bytes were taken."""
        self._left -= count

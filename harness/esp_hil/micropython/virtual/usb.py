"""The chip's own USB port, as TinyUSB's CDC class behaves under MicroPython, reached over RFC 2217.

A pty has no DTR and RTS that its other end could see; RFC 2217 carries both. What a board does with them is that of
shared/tinyusb/mp_usbd_cdc.c and TinyUSB's cdc_device.c, v1.26:

- without DTR the board writes without waiting: of what it says at once, 64 bytes are under way, its transmitter keeps
  the newest 256, and what lies between is lost;
- RTS resets nothing;
- the port vanishes when the chip starts anew.
"""

from __future__ import annotations

import socket
from typing import Any

from serial import rfc2217

from esp_hil.virtual.ports import TcpPort

FIFO_BYTES, PACKET_BYTES = 256, 64


class _Lines:
    """What the server half of RFC 2217 sets: a serial port that is none."""

    def __init__(self) -> None:
        self.baudrate, self.bytesize, self.parity, self.stopbits = 115200, 8, "N", 1
        self.rtscts = self.xonxoff = self.break_condition = False
        self.cts = self.dsr = self.ri = self.cd = False
        self.dtr = self.rts = False
        self.name = "usb"

    def reset_input_buffer(self) -> None:
        pass

    def reset_output_buffer(self) -> None:
        pass


class _Writer:
    def __init__(self, host: socket.socket) -> None:
        self._host = host

    def write(self, data: bytes) -> None:
        try:
            self._host.sendall(data)
        except OSError:
            return


class UsbPort:
    """A `Port` that is the chip's own USB: `rfc2217://127.0.0.1:NUMBER`.

    Args:
        number: of the TCP port; 0: a free one, which it keeps.
    """

    def __init__(self, number: int = 0) -> None:
        self._tcp = TcpPort(number)
        self.url = self._tcp.url.replace("socket://", "rfc2217://")
        self._host: socket.socket | None = None
        self._lines = _Lines()
        self._manager: Any = None
        self._fifo = b""

    @property
    def dtr(self) -> bool:
        """Whether the host says that it listens."""
        return self._lines.dtr

    def readers(self) -> list[int | socket.socket]:
        """See `Port`."""
        return self._tcp.readers()

    def writers(self) -> list[int | socket.socket]:
        """See `Port`."""
        return self._tcp.writers()

    def read(self) -> bytes:
        """See `Port`: what came, without the telnet around it."""
        data = self._tcp.read()
        host = self._tcp.host
        if host is not self._host:
            self._host, self._lines = host, _Lines()
            # pyserial's server half wants two objects that only look like ports
            lines: Any = self._lines
            writer: Any = _Writer(host) if host is not None else None
            self._manager = rfc2217.PortManager(lines, writer) if host is not None else None
        if self._manager is None:
            return b""
        plain: bytes = b"".join(self._manager.filter(data))
        return plain

    def write(self, data: bytes) -> int:
        """See `Port`; without DTR all but the first 64 and the newest 256 bytes are lost."""
        if self._host is None:
            self._fifo = (self._fifo + data)[-FIFO_BYTES:]
            return len(data)
        said, self._fifo = self._fifo + data, b""
        if not self.dtr and len(said) > PACKET_BYTES + FIFO_BYTES:
            said = said[:PACKET_BYTES] + said[-FIFO_BYTES:]
        wire: bytes = b"".join(self._manager.escape(said))
        self._host.setblocking(True)
        try:
            self._host.sendall(wire)
        except OSError:
            return len(data)
        finally:
            self._host.setblocking(False)
        return len(data)

    def vanish(self) -> None:
        """See `Port`."""
        self._tcp.vanish()
        self._host, self._manager, self._lines, self._fifo = None, None, _Lines(), b""

    def appear(self) -> None:
        """See `Port`."""
        self._tcp.appear()

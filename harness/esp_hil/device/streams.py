"""Byte streams of the system, without pyserial: file descriptors (ptys, POSIX serial ports) and TCP sockets.

Both are a `esp_hil.device.link.Link`, whose documentation holds for them.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from esp_hil.device.port_trouble import closed, no_rate, no_reset_lines, rate_refused, termios_error
from esp_hil.errors import LinkClosed

READ_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 5.0


class Descriptor:
    """A non-blocking file descriptor: pty, serial port on POSIX."""

    def __init__(
        self,
        url: str,
        descriptor: int,
        *,
        close: Callable[[], None],
        baud: int | None = None,
        bytes_per_s: float | None = None,
        change: Callable[[int], None] | None = None,
        pulse: Callable[[bool], None] | None = None,
    ) -> None:
        self.url = url
        self.baud = baud
        self.bytes_per_s = bytes_per_s
        self._change = change
        self._descriptor = descriptor
        self._close = close
        self._pulse = pulse
        self._closed = False

    def now(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """See `esp_hil.device.link.Link`."""
        if self._closed:
            raise LinkClosed(f"the port {self.url} is closed")
        try:
            sent = self._write(outgoing) if outgoing else 0
            poll = select.poll()
            writing = sent < len(outgoing)
            poll.register(self._descriptor, select.POLLIN | (select.POLLOUT if writing else 0))
            wait_ms = 0.0 if sent and writing else max(0.0, until - self.now()) * 1e3
            for _, events in poll.poll(wait_ms):
                if events & (select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    return sent, self._read()
                sent += self._write(outgoing[sent:])
        except OSError as error:
            raise closed(self.url, error) from error
        return sent, b""

    def _write(self, outgoing: bytes) -> int:
        try:
            return os.write(self._descriptor, outgoing)
        except BlockingIOError:
            return 0

    def _read(self) -> bytes:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError(errno.EIO, "end of file")
        return data

    def set_baud(self, baud: int) -> None:
        """See `esp_hil.device.link.Link`."""
        if self._change is None:
            raise no_rate(self.url)
        try:
            self._change(baud)
        except (OSError, ValueError, termios_error()) as error:
            raise rate_refused(self.url, baud, error) from error
        self.baud = baud
        self.bytes_per_s = baud / 10

    def reset(self, *, to_loader: bool = False) -> None:
        """See `esp_hil.device.link.Link`."""
        if self._pulse is None:
            raise no_reset_lines(self.url)
        self._pulse(to_loader)

    def close(self) -> None:
        """See `esp_hil.device.link.Link`."""
        if not self._closed:
            self._closed = True
            self._close()


class Socket:
    """A TCP connection, by its own means: pyserial's socket:// only says whether any bytes wait."""

    def __init__(self, url: str, connection: socket.socket) -> None:
        self.url = url
        self.bytes_per_s: float | None = None
        self.baud: int | None = None
        self._connection = connection
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def now(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """See `esp_hil.device.link.Link`."""
        try:
            sent = self._write(outgoing) if outgoing else 0
            writing = sent < len(outgoing)
            wait_s = 0.0 if sent and writing else max(0.0, until - self.now())
            own = [self._connection]
            readable, writable, _ = select.select(own, own if writing else [], [], wait_s)
            if readable:
                data = self._connection.recv(READ_BYTES)
                if not data:
                    raise LinkClosed(f"the other end of {self.url} closed the connection")
                return sent, data
            if writable:
                sent += self._write(outgoing[sent:])
        except (OSError, ValueError) as error:
            raise closed(self.url, error) from error
        return sent, b""

    def _write(self, outgoing: bytes) -> int:
        try:
            return self._connection.send(outgoing)
        except BlockingIOError:
            return 0

    def set_baud(self, baud: int) -> None:
        """See `esp_hil.device.link.Link`."""
        del baud
        raise no_rate(self.url)

    def reset(self, *, to_loader: bool = False) -> None:
        """See `esp_hil.device.link.Link`."""
        del to_loader
        raise no_reset_lines(self.url)

    def close(self) -> None:
        """See `esp_hil.device.link.Link`."""
        self._connection.close()


def open_pty(url: str) -> Descriptor:
    """A pty, locked and raw.

    Raises:
        OSError: it cannot be opened, or another program has it.
    """
    import fcntl
    import termios
    import tty

    descriptor = os.open(url, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tty.setraw(descriptor, termios.TCSANOW)
        # as a port is when it is opened: what the last program set is not the rate of this one
        _set_speed(descriptor, termios.B38400, termios.TCSANOW)
    except BaseException:
        os.close(descriptor)
        raise
    return Descriptor(
        url, descriptor, close=lambda: os.close(descriptor), change=lambda baud: _change_pty(descriptor, baud)
    )


def _change_pty(descriptor: int, baud: int) -> None:
    """A pty has no rate, but it tells its other end which one was set: a virtual board's model goes by it."""
    import termios

    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ValueError("no rate of this system")
    _set_speed(descriptor, speed, termios.TCSADRAIN)


def _set_speed(descriptor: int, speed: int, when: int) -> None:
    import termios

    settings = termios.tcgetattr(descriptor)
    settings[4] = settings[5] = speed
    termios.tcsetattr(descriptor, when, settings)


def open_socket(url: str) -> Socket:
    """A connection to `socket://host:port`, or with `?baud=115200` to a UART behind it.

    Raises:
        ValueError: no host, no port or an unknown option.
        OSError: nobody answers there.
    """
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        raise ValueError("a socket needs host and port")
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    if options.keys() - {"baud"} or not options.get("baud", "1").isdecimal():
        raise ValueError("a socket's only option is ?baud=115200")
    link = Socket(url, socket.create_connection((parts.hostname, parts.port), CONNECT_TIMEOUT_S))
    if "baud" in options:
        link.bytes_per_s = int(options["baud"]) / 10
    return link

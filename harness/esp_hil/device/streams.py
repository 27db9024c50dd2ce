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

from esp_hil.device.port_trouble import closed, no_rate, no_reset_lines, rate_refused, taken, termios_error
from esp_hil.errors import LinkClosed

READ_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 5.0
RELEASE_S = 5.0
"""So long a server may take to notice that the host before, often ourselves, has closed its connection."""
ASK_AGAIN_S = 0.1
REFUSED = b"in use"
MOST_REFUSAL_BYTES = 200


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
    """A TCP connection, by its own means: pyserial's socket:// only says whether any bytes wait.

    A server of a port, such as ser2net, notices late that its last host has gone, often ourselves, and turns the next
    one away with a line of text. So a connection that ends with such a line and nothing else is made again.

    Args:
        url: as it was given.
        connect: makes the connection.

    Raises:
        OSError: nobody answers there.
    """

    def __init__(self, url: str, connect: Callable[[], socket.socket]) -> None:
        self.url = url
        self.bytes_per_s: float | None = None
        self.baud: int | None = None
        self._connect = connect
        self._until = time.monotonic() + RELEASE_S
        self._begin()

    def _begin(self) -> None:
        connection = self._connection = self._connect()
        self._first: bytes | None = b""
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
                if not data and not self._reconnected(self._first or b""):
                    raise LinkClosed(f"the other end of {self.url} closed the connection")
                self._note(data)
                return sent, data
            if writable:
                sent += self._write(outgoing[sent:])
        except (OSError, ValueError) as error:
            # the line of text is lost where what we sent was not read
            turned_away = isinstance(error, ConnectionError) and (self._first or self.now() < self._until)
            if turned_away and self._reconnected(self._first or REFUSED):
                return 0, b""
            raise closed(self.url, error) from error
        return sent, b""

    def _note(self, data: bytes) -> None:
        """Keep the first bytes for as long as they may be all that a server says before it hangs up."""
        if self._first is not None:
            self._first += data
            if len(self._first) > MOST_REFUSAL_BYTES:
                self._first = None

    def _reconnected(self, said: bytes) -> bool:
        """Connect anew if the server only said that the port is in use; whether it did.

        Raises:
            BoardInUse: it has said so for `RELEASE_S`.
            LinkClosed: nobody answers there any more.
        """
        if self._first is None or REFUSED not in said.lower():
            return False
        if time.monotonic() >= self._until:
            raise taken(self.url, said.decode("utf-8", "replace").strip())
        self._connection.close()
        self._first = None
        time.sleep(ASK_AGAIN_S)
        try:
            self._begin()
        except OSError as error:
            raise closed(self.url, error) from error
        return True

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
    place = parts.hostname, parts.port
    link = Socket(url, lambda: socket.create_connection(place, CONNECT_TIMEOUT_S))
    if "baud" in options:
        link.bytes_per_s = int(options["baud"]) / 10
    return link

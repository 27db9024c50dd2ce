"""The port of a virtual board: a pty (Linux, macOS) or a TCP socket on the loopback interface."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Protocol

from esp_hil.errors import ConfigError

READ_BYTES = 1 << 16


class Port(Protocol):
    """The board's end of the line. Reading and writing never block."""

    url: str

    def readers(self) -> list[int | socket.socket]:
        """What `select` waits for before `read`."""
        ...

    def writers(self) -> list[int | socket.socket]:
        """What `select` waits for before `write`."""
        ...

    def read(self) -> bytes:
        """What has come; may be nothing."""
        ...

    def write(self, data: bytes) -> int:
        """Write what fits; returns how much. Without a listener everything is lost, as on a UART."""
        ...

    def vanish(self) -> None:
        """Close it: the host sees its port disappear."""
        ...

    def appear(self) -> None:
        """Open it at the same URL."""
        ...


class PtyPort:
    """A pty behind a symbolic link that stays the same when the pty changes.

    The board keeps the slave open too, so that the line survives a host that comes and goes.

    Args:
        link: path of the symbolic link; an old one there is replaced.
    """

    def __init__(self, link: Path) -> None:
        self.url = str(link)
        self._link = link
        self._master = self._slave = -1
        self.appear()

    def appear(self) -> None:
        """See `Port`."""
        import pty
        import tty

        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self._link.with_name(self._link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        fresh.replace(self._link)

    def vanish(self) -> None:
        """See `Port`."""
        if self._master >= 0:
            self._link.unlink(missing_ok=True)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1

    def readers(self) -> list[int | socket.socket]:
        """See `Port`."""
        return [self._master] if self._master >= 0 else []

    writers = readers

    def read(self) -> bytes:
        """See `Port`."""
        try:
            return os.read(self._master, READ_BYTES)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        """See `Port`; what nobody reads stays in the pty's buffer of a few kB."""
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0


class TcpPort:
    """A listening socket on 127.0.0.1 that serves one host at a time.

    Args:
        number: of the port; 0: a free one, which it keeps.
    """

    def __init__(self, number: int = 0) -> None:
        self._number = number
        self._listener: socket.socket | None = None
        self._host: socket.socket | None = None
        self.appear()
        self.url = f"socket://127.0.0.1:{self._number}"

    def appear(self) -> None:
        """See `Port`."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if sys.platform != "win32":
            # elsewhere it means that another program may take the port away
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._number))
            listener.listen(1)
        except (OSError, OverflowError):
            listener.close()
            raise
        listener.setblocking(False)
        self._number = listener.getsockname()[1]
        self._listener = listener

    def vanish(self) -> None:
        """See `Port`."""
        for end in (self._host, self._listener):
            if end is not None:
                end.close()
        self._host = self._listener = None

    def readers(self) -> list[int | socket.socket]:
        """See `Port`."""
        return [end for end in (self._host, self._listener) if end is not None]

    def writers(self) -> list[int | socket.socket]:
        """See `Port`."""
        return [self._host] if self._host is not None else []

    @property
    def host(self) -> socket.socket | None:
        """Who is connected."""
        return self._host

    def read(self) -> bytes:
        """See `Port`; a second host is turned away while there is one."""
        # one that has hung up makes room for the next, though both are noticed at once
        data = self._received()
        self._accept()
        return data

    def _received(self) -> bytes:
        if self._host is None:
            return b""
        try:
            data = self._host.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._host.close()
            self._host = None
        return data

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            host, _ = self._listener.accept()
        except BlockingIOError:
            return
        if self._host is not None:
            host.close()
            return
        host.setblocking(False)
        host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = host

    def write(self, data: bytes) -> int:
        """See `Port`."""
        if self._host is None:
            return len(data)
        try:
            return self._host.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


def open_port(listen: str, folder: Path) -> Port:
    """The port that `listen` asks for: `pty`, `pty:PATH`, `tcp` or `tcp:NUMBER`.

    Args:
        listen: what kind, and where.
        folder: where the link to the pty is made if no path is given.

    Raises:
        ConfigError: none of these, or no pty on this system.
    """
    kind, _, where = listen.partition(":")
    if kind == "pty" and sys.platform == "win32":
        raise ConfigError("Windows has no pty", hint="--listen tcp")
    try:
        if kind == "pty":
            return PtyPort(Path(where) if where else folder / "port")
        if kind == "tcp":
            return TcpPort(int(where or 0))
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"cannot listen at {listen}: {error}") from error
    raise ConfigError(f"unknown kind of port {listen!r}", hint="pty, pty:PATH, tcp or tcp:NUMBER")

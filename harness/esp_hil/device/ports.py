"""Opens the byte stream to a board: serial port, pty, TCP socket or RFC 2217 server. The only one to open pyserial."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import serial

from esp_hil.device.link import Link
from esp_hil.device.port_trouble import closed, rate_refused, unavailable
from esp_hil.device.recording import RecordedLink, unused
from esp_hil.device.reset_lines import reset_steps
from esp_hil.device.rfc2217 import open_network_port
from esp_hil.device.streams import Descriptor, open_pty, open_socket
from esp_hil.errors import ConfigError, HilError

DEFAULT_BAUD = 115_200
CONNECT_TIMEOUT_S = 5.0


class _Port:
    """A pyserial object without a descriptor of its own: Windows, loop://."""

    WAIT_S = 0.02
    WRITE_BYTES = 4096

    def __init__(self, url: str, port: serial.Serial, *, baud: int, listening: bool = False) -> None:
        self.url = url
        self._listening = listening
        self.baud: int | None = baud
        self.bytes_per_s: float | None = baud / 10
        self._port = port

    def now(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """See `Link`."""
        try:
            sent = self._port.write(outgoing[: self.WRITE_BYTES]) if outgoing else 0
            waiting = self._port.in_waiting
            if waiting or (sent or 0) < len(outgoing):
                return sent or 0, self._port.read(waiting)
            while True:
                # returns with the first byte; the port's own time-out only bounds how late `until` is noticed
                first = self._port.read(1)
                if first:
                    return sent or 0, first + self._port.read(self._port.in_waiting)
                if self.now() >= until:
                    return sent or 0, b""
        except (OSError, serial.SerialException) as error:
            raise closed(self.url, error) from error

    def set_baud(self, baud: int) -> None:
        """See `Link`."""
        try:
            _change(self._port, baud)
        except (OSError, ValueError, serial.SerialException) as error:
            raise rate_refused(self.url, baud, error) from error
        self.baud, self.bytes_per_s = baud, baud / 10

    def reset(self, *, to_loader: bool = False) -> None:
        """See `Link`."""
        _pulse(self._port, to_loader, self._listening)

    def close(self) -> None:
        """See `Link`."""
        self._port.close()


def open_link(
    url: str,
    baud: int = DEFAULT_BAUD,
    *,
    board: str = "",
    record: Path | None = None,
    listening: bool = False,
) -> Link:
    """Open `/dev/tty...`, `COM3`, a pty, `socket://host:port` or `rfc2217://host:port`.

    A socket that ends in a UART, as an emulator's does, is `socket://host:port?baud=115200`: what goes in faster
    than the UART carries waits before it, and would look like a line that loses answers.

    Args:
        url: the port; what a serial port has received since it was plugged in is not thrown away for a pty.
        baud: of a serial port; a pty and a socket have none.
        board: name for error messages; the URL if empty.
        record: file that keeps the bytes of the line; another line of the same name has `-2` before its ending, and so
            on. None: nothing is kept.
        listening: raise DTR and RTS together, as terminal programs do: a chip's own USB port says little without DTR.
            With the usual two transistors both together do nothing.

    Raises:
        ConfigError: no such form of URL or baud rate.
        BoardUnavailable: no such port, no permission, in use, connection refused; the hint says what to do.
    """
    link = _open(url, baud, board or url, listening)
    return RecordedLink(link, unused(record)) if record is not None else link


def _open(url: str, baud: int, name: str, listening: bool) -> Link:
    try:
        if url.startswith("socket://"):
            return open_socket(url)
        if url.startswith("rfc2217://"):
            return open_network_port(url, baud, listening=listening)
        if is_pty(url):
            return open_pty(url)
        return _open_serial(url, baud, listening)
    except HilError as error:
        raise error.at(board=name) from error.__cause__
    except serial.SerialException as error:
        raise unavailable(name, url, error, getattr(error, "errno", None)) from error
    except OSError as error:
        raise unavailable(name, url, error, error.errno) from error
    except ValueError as error:
        raise ConfigError(
            f"{url} at {baud} baud: {error}",
            hint="/dev/ttyUSB0, COM3, socket://host:port or rfc2217://host:port",
            step="link",
            board=name,
        ) from error


def is_pty(url: str) -> bool:
    """Whether a port is a pseudo-terminal of this machine, by whatever name."""
    if sys.platform == "win32" or "://" in url:
        return False
    path = os.path.realpath(url)
    return path.startswith("/dev/pts/") or (sys.platform == "darwin" and path.startswith("/dev/ttys"))


def _open_serial(url: str, baud: int, listening: bool) -> Link:
    port = serial.serial_for_url(url, do_not_open=True)
    port.baudrate = baud
    port.timeout = _Port.WAIT_S
    port.write_timeout = CONNECT_TIMEOUT_S
    # both lines alike before the port opens: that is not a reset on boards with the usual two transistors
    port.dtr = port.rts = listening
    if "://" not in url:
        port.exclusive = True
    port.open()
    if sys.platform == "win32" or "://" in url:
        return _Port(url, port, baud=baud, listening=listening)
    os.set_blocking(port.fileno(), False)
    return Descriptor(
        url,
        port.fileno(),
        close=port.close,
        baud=baud,
        bytes_per_s=baud / 10,
        change=lambda rate: _change(port, rate),
        pulse=lambda to_loader: _pulse(port, to_loader, listening),
    )


def _change(port: serial.Serial, baud: int) -> None:
    port.flush()
    port.baudrate = baud


def _pulse(port: serial.Serial, to_loader: bool, listening: bool) -> None:
    for step in reset_steps(to_loader=to_loader, listening=listening):
        if step.line == "dtr":
            port.dtr = step.raised
        else:
            port.rts = step.raised
        time.sleep(step.hold_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPort:
    """A serial port of this machine; what USB says of it is "" or None where it is not USB.

    Attributes:
        url: to open it.
        vid: USB vendor.
        pid: USB product.
        serial_number: of the USB device; on Espressif's own USB port it is the chip's MAC.
        usb_path: where it is plugged in, such as 1-1.2.
        description: in the system's words.
    """

    url: str
    vid: int | None
    pid: int | None
    serial_number: str
    usb_path: str
    description: str


def serial_ports() -> tuple[SerialPort, ...]:
    """All serial ports of this machine, sorted by URL."""
    from serial.tools import list_ports

    found = [
        SerialPort(
            url=port.device,
            vid=port.vid,
            pid=port.pid,
            serial_number=port.serial_number or "",
            usb_path=port.location or "",
            description=port.description or "",
        )
        for port in list_ports.comports()
    ]
    return tuple(sorted(found, key=lambda port: port.url))

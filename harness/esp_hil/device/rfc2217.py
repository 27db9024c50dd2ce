"""A serial port behind a network: RFC 2217, spoken by ser2net, esptool's esp_rfc2217_server and labgrid's exporters.

Telnet carries the bytes (FF is doubled) and, between FF FA and FF F0, the settings of the port. `Telnet` parses
and formats them without I/O; `NetworkPort` is the `esp_hil.device.link.Link`. pyserial's own client reads by a thread
and a queue, byte by byte, and waits for each setting by itself; this one asks for all settings at once.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from esp_hil.device.port_trouble import closed, no_reset_lines, rate_refused, taken, wrong_server
from esp_hil.device.reset_lines import reset_steps
from esp_hil.device.streams import ASK_AGAIN_S, CONNECT_TIMEOUT_S, READ_BYTES, RELEASE_S
from esp_hil.errors import BoardInUse, LinkClosed

IAC, DONT, DO, WONT, WILL, SB, SE = 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0xFA, 0xF0
BINARY, SUPPRESS_GO_AHEAD, COM_PORT = 0, 3, 44
"""Options of Telnet; the last is RFC 2217's."""
SET_BAUD, SET_DATA, SET_PARITY, SET_STOP, SET_CONTROL = 1, 2, 3, 4, 5
SUSPEND, RESUME, LINE_MASK, MODEM_MASK = 8, 9, 10, 11
"""Commands of RFC 2217; the server's answer to a command, and its own SUSPEND and RESUME, are 100 higher."""
ANSWER = 100
NO_FLOW_CONTROL, DTR_ON, DTR_OFF, RTS_ON, RTS_OFF = 1, 8, 9, 11, 12
"""Values of SET_CONTROL."""
_SET = {("dtr", True): DTR_ON, ("dtr", False): DTR_OFF, ("rts", True): RTS_ON, ("rts", False): RTS_OFF}

WRITE_BYTES = 4096
ANSWER_S = 3.0
OPTIONS = frozenset({"ign_set_control", "poll_modem", "timeout", "logging"})
"""What pyserial, and so esptool, takes after the `?` of such a URL."""


@dataclass(slots=True)
class Telnet:
    """The Telnet connection, without I/O: what to send is collected in `outgoing`.

    Attributes:
        outgoing: to be sent, in order.
        theirs: whether the server does an option; ours: whether it lets us. Missing: not answered yet.
        answers: value of the last answer to each command.
        suspended: whether the server wants no more bytes for now.
    """

    outgoing: bytearray = field(default_factory=bytearray)
    theirs: dict[int, bool] = field(default_factory=dict)
    ours: dict[int, bool] = field(default_factory=dict)
    answers: dict[int, bytes] = field(default_factory=dict)
    suspended: bool = False
    _held: bytes = b""

    def begin(self) -> None:
        """Ask for eight bits both ways and for the port's settings."""
        for option in (BINARY, SUPPRESS_GO_AHEAD):
            self.outgoing += bytes((IAC, WILL, option, IAC, DO, option))
        self.outgoing += bytes((IAC, WILL, COM_PORT))

    def write(self, data: bytes) -> None:
        """Send bytes to the board."""
        self.outgoing += data.replace(b"\xff", b"\xff\xff")

    def ask(self, command: int, value: bytes) -> None:
        """Send a command; its former answer is forgotten."""
        self.answers.pop(command, None)
        body = bytes((COM_PORT, command)) + value.replace(b"\xff", b"\xff\xff")
        self.outgoing += bytes((IAC, SB)) + body + bytes((IAC, SE))

    def receive(self, data: bytes) -> bytes:
        """What came: the board's bytes are returned, everything else is taken in; pieces may end anywhere."""
        data, self._held = self._held + data, b""
        if IAC not in data:
            return data
        out = bytearray()
        at = 0
        while (found := data.find(IAC, at)) >= 0:
            out += data[at:found]
            end = _end(data, found)
            if end < 0:
                self._held = data[found:]
                return bytes(out)
            if data[found + 1] == IAC:
                out.append(IAC)
            else:
                self._obey(data[found + 1], data[found + 2 : end])
            at = end
        return bytes(out + data[at:])

    def _obey(self, verb: int, rest: bytes) -> None:
        if verb in {WILL, WONT}:
            self._negotiated(self.theirs, rest[0], verb == WILL, (DO, DONT), {BINARY, SUPPRESS_GO_AHEAD})
        elif verb in {DO, DONT}:
            self._negotiated(
                self.ours, rest[0], verb == DO, (WILL, WONT), {BINARY, SUPPRESS_GO_AHEAD, COM_PORT}
            )
        elif verb == SB and len(rest) >= 4 and rest[0] == COM_PORT:
            body = rest[:-2].replace(b"\xff\xff", b"\xff")
            command = body[1] - ANSWER
            if command in {SUSPEND, RESUME}:
                self.suspended = command == SUSPEND
            else:
                self.answers[command] = body[2:]

    def _negotiated(
        self, state: dict[int, bool], option: int, on: bool, words: tuple[int, int], asked: set[int]
    ) -> None:
        """Take note; what we did not ask for is refused, once."""
        if option not in asked and on and option not in state:
            self.outgoing += bytes((IAC, words[1], option))
            state[option] = False
        elif option in asked:
            state[option] = on


def _end(data: bytes, start: int) -> int:
    """Where the Telnet command at `start` ends; -1: it has not all come."""
    verb = data[start + 1] if start + 1 < len(data) else -1
    if verb != SB:
        end = start + (3 if verb in {WILL, WONT, DO, DONT} else 2)
        return end if verb >= 0 and end <= len(data) else -1
    at = start + 2
    while (at := data.find(IAC, at)) >= 0 and at + 1 < len(data):
        if data[at + 1] == SE:
            return at + 2
        at += 2
    return -1


class NetworkPort:
    """A serial port at an RFC 2217 server, open.

    Args:
        url: as it was given.
        connection: to the server; closed where this fails.
        baud: to begin with.
        controls: whether the server's answers about DTR and RTS are waited for (pyserial's `ign_set_control` says no).
        listening: keep DTR and RTS raised, see `open_link`.

    Raises:
        BoardInUse: the server has given the port to somebody else.
        BoardUnavailable: it does not speak RFC 2217.
        LinkError: it does not take that rate.
    """

    def __init__(
        self,
        url: str,
        connection: socket.socket,
        *,
        baud: int,
        controls: bool = True,
        listening: bool = False,
    ) -> None:
        self.url = url
        self.baud: int | None = baud
        self.bytes_per_s: float | None = baud / 10
        self._connection = connection
        self._telnet = Telnet()
        self._early = b""
        self._controls, self._listening = controls, listening
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._begin(baud)
        except BaseException:
            connection.close()
            raise

    def _begin(self, baud: int) -> None:
        try:
            self._agree(baud)
        except LinkClosed as error:
            raise taken(self.url, self._early.decode("utf-8", "replace").strip()) from error

    def _agree(self, baud: int) -> None:
        telnet = self._telnet
        telnet.begin()
        if not self._until(lambda: {COM_PORT, BINARY} <= telnet.ours.keys()) or not telnet.ours[COM_PORT]:
            raise wrong_server(self.url)
        for command, value in (
            (LINE_MASK, 0),
            (MODEM_MASK, 0),
            (SET_DATA, 8),
            (SET_PARITY, 1),
            (SET_STOP, 1),
        ):
            telnet.ask(command, bytes((value,)))
        self._set_rate(baud)
        # opening raised both lines; DTR released first would be a reset on boards with the usual two transistors.
        # A port without such lines never answers: only a reset waits for that
        lines = (DTR_ON, RTS_ON) if self._listening else (RTS_OFF, DTR_OFF)
        for value in (NO_FLOW_CONTROL, *lines):
            telnet.ask(SET_CONTROL, bytes((value,)))
        self._flush()

    def now(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """See `esp_hil.device.link.Link`."""
        early, self._early = self._early, b""
        if early:
            return 0, early
        sent = 0
        while True:
            if outgoing and not sent and not self._telnet.outgoing and not self._telnet.suspended:
                sent = len(outgoing[:WRITE_BYTES])
                self._telnet.write(outgoing[:sent])
                self._flush()
            wait_s = 0.0 if sent and not self._telnet.outgoing else until - self.now()
            data = self._turn(max(0.0, wait_s))
            if data or sent or self.now() >= until:
                return sent, data

    def _turn(self, wait_s: float) -> bytes:
        """Wait for the connection, send what it takes, return the board's bytes that came."""
        own = [self._connection]
        try:
            readable, writable, _ = select.select(own, own if self._telnet.outgoing else [], [], wait_s)
            if writable:
                self._flush()
            if not readable:
                return b""
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except (OSError, ValueError) as error:
            raise closed(self.url, error) from error
        if not data:
            raise LinkClosed(
                f"the server of {self.url} closed the connection",
                hint="does the board still have power, and did its server say why?",
            )
        return self._telnet.receive(data)

    def _flush(self) -> None:
        telnet = self._telnet
        try:
            if telnet.outgoing:
                del telnet.outgoing[: self._connection.send(telnet.outgoing)]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            # the server hung up; what it said before is still to be read, and then its end
            telnet.outgoing.clear()
        except (OSError, ValueError) as error:
            raise closed(self.url, error) from error

    def _until(self, done: Callable[[], bool], seconds: float = 0.0) -> bool:
        """Turn until something has come about; the board's bytes that come meanwhile are kept. Whether it has."""
        deadline = self.now() + (seconds or ANSWER_S)
        while not done():
            left_s = deadline - self.now()
            if left_s <= 0:
                return False
            self._early += self._turn(left_s)
        return True

    def set_baud(self, baud: int) -> None:
        """See `esp_hil.device.link.Link`."""
        self._set_rate(baud)
        self.baud, self.bytes_per_s = baud, baud / 10

    def _set_rate(self, baud: int) -> None:
        telnet = self._telnet
        telnet.ask(SET_BAUD, struct.pack(">I", baud))
        if not self._until(lambda: SET_BAUD in telnet.answers):
            raise rate_refused(self.url, baud, TimeoutError(f"no answer within {ANSWER_S:g} s"))
        answer = telnet.answers[SET_BAUD]
        kept = struct.unpack(">I", answer)[0] if len(answer) == 4 else 0
        if abs(kept - baud) > baud // 50:
            raise rate_refused(self.url, baud, ValueError(f"its server keeps {kept}"))

    def _control(self, value: int) -> bool:
        """Set one of the port's wires; whether the server says that it did, or is not asked to say so."""
        telnet = self._telnet
        telnet.ask(SET_CONTROL, bytes((value,)))
        if not self._controls:
            self._flush()
            return True
        return self._until(lambda: telnet.answers.get(SET_CONTROL) == bytes((value,)))

    def reset(self, *, to_loader: bool = False) -> None:
        """See `esp_hil.device.link.Link`; the pulses last at least as long, the network makes them longer."""
        for step in reset_steps(to_loader=to_loader, listening=self._listening):
            done = self._control(_SET[step.line, step.raised])
            if step.line == "rts" and step.raised and step.hold_s and not done:
                raise no_reset_lines(self.url)
            time.sleep(step.hold_s)

    def close(self) -> None:
        """See `esp_hil.device.link.Link`."""
        self._connection.close()


def open_network_port(url: str, baud: int, *, listening: bool = False) -> NetworkPort:
    """A connection to `rfc2217://host:port`, also with pyserial's options behind a `?`.

    Raises:
        ValueError: no host, no port, or an unknown option.
        OSError: nobody answers there.
        BoardInUse: somebody else has the port, and kept it for `RELEASE_S`.
        HilError: as `NetworkPort`.
    """
    parts = urlsplit(url)
    if not parts.hostname or not parts.port:
        raise ValueError("a network port needs host and port")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := options.keys() - OPTIONS:
        raise ValueError(f"unknown option {min(unknown)!r}")
    controls = "ign_set_control" not in options
    until = time.monotonic() + RELEASE_S
    while True:
        connection = socket.create_connection((parts.hostname, parts.port), CONNECT_TIMEOUT_S)
        try:
            return NetworkPort(url, connection, baud=baud, controls=controls, listening=listening)
        except BoardInUse:
            if time.monotonic() >= until:
                raise
        time.sleep(ASK_AGAIN_S)

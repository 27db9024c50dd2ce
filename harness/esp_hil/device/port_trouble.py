"""What is wrong with a port, in our errors: those of the system and of pyserial are translated here."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from esp_hil.errors import BoardInUse, BoardUnavailable, LinkClosed, LinkError


def closed(url: str, error: Exception) -> LinkClosed:
    """The port was open and is gone; board and step are for whoever was using it to say."""
    return LinkClosed(
        f"the port {url} vanished: {error}",
        hint="was the cable pulled, the board powered off or the emulator ended?",
    )


def termios_error() -> type[Exception]:
    """What changing a terminal's settings raises here."""
    if sys.platform == "win32":
        return OSError
    import termios

    return termios.error


def no_rate(url: str) -> LinkError:
    """The line has no baud rate."""
    return LinkError("this line has no baud rate", hint="only a serial port has one", board=url, step="baud")


def rate_refused(url: str, baud: int, error: Exception) -> LinkError:
    """The port does not take that rate."""
    return LinkError(
        f"{url} cannot do {baud} baud: {error}", hint="name a lower --max-baud", board=url, step="baud"
    )


def no_reset_lines(url: str) -> LinkError:
    """The line has no wires to reset a chip with."""
    return LinkError(
        "this line has no DTR and RTS to reset the board with",
        hint="use a serial port, or the board's power switch",
        board=url,
        step="reset",
    )


def wrong_server(url: str) -> BoardUnavailable:
    """Something listens there, and it does not speak RFC 2217."""
    return BoardUnavailable(
        f"the server at {url} does not speak RFC 2217",
        hint="ser2net: accepter telnet(rfc2217),tcp,PORT; a plain TCP port is socket://host:port",
        step="link",
    )


def taken(url: str, said: str) -> BoardUnavailable:
    """The server closed the connection at once; what it said may tell why."""
    why = f": {said[:200]}" if said else ""
    if "in use" in said.lower():
        return BoardInUse(f"{url} is in use{why}", hint="another host has the port; wait for it", step="link")
    return BoardUnavailable(
        f"the server at {url} closed the connection{why}",
        hint="can it open the board's port? its log says; one host at a time is served",
        step="link",
    )


def unavailable(board: str, url: str, error: Exception, number: int | None) -> BoardUnavailable:
    """The port cannot be opened; `number` is the error's errno if it has one."""
    text = str(error)
    if number in {errno.EACCES, errno.EPERM} or "PermissionError" in text:
        what, hint = f"no permission to open {url}", _permission_hint(url)
    elif number in {errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK} or "exclusively lock" in text:
        holder = _holder(url)
        what = f"{url} is in use" + (f" by {holder}" if holder else "")
        hint = "close the program that has it open (monitor, terminal, another run)"
        return BoardInUse(what, hint=hint, board=board, step="link")
    elif number == errno.ENOENT or "FileNotFoundError" in text:
        what, hint = f"there is no port {url}", "hil boards lists the ports"
    elif number == errno.ECONNREFUSED:
        what, hint = f"nothing listens at {url}", "start the emulator or server first"
    else:
        what, hint = f"cannot open {url}: {text}", "hil boards lists the ports"
    return BoardUnavailable(what, hint=hint, board=board, step="link")


def _permission_hint(url: str) -> str:
    if sys.platform == "win32":
        return "another program has it open"
    try:
        group = Path(url).group()
    except (KeyError, OSError):
        group = "dialout"
    return f"add yourself to its group, then log in again: sudo usermod -a -G {group} $USER"


def _holder(url: str) -> str:
    """Name and id of a process that has the port open, where /proc tells (Linux)."""
    wanted = os.path.realpath(url)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            held = any(os.path.realpath(link) == wanted for link in folder.glob("fd/*"))
            if held and int(folder.name) != os.getpid():
                return f"{(folder / 'comm').read_text(encoding='utf-8').strip()} (process {folder.name})"
        except OSError:
            # it ended meanwhile, or belongs to somebody else
            continue
    return ""

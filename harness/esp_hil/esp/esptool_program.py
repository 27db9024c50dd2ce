"""esptool as a program: command line, deadline, slower rates when the line is the trouble, errors."""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from esp_hil.errors import FlashError
from esp_hil.esp.esptool_output import EsptoolOutput
from esp_hil.esp.image import Region
from esp_hil.settings import variable

LOG = logging.getLogger(__name__)

BAUDS = (921_600, 460_800, 115_200)
"""Rates to try, the fastest first: bridges and cables differ in what they carry without errors."""

ESPTOOL = (sys.executable, "-m", "esptool")


def esptool_command() -> tuple[str, ...]:
    """The command line that starts esptool: `HIL_ESPTOOL`, else the one that is installed beside us."""
    return tuple(shlex.split(variable("HIL_ESPTOOL"))) or ESPTOOL


IDENTIFY_SECONDS = 60
_PROGRESS_SECONDS = 60  # connecting, erasing, hashing; the bytes come on top


@dataclass(frozen=True, slots=True, kw_only=True)
class Flasher:
    """How a board's flash is reached.

    Attributes:
        port: serial port or URL.
        bauds: rates to try, in order.
        before: esptool's reset before connecting; `no-reset` for a socket that has no lines for it.
        after: esptool's reset at the end.
        stub: whether the chip runs esptool's own loader; an emulated ROM cannot.
        program: the command line of esptool.
    """

    port: str
    bauds: tuple[int, ...] = BAUDS
    before: str = "default-reset"
    after: str = "hard-reset"
    stub: bool = True
    program: tuple[str, ...] = field(default_factory=esptool_command)

    @staticmethod
    def at(port: str) -> Flasher:
        """The usual way to the flash at a port or URL: emulators have neither reset lines nor a stub."""
        if port.startswith("socket://"):
            # the link's own option `?baud=` is not one of pyserial's
            port = port.partition("?")[0]
            # once more, without what is there by then: a PC under load lets an emulated ROM miss a time-out
            bauds = (115_200, 115_200)
            return Flasher(port=port, bauds=bauds, before="no-reset", after="no-reset", stub=False)
        return Flasher(port=port)


def run_esptool(
    flasher: Flasher,
    chip: str,
    arguments: Sequence[str],
    *,
    regions: Sequence[Region] = (),
    follow: Callable[[EsptoolOutput], None] = lambda _: None,
) -> tuple[EsptoolOutput, int]:
    """Run esptool on a port, at the next lower rate again while what fails is the line.

    Args:
        flasher: how to reach the chip.
        chip: esptool's name of it, or `auto`.
        arguments: command and its options.
        regions: what is being written, for the progress.
        follow: called after each line of output.

    Returns:
        The output, and the rate that worked.

    Raises:
        FlashError: it failed, at every rate if the line was the trouble.
    """
    for number, baud in enumerate(flasher.bauds, start=1):
        command = [*flasher.program, "--chip", chip, "--port", flasher.port, "--baud", str(baud)]
        command += ["--before", flasher.before, "--after", flasher.after]
        command += [] if flasher.stub else ["--no-stub"]
        output = EsptoolOutput(regions)
        bytes_ = sum(len(region.data) for region in regions)
        deadline_s = _PROGRESS_SECONDS + 30 * bytes_ / baud
        status = run_program([*command, *arguments], deadline_s, output, follow)
        if status == 0:
            return output, baud
        LOG.info("esptool at %d baud: %s", baud, output.fatal or f"status {status}")
        last = number == len(flasher.bauds)
        if last or not _LINE_TROUBLE.search(output.fatal or output.tail):
            raise failed(output, status)
    raise FlashError("no baud rate to try was given", step="flash")


def run_program(
    command: Sequence[str],
    deadline_s: float,
    output: EsptoolOutput,
    follow: Callable[[EsptoolOutput], None] = lambda _: None,
) -> int:
    """Run a program and feed its output; returns its exit status, negative if the deadline killed it."""
    LOG.info("$ %s", shlex.join(command))
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        hint = "pip install 'esptool>=5.6,<6'"
        raise FlashError(f"cannot start {command[0]}: {error.strerror}", hint=hint, step="flash") from None
    watchdog = threading.Timer(deadline_s, process.kill)
    watchdog.start()
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            output.feed(line)
            follow(output)
    watchdog.cancel()
    return process.returncode


_LINE_TROUBLE = re.compile(
    r"Invalid head of packet|Packet content transfer stopped|Serial data stream stopped"
    r"|No serial data received|No more data|Failed to write to target|Timed out|MD5 of file does not match"
    r"|Failed to set baud rate"
    r"|Corrupt data|Response doesn't match|flash region is empty|Unable to verify flash chip connection",
    re.IGNORECASE,
)

_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"timeout while waiting for option 'control'|does not seem to support RFC2217",
        "the server does nothing about DTR and RTS: add ?ign_set_control to the URL, or hold BOOT during a reset",
    ),
    (r"Permission denied|Errno 13\b", "no permission for the port: hil doctor says how to get it"),
    (r"Errno 2\b|No such file|FileNotFound", "is the board plugged in? hil boards lists the ports"),
    (
        r"Errno 16\b|Device or resource busy|PermissionError|Access is denied",
        "close the program on that port",
    ),
    (r"doesn't exist|could not open port", "is the board plugged in, and its port not in use? hil boards"),
    (r"Wrong boot mode", "hold BOOT, press RESET, release BOOT; the board has no automatic reset"),
    (r"This chip is|Unexpected chip ID|not a valid", "the image is for another chip: choose --target"),
    (
        r"will not fit in",
        "build with the board's flash size: --build-profile flash-4mb (pytest: --hil-build-profile)",
    ),
    (r"No module named", "pip install 'esptool>=5.6,<6'"),
    (r"No such option", "this esptool is too old: pip install 'esptool>=5.6,<6'"),
    (
        r"Failed to connect|No serial data",
        "hold BOOT while the board is reset; try another cable or USB port",
    ),
)


def failed(output: EsptoolOutput, status: int) -> FlashError:
    """The error of an esptool that ended with a status other than 0: its own words, and what to do."""
    said = output.fatal or (output.tail.splitlines() or ["no output"])[-1]
    text = f"{said}\n{output.tail}"
    advice = (hint for pattern, hint in _ADVICE if re.search(pattern, text, re.IGNORECASE))
    hint = next(advice, "try a lower rate, another cable or a powered hub")
    killed = " (killed at its deadline)" if status < 0 else ""
    return FlashError(f"esptool{killed}: {said}", hint=hint, step="flash", output=output.tail)

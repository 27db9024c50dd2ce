"""A board in hand: chosen, locked, with its firmware on it, open; how it is restarted, and let go of again."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from esp_hil.boards.emulator import EmulatedBoard
from esp_hil.boards.labgrid import PlaceLease
from esp_hil.boards.lease import ASK_AGAIN_S, Holder
from esp_hil.boards.quarantine import put
from esp_hil.boards.select import Board, Hold, held, select
from esp_hil.device.device import Device
from esp_hil.device.link import Link
from esp_hil.device.ports import open_link, serial_ports
from esp_hil.device.tuning import restore
from esp_hil.errors import BoardInUse, BoardUnavailable, ConfigError, HilError, LinkError
from esp_hil.results.record import Custody
from esp_hil.targets import Runtime, Target
from esp_hil.virtual.board import VirtualBoard
from esp_hil.virtual.faults import FaultPlan
from esp_hil.wire.info import Kind

LOG = logging.getLogger(__name__)

POWER_CYCLE_S = 60.0
SAYS_S = 0.2


class FirmwareSource(Protocol):
    """What brings firmware to a board before it is opened."""

    def flash(self, board: Board, port: str) -> None:
        """Put it onto a board that is held, unless it is there; what belongs there is its business."""
        ...

    def flash_file(self, board: Board) -> Path:
        """The whole flash as one file, for an emulator."""
        ...


class LocalBoard(Protocol):
    """A board that is a process on this machine."""

    def restart(self) -> None:
        """Cut its power for a moment; its flash stays."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class OpenBoard:
    """A board that this process holds: its lock, its process if it is one, its device.

    The device has no session yet: `device.connect()` begins one.

    Args:
        board: which.
        reach: opens its link.
        release: unlocks it.
        machine: its process; None for a board.
        on_text: gets every line of its console.
        custody: where it is and who has it; None of a process of ours.
        place: of a farm; None: it is none of a farm's.

    Attributes:
        held_s: monotonic time since when it is this process's.

    Raises:
        BoardUnavailable: its link cannot be opened.
    """

    def __init__(
        self,
        board: Board,
        reach: Callable[[], Link],
        release: Callable[[], None],
        machine: LocalBoard | None = None,
        on_text: Callable[[str], None] | None = None,
        *,
        custody: Custody | None = None,
        held_s: float = 0.0,
        place: PlaceLease | None = None,
    ) -> None:
        self.board = board
        self._place = place
        self.custody = custody
        self.held_s = held_s
        self._reach = reach
        self._release = release
        self._machine = machine
        self._lent = False
        link = reach()
        self.url = link.url
        self.device = Device(link, board=board.id, reopen=self._reopen, on_text=on_text)

    def _reopen(self) -> Link:
        if self._lent:
            raise BoardUnavailable(
                f"{self.url} is lent to pytest-embedded",
                hint="inside `with frames() as board:` the harness has it",
                board=self.id,
                step="link",
            )
        link = self._reach()
        self.url = link.url
        return link

    def lend(self) -> None:
        """Close the link and leave the port to another reader until `take_back`; the lock is kept.

        The other reader finds the console at the rate of the board's start.
        """
        restore(self.device)
        self.device.drop_link()
        self._lent = True

    def take_back(self) -> None:
        """The other reader is gone, or pauses: the next session opens the port again."""
        self._lent = False

    @property
    def id(self) -> str:
        """Name of the board."""
        return self.board.id

    @property
    def kind(self) -> Kind:
        """What answers: as its row says unless that is silicon, else what the device said it is.

        An image that was built for silicon says so in an emulator too, and would be believed.
        """
        if self.board.kind != "silicon":
            return self.board.kind
        return self.device.kind or self.board.kind

    @property
    def is_process(self) -> bool:
        """Whether it is a process of this run, which a restart makes as good as new."""
        return self._machine is not None

    def reset(self) -> None:
        """Press its reset button: RTS and DTR of its port, or an end and a new start of its process.

        Raises:
            LinkError: its line has no wires for that.
        """
        if self._machine is not None:
            LOG.info("%s: its process is started anew", self.id)
            self._machine.restart()
            self.device.drop_link()
        else:
            self.device.reset(hard=True)

    def power_cycle(self) -> None:
        """Run the command of its row that cuts its power for a moment; the port is opened again afterwards.

        Raises:
            LinkError: its row has none, or it failed.
        """
        command = shlex.split(self.board.power_cycle)
        if not command:
            hint = 'power_cycle = "uhubctl -l 1-1 -p 2 -a cycle" in its row'
            raise LinkError("no command cuts its power", hint=hint, board=self.id, step="power cycle")
        self.device.drop_link()
        # without its arguments: a switch may want a password
        LOG.info("%s: power cycle by %s", self.id, command[0])
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=POWER_CYCLE_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise LinkError(
                f"{command[0]}: {said[-1] if said else 'no output'}",
                hint="try the command in a shell",
                board=self.id,
                step="power cycle",
            ) from None

    def trouble(self) -> str:
        """What its farm says of a line that broke; "" if it is none of a farm's."""
        return "" if self._place is None else self._place.trouble()

    def shut(self, reason: str) -> str:
        """Put it into quarantine: a place of a farm for everybody, a board with a row for this machine.

        Returns:
            How it comes out again; "" if nothing is kept: it is a process, has no row, or its farm has lost it.
        """
        if self._machine is not None:
            return ""
        if self._place is not None:
            return f"hil boards --lift {self._place.place.board}" if self._place.quarantine(reason) else ""
        if not self.board.listed:
            return ""
        put(self.id, reason)
        return f"hil boards --lift {self.id}"

    def close(self) -> None:
        """Close the link, end a process, unlock."""
        restore(self.device)
        self.device.close()
        if self._machine is not None:
            self._machine.stop()
        self._release()


def open_board(
    target: Target,
    *,
    runtime: Runtime = "espdl",
    board: str | None = None,
    port: str | None = None,
    baud: int | None = None,
    on_text: Callable[[str], None] | None = None,
    faults: FaultPlan | None = None,
    firmware: FirmwareSource | None = None,
    emulator_args: str | None = None,
    record: Path | None = None,
    line: str = "",
    wait_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
) -> OpenBoard:
    """Select a board, lock it, bring its firmware to it, start it if it is a process, open its port.

    Args:
        target: the chip.
        runtime: of a virtual board's firmware; the handshake with any other tells which it has.
        board: see `boards.select`.
        port: likewise.
        baud: likewise.
        on_text: gets every line of its console.
        faults: to plant in a virtual board.
        firmware: what brings firmware to it; None: it has its firmware.
        emulator_args: further options of an emulator; None: those of HIL_EMULATOR_ARGS.
        record: file that keeps the bytes of its line, see `open_link`; not of an emulator's.
        line: model of a virtual board's line, see `VirtualBoard`.
        wait_s: how long to wait for a board that somebody else has.
        say: told who is waited for.

    Raises:
        ConfigError: see `boards.select`; or faults were asked for, and the board is not a virtual one; or an
            emulated one has no firmware.
        BoardUnavailable: not attached, in use, in quarantine, no permission, or its process did not start.
        ProvisionError: its firmware could not be built or written.
    """
    chosen = select(target, board=board, port=port, baud=baud)
    if chosen.kind == "virtual":
        machine = VirtualBoard(target, runtime=runtime, faults=faults, line=line)
        url = machine.start()
        return _opened(
            chosen, lambda: open_link(url, board=chosen.id, record=record), lambda: None, machine, on_text
        )
    if faults is not None:
        raise ConfigError(
            f"faults can only be planted in a virtual board, and {chosen.id} is not one",
            hint="name the board `virtual`",
        )
    if chosen.emulator:
        return _emulated(chosen, target, firmware, emulator_args, on_text)
    until = time.monotonic() + wait_s
    hold = held(chosen, wait_s=wait_s, say=say)
    held_s = time.monotonic()
    had = hold.board

    def reach() -> Link:
        return open_link(hold.where(), had.baud, board=had.id, record=record)

    try:
        if hold.place is None:
            # before anything is written to it
            wait_until_free(lambda: open_link(hold.url, had.baud, board=had.id), until, say)
            held_s = time.monotonic()
        if firmware is not None:
            firmware.flash(had, hold.url)
    except BaseException:
        hold.release()
        raise
    return _opened(
        had, reach, hold.release, None, on_text, custody=_custody(hold), held_s=held_s, place=hold.place
    )


def _custody(hold: Hold) -> Custody:
    """What the rows say of who had a board."""
    url, holder = hold.url, hold.holder
    if hold.place is not None:
        port = hold.place.place.port()
        return Custody(
            host=port["exporter"],
            port=url,
            cable=port["cable"],
            place=hold.place.place.name,
            lease=holder.lease,
            since_utc=holder.since_utc,
        )
    return _custody_of_port(url, holder)


def _custody_of_port(url: str, holder: Holder) -> Custody:
    host = urlsplit(url).hostname if "://" in url else None
    port = next(
        (port for port in serial_ports() if os.path.realpath(port.url) == os.path.realpath(url)), None
    )
    return Custody(
        host=host or holder.host,
        port=url,
        cable=port.usb_path if port is not None else "",
        lease=holder.lease,
        since_utc=holder.since_utc,
    )


def wait_until_free(reach: Callable[[], Link], until: float, say: Callable[[str], None]) -> None:
    """Wait while a port is in use by what knows nothing of leases: a monitor, another host at its server.

    Raises:
        BoardUnavailable: it is in use still, or cannot be opened for another reason.
    """
    told = False
    while time.monotonic() < until:
        try:
            link = reach()
            try:
                if link.url.startswith("socket://"):
                    # a raw server takes the connection before it says that the port is in use
                    link.exchange(b"", link.now() + SAYS_S)
            finally:
                link.close()
        except BoardInUse as error:
            if not told:
                say(f"waiting: {error.message}")
            told = True
            time.sleep(min(ASK_AGAIN_S, max(0.0, until - time.monotonic())))
        else:
            return


def _emulated(
    board: Board,
    target: Target,
    firmware: FirmwareSource | None,
    arguments: str | None,
    on_text: Callable[[str], None] | None,
) -> OpenBoard:
    if firmware is None or not board.emulator:
        raise ConfigError(
            "an emulator needs an image to run",
            hint="give its build folder with --build-dir, or activate ESP-IDF to have one built",
            board=board.id,
            step="flash",
        )
    image = firmware.flash_file(board)
    extra = None if arguments is None else shlex.split(arguments)
    machine = EmulatedBoard(target, board.emulator, image, program=board.program, extra=extra)
    return _opened(board, machine.connect, lambda: None, machine, on_text)


def _opened(
    board: Board,
    reach: Callable[[], Link],
    release: Callable[[], None],
    machine: LocalBoard | None,
    on_text: Callable[[str], None] | None,
    *,
    custody: Custody | None = None,
    held_s: float = 0.0,
    place: PlaceLease | None = None,
) -> OpenBoard:
    try:
        return OpenBoard(board, reach, release, machine, on_text, custody=custody, held_s=held_s, place=place)
    except HilError:
        if machine is not None:
            machine.stop()
        release()
        raise

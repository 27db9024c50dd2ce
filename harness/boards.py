"""Which board: rows of boards.toml, ports of this machine, virtual ones; found, locked, opened.

A port that no row names is never taken on trust: it is asked what chip it is, and only ports of Espressif's
own USB vendor number are asked unbidden. (A USB bridge may belong to anything.)
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.device import Device
from harness.errors import BoardUnavailable, ConfigError, HilError
from harness.link import DEFAULT_BAUD, SerialPort, open_link, serial_ports
from harness.targets import Runtime, Target
from harness.targets import target as target_of
from harness.virtual.board import VirtualBoard
from harness.virtual.faults import FaultPlan
from harness.wire.info import Kind

ESPRESSIF_VID = 0x303A
ASK_S = 2.0
HOW_TO = "--board virtual runs without one; hil boards shows ports and how to name a board"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board and how to reach it.

    Attributes:
        id: its name; of a board without a row, its URL.
        target: name of its chip.
        url: of its port; "" if it has to be found by one of the next three.
        serial_number: of its USB device.
        usb_path: where it is plugged in, as `hil boards` shows it.
        mac: of the chip.
        baud: of its serial port.
        kind: silicon, emulated or virtual.
        flash_bytes: of the board; None: as targets.toml says.
        psram_bytes: likewise.
    """

    id: str
    target: str
    url: str = ""
    serial_number: str = ""
    usb_path: str = ""
    mac: str = ""
    baud: int = DEFAULT_BAUD
    kind: Kind = "silicon"
    flash_bytes: int | None = None
    psram_bytes: int | None = None

    def port(self, ports: Iterable[SerialPort]) -> str | None:
        """URL of its port, or None if it is not attached."""
        if self.url:
            return self.url
        for port in ports:
            # Espressif's USB port gives the MAC as its serial number
            if (
                (self.serial_number and port.serial_number == self.serial_number)
                or (self.usb_path and port.usb_path == self.usb_path)
                or (self.mac and _digits(port.serial_number) == _digits(self.mac))
            ):
                return port.url
        return None


def _digits(mac: str) -> str:
    return re.sub("[^0-9a-f]", "", mac.lower())


class OpenBoard:
    """A board that this process holds: its lock, its process if it is virtual, its device.

    The device has no session yet: `device.connect()` begins one.
    """

    def __init__(self, board: Board, device: Device, release: Callable[[], None]) -> None:
        self.board = board
        self.device = device
        self._release = release

    @property
    def id(self) -> str:
        """Name of the board."""
        return self.board.id

    @property
    def kind(self) -> Kind:
        """What the device said it is, or before that what its row says."""
        return self.device.kind or self.board.kind

    def close(self) -> None:
        """Close the link, end a virtual board, unlock."""
        self.device.close()
        self._release()


# rows


def rows_file() -> Path | None:
    """The user's boards.toml: the one that HIL_BOARDS names, or this folder's; None: the packaged one.

    Raises:
        ConfigError: HIL_BOARDS names no file.
    """
    named = os.environ.get("HIL_BOARDS")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"HIL_BOARDS names {named}, which is no file")
        return Path(named)
    here = Path("boards.toml")
    return here if here.is_file() else None


def rows() -> dict[str, Board]:
    """The boards of boards.toml by id.

    Raises:
        ConfigError: it cannot be read, or a row has an unknown key, chip or type of value.
    """
    file = rows_file()
    source = file or resources.files("harness").joinpath("boards.toml")
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error
    return {name: _row(name, row, str(source)) for name, row in table.items()}


def _row(name: str, row: Any, source: str) -> Board:  # noqa: ANN401 - as TOML gives it
    where = f"{source}: board {name!r}"
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is no table")
    known = {f.name for f in fields(Board)} - {"id"}
    for key, value in row.items():
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}", hint=f"keys: {', '.join(sorted(known))}")
        wanted = int if key in {"baud", "flash_bytes", "psram_bytes"} else str
        if not isinstance(value, wanted):
            raise ConfigError(f"{where}: {key} should be {wanted.__name__}, got {value!r}")
    if row.get("kind", "silicon") not in {"silicon", "emulated"}:
        raise ConfigError(f"{where}: kind is silicon or emulated, got {row['kind']!r}")
    if not any(row.get(key) for key in ("url", "serial_number", "usb_path", "mac")):
        raise ConfigError(f"{where} cannot be found", hint="give url, serial_number, usb_path or mac")
    if "target" not in row:
        raise ConfigError(f"{where} has no target")
    target_of(row["target"])
    return Board(id=name, **row)


# choice


def select(
    target: Target, *, board: str | None = None, port: str | None = None, baud: int | None = None
) -> Board:
    """The board for a run.

    Args:
        target: the chip.
        board: `virtual`, an id of boards.toml, a port or URL, or None: the attached board of that target.
        port: a port or URL; it is where `board` is, if both are given.
        baud: instead of the row's.

    Raises:
        ConfigError: no such id, or that board has another chip.
        BoardUnavailable: it is not attached; or none was named and none is found.
    """
    chosen = _choose(target, board, port)
    changes: dict[str, Any] = {name: getattr(chosen, name) for name in _FIELDS}
    if port:
        changes["url"] = port
    if baud:
        changes["baud"] = baud
    return Board(**changes)


_FIELDS = tuple(f.name for f in fields(Board))


def _choose(target: Target, board: str | None, port: str | None) -> Board:
    if board == "virtual":
        return Board(id="virtual", target=target.name, kind="virtual")
    if board is None:
        return Board(id=port, target=target.name, url=port) if port else _attached(target)
    known = rows()
    if board in known:
        row = known[board]
        if row.target != target.name:
            raise ConfigError(
                f"board {board} is an {row.target}, the run is for {target.name}",
                hint="change --target or --board",
            )
        return row
    if "://" in board or board.startswith("/") or re.fullmatch(r"COM\d+", board, re.IGNORECASE):
        return Board(id=board, target=target.name, url=board)
    close = difflib.get_close_matches(board, [*known, "virtual"], n=1)
    raise ConfigError(
        f"no board {board!r}",
        hint=f"did you mean {close[0]}?" if close else f"boards.toml has: {', '.join(known) or 'none'}",
    )


def _attached(target: Target) -> Board:
    ports = serial_ports()
    mine = [row for row in rows().values() if row.target == target.name]
    for row in mine:
        if row.port(ports):
            return row
    strangers = [port for port in ports if port.vid == ESPRESSIF_VID]
    for port in strangers:
        if _chip_at(port.url) == target.name:
            return Board(id=port.url, target=target.name, url=port.url)
    asked = f"; asked {', '.join(p.url for p in strangers)}" if strangers else ""
    named = f"; not attached: {', '.join(row.id for row in mine)}" if mine else ""
    raise BoardUnavailable(f"no {target.name} is attached{named}{asked}", hint=HOW_TO, step="select")


def _chip_at(url: str) -> str:
    """The chip that answers there, or "" if nothing of ours does."""
    try:
        with _locked(url, url), Device(open_link(url)) as device:
            device.connect(ASK_S)
            return device.info().chip
    except HilError:
        # whatever it is, it is no board that this run could use
        return ""


# opening


def open_board(
    target: Target,
    *,
    runtime: Runtime = "espdl",
    board: str | None = None,
    port: str | None = None,
    baud: int | None = None,
    on_text: Callable[[str], None] | None = None,
    faults: FaultPlan | None = None,
) -> OpenBoard:
    """Select a board, lock it, start it if it is virtual, open its port.

    Args:
        target: the chip.
        runtime: of a virtual board's firmware; the handshake with any other tells which it has.
        board: see `select`.
        port: see `select`.
        baud: see `select`.
        on_text: gets every line of its console.
        faults: to plant in a virtual board.

    Raises:
        ConfigError: see `select`; or faults were asked for, and the board is no virtual one.
        BoardUnavailable: not attached, in use, no permission, or the virtual board did not start.
    """
    chosen = select(target, board=board, port=port, baud=baud)
    if chosen.kind == "virtual":
        machine = VirtualBoard(target, runtime=runtime, faults=faults)
        url = machine.start()
        return _opened(chosen, url, machine.stop, on_text)
    if faults is not None:
        raise ConfigError(
            f"faults can only be planted in a virtual board, {chosen.id} is none", hint="--board virtual"
        )
    found = chosen.port(serial_ports())
    if found is None:
        raise BoardUnavailable(f"{chosen.id} is not attached", hint=HOW_TO, board=chosen.id, step="select")
    lock = _locked(found, chosen.id)
    return _opened(chosen, found, lock.release, on_text)


def _opened(
    board: Board, url: str, release: Callable[[], None], on_text: Callable[[str], None] | None
) -> OpenBoard:
    def reach() -> Any:  # noqa: ANN401 - a Link
        return open_link(url, board.baud, board=board.id)

    try:
        device = Device(reach(), board=board.id, reopen=reach, on_text=on_text)
    except HilError:
        release()
        raise
    return OpenBoard(board, device, release)


def _locked(url: str, board: str) -> FileLock:
    """The lock of a port, held; two names of one port are one lock.

    Raises:
        BoardUnavailable: another run holds it.
    """
    place = url if "://" in url else os.path.realpath(url)
    folder = Path(tempfile.gettempdir()) / "hil-locks"
    folder.mkdir(mode=0o777, exist_ok=True)
    lock = FileLock(folder / (re.sub(r"[^A-Za-z0-9.-]+", "_", place).strip("_") + ".lock"))
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError) as error:
        raise BoardUnavailable(
            f"{place} is in use by another run",
            hint=f"wait for it, or choose another --board (lock: {lock.lock_file})",
            board=board,
            step="lock",
        ) from error
    return lock

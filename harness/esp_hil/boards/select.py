"""Which board: rows of boards.toml, ports of this machine, places of a farm, emulators, virtual ones.

`esp_hil.boards.opening` opens it.

A port that no row names is never taken on trust: it is asked what chip it is, and only ports of Espressif's
own USB vendor number are asked unbidden. (A USB bridge may belong to anything.)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from esp_hil.boards import emulator, labgrid
from esp_hil.boards.emulator import EmulatorKind
from esp_hil.boards.lease import Holder, acquire
from esp_hil.boards.quarantine import quarantined
from esp_hil.device.device import Device
from esp_hil.device.ports import DEFAULT_BAUD, SerialPort, open_link, serial_ports
from esp_hil.errors import BoardUnavailable, ConfigError, HilError, did_you_mean
from esp_hil.settings import variable_path
from esp_hil.targets import Target
from esp_hil.targets import target as target_of
from esp_hil.toml_table import read_toml
from esp_hil.wire.info import Kind

ESPRESSIF_VID = 0x303A
ASK_S = 2.0
HOW_TO = (
    "the board `virtual` needs no hardware, for pytest --hil-board virtual; "
    "hil boards shows ports and how to name a board"
)


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
        emulator: qemu or esp-emu: the board is one; "" for any other.
        program: of the emulator, or its folder; "" to look for it.
        labgrid: its place in a labgrid farm, or tags of places that will do; "": it is none of a farm's.
        power_cycle: command that cuts its power for a moment, such as `uhubctl -l 1-1 -p 2 -a cycle`; "": none.
        meter: of its current, as `esp_hil.boards.meters.open_meter` takes it; "": none.
        gate_gpio: that the meter's gate input is wired to; None: none.
        supply_v: voltage at the board, where the meter supplies it or does not measure it.
        quarantine: why it must not be used; "": it may be.
        listed: whether boards.toml has a row of it.
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
    emulator: EmulatorKind | Literal[""] = ""
    program: str = ""
    labgrid: str = ""
    power_cycle: str = ""
    meter: str = ""
    gate_gpio: int | None = None
    supply_v: float | None = None
    quarantine: str = ""
    listed: bool = False

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


# rows


def rows_file() -> Path | None:
    """The user's boards.toml: the one that HIL_BOARDS names, or this folder's; None: the packaged one.

    Raises:
        ConfigError: HIL_BOARDS names no file.
    """
    named = variable_path("HIL_BOARDS")
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"HIL_BOARDS names {named}, which is not a file")
        return named
    here = Path("boards.toml")
    return here if here.is_file() else None


def rows() -> dict[str, Board]:
    """The boards of boards.toml by id.

    Raises:
        ConfigError: it cannot be read, or a row has an unknown key, chip or type of value.
    """
    file = rows_file()
    source = file or resources.files("esp_hil").joinpath("boards.toml")
    return {name: _row(name, row, str(source)) for name, row in read_toml(source).items()}


_KINDS: dict[str, Any] = {
    "baud": int,
    "flash_bytes": int,
    "psram_bytes": int,
    "gate_gpio": int,
    "supply_v": int | float,
}
"""Types of the keys that are no text."""


def _row(name: str, row: Any, source: str) -> Board:  # noqa: ANN401 - as TOML gives it
    where = f"{source}: board {name!r}"
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is not a table")
    known = {f.name for f in fields(Board)} - {"id", "listed"}
    for key, value in row.items():
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}", hint=f"keys: {', '.join(sorted(known))}")
        wanted = _KINDS.get(key, str)
        if not isinstance(value, wanted) or isinstance(value, bool):
            name = "a number" if key == "supply_v" else wanted.__name__
            raise ConfigError(f"{where}: {key} should be {name}, got {value!r}")
    if row.get("kind", "silicon") not in {"silicon", "emulated"}:
        raise ConfigError(f"{where}: kind is silicon or emulated, got {row['kind']!r}")
    _check_emulator(row, where)
    if not any(row.get(key) for key in ("url", "serial_number", "usb_path", "mac", "emulator", "labgrid")):
        raise ConfigError(
            f"{where} cannot be found", hint="give url, serial_number, usb_path, mac or labgrid"
        )
    if "target" not in row:
        raise ConfigError(f"{where} has no target")
    target_of(row["target"])
    if row.get("labgrid"):
        labgrid.wish_of(row["labgrid"])
    try:
        shlex.split(row.get("power_cycle", ""))
    except ValueError as error:
        raise ConfigError(f"{where}: power_cycle: {error}") from None
    kind = "emulated" if row.get("emulator") else "silicon"
    return Board(id=name, listed=True, **{"kind": kind, **row})


def _check_emulator(row: dict[str, Any], where: str) -> None:
    known = get_args(EmulatorKind)
    if row.get("emulator", known[0]) not in known:
        raise ConfigError(f"{where}: no emulator {row['emulator']!r}", hint=f"one of: {', '.join(known)}")
    if row.get("emulator") and (row.get("kind", "emulated") != "emulated" or row.get("url")):
        raise ConfigError(f"{where}: an emulator has no url and is of kind emulated")


# choice


def select(
    target: Target, *, board: str | None = None, port: str | None = None, baud: int | None = None
) -> Board:
    """The board for a run.

    Args:
        target: the chip.
        board: `virtual`, `qemu`, `esp-emu` (both also with `:/path/of/program`), an id of boards.toml, a port
            or URL, `labgrid:PLACE` or `labgrid:TAG=VALUE,...`, or None: the attached board of that target.
        port: a port or URL; it is where `board` is, if both are given.
        baud: instead of the row's.

    Raises:
        ConfigError: no such id, or that board has another chip.
        BoardUnavailable: it is not attached or is in quarantine; or none was named and none is found.
    """
    chosen = _choose(target, board, port)
    if why := why_not(chosen):
        raise BoardUnavailable(f"in quarantine: {why}", hint=lifting(chosen), board=chosen.id, step="select")
    return replace(chosen, url=port or chosen.url, baud=baud or chosen.baud)


def why_not(board: Board) -> str:
    """Why a board is in quarantine, by its row or since a run put it there; "" if it may be used."""
    if board.quarantine:
        return board.quarantine
    entry = quarantined().get(board.id)
    return f"{entry.reason} (since {entry.since_utc})" if entry else ""


def lifting(board: Board) -> str:
    """How a board comes out of quarantine."""
    if board.quarantine:
        return f"look at the board, then take `quarantine` out of its row {board.id!r}"
    return f"look at the board, then: hil boards --lift {board.id}"


def why_out(board: Board, ports: Iterable[SerialPort]) -> str:
    """Why a board cannot be used by anybody now; "" if it can."""
    if why := why_not(board):
        return f"in quarantine: {why}"
    if board.labgrid:
        return _why_no_place(board)
    return "" if board.emulator or board.port(ports) else "not attached"


def _why_no_place(board: Board) -> str:
    """Why no place of a farm can be this board; "" if one can."""
    try:
        there = labgrid.fitting(_wish(board))
    except (BoardUnavailable, ConfigError) as error:
        return error.message
    reasons = [place.why_not for place in there]
    if not reasons:
        return f"no place of labgrid: {board.labgrid}"
    return "" if "" in reasons else "; ".join(dict.fromkeys(reasons))


def _wish(board: Board) -> dict[str, str]:
    """What its place must be: of tags also the chip."""
    wish = labgrid.wish_of(board.labgrid)
    return wish if "name" in wish else {"target": board.target} | wish


def _choose(target: Target, board: str | None, port: str | None) -> Board:
    if board == "virtual":
        return Board(id="virtual", target=target.name, kind="virtual")
    if board is None:
        return Board(id=port, target=target.name, url=port) if port else _attached(target)
    if emulated := emulator.named(board):
        kind, program = emulated
        return Board(id=kind, target=target.name, kind="emulated", emulator=kind, program=program)
    several = len(labgrid.board_words(board)) > 1
    if board.startswith(labgrid.PREFIX) and not several:
        return _of_farm(target, board)
    if board == "any" or several:
        raise BoardUnavailable(
            f"no {target.name} among {board}" if several else _none_of_any(target),
            hint=HOW_TO,
            step="select",
        )
    known = rows()
    if board in known:
        row = known[board]
        if row.target != target.name:
            raise ConfigError(
                f"board {board} is an {row.target}, the run is for {target.name}",
                hint="choose another target or board",
            )
        return row
    if "://" in board or board.startswith("/") or re.fullmatch(r"COM\d+", board, re.IGNORECASE):
        return Board(id=board, target=target.name, url=board)
    near = did_you_mean(board, [*known, "virtual", *get_args(EmulatorKind)])
    raise ConfigError(f"no board {board!r}", hint=near or f"boards.toml has: {', '.join(known) or 'none'}")


def _of_farm(target: Target, board: str) -> Board:
    """A place, by its name or tags; a tag `target` is the chip."""
    wish = board.removeprefix(labgrid.PREFIX)
    chip = labgrid.chip_of(board)
    if chip and chip != target.name:
        raise ConfigError(
            f"{board} is an {chip}, the run is for {target.name}", hint="choose another target or board"
        )
    return Board(id=board, target=target.name, labgrid=wish)


def _none_of_any(target: Target) -> str:
    ports = serial_ports()
    mine = [row for row in rows().values() if row.target == target.name]
    reasons = [f"{row.id} is {why}" for row in mine if (why := why_out(row, ports))]
    return f"boards.toml has no {target.name} to use: {'; '.join(reasons) or 'it has no row of one'}"


def _attached(target: Target) -> Board:
    ports = serial_ports()
    mine = [
        row for row in rows().values() if row.target == target.name and not row.emulator and not row.labgrid
    ]
    shut = [row for row in mine if why_not(row)]
    for row in mine:
        if row not in shut and row.port(ports):
            return row
    taken = {row.port(ports) for row in rows().values()}
    strangers = [port for port in ports if port.vid == ESPRESSIF_VID and port.url not in taken]
    for port in strangers:
        if _chip_at(port.url) == target.name:
            return Board(id=port.url, target=target.name, url=port.url)
    asked = f"; asked {', '.join(p.url for p in strangers)}" if strangers else ""
    absent = [row.id for row in mine if row not in shut]
    named = f"; not attached: {', '.join(absent)}" if absent else ""
    named += f"; in quarantine: {', '.join(row.id for row in shut)}" if shut else ""
    raise BoardUnavailable(f"no {target.name} is attached{named}{asked}", hint=HOW_TO, step="select")


def _chip_at(url: str) -> str:
    """The chip that answers there, or "" if nothing of ours does."""
    try:
        lease = acquire(url, url)
        try:
            with Device(open_link(url)) as device:
                device.connect(ASK_S)
                return device.info().chip
        finally:
            lease.release()
    except HilError:
        # whatever it is, it is not a board that this run could use
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A board that this process has: by a lease of this machine, or by a place of a farm.

    Attributes:
        board: which; of tags, the place that was given.
        url: of its port.
        holder: this process.
        release: lets go of it.
        place: of the farm; None: it is none of a farm's.
    """

    board: Board
    url: str
    holder: Holder
    release: Callable[[], None]
    place: labgrid.PlaceLease | None = None

    def where(self) -> str:
        """URL of its port now: an exporter that was started anew has another one.

        Raises:
            BoardUnavailable: its farm has lost it.
        """
        return self.url if self.place is None else self.place.url()


def held(board: Board, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda _: None) -> Hold:
    """Have a board: its port leased, or its place acquired.

    Raises:
        BoardUnavailable: it is not attached, or another run holds it and did so for `wait_s`.
        ConfigError: a farm has no such place.
    """
    if board.labgrid:
        return _placed(board, labgrid.acquire(_wish(board), board.id, wait_s=wait_s, say=say))
    found = find_port(board)
    lease = acquire(found, board.id, wait_s=wait_s, say=say)
    return Hold(board=board, url=found, holder=lease.holder, release=lease.release)


def _placed(board: Board, lease: labgrid.PlaceLease) -> Hold:
    place = lease.place
    given = replace(
        board,
        id=board.id if board.listed else place.board,
        labgrid=place.name,
        power_cycle=board.power_cycle or lease.power_cycle,
    )
    return Hold(board=given, url=place.url(), holder=lease.holder, release=lease.release, place=lease)


def find_port(board: Board) -> str:
    """The port at which a board is attached; "" for one that is a process, or a place that is not acquired.

    Raises:
        BoardUnavailable: it is not attached, or there is no such port or place.
    """
    if board.labgrid:
        if why := _why_no_place(board):
            raise BoardUnavailable(
                why, hint="hil boards lists the places of the farm", board=board.id, step="select"
            )
        return ""
    if board.kind != "silicon" and not board.url:
        return ""
    found = board.port(serial_ports())
    if found is None:
        raise BoardUnavailable(f"{board.id} is not attached", hint=HOW_TO, board=board.id, step="select")
    if found.startswith("/") and not Path(found).exists():
        raise BoardUnavailable(f"there is no port {found}", hint=HOW_TO, board=board.id, step="select")
    return found

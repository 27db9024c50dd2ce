"""`hil boards`: the boards that can be used here, and the ports that no row names."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esp_hil.boards.labgrid import Place
    from esp_hil.boards.select import Board
    from esp_hil.device.ports import SerialPort

HELP = "list the boards and serial ports of this machine; status 1 if no named board is attached"
EXAMPLES = """
  hil boards                          what is plugged in, and as which board
  hil boards --lift kitchen-s3        a repaired board may be used again
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil boards`."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--github",
        action="store_true",
        help="boards, targets and count to GITHUB_OUTPUT, a notice of each board that is left out; 1 if there is none",
    )
    parser.add_argument("--lift", metavar="ID", help="take a board out of quarantine again")


def run(args: Namespace) -> int:
    """Print them; 1 if there is no board but virtual ones."""
    from esp_hil.boards.select import rows, rows_file
    from esp_hil.device.ports import serial_ports

    if args.lift:
        return _lift(args.lift)
    if args.github:
        return _for_job()
    ports = serial_ports()
    boards = rows()
    farm = _farm(boards)
    named = {board.id: board.port(ports) for board in boards.values()}
    strangers = [port for port in ports if port.url not in named.values()]
    if args.json:
        print(_json(boards, named, strangers, farm))
    else:
        file = rows_file()
        print("\n".join(_lines(boards, named, strangers, str(file) if file else "no boards.toml here")))
        if farm is not None:
            print("\n".join(_place_lines(farm)))
    if farm is None and not any(named.values()) and not args.json:
        print("no board of boards.toml is attached: status 1 (the board `virtual` needs no hardware)")
    usable = [place for place in farm or () if not isinstance(place, str) and not place.why_not]
    return 0 if usable or any(named.values()) else 1


def _farm(boards: dict[str, Board]) -> tuple[Place, ...] | str | None:
    """Places of the farm, or why they cannot be told; None: there is no farm that anybody named."""
    import os

    from esp_hil.boards import labgrid
    from esp_hil.errors import HilError
    from esp_hil.settings import variable

    named = variable("HIL_LABGRID") or os.environ.get("LG_COORDINATOR")
    if not named and not any(board.labgrid for board in boards.values()):
        return None
    try:
        return labgrid.places()
    except HilError as error:
        return str(error)


def _place_lines(farm: tuple[Place, ...] | str) -> list[str]:
    from esp_hil.settings import labgrid_coordinator

    lines = [f"places of labgrid ({labgrid_coordinator()})"]
    if isinstance(farm, str):
        return [*lines, f"  {farm}"]
    for place in farm:
        tags = ",".join(f"{key}={value}" for key, value in sorted(place.tags.items()) if key != "quarantine")
        state = f"in use by {place.holder}" if place.holder else place.why_not or "free"
        lines.append(f"  {place.board:24} {tags:24} {state}")
        if "quarantine" in place.tags:
            lines.append(f"  {'':24} -> look at the board, then: hil boards --lift {place.board}")
    return lines if farm else [*lines, "  none"]


def _for_job() -> int:
    """What a workflow needs to know of this machine; no board is a red job with one sentence."""
    import os
    import socket

    from esp_hil.boards.pool import any_of
    from esp_hil.boards.select import rows
    from esp_hil.report.comment import command

    boards = rows()
    found = any_of({row.target for row in boards.values()})
    for name, why in found.left_out.items():
        print(command("notice", "left out", f"{name}: {why}"))
    told = {
        "boards": ",".join(found.boards),
        "targets": ",".join(sorted({boards[name].target for name in found.boards})),
        "count": str(len(found.boards)),
    }
    if place := os.environ.get("GITHUB_OUTPUT"):
        with open(place, "a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in told.items())
    for name, value in told.items():
        print(f"{name}={value}")
    if not found.boards:
        why = "; ".join(f"{name} {why}" for name, why in found.left_out.items()) or "boards.toml has no row"
        print(command("error", "no board", f"no board of {socket.gethostname()} can be used: {why}"))
        return 1
    return 0


def _lift(board: str) -> int:
    """Take one out of quarantine."""
    from esp_hil.boards import labgrid, quarantine
    from esp_hil.boards.select import rows
    from esp_hil.errors import ConfigError

    row = rows().get(board)
    place = row.labgrid if row is not None else board.partition(labgrid.PREFIX)[2]
    if place and "=" not in place and _lift_place(place, board):
        return 0
    lifted = quarantine.lift(board)
    if row is not None and row.quarantine:
        raise ConfigError(
            f"the row of {board} has quarantine = {row.quarantine!r}", hint="take it out of boards.toml"
        )
    if not lifted:
        there = ", ".join(quarantine.quarantined()) or "no board"
        raise ConfigError(f"{board} is not in quarantine", hint=f"in quarantine: {there}")
    print(f"{board} may be used again")
    return 0


def _lift_place(name: str, board: str) -> bool:
    """Take a place of a farm out of quarantine; whether it was there."""
    from esp_hil.boards import labgrid
    from esp_hil.boards.labgrid_keeper import QUARANTINE

    shut = [place for place in labgrid.fitting({"name": name}) if QUARANTINE in place.tags]
    for place in shut:
        labgrid.set_quarantine(place.name, "")
        print(f"{board} may be used again")
    return bool(shut)


def _json(
    boards: dict[str, Board],
    named: dict[str, str | None],
    strangers: list[SerialPort],
    farm: tuple[Place, ...] | str | None,
) -> str:
    import json
    from dataclasses import asdict

    from esp_hil.boards.lease import holder_of
    from esp_hil.boards.select import why_not

    rows = []
    for board in boards.values():
        url = named[board.id]
        holder = holder_of(url) if url else None
        known = {"port": url, "quarantine": why_not(board), "holder": asdict(holder) if holder else None}
        rows.append(asdict(board) | known)
    told = {"boards": rows, "ports": [asdict(port) for port in strangers]}
    if farm is not None:
        told["places"] = [] if isinstance(farm, str) else [asdict(place) for place in farm]
    return json.dumps(told, indent=2)


def _elsewhere(board: Board) -> str:
    """Where a board without a port of this machine is."""
    if board.labgrid:
        return f"place of labgrid: {board.labgrid}"
    return f"started by {board.emulator}" if board.emulator else "not attached"


def _lines(
    boards: dict[str, Board], named: dict[str, str | None], strangers: list[SerialPort], source: str
) -> list[str]:
    from esp_hil.boards.lease import holder_of
    from esp_hil.boards.select import lifting, why_not

    lines = [f"boards ({source})"]
    for board in boards.values():
        where = named[board.id] or _elsewhere(board)
        lines.append(f"  {board.id:16} {board.target:10} {board.kind:10} {where}")
        if named[board.id] and (holder := holder_of(str(named[board.id]))):
            lines.append(f"  {'':16} in use by {holder.summary}")
        if why := why_not(board):
            lines.append(f"  {'':16} in quarantine: {why}")
            lines.append(f"  {'':16} -> {lifting(board)}")
    lines.append(f"  {'virtual':16} {'any':10} {'virtual':10} --board virtual (pytest: --hil-board virtual)")
    lines.append("ports without a row")
    for port in strangers:
        usb = f"{port.vid:04x}:{port.pid or 0:04x}" if port.vid is not None else "no USB"
        found = f"serial_number={port.serial_number or '-'} usb_path={port.usb_path or '-'}"
        lines.append(f"  {port.url:16} {usb:10} {found} {port.description}")
    if not strangers:
        lines.append("  none")
    lines.append('to name a board, write to boards.toml: [desk-s3] target = "esp32s3" serial_number = "..."')
    return lines

"""`hil boards`: the boards that can be used here, and the ports that no row names."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.boards import Board
    from harness.link import SerialPort

HELP = "list the boards and serial ports of this machine"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil boards`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: Namespace) -> int:
    """Print them; 1 if there is no board but virtual ones."""
    from harness.boards import rows, rows_file
    from harness.link import serial_ports

    ports = serial_ports()
    boards = rows()
    named = {board.id: board.port(ports) for board in boards.values()}
    strangers = [port for port in ports if port.url not in named.values()]
    if args.json:
        print(_json(boards, named, strangers))
    else:
        file = rows_file()
        print("\n".join(_lines(boards, named, strangers, str(file) if file else "no boards.toml here")))
    return 0 if any(named.values()) else 1


def _json(boards: dict[str, Board], named: dict[str, str | None], strangers: list[SerialPort]) -> str:
    import json
    from dataclasses import asdict

    rows = [asdict(board) | {"port": named[board.id]} for board in boards.values()]
    return json.dumps({"boards": rows, "ports": [asdict(port) for port in strangers]}, indent=2)


def _lines(
    boards: dict[str, Board], named: dict[str, str | None], strangers: list[SerialPort], source: str
) -> list[str]:
    lines = [f"boards ({source})"]
    for board in boards.values():
        where = named[board.id] or "not attached"
        lines.append(f"  {board.id:16} {board.target:10} {board.kind:10} {where}")
    lines.append(f"  {'virtual':16} {'any':10} {'virtual':10} --board virtual")
    lines.append("ports without a row")
    for port in strangers:
        usb = f"{port.vid:04x}:{port.pid or 0:04x}" if port.vid is not None else "no USB"
        found = f"serial_number={port.serial_number or '-'} usb_path={port.usb_path or '-'}"
        lines.append(f"  {port.url:16} {usb:10} {found} {port.description}")
    if not strangers:
        lines.append("  none")
    lines.append('to name a board, write to boards.toml: [desk-s3] target = "esp32s3" serial_number = "..."')
    return lines

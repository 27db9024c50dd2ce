"""Which MicroPython board: a virtual one, or one of boards.toml or a port; locked, its image flashed, opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from esp_hil.boards.select import Board, held, select
from esp_hil.device.link import Link
from esp_hil.device.ports import open_link
from esp_hil.errors import ConfigError, HandshakeError, HilError
from esp_hil.esp.esptool_program import Flasher
from esp_hil.micropython.bindings import binding as known_binding
from esp_hil.micropython.driver import MicroPythonBoard
from esp_hil.micropython.prebuilt import flash_image, read_image
from esp_hil.micropython.virtual import VirtualMicroPython
from esp_hil.micropython.virtual.quirks import parse_quirks
from esp_hil.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A board in hand.

    Attributes:
        board: in its raw REPL.
        machine: its process if it is virtual.
    """

    board: MicroPythonBoard
    machine: VirtualMicroPython | None = None


def opened(
    target: Target,
    *,
    board: str | None = None,
    port: str | None = None,
    baud: int | None = None,
    zoo: Path | None = None,
    quirks: tuple[str, ...] = (),
    image: Path | None = None,
    binding: str = "",
    usb: bool = False,
    wait_s: float = 0.0,
) -> Opened:
    """Choose, lock and open a MicroPython board; flash an image first if one is given.

    Args:
        target: the chip.
        board: `virtual`, an id of boards.toml, a port or URL, or None: the attached board of that target.
        port: a port or URL; it is where `board` is, if both are given.
        baud: instead of the row's.
        zoo: folder with the weights; a virtual board needs it.
        quirks: what is wrong with a virtual board on purpose.
        image: a prebuilt MicroPython image.
        binding: whose ways a virtual board has, or a real one is judged by; "": the newest of the chip, or what a real
            one is taken for.
        usb: of a virtual board, whether its port is the chip's own USB.
        wait_s: how long to wait for a board that somebody else has.

    Raises:
        ConfigError: an unknown board or binding, quirks for a real one, an image for a virtual one, no zoo for it.
        BoardUnavailable: not attached, in use, or the virtual board did not start.
        HandshakeError: the board is of another chip than the target.
    """
    chosen = select(target, board=board, port=port, baud=baud)
    if chosen.kind == "virtual":
        return _virtual(target, zoo, quirks, image, binding=binding, usb=usb)
    if quirks:
        raise ConfigError(
            f"quirks can only be planted in a virtual board, and {chosen.id} is not one",
            hint="name the board `virtual`",
        )
    if binding:
        known_binding(binding, target.name)
    hold = held(chosen, wait_s=wait_s)
    chosen, found = hold.board, hold.url
    try:
        prebuilt = read_image(image) if image is not None else None
        if prebuilt is not None:
            flash_image(prebuilt, chosen, Flasher.at(found))
        made = Opened(board=_reached(chosen, found, hold.release))
        if prebuilt is not None and prebuilt.espdl is not None:
            made.board.firmware = replace(made.board.firmware, weights=prebuilt.espdl)
        if binding:
            made.board.firmware = replace(made.board.firmware, binding=binding)
    except HilError:
        hold.release()
        raise
    _check_chip(made, target)
    return made


def _virtual(
    target: Target, zoo: Path | None, quirks: tuple[str, ...], image: Path | None, *, binding: str, usb: bool
) -> Opened:
    if zoo is None:
        raise ConfigError(
            "a virtual MicroPython board computes with ESP-DL's weights",
            hint="give --zoo DIR (pytest: --hil-zoo DIR)",
        )
    if image is not None:
        raise ConfigError(
            "an image cannot be flashed to a virtual MicroPython board",
            hint="leave --hil-micropython-image out",
        )
    parse_quirks(quirks)
    chosen = known_binding(binding, target.name)
    listen = "usb" if usb else "pty"
    machine = VirtualMicroPython(target.name, zoo, quirks=quirks, binding=chosen.name, listen=listen)
    url = machine.start()
    row = Board(id="virtual", target=target.name, kind="virtual", url=url)
    try:
        return Opened(board=_reached(row, url, machine.stop), machine=machine)
    except HilError:
        machine.stop()
        raise


def _reached(row: Board, url: str, release: Callable[[], None]) -> MicroPythonBoard:
    def reach() -> Link:
        return open_link(url, row.baud, board=row.id, listening=True)

    return MicroPythonBoard(reach(), board=row.id, reopen=reach, release=release)


def _check_chip(made: Opened, target: Target) -> None:
    found = made.board.firmware.target
    if found and found != target.name:
        made.board.close()
        raise HandshakeError(
            f"{made.board.board} is an {found}, the run is for {target.name}",
            hint="choose another target or board",
            step="identify",
        )

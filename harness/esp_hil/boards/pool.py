"""Several boards for one run: those that are named, or any of boards.toml that can be used now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from esp_hil.boards.labgrid import PREFIX, chip_of
from esp_hil.boards.select import rows, why_out
from esp_hil.device.ports import serial_ports
from esp_hil.errors import ConfigError
from esp_hil.targets import Target

ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPool:
    """Boards of boards.toml for some chips.

    Attributes:
        boards: names of those that can be used, in the file's order.
        left_out: why the others cannot, by name.
    """

    boards: tuple[str, ...]
    left_out: dict[str, str]


def any_of(targets: Iterable[str]) -> BoardPool:
    """All boards of boards.toml with these chips that are attached and not in quarantine.

    Raises:
        ConfigError: boards.toml cannot be read.
    """
    ports = serial_ports()
    fitting = [row for row in rows().values() if row.target in set(targets)]
    reasons = {row.id: why_out(row, ports) for row in fitting}
    return BoardPool(
        boards=tuple(name for name, why in reasons.items() if not why),
        left_out={name: why for name, why in reasons.items() if why},
    )


def places(boards: Sequence[str], targets: Sequence[Target]) -> list[tuple[Target, str | None]]:
    """Which chip is tested on which board: a board with a row where its chip is asked for, any other for each chip.

    Args:
        boards: that were named; none: the attached board of each chip. One alone is tried for every chip, and a chip
            that none of several boards has is given all their names: choosing among them says what is missing.
        targets: the chips.

    Raises:
        ConfigError: a board has a chip that is not asked for.
    """
    if len(boards) < 2:
        return [(chip, boards[0] if boards else None) for chip in targets]
    chips = _chips(boards)
    wanted = {chip.name for chip in targets}
    for name, its in chips.items():
        if its not in wanted:
            raise ConfigError(
                f"board {name} is an {its}, which no --target asks for",
                hint=f"add it to --target, or leave {name} out",
            )
    found: list[tuple[Target, str | None]] = []
    for chip in targets:
        mine = [name for name in boards if chips.get(name, chip.name) == chip.name]
        found += [(chip, name) for name in mine] or [(chip, ",".join(boards))]
    return found


def _chips(boards: Sequence[str]) -> dict[str, str]:
    """The chip of each board whose row, or whose place of a farm, says it."""
    known = rows()
    found = {name: known[name].target for name in boards if name in known}
    of_farm = {name: chip_of(name) for name in boards if name.startswith(PREFIX)}
    return found | {name: chip for name, chip in of_farm.items() if chip}

"""The boards of one session: each opened once, with its firmware on it, and let go of at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from esp_hil.boards.opening import OpenBoard, open_board
from esp_hil.boards.provision import Provision, Source
from esp_hil.errors import BoardUnavailable, HilError
from esp_hil.models import catalogue
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.progress import Progress
from esp_hil.session.options import Combination, Options
from esp_hil.session.supervision import Supervisor
from esp_hil.session.workbench import Bench
from esp_hil.targets import Runtime
from esp_hil.virtual.faults import FaultPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A board of this session: open, with what is known of its firmware, watched over."""

    board: OpenBoard
    provision: Provision
    supervisor: Supervisor
    _benches: dict[Combination, Bench] = field(default_factory=dict)

    def prepared(self, combination: Combination, progress: Progress, *, lint: bool) -> Bench:
        """The board with the combination's model on it and loaded.

        Raises:
            HilError: see `Bench.prepare`.
        """
        bench = self._benches.get(combination)
        if bench is None:
            model = catalogue.load(combination.model)
            bench = self._benches[combination] = Bench(
                self.board.device,
                board=self.board.id,
                target=combination.target,
                model=model,
                recipe=model.recipes[combination.recipe],
                progress=progress,
                lint=lint,
            )
        bench.prepare()
        return bench

    def close(self) -> None:
        """Let go of it."""
        self.board.close()
        self.provision.close()


class Fleet:
    """The boards that are open, or why they are not, by chip and runtime.

    Args:
        options: of the session.
        faults: planted in virtual boards; None: none.
        progress: where long work is shown.
    """

    def __init__(self, options: Options, faults: FaultPlan | None, progress: Progress) -> None:
        self._options = options
        self._faults = faults
        self._progress = progress
        self._boards: dict[tuple[str, Runtime], Held | HilError] = {}

    def held(self, combination: Combination) -> Held:
        """The board of a combination, opened at the first call.

        Raises:
            HilError: it cannot be opened, or was given up.
        """
        name = _key(combination)
        if name not in self._boards:
            self._let_go(combination)
            try:
                self._boards[name] = self._hold(combination)
            except HilError as error:
                self._boards[name] = error
        found = self._boards[name]
        if isinstance(found, HilError):
            raise found
        return found

    def open_one(self, combination: Combination) -> Held | None:
        """The board of a combination if it is open."""
        found = self._boards.get(_key(combination))
        return found if isinstance(found, Held) else None

    def give_up(self, combination: Combination, gone: BoardUnavailable) -> None:
        """Leave a board out of the rest of this session; the others go on."""
        if held := self.open_one(combination):
            held.close()
        self._boards[_key(combination)] = gone

    def lend_ports(self) -> None:
        """Leave all ports to pytest-embedded: its reader and ours would take each other's bytes."""
        for held in self._open():
            held.board.lend()

    def take_ports_back(self) -> None:
        """pytest-embedded's reader is gone."""
        for held in self._open():
            held.board.take_back()

    def close(self) -> None:
        """Close the boards; virtual and emulated ones are ended."""
        for held in self._open():
            held.close()

    def _open(self) -> list[Held]:
        return [held for held in self._boards.values() if isinstance(held, Held)]

    def _hold(self, combination: Combination) -> Held:
        options = self._options
        provision = Provision(
            combination.target,
            combination.runtime,
            Source(
                build_dir=options.build_dir,
                app_path=options.app_path,
                skip_flash=options.skip_flash,
                profile=options.build_profile,
                lint=options.lint,
            ),
            lambda: _file_of(combination),
            self._progress,
        )
        try:
            board = open_board(
                combination.target,
                runtime=combination.runtime,
                board=options.board,
                port=options.port,
                baud=options.baud,
                faults=self._faults,
                firmware=provision,
                emulator_args=options.emulator_args,
                record=options.record,
            )
        except HilError:
            provision.close()
            raise
        return Held(board=board, provision=provision, supervisor=Supervisor(board, self._progress.say))

    def _let_go(self, combination: Combination) -> None:
        """Close the target's board that has firmware of another runtime: it may be the same board."""
        chip = combination.target.name
        for name in [name for name in self._boards if name[0] == chip and name[1] != combination.runtime]:
            found = self._boards.pop(name)
            if isinstance(found, Held):
                found.close()


def _key(combination: Combination) -> tuple[str, Runtime]:
    """What has a board of its own: a chip with the firmware of one runtime."""
    return combination.target.name, combination.runtime


def _file_of(combination: Combination) -> DeviceFile:
    model = catalogue.load(combination.model)
    family = combination.target.family_of(combination.runtime)
    return open_device_file(model.artifact(combination.recipe, family))

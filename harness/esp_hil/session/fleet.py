"""The boards of one session: each opened once, with its firmware on it, and let go of at the end."""

from __future__ import annotations

from esp_hil.boards.provision import Source
from esp_hil.errors import BoardUnavailable, HilError, LintError
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.progress import Progress
from esp_hil.session.board_session import BoardSession, open_session
from esp_hil.session.options import Combination, Options
from esp_hil.session.prepared_board import PreparedBoard
from esp_hil.targets import Runtime
from esp_hil.virtual.faults import FaultPlan


class Fleet:
    """The boards that are open, or why they are not, by chip, board and runtime.

    Args:
        options: of the session.
        faults: planted in virtual boards; None: none.
        progress: where long work is shown.
    """

    def __init__(self, options: Options, faults: FaultPlan | None, progress: Progress) -> None:
        self._options = options
        self._faults = faults
        self._progress = progress
        self._boards: dict[tuple[str, str, Runtime], BoardSession | HilError] = {}
        self._prepared: dict[Combination, PreparedBoard] = {}

    def held(self, combination: Combination) -> BoardSession:
        """The board of a combination, opened at the first call.

        Raises:
            HilError: it cannot be opened, or was given up.
        """
        name = _key(combination)
        if name not in self._boards:
            self._let_go(combination)
            try:
                self._boards[name] = self._hold(combination)
            except LintError:
                raise  # of the model that comes with the firmware; the board may do for the next one
            except HilError as error:
                self._boards[name] = error
        found = self._boards[name]
        if isinstance(found, HilError):
            raise found
        return found

    def prepared(self, combination: Combination) -> PreparedBoard:
        """The board of a combination with the model on it and loaded.

        Raises:
            HilError: as `held`, and as `PreparedBoard.prepare`.
        """
        session = self.held(combination)
        found = self._prepared.get(combination)
        if found is None or found.session is not session:
            model = combination.catalogued
            recipe = model.recipe(combination.recipe)
            found = self._prepared[combination] = PreparedBoard(session, model, recipe)
        found.prepare()
        return found

    def open_one(self, combination: Combination) -> BoardSession | None:
        """The board of a combination if it is open."""
        found = self._boards.get(_key(combination))
        return found if isinstance(found, BoardSession) else None

    def give_up(self, combination: Combination, gone: BoardUnavailable) -> None:
        """Leave a board out of the rest of this session; the others go on."""
        if held := self.open_one(combination):
            held.close()
        self._boards[_key(combination)] = gone

    def leave(self, combination: Combination) -> None:
        """Let go of a board that has no more tests here: somebody else may wait for it."""
        chip, board, _ = _key(combination)
        for name in [name for name in self._boards if name[:2] == (chip, board)]:
            found = self._boards[name]
            if isinstance(found, BoardSession) and found.board.custody is not None:
                del self._boards[name]
                found.close()

    def lend_ports(self) -> None:
        """Leave all ports to pytest-embedded: its reader and ours would take each other's bytes."""
        for held in self._open():
            held.lend()

    def take_ports_back(self) -> None:
        """pytest-embedded's reader is gone."""
        for held in self._open():
            held.take_back()

    def close(self) -> None:
        """Close the boards; virtual and emulated ones are ended."""
        for held in self._open():
            held.close()

    def _open(self) -> list[BoardSession]:
        return [held for held in self._boards.values() if isinstance(held, BoardSession)]

    def _hold(self, combination: Combination) -> BoardSession:
        options = self._options
        return open_session(
            combination.target,
            runtime=combination.runtime,
            board=combination.board,
            port=options.port,
            baud=options.baud,
            source=Source(
                build_dir=options.build_dir,
                app_path=options.app_path,
                skip_flash=options.skip_flash,
                profile=options.build_profile,
                lint=options.lint,
            ),
            model=lambda: _file_of(combination),
            faults=self._faults,
            emulator_args=options.emulator_args,
            record=options.record,
            wait_s=options.wait_s,
            progress=self._progress,
            lint=options.lint,
        )

    def _let_go(self, combination: Combination) -> None:
        """Close the target's board that has firmware of another runtime: it may be the same board."""
        chip, board, runtime = _key(combination)
        others = [name for name in self._boards if name[:2] == (chip, board) and name[2] != runtime]
        for name in others:
            found = self._boards.pop(name)
            if isinstance(found, BoardSession):
                found.close()


def _key(combination: Combination) -> tuple[str, str, Runtime]:
    """What is opened for itself: a board of a chip, with the firmware of one runtime."""
    return combination.target.name, combination.board or "", combination.runtime


def _file_of(combination: Combination) -> DeviceFile:
    if combination.kind == "operator":
        return combination.cases[0].file
    family = combination.target.family_of(combination.runtime)
    return open_device_file(combination.catalogued.artifact(combination.recipe, family))

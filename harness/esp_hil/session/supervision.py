"""A board that broke during a run: what its console said, how it is brought back, when it is given up.

    trouble -> its log and decoded backtrace beside the row -> one reset or power cycle -> one retry where that
    makes sense -> quarantine

A crash that a model causes every time is the model's: the board is given up only if it does not come back, if
the line or the supply is what failed twice, or if two models in a row crashed it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from esp_hil.boards.opening import OpenBoard
from esp_hil.errors import (
    BoardUnavailable,
    DeviceCrashed,
    DeviceReset,
    HilError,
    LinkError,
    LinkTimeout,
    ReportError,
    WireError,
)
from esp_hil.esp.backtrace import decode, suspected_kind
from esp_hil.esp.image import FirmwareImage
from esp_hil.esp.supervise import CrashKind, parse_crash
from esp_hil.results.record import Run
from esp_hil.targets import Target

LOG = logging.getLogger(__name__)

CRASHES_IN_A_ROW = 2
"""So many models in a row that crash a board are taken for the board's own fault."""

LOGS = "logs"
"""Folder below the results."""

_SAME_AGAIN: frozenset[CrashKind] = frozenset(
    {
        "stack_overflow",
        "overrun",
        "out_of_memory",
        "unsupported_operator",
        "model_file",
        "model",
        "invalid_image",
        "partition_table",
        "psram",
    }
)
"""Crashes that would come again: the image or the model is wrong for the board."""

_OF_THE_BOARD: frozenset[CrashKind] = frozenset({"brownout", "flash_read"})


def is_trouble(error: HilError) -> bool:
    """Whether the board or its line broke, rather than what was asked of it."""
    return isinstance(error, LinkError | WireError | DeviceReset | DeviceCrashed)


def is_worth_a_retry(error: HilError) -> bool:
    """Whether the same run may end otherwise."""
    return is_trouble(error) and not (isinstance(error, DeviceCrashed) and error.kind in _SAME_AGAIN)


def explain(error: HilError, image: FirmwareImage | None, target: Target) -> None:
    """Decode the backtrace of a crash with the image's symbols, and what it tells of the cause; kept with the error."""
    if isinstance(error, DeviceCrashed) and not error.trace and (crash := parse_crash(error.console)):
        trace = decode(crash, image.elf if image else None, target)
        error.trace = str(trace)
        kind = suspected_kind(crash, trace)
        if kind != error.kind:
            # what the text calls a panic, its frames may tell apart: a fault inside the allocator
            error.message = f"{kind.replace('_', ' ')}, by its frames; {error.message}"
            error.kind = kind
        inner = next((frame for frame in trace.frames if frame.function), None)
        if inner is not None:
            error.message += f"; {inner}"


def keep_log(folder: Path, run: Run, error: HilError, console: Sequence[str]) -> Path:
    """Write what is known of a failed run to `logs/<run_id>.log` beside the rows.

    Args:
        folder: of the results.
        run: its row.
        error: why it failed, explained.
        console: the last lines of the board's console.

    Raises:
        ReportError: the folder cannot be written.
    """
    parts = [f"{run.title}: {type(error).__name__}: {error}"]
    if isinstance(error, DeviceCrashed):
        parts += [f"backtrace\n{error.trace}" if error.trace else "no backtrace", f"crash\n{error.console}"]
    parts.append("console\n" + "\n".join(console))
    path = folder / LOGS / f"{run.run_id}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    except OSError as problem:
        raise ReportError(f"cannot write {path}: {problem.strerror or problem}", step="record") from None
    return path


def _may_be_the_model(error: HilError) -> bool:
    """Whether a model can make every good board fail like this: by a crash, or by never coming to its end."""
    if isinstance(error, DeviceCrashed):
        return error.kind not in _OF_THE_BOARD
    return isinstance(error, LinkTimeout) and error.step in {"infer", "load"}


class Supervisor:
    """Watches over one board.

    Args:
        board: open.
        connect: meets it again after a restart, as it is met first.
        say: shows a person what is done.
    """

    def __init__(self, board: OpenBoard, connect: Callable[[], None], say: Callable[[str], None]) -> None:
        self._board = board
        self._connect = connect
        self._say = say
        self._crashes = 0

    def fine(self) -> None:
        """A run on it came to its end."""
        self._crashes = 0

    def recover(self, error: HilError) -> None:
        """Reset it, and cut its power where a reset does not help and its row says how.

        Raises:
            BoardUnavailable: it does not answer; it is in quarantine now.
        """
        LOG.warning("%s: is brought back after: %s", self._board.id, error)
        steps: list[tuple[str, Callable[[], None]]] = [("reset", self._board.reset)]
        if self._board.board.power_cycle:
            steps.append(("power cycle", self._board.power_cycle))
        if isinstance(error, DeviceCrashed) and error.kind == "brownout":
            steps.reverse()  # a chip that saw too low a supply wants a real start
        last: HilError = error
        for name, step in steps:
            try:
                step()
            except HilError as problem:
                if name != "reset":
                    self._say(f"{self._board.id}: {name}: {problem}")
                # a line without wires for a reset: the board may have restarted by itself
            else:
                self._say(f"{self._board.id}: {name}")
            try:
                self._connect()
            except HilError as problem:
                last = problem
            else:
                LOG.info("%s: answers again after a %s", self._board.id, name)
                return
        tried = " and ".join(name for name, _ in steps)
        raise self.give_up(f"does not answer after {tried}: {last.message}")

    def judge(self, error: HilError) -> BoardUnavailable | None:
        """After a run that failed for good: whether the board is given up; else it answers again.

        Args:
            error: of the last attempt.
        """
        self._crashes += 1
        if not _may_be_the_model(error):
            return self.give_up(f"failed again after a restart: {error.message}")
        if self._crashes >= CRASHES_IN_A_ROW:
            return self.give_up(f"{self._crashes} models in a row crashed it, at last: {error.message}")
        try:
            self.recover(error)
        except BoardUnavailable as gone:
            return gone
        return None

    def give_up(self, reason: str) -> BoardUnavailable:
        """Put the board into quarantine if that can be kept, else leave it out of this session; the error to raise."""
        lifted = self._board.shut(reason)
        if lifted:
            said, hint = f"in quarantine now: {reason}", f"look at the board, then: {lifted}"
        else:
            said, hint = f"given up for this session: {reason}", "look at the board and its cable"
        error = BoardUnavailable(said, hint=hint, board=self._board.id, step="recover")
        LOG.warning("%s", error)
        self._say(str(error))
        return error

"""Every error that esp-hil raises on purpose, drawn as a tree.

    HilError                     base: has a step, a board and a hint of what to do next
    +-- ConfigError              bad option, TOML or name: the user's input, before anything ran
    |   +-- UnknownTarget        a chip that targets.toml has no row for
    |   +-- UnknownModel         a model without a folder in golden/
    +-- BoardUnavailable         no board of that target is attached, or it is locked or quarantined
    |   +-- BoardInUse           somebody else has it now
    +-- GoldenError              missing artefact, sha256 mismatch, unreadable inputs
    +-- QuantizeError            esp-ppq refused, or produced something it should not have
    +-- FormatError              an .espdl/.tflite file is damaged; carries the offset
    |   +-- EncryptedModel       the file is encrypted and no key was given
    +-- LintError                a model with a known hazard was about to be flashed or uploaded
    |   +-- DoesNotFit           it needs more memory than the chip has
    +-- UnsupportedOperator      an operator or type that the runtime does not register
    +-- InputError               wrong name, shape or dtype of an input
    +-- RuntimeFailed            a runtime on this machine crashed, or is not installed
    +-- OutOfMemory              a model's tensors do not fit the memory that there is
    +-- ProvisionError           building and flashing
    |   +-- BuildError           idf.py failed, or no ESP-IDF
    |   +-- FlashError           esptool failed, or the chip is not the board's
    +-- LinkError                the line
    |   +-- LinkTimeout          a deadline passed
    |   +-- LinkClosed           the port vanished
    +-- WireError                bytes that are not a valid frame or message
    +-- DeviceError              the device answered, and not with success
    |   +-- DeviceFault          it refused: a status and its own words
    |   +-- ScriptFailed         a program under MicroPython raised; carries its traceback
    |   +-- HandshakeError       hello disagrees with what the run needs (chip, protocol, model)
    |   +-- DeviceReset          it restarted in the middle of an exchange
    |   +-- DeviceCrashed        panic, watchdog or brownout text was seen
    +-- MeterError               a meter of current is not there, or says what it should not
    +-- ReportError              a report or baseline that cannot be read or written
        +-- RowsNotWritten       the file of rows: the disk is full, or the folder gone

A wrong answer and a regression are values (Verdict, Regression), never exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name of `known` that is nearest, as a question for a hint; "" if none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    if not near:
        return ""
    return f"did you mean {near[0] if near[0].startswith('-') else repr(near[0])}?"


class HilError(Exception):
    """Base of all errors of esp-hil.

    Args:
        message: what happened, one line.
        hint: what to do next, one line, or "".
        step: the step of the run (build, flash, link, load, infer ...), or "".
        board: id or URL of the board, or "".
    """

    def __init__(self, message: str, *, hint: str = "", step: str = "", board: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.step = step
        self.board = board

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.board, self.step) if part)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def at(self, *, step: str = "", board: str = "") -> HilError:
        """Name the step and board where they were unknown when this was raised; returns self."""
        self.step = self.step or step
        self.board = self.board or board
        return self


def cannot_write(path: Path, error: OSError, *, step: str = "") -> ReportError:
    """The error for a file that a user named and that the system did not let us write: is its folder there?"""
    if path.parent.is_dir():
        said, hint = error.strerror or str(error), "choose another path"
    else:
        said, hint = f"there is no folder {path.parent}", "make it, or choose another path"
    return ReportError(f"cannot write {path}: {said}", hint=hint, step=step)


class ConfigError(HilError):
    """An option, TOML file or name that the user gave cannot be used."""


class UnknownTarget(ConfigError):
    """No row of targets.toml has this name."""


class UnknownModel(ConfigError):
    """No folder of golden/ has this name."""


class BoardUnavailable(HilError):
    """No board that fits is attached, or it is taken."""


class BoardInUse(BoardUnavailable):
    """Somebody else has it now: it may be waited for."""


class GoldenError(HilError):
    """A golden artefact is missing, changed or unreadable."""


class QuantizeError(HilError):
    """Quantization failed or gave a result that must not be used."""


class FormatError(HilError):
    """A model file is damaged.

    Args:
        offset: byte offset in the file where reading failed, or -1. The first byte is not named: there the whole
            file is something else.
    """

    def __init__(self, message: str, *, offset: int = -1, hint: str = "") -> None:
        at = f" at byte {offset}" if offset > 0 else ""
        super().__init__(message + at, hint=hint, step="read")
        self.offset = offset


class EncryptedModel(FormatError):
    """The file is AES-encrypted and no key was given."""


class LintError(HilError):
    """Preflight found what is known to go wrong on that chip: the model is not sent to it."""


class DoesNotFit(LintError):
    """The model needs more memory, or flash, than the board has: it is not sent there."""


class UnsupportedOperator(HilError):
    """An operator, type or attribute that the runtime (or the reference) does not have."""


class InputError(HilError):
    """An input has the wrong name, shape or dtype."""


class RuntimeFailed(HilError):
    """A runtime on this machine (TFLM's kernels, LiteRT) failed where it should not, or is not installed."""


class OutOfMemory(HilError):
    """A model's tensors do not fit the memory that there is."""


class ProvisionError(HilError):
    """Getting firmware or a model onto the board failed."""


class BuildError(ProvisionError):
    """The firmware could not be built."""


class FlashError(ProvisionError):
    """The firmware or model could not be written.

    Args:
        output: the last lines of the flasher, or "".
    """

    def __init__(
        self, message: str, *, hint: str = "", step: str = "", board: str = "", output: str = ""
    ) -> None:
        super().__init__(message, hint=hint, step=step, board=board)
        self.output = output


class LinkError(HilError):
    """The line to the board failed."""


class LinkTimeout(LinkError):
    """A deadline passed without the answer."""


class LinkClosed(LinkError):
    """The port vanished."""


class WireError(HilError):
    """Bytes that are not a valid frame or message."""


class DeviceError(HilError):
    """The device answered, but not with success."""


class DeviceFault(DeviceError):
    """The firmware refused a request.

    Args:
        status: the status number of docs/PROTOCOL.md.
    """

    def __init__(self, message: str, *, status: int, hint: str = "", step: str = "") -> None:
        super().__init__(message, hint=hint, step=step)
        self.status = status


class ScriptFailed(DeviceError):
    """A program that MicroPython ran on the device raised an exception.

    Args:
        exception: its class, such as ValueError.
        traceback: the text that MicroPython printed.
    """

    def __init__(self, message: str, *, exception: str, traceback: str, hint: str = "") -> None:
        super().__init__(message, hint=hint, step="script")
        self.exception = exception
        self.traceback = traceback


class HandshakeError(DeviceError):
    """What the device says of itself disagrees with what the run needs."""


class DeviceReset(DeviceError):
    """The device restarted in the middle of an exchange."""


class DeviceCrashed(DeviceError):
    """A panic, watchdog or brownout was seen.

    Args:
        console: the console text around the crash.
        kind: its class (panic, brownout, stack_overflow, ...; see harness/esp_hil/esp/supervise.py), "" if unknown.

    Attributes:
        trace: its backtrace with names, once somebody has decoded it.
    """

    def __init__(self, message: str, *, console: str = "", hint: str = "", kind: str = "") -> None:
        super().__init__(message, hint=hint)
        self.console = console
        self.kind = kind
        self.trace = ""


class MeterError(HilError):
    """A meter of current is not attached, does not answer, or says what it should not."""


class ReportError(HilError):
    """A report or baseline cannot be read or written."""


class RowsNotWritten(ReportError):
    """The file of rows cannot be written: the disk is full, or the folder gone."""


class HistoryUnreachable(ReportError):
    """The database of a history does not answer or refuses us; it may later."""

"""The file of rows: one line a run, on the disk before the next run begins, so that a crash loses nothing."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from esp_hil.errors import ReportError, RowsNotWritten
from esp_hil.json_text import parse_json
from esp_hil.results.record import Addendum, Run

RUNS_FILE = "runs.jsonl"

_SOURCE = "give a folder of results, such as reports/out/<time>, or a file of rows"


class Recorder:
    """Appends rows to a file; each is on the disk before `append` returns.

    Several processes may append to one file on a POSIX system: a row is one write.

    Args:
        path: the file; its folder is made.

    Raises:
        ReportError: the folder or file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab"):
                pass
        except OSError as error:
            raise self._refused(error) from None

    def append(self, run: Run) -> None:
        """Write the row, flush and fsync.

        A line that a crash tore stays as it is, on a line of its own.

        Raises:
            ReportError: the disk refused (full, gone), or the row does not hold what its types say.
        """
        self._write(run.to_json())

    def amend(self, addendum: Addendum) -> None:
        """Write what a test said of a run that was appended before; flush and fsync.

        Raises:
            ReportError: as `append`.
        """
        self._write(addendum.to_json())

    def _write(self, text: str) -> None:
        line = text.encode("ascii") + b"\n"
        try:
            with self.path.open("a+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                    line = b"\n" + line
                if file.write(line) != len(line):
                    raise OSError("the disk took only a part of the row")
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> RowsNotWritten:
        return RowsNotWritten(
            f"cannot write {self.path}: {error.strerror or error}",
            hint="give a folder that can be written with --results (pytest: --hil-results)",
            step="record",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was read: the rows in the order they were written, and what had to be left out."""

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]


def read_runs(path: Path, *, skip_damaged: bool = False) -> Recorded:
    """Read a file of rows, or all `runs*.jsonl` of a folder in the order of their names.

    A row that a crash tore (it begins like a row and does not end) is left out and told in `warnings`; so is a row
    that stands there twice, because files were copied together: it counts once, as it stands there last.

    Args:
        path: file or folder.
        skip_damaged: leave out whatever cannot be read, rows of other versions included, and tell it.

    Raises:
        ReportError: no such file, no rows in it, or a line that is not a row; the message names file and line.
    """
    try:
        files = sorted(path.glob("runs*.jsonl")) if path.is_dir() else [path]
        texts = [(file, file.read_bytes()) for file in files]
    except OSError as error:
        raise ReportError(f"cannot read {path}: {error.strerror or error}", hint=_SOURCE) from None
    if not files:
        raise ReportError(f"no {RUNS_FILE} in {path}", hint=_SOURCE)
    runs: list[Run] = []
    addenda: list[Addendum] = []
    warnings: list[str] = []
    with _no_collection():
        for file, text in texts:
            for number, line in enumerate(text.split(b"\n"), start=1):
                if not line.strip():
                    continue
                try:
                    found = _line(line)
                except ReportError as error:
                    warnings.append(_left_out(f"{file}:{number}", line, error, skip_damaged=skip_damaged))
                    continue
                if isinstance(found, Run):
                    runs.append(found)
                else:
                    addenda.append(found)
    if not runs:
        said = f"no complete row in {path}"
        raise ReportError(said, hint="; ".join(warnings) or "the file is empty")
    once = {run.run_id: run for run in runs}
    if len(once) < len(runs):
        warnings.append(f"{len(runs) - len(once)} rows stand in {path} more than once: each counts once")
    return Recorded(runs=tuple(amended(list(once.values()), addenda)), warnings=tuple(warnings))


def _line(line: bytes) -> Run | Addendum:
    return Addendum.from_json(line) if Addendum.is_one(line) else Run.from_json(line)


def _left_out(place: str, line: bytes, error: ReportError, *, skip_damaged: bool) -> str:
    """What is told of a line that cannot be read.

    Raises:
        ReportError: it is not torn, and nobody asked to leave such lines out.
    """
    if _torn(line):
        return f"{place}: row torn or damaged, left out ({len(line)} bytes)"
    if skip_damaged:
        return f"{place}: left out: {error.message}"
    hint = "; ".join(part for part in (error.hint, "--skip-damaged leaves it out") if part)
    raise ReportError(f"{place}: {error.message}", hint=hint) from None


def amended(runs: Sequence[Run], addenda: Iterable[Addendum]) -> Sequence[Run]:
    """The rows with what was said of them afterwards; of a row that is not there nothing can be said."""
    places = {run.run_id: place for place, run in enumerate(runs)} if addenda else {}
    found = list(runs)
    for addendum in addenda:
        if (place := places.get(addendum.check_of)) is not None:
            found[place] = found[place].judged(addendum.check)
    return found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without searching for cycles meanwhile: rows have none, and looking at millions of them takes a minute."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


_START = b'{"schema":'


def _torn(line: bytes) -> bool:
    """Whether a line is the beginning of a row without its end, or the zeros that a power cut leaves."""
    line = line.rstrip(b"\0")
    if not line:
        return True
    if not (line.startswith(_START) or _START.startswith(line)):
        return False
    try:
        parse_json(line)
    except ValueError:
        return True
    return False

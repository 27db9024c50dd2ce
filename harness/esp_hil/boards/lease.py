"""A lease: who may use a board of this machine now, whatever user or session asks; it ends with its process.

One file a board in one folder that all users share, locked by the system (`flock`): a lock that a killed process
leaves behind does not exist. What is written in the file only says who holds it. Containers on the same host
share the leases when they share the folder (`HIL_LOCKS`).
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from esp_hil.errors import BoardInUse, BoardUnavailable
from esp_hil.settings import ci_job, variable_path

ASK_AGAIN_S = 0.5
LOOKED_AT_S = 0.05
SAY_AGAIN_S = 60.0
FOLDER_MODE = 0o1777
FILE_MODE = 0o666
_LOCKED_AT = 1 << 20
"""Windows locks bytes, which nobody else can read then: one far behind what is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has a board.

    Attributes:
        lease: a UUID.
        pid: of the process, as its own machine or container counts.
        host: name of that.
        user: login name.
        job: of a CI, or the program; "" if neither is known.
        since_utc: ISO 8601.
    """

    lease: str
    pid: int
    host: str
    user: str
    job: str
    since_utc: str

    @property
    def summary(self) -> str:
        """One phrase for people."""
        job = f", {self.job}" if self.job else ""
        return f"process {self.pid} of {self.user} on {self.host}{job}, since {self.since_utc}"


def this_process() -> Holder:
    """What is written into a lease of this process."""
    return Holder(
        lease=str(uuid.uuid4()),
        pid=os.getpid(),
        host=socket.gethostname(),
        user=_user(),
        job=ci_job() or _program(),
        since_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _program() -> str:
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # a container's user needs no name
        return str(os.getuid()) if sys.platform != "win32" else "?"


class Lease:
    """A held lease.

    Args:
        descriptor: of the locked file.
        place: what is leased.
        holder: this process.
    """

    def __init__(self, descriptor: int, place: str, holder: Holder) -> None:
        self._descriptor = descriptor
        self.place = place
        self.holder = holder

    def release(self) -> None:
        """Let go of it; more than once does no harm."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def acquire(
    place: str, board: str, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda _: None
) -> Lease:
    """Lease a port; two names of one port are one lease.

    Args:
        place: port or URL.
        board: for messages.
        wait_s: how long to wait for another holder.
        say: told who is waited for.

    Raises:
        BoardInUse: somebody else holds it, and did so all the time.
        BoardUnavailable: leases cannot be taken here: no permission.
    """
    place = _real(place)
    path = folder() / _name(place)
    # at least once more: whoever lists the boards locks each for a moment
    until = time.monotonic() + max(wait_s, LOOKED_AT_S)
    say_at = time.monotonic()
    while True:
        found = _try(path, place, board)
        if found is not None:
            return found
        now = time.monotonic()
        if now >= until:
            raise _in_use(path, place, board, wait_s)
        if wait_s and now >= say_at:
            say_at = now + SAY_AGAIN_S
            say(f"{board}: waiting for {_holder_text(path)}, {until - now:.0f} s at most")
        time.sleep(min(ASK_AGAIN_S, until - now))


def holder_of(place: str) -> Holder | None:
    """Who holds a port now; None if nobody does, or if that cannot be read."""
    path = folder() / _name(_real(place))
    said = _read(path)
    if said is None:
        return None
    try:
        descriptor = _open(path)
    except OSError:
        return said
    try:
        # a killed process leaves its words behind, but no lock
        return None if _lock(descriptor) else _read(path)
    finally:
        os.close(descriptor)


def folder() -> Path:
    """Where leases lie: `HIL_LOCKS`, else the same folder for all users, whatever TMPDIR says."""
    named = variable_path("HIL_LOCKS")
    if named is not None:
        return named
    return Path(tempfile.gettempdir() if sys.platform == "win32" else "/tmp") / "hil-locks"


def _real(place: str) -> str:
    return place if "://" in place else os.path.realpath(place)


def _name(place: str) -> str:
    plain = place.partition("?")[0]
    return re.sub(r"[^A-Za-z0-9.-]+", "_", plain).strip("_") + ".lock"


def _try(path: Path, place: str, board: str) -> Lease | None:
    try:
        _make_folder(path.parent)
        descriptor = _open(path)
    except OSError as error:
        raise _not_permitted(path, board, error) from error
    if not _lock(descriptor):
        os.close(descriptor)
        return None
    holder = this_process()
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(asdict(holder)).encode())
    return Lease(descriptor, place, holder)


def _make_folder(folder: Path) -> None:
    """Make it for all users, each of whom may only remove files of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        return
    found = folder.stat()
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) != FOLDER_MODE:
        folder.chmod(FOLDER_MODE)


def _open(path: Path) -> int:
    """The file, which every user may write; never one behind a link.

    A kernel that protects files in such folders refuses O_CREAT for files of others, even where they are there.
    """
    flags = (
        os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    )
    while True:
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, FILE_MODE)
        except FileExistsError:
            continue
        if sys.platform != "win32":
            os.fchmod(descriptor, FILE_MODE)  # whatever the umask is
        return descriptor


def _lock(descriptor: int) -> bool:
    """Whether it could be locked."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_AT, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # it is just being written
        return None


def _holder_text(path: Path) -> str:
    holder = _read(path)
    return holder.summary if holder else "another run"


def _in_use(path: Path, place: str, board: str, wait_s: float) -> BoardInUse:
    waited = f"; waited {wait_s:.0f} s" if wait_s else ""
    hint = (
        "hil run --wait 30m waits for it (pytest: --hil-wait 30m)" if not wait_s else "choose another board"
    )
    return BoardInUse(
        f"{place} is in use by {_holder_text(path)}{waited}",
        hint=f"{hint} (lock: {path})",
        board=board,
        step="lock",
    )


def _not_permitted(path: Path, board: str, error: OSError) -> BoardUnavailable:
    """Nobody need hold it: the folder or the file was made so that this user may not."""
    wrong = path if path.exists() else path.parent
    try:
        mode = stat.S_IMODE(wrong.stat().st_mode)
        whose = f"{wrong.owner()}'s, mode {mode:o}" if sys.platform != "win32" else f"mode {mode:o}"
    except (OSError, KeyError):
        whose = "which cannot be looked at"
    right = f"chmod {FILE_MODE if wrong == path else FOLDER_MODE:o} {wrong}"
    return BoardUnavailable(
        f"no permission to lock boards in {wrong} ({whose}): {error.strerror or error}",
        hint=f"its owner or root: {right}; or HIL_LOCKS names another folder, the same for all",
        board=board,
        step="lock",
    )

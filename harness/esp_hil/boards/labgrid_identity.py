"""By what name a process acquires places of labgrid, and whether that process is still there.

labgrid's own names are `host/user`, alike for all runs of a user. Ours also tell the process, when it began, and the
boot and PID namespace in which its number counts, so that another run on the same machine can tell that it is gone.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
from pathlib import Path

from esp_hil.boards.lease import this_process

_OURS = re.compile(r"(?P<host>[^/]+)/(?P<user>.+)\.hil-(?P<pid>\d+)-(?P<began>\d+)-(?P<world>[0-9a-f]*)")


def identity() -> str:
    """Of this process."""
    own = this_process()
    user = re.sub(r"[^A-Za-z0-9_.-]", "_", own.user)
    return f"{socket.gethostname()}/{user}.hil-{own.pid}-{_began(own.pid) or 0}-{_world()}"


def is_gone(name: str) -> bool:
    """Whether a name is that of a process of this machine that has ended; what cannot be told is not gone."""
    found = _OURS.fullmatch(name)
    if found is None or not found["world"] or found["world"] != _world():
        return False
    if found["host"] != socket.gethostname():
        return False
    began = _began(int(found["pid"]))
    return began is not None and began != int(found["began"])


def in_words(name: str) -> str:
    """For people."""
    found = _OURS.fullmatch(name)
    return f"process {found['pid']} of {found['user']} on {found['host']}" if found else name


def _began(pid: int) -> int | None:
    """When a process began, in ticks since the boot; 0 if there is none, None if that is not told here."""
    if sys.platform != "linux":
        return None
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None if _is_there(pid) else 0
    except OSError:
        return None
    fields = said.rpartition(")")[2].split()
    return 0 if fields[0] in {"Z", "X"} else int(fields[19])


def _is_there(pid: int) -> bool:
    """Whether a process is there though /proc hides it: that of another user may be hidden."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _world() -> str:
    """Where process numbers mean the same: one boot of one machine, one PID namespace; "" where that is not told."""
    if sys.platform != "linux":
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:8]

"""A PostgreSQL server for one test session, from Debian's package, on a socket in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"
"""PostgreSQL refuses to run as root; the package makes this user."""


def binaries() -> Path | None:
    """The folder of the newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def why_not() -> str:
    """Why there can be no server here, or ""."""
    if binaries() is None:
        return "no PostgreSQL server: apt-get install postgresql"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return 'no driver: pip install "esp-hil[postgresql]"'
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {USER}"
    return ""


def _as_user(command: list[str]) -> list[str]:
    return (
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        if os.geteuid() == 0
        else command
    )


@contextmanager
def server() -> Iterator[str]:
    """Start it, give the SQLAlchemy URL of an empty database, end it."""
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="hil-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        data = folder / "data"

        def run(*command: str) -> None:
            subprocess.run(
                _as_user([str(programs / command[0]), *command[1:]]),
                check=True,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                timeout=120,
            )

        run("initdb", "-D", str(data), "-U", "hil", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
        options = f"-c listen_addresses='' -k {folder} -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://hil@/postgres?host={folder}"
        finally:
            with contextlib.suppress(subprocess.SubprocessError):
                run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Real servers of serial ports on this machine: ser2net and esptool's esp_rfc2217_server."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_S = 20.0

needs_ser2net = pytest.mark.skipif(
    shutil.which("ser2net", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
    reason="no ser2net: apt-get install ser2net",
)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], number: int, log: Path) -> Iterator[None]:
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        _listens(process, number, log)
        yield
    finally:
        process.kill()
        process.wait()


def _listens(process: subprocess.Popen[bytes], number: int, log: Path) -> None:
    """Wait until the port listens, without connecting: the servers take one host at a time."""
    wanted = f"{number:04X}"
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        lines = [line.split() for name in ("tcp", "tcp6") for line in _table(name)]
        if any(line[1].endswith(f":{wanted}") and line[3] == "0A" for line in lines):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens at {number}: {log.read_text(encoding='utf-8')}")


def _table(name: str) -> list[str]:
    return Path(f"/proc/net/{name}").read_text(encoding="utf-8").splitlines()[1:]


@contextlib.contextmanager
def ser2net(device: str, folder: Path, *, telnet: bool = True, speed: int = 115_200) -> Iterator[str]:
    """Serve a port as labgrid's exporter does, or raw; gives the URL."""
    number = free_port()
    real = os.path.realpath(device)
    accepter = f"telnet(rfc2217,mode=server),tcp,{number}" if telnet else f"tcp,{number}"
    command = [
        shutil.which("ser2net") or "/usr/sbin/ser2net",
        *("-d", "-n", "-Y", f"connection: &con01#  accepter: {accepter}"),
        *("-Y", f"  connector: serialdev(nouucplock=true),{real},{speed}n81,local"),
    ]
    with _running(command, number, folder / f"ser2net-{number}.log"):
        yield f"{'rfc2217' if telnet else 'socket'}://127.0.0.1:{number}"


@contextlib.contextmanager
def esp_rfc2217_server(device: str, folder: Path) -> Iterator[str]:
    """Serve a port by esptool's program; gives the URL."""
    number = free_port()
    command = [sys.executable, "-m", "esp_rfc2217_server", "-v", "-p", str(number), device]
    with _running(command, number, folder / f"esp_rfc2217_server-{number}.log"):
        yield f"rfc2217://127.0.0.1:{number}?ign_set_control"

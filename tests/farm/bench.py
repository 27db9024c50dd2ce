"""A farm on loopback: labgrid's coordinator, exporters as machines, real ser2net, virtual boards behind it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from esp_hil.boards.labgrid import Place, places
from esp_hil.boards.labgrid_keeper import Coordinator, FarmRefused
from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from esp_hil.virtual.faults import EngineFaults, FaultPlan
from tests.conftest import ROOT

START_S = 60.0
ADMIN = "bench/admin"


def program(name: str) -> str | None:
    """A program of labgrid, which has an environment of its own."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{ROOT / '.labgrid' / 'bin'}")


def why_not() -> str:
    """Why there can be no farm here, or ""."""
    if os.name != "posix" or not Path("/proc/self").exists():
        return "the farm's boards are ptys of Linux"
    if program("labgrid-coordinator") is None:
        return "no labgrid: python3 -m venv .labgrid && .labgrid/bin/pip install labgrid"
    if importlib.util.find_spec("grpc_reflection") is None:
        return 'no gRPC: pip install "esp-hil[farm]"'
    if shutil.which("ser2net", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        return "no ser2net: apt-get install ser2net"
    return ""


needs_labgrid = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a farm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """One that is up.

    Attributes:
        address: of the coordinator.
        boards: places by name, with their chips.
        exporters: process of each machine by its name.
        machine_of: the machine of each place.
    """

    address: str
    boards: Mapping[str, str]
    exporters: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    machine_of: dict[str, str] = field(default_factory=dict)

    def admin(self) -> Coordinator:
        """A connection by which places are made and looked at."""
        return Coordinator(self.address, ADMIN)

    def kill(self, machine: str) -> None:
        """End a machine without a word: its exporter, and the ser2net of its ports."""
        os.killpg(self.exporters[machine].pid, signal.SIGKILL)
        self.exporters[machine].wait()


@contextmanager
def farm(
    folder: Path,
    boards: Mapping[str, str],
    *,
    machines: int = 1,
    engine: EngineFaults | None = None,
    power: str = "",
) -> Iterator[Farm]:
    """Start it; the boards are dealt out to the machines in turn.

    Args:
        folder: for its files.
        boards: chip by place.
        machines: exporters.
        engine: of all boards; None: as good as can be.
        power: URL of a switch, with `{index}` and `{value}`, see labgrid's model `simplerest`; "": none.
    """
    with ExitStack() as stack:
        command = [str(program("labgrid-coordinator")), "-l", "127.0.0.1:0"]
        _started(stack, command, folder / "coordinator", "listening on")
        said = (folder / "coordinator" / "log").read_text(encoding="utf-8")
        address = f"127.0.0.1:{said.partition('listening on 127.0.0.1:')[2].split()[0]}"
        found = Farm(address=address, boards=boards)
        lines: dict[str, list[str]] = {f"rack{number}": [] for number in range(machines)}
        for number, (name, chip) in enumerate(boards.items()):
            board = VirtualBoard(
                target(chip), line="115200,limit=1000000", faults=FaultPlan(engine=engine or EngineFaults())
            )
            stack.enter_context(board)
            machine = found.machine_of[name] = f"rack{number % machines}"
            lines[machine] += [f"{name}:", f"  RawSerialPort: {{port: {os.path.realpath(board.url)}}}"]
            if power:
                lines[machine].append(
                    f"  NetworkPowerPort: {{model: simplerest, host: '{power}', index: {number}}}"
                )
        for machine, rows in lines.items():
            file = folder / f"{machine}.yaml"
            file.write_text("\n".join(rows) + "\n", encoding="utf-8")
            command = [
                *(str(program("labgrid-exporter")), "-c", address, "--hostname", "127.0.0.1"),
                *("-n", machine, str(file)),
            ]
            found.exporters[machine] = _started(stack, command, folder / machine, "")
        _make_places(found)
        yield found


def _make_places(found: Farm) -> None:
    admin = found.admin()
    for name, chip in found.boards.items():
        admin.ask("AddPlace", name=name)
        admin.ask("AddPlaceMatch", placename=name, pattern=f"{found.machine_of[name]}/{name}/*")
        admin.ask("SetPlaceTags", placename=name, tags={"target": chip})
    until = time.monotonic() + START_S
    while any(admin.why_not(admin.places[name]) for name in found.boards if name in admin.places) or len(
        admin.places
    ) < len(found.boards):
        assert time.monotonic() < until, {name: admin.why_not(place) for name, place in admin.places.items()}
        time.sleep(0.05)
    admin.close()


def _started(stack: ExitStack, command: list[str], folder: Path, ready: str) -> subprocess.Popen[bytes]:
    """A process in a folder of its own, ended with its children at the end."""
    folder.mkdir()
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    stack.callback(end)
    until = time.monotonic() + START_S
    while ready and ready not in log.read_text(encoding="utf-8"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < until, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    return process


def place(name: str) -> Place:
    """What the coordinator says of a place now."""
    from esp_hil.boards import labgrid

    labgrid._LISTED.clear()
    return next(found for found in places() if found.name == name)


def wait_until_free(address: str, names: tuple[str, ...], seconds: float = 20.0) -> None:
    """Until nobody has these places any more."""
    wait_until(address, lambda held: not held.keys() & set(names), seconds)


def wait_until(address: str, done: Callable[[dict[str, str]], bool], seconds: float) -> None:
    """Until the places that somebody has, by their names, are as they should be."""
    admin = Coordinator(address, ADMIN)
    until = time.monotonic() + seconds
    try:
        while not done(
            held := {place.name: place.acquired for place in list(admin.places.values()) if place.acquired}
        ):
            assert time.monotonic() < until, held
            time.sleep(0.02)
    finally:
        admin.close()


__all__ = [
    "Coordinator",
    "Farm",
    "FarmRefused",
    "farm",
    "needs_labgrid",
    "place",
    "wait_until_free",
    "why_not",
]

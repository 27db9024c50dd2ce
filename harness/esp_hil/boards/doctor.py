"""What a machine needs to build, flash and talk to boards: what is there, what is not, what to do about it.

Each check is a function that gets what it looks at and returns one finding, so that a test can show it any
machine. A missing ESP-IDF or emulator is a warning: virtual boards and prebuilt images need neither.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from esp_hil.errors import BoardUnavailable, BuildError, ConfigError, HilError

if TYPE_CHECKING:
    from esp_hil.boards.emulator import EmulatorKind
    from esp_hil.boards.select import Board
    from esp_hil.device.ports import SerialPort
    from esp_hil.esp.idf import Idf
    from esp_hil.targets import Target

State = Literal["ok", "warn", "fail"]

DISTRIBUTION = "esp-hil"
PYTHON = ((3, 11), (3, 14))
LINK_PINGS = 40
LINK_PING_BYTES = 200
_ASK_SECONDS = 60

BRIDGES: Mapping[int, str] = {
    0x303A: "Espressif USB-Serial/JTAG",
    0x10C4: "Silicon Labs CP210x",
    0x1A86: "WCH CH34x",
    0x0403: "FTDI",
    0x067B: "Prolific PL2303",
}
"""USB vendors of the serial ports that ESP32 boards have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one check: what was looked at, how it is, and what to do if it is not ok."""

    check: str
    state: State
    said: str
    todo: str = ""


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> CheckResult:
    """The interpreter's version."""
    least, below = PYTHON
    said = ".".join(map(str, version))
    if least <= version[:2] < below:
        return CheckResult(check="python", state="ok", said=said)
    todo = f"use Python {least[0]}.{least[1]} to {below[0]}.{below[1] - 1}"
    return CheckResult(check="python", state="fail", said=said, todo=todo)


def check_packages(
    required: Iterable[str] | None = None, version_of: Callable[[str], str] = metadata.version
) -> CheckResult:
    """The packages that this distribution requires, with their versions."""
    from packaging.requirements import Requirement

    if required is None:
        try:
            required = metadata.requires(DISTRIBUTION) or ()
        except metadata.PackageNotFoundError:
            said = f"{DISTRIBUTION} is not installed"
            return CheckResult(check="packages", state="warn", said=said, todo="pip install -e .")
    wrong = []
    count = 0
    for text in required:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            found = version_of(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    if wrong:
        return CheckResult(check="packages", state="fail", said="; ".join(wrong), todo="pip install -e .")
    return CheckResult(check="packages", state="ok", said=f"{count} as required")


def check_core(imports: Callable[[], object] | None = None) -> CheckResult:
    """The device core compiled for this machine: what virtual boards run."""

    def compiled() -> object:
        import esp_hil._device

        return esp_hil._device

    try:
        (imports or compiled)()
    except ImportError as error:
        todo = "pip install -e . compiles it; that needs a C++ compiler"
        return CheckResult(check="device core", state="fail", said=f"cannot be imported: {error}", todo=todo)
    return CheckResult(check="device core", state="ok", said="compiled for this machine")


def check_esptool(program: Sequence[str] = (sys.executable, "-m", "esptool")) -> CheckResult:
    """The program esptool: its version."""
    todo = "pip install 'esptool>=5.6,<6'"
    try:
        done = subprocess.run(
            [*program, "version"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return CheckResult(check="esptool", state="fail", said=f"cannot be started: {error}", todo=todo)
    found = re.search(r"(\d+)\.(\d+)\.\d+", done.stdout)
    if found is None:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        return CheckResult(check="esptool", state="fail", said=said[0], todo=todo)
    fits = found[1] == "5" and int(found[2]) >= 6
    return CheckResult(
        check="esptool", state="ok" if fits else "fail", said=found[0], todo="" if fits else todo
    )


def check_idf(find: Callable[[], Idf]) -> CheckResult:
    """ESP-IDF."""
    try:
        idf = find()
    except BuildError as error:
        return CheckResult(check="ESP-IDF", state="warn", said=error.message, todo=error.hint)
    return CheckResult(check="ESP-IDF", state="ok", said=f"{idf.version} at {idf.path}")


def check_toolchains(find: Callable[[], Idf]) -> CheckResult:
    """The compilers of the chips, in the environment of ESP-IDF."""
    from esp_hil.esp.backtrace import toolchain_prefix
    from esp_hil.esp.idf import chips_of
    from esp_hil.targets import targets

    known: frozenset[str] | None = None
    try:
        idf = find()
        path, known = idf.environment.get("PATH", ""), chips_of(idf.path)
    except BuildError:
        path = os.environ.get("PATH", "")
    there = [
        name
        for name, target in targets().items()
        if (known is None or name in known)
        and shutil.which(f"{toolchain_prefix(target)}gcc", path=path) is not None
    ]
    if there:
        return CheckResult(check="compilers", state="ok", said=f"for {', '.join(there)}")
    todo = "install.sh of ESP-IDF installs them; not needed for prebuilt images"
    return CheckResult(check="compilers", state="warn", said="for no chip", todo=todo)


def check_ports(ports: Sequence[SerialPort]) -> CheckResult:
    """The serial ports with a bridge that boards have."""
    known = [f"{port.url} ({BRIDGES[port.vid]})" for port in ports if port.vid and port.vid in BRIDGES]
    if known:
        return CheckResult(check="ports", state="ok", said=", ".join(known))
    others = ", ".join(port.url for port in ports)
    said = f"no port of a board; others: {others}" if others else "none"
    todo = "attach a board with a cable that carries data; `virtual` as the board needs none"
    return CheckResult(check="ports", state="warn", said=said, todo=todo)


def check_permissions(
    ports: Sequence[SerialPort], may: Callable[[str], bool] = lambda url: os.access(url, os.R_OK | os.W_OK)
) -> CheckResult:
    """Whether this user may open the boards' ports."""
    boards = [port.url for port in ports if port.vid in BRIDGES]
    closed = [url for url in boards if not may(url)]
    if not closed:
        said = "all ports can be opened" if boards else "no port to open"
        return CheckResult(check="permissions", state="ok", said=said)
    todo = f"sudo usermod -a -G {_group(closed[0])} $USER, then log in again"
    return CheckResult(check="permissions", state="fail", said=f"not for {', '.join(closed)}", todo=todo)


def _group(url: str) -> str:
    try:
        return Path(url).group()
    except (KeyError, OSError, NotImplementedError):
        return "dialout"


def check_drivers(devices: Path = Path("/sys/bus/usb/devices")) -> CheckResult:
    """Bridges without a serial port: their driver is missing, or another program took them."""
    if not devices.is_dir():
        todo = "a bridge without a port is shown by the system's device manager"
        return CheckResult(
            check="drivers", state="warn", said="cannot be looked at on this system", todo=todo
        )
    orphans = []
    for vendor_file in sorted(devices.glob("*/idVendor")):
        device = vendor_file.parent
        vendor = int(vendor_file.read_text(encoding="ascii"), 16)
        has_port = any(True for pattern in ("*/tty*", "*/tty/tty*") for _ in device.glob(pattern))
        if vendor in BRIDGES and not has_port:
            orphans.append((BRIDGES[vendor], device.name))
    if not orphans:
        return CheckResult(check="drivers", state="ok", said="every bridge has its port")
    said = "; ".join(f"{name} at USB {place} has no serial port" for name, place in orphans)
    todo = "is its kernel module loaded? a CH34x: sudo apt remove brltty, which takes it for another device"
    return CheckResult(check="drivers", state="fail", said=said, todo=todo)


def check_boards(rows: Callable[[], Mapping[str, Board]]) -> CheckResult:
    """The rows of boards.toml: readable, and no two that name one board."""
    try:
        boards = rows()
    except HilError as error:
        return CheckResult(
            check="boards.toml", state="fail", said=error.message, todo=error.hint or "correct it"
        )
    seen: dict[tuple[str, str], str] = {}
    for board in boards.values():
        for key in ("serial_number", "usb_path", "mac", "url", "labgrid"):
            value = getattr(board, key)
            if not value or (key == "labgrid" and "=" in value):  # tags may fit several places
                continue
            other = seen.setdefault((key, value.lower()), board.id)
            if other != board.id:
                said = f"{other} and {board.id} have the same {key}"
                return CheckResult(
                    check="boards.toml", state="fail", said=said, todo="each board has its own"
                )
    said = f"{len(boards)} boards: {', '.join(boards)}" if boards else "no boards yet"
    return CheckResult(check="boards.toml", state="ok", said=said)


def check_emulators(find: Callable[[EmulatorKind, Target], Path] | None = None) -> CheckResult:
    """Emulators where the boards `qemu` and `esp-emu` look for them, and the chips that they have."""
    from esp_hil.boards.emulator import ESP_EMU_CHIPS, QEMU_PROGRAMS, find_program
    from esp_hil.targets import target

    there: dict[str, list[str]] = {}
    wrong = []
    for kind, chips in (("qemu", (*QEMU_PROGRAMS,)), ("esp-emu", ESP_EMU_CHIPS)):
        for chip in chips:
            try:
                program = (find or find_program)(kind, target(chip))  # type: ignore[arg-type]  # of the literal
            except BoardUnavailable:
                continue
            except ConfigError as error:
                wrong.append(error.message)
                continue
            there.setdefault(program.name, []).append(chip)
    said = "; ".join(f"{name} ({', '.join(chips)})" for name, chips in there.items())
    if wrong:
        todo = "set HIL_QEMU and HIL_ESP_EMU to programs, or to their folder"
        # one that is there can be used, whatever the variable of the other one says
        state: State = "warn" if there else "fail"
        return CheckResult(
            check="emulators", state=state, said="; ".join(filter(None, (said, wrong[0]))), todo=todo
        )
    if there:
        return CheckResult(check="emulators", state="ok", said=said)
    todo = (
        "idf_tools.py install qemu-riscv32 qemu-xtensa, or HIL_QEMU names the folder; not needed for boards"
    )
    return CheckResult(check="emulators", state="warn", said="none found", todo=todo)


def check_quarantine(rows: Callable[[], Mapping[str, Board]]) -> CheckResult:
    """Boards that are not used until somebody has looked at them."""
    from esp_hil.boards.select import lifting, why_not

    try:
        shut = [(board, why) for board in rows().values() if (why := why_not(board))]
    except HilError as error:
        return CheckResult(
            check="quarantine", state="fail", said=error.message, todo=error.hint or "correct it"
        )
    if not shut:
        return CheckResult(check="quarantine", state="ok", said="no board")
    said = "; ".join(f"{board.id}: {why}" for board, why in shut)
    return CheckResult(check="quarantine", state="warn", said=said, todo=lifting(shut[0][0]))


def check_link(url: str, baud: int) -> CheckResult:
    """Frames of random bytes to a running device and back: whether the line carries them without a repair."""
    from esp_hil.device.device import Device
    from esp_hil.device.ports import open_link

    random_bytes = random.Random(0)
    try:
        with Device(open_link(url, baud)) as device:
            device.connect()
            before = device.link_statistics()
            for _ in range(LINK_PINGS):
                data = random_bytes.randbytes(LINK_PING_BYTES)
                if device.ping(data) != data:
                    said = "the device sent other bytes back than it got"
                    return CheckResult(check="link", state="fail", said=said, todo="flash the firmware again")
            after = device.link_statistics()
    except HilError as error:
        return CheckResult(check="link", state="fail", said=error.message, todo=error.hint or "hil boards")
    noise = after.noise_segments - before.noise_segments
    repeated = after.repeated_requests - before.repeated_requests
    said = f"{LINK_PINGS} frames at {baud} baud, {noise} damaged, {repeated} repeated"
    if noise or repeated:
        return CheckResult(
            check="link", state="warn", said=said, todo="use a lower baud rate or another cable"
        )
    return CheckResult(check="link", state="ok", said=said)


def examine(*, link: str | None = None, baud: int = 115_200) -> Iterator[CheckResult]:
    """All checks on this machine, one after the other.

    Args:
        link: a port or URL whose line is tried as well.
        baud: its rate.
    """
    from functools import cache

    from esp_hil.boards.select import rows
    from esp_hil.device.ports import serial_ports
    from esp_hil.esp.idf import find_idf

    idf = cache(find_idf)
    ports = serial_ports()
    yield check_python()
    yield check_packages()
    yield check_core()
    yield check_esptool()
    yield check_idf(idf)
    yield check_toolchains(idf)
    yield check_drivers()
    yield check_ports(ports)
    yield check_permissions(ports)
    yield check_boards(rows)
    yield check_quarantine(rows)
    yield check_emulators()
    if link is not None:
        yield check_link(link, baud)

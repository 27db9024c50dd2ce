"""A bare machine as a host of boards: the files that make its ports stable and its CI find them, and what to check.

docs/runner.md is the way from nothing to a green nightly; `hil runner setup` writes what can be written here.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from esp_hil.boards import labgrid, lease
from esp_hil.boards.doctor import BRIDGES, CheckResult
from esp_hil.boards.select import Board
from esp_hil.errors import HilError

RULES = "99-esp-hil.rules"
TMPFILES = "esp-hil.conf"
LABELS = "labels.txt"
UDEV_FOLDERS = (Path("/etc/udev/rules.d"), Path("/usr/lib/udev/rules.d"), Path("/lib/udev/rules.d"))
_ASK_S = 20


def udev_rules(boards: Iterable[Board]) -> str:
    """Rules for ports of ESP32 boards: nobody probes them, dialout may open them, boards with a row have a stable name.

    A row's name is `/dev/esp-hil/ID`, by serial number where it has one, else by the USB socket it is plugged into.
    """
    lines = [
        "# Ports of ESP32 boards, by `hil runner setup`: sudo cp to /etc/udev/rules.d, then",
        "# sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=tty",
    ]
    for vendor, name in BRIDGES.items():
        # both would take a new port for a modem or a braille display, and write to it
        ignored = 'ENV{ID_MM_DEVICE_IGNORE}="1", ENV{ID_MM_PORT_IGNORE}="1", ENV{BRLTTY_BRAILLE_DRIVER}=""'
        lines += [
            f"# {name}",
            f'SUBSYSTEM=="usb", ATTR{{idVendor}}=="{vendor:04x}", {ignored}',
            f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vendor:04x}", GROUP="dialout", MODE="0660", {ignored}',
        ]
    for board in boards:
        if match := _match(board):
            lines.append(f'SUBSYSTEM=="tty", {match}, SYMLINK+="esp-hil/{board.id}"')
    return "\n".join(lines) + "\n"


def _match(board: Board) -> str:
    if board.serial_number:
        return f'ENV{{ID_SERIAL_SHORT}}=="{board.serial_number}"'
    if board.usb_path:
        return f'KERNELS=="{board.usb_path}"'
    if board.mac:
        return f'ENV{{ID_SERIAL_SHORT}}=="{board.mac.upper()}"'
    return ""


def tmpfiles() -> str:
    """For systemd-tmpfiles: the folder of leases is there for all users from the start."""
    return f"d {lease.folder()} {lease.FOLDER_MODE:04o} root root -\n"


def labels(host: str, boards: Iterable[Board]) -> str:
    """Labels of this host's runner, as its config.sh takes them: one of all hosts, its own, and one a board."""
    return ",".join(["esp-hil", host, *(f"board-{board.id}" for board in boards)])


def write_setup(folder: Path, host: str, boards: Mapping[str, Board]) -> tuple[Path, ...]:
    """Write the files into a folder, from which root copies them.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        RULES: udev_rules(boards.values()),
        TMPFILES: tmpfiles(),
        LABELS: labels(host, boards.values()) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(folder / name for name in texts)


# checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the checks look at.

    Attributes:
        environ: of the runner's jobs.
        groups: names of the groups that the user is in.
        checkout: folder that CI cleans.
        run: what a program prints; raises OSError or CalledProcessError.
        udev: folders of rules.
    """

    environ: Mapping[str, str]
    groups: frozenset[str]
    checkout: Path
    run: Callable[[list[str]], str]
    udev: tuple[Path, ...] = UDEV_FOLDERS


def this_host() -> Host:
    """The machine that this runs on, as its user sees it."""
    import grp

    def name_of(group: int) -> str:
        try:
            return grp.getgrgid(group).gr_name
        except KeyError:
            return str(group)

    return Host(
        environ=os.environ,
        groups=frozenset(map(name_of, os.getgroups())),
        checkout=Path.cwd(),
        run=lambda command: (
            subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=True).stdout
        ),
    )


def examine_runner(host: Host) -> Iterator[CheckResult]:
    """All checks of a host of boards."""
    yield check_dialout(host)
    yield check_rules(host)
    yield check_modem_manager(host)
    yield check_brltty(host)
    yield check_leases()
    yield check_boards_file(host)
    yield check_history(host)
    yield check_venv(host)
    if host.environ.get("HIL_LABGRID") or host.environ.get("LG_COORDINATOR"):
        yield check_farm()


def check_dialout(host: Host) -> CheckResult:
    """Whether the user may open serial ports."""
    if "dialout" in host.groups or "root" in host.groups:
        return CheckResult(check="dialout", state="ok", said="the user may open serial ports")
    todo = "sudo usermod -a -G dialout $USER, then restart the runner's service"
    return CheckResult(check="dialout", state="fail", said="the user is not in the group dialout", todo=todo)


def check_rules(host: Host) -> CheckResult:
    """Whether the rules are installed."""
    there = [folder / RULES for folder in host.udev if (folder / RULES).is_file()]
    if there:
        return CheckResult(check="udev", state="ok", said=str(there[0]))
    todo = (
        f"hil runner setup, then: sudo cp runner/{RULES} /etc/udev/rules.d && sudo udevadm control --reload"
    )
    return CheckResult(check="udev", state="warn", said=f"no {RULES}: names of ports may change", todo=todo)


def check_modem_manager(host: Host) -> CheckResult:
    """ModemManager probes new serial ports unless a rule forbids it."""
    try:
        active = host.run(["systemctl", "is-active", "ModemManager"]).strip() == "active"
    except (OSError, subprocess.SubprocessError):
        active = False  # not installed, or no systemd
    if not active:
        return CheckResult(check="ModemManager", state="ok", said="does not run")
    if check_rules(host).state == "ok":
        return CheckResult(check="ModemManager", state="ok", said="runs, and the rules keep it away")
    todo = f"install {RULES}, or: sudo systemctl disable --now ModemManager"
    return CheckResult(check="ModemManager", state="fail", said="runs and writes to new ports", todo=todo)


def check_brltty(host: Host) -> CheckResult:
    """Brltty takes ports of CH340 and CP210x bridges for braille displays."""
    rules = [path for folder in host.udev if folder.is_dir() for path in folder.glob("*brltty*.rules")]
    if not rules:
        return CheckResult(check="brltty", state="ok", said="is not installed")
    todo = "sudo apt-get remove brltty"
    return CheckResult(check="brltty", state="warn", said=f"may take the ports ({rules[0]})", todo=todo)


def check_leases() -> CheckResult:
    """Whether all users can lease boards."""
    folder = lease.folder()
    if not folder.exists():
        return CheckResult(check="leases", state="ok", said=f"{folder} is made by the first run")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode == lease.FOLDER_MODE:
        return CheckResult(check="leases", state="ok", said=f"{folder}, for all users")
    todo = f"sudo chmod {lease.FOLDER_MODE:o} {folder}"
    return CheckResult(
        check="leases", state="fail", said=f"{folder} has mode {mode:o}: other users cannot lease", todo=todo
    )


def check_farm(places: Callable[[], Sequence[labgrid.Place]] = labgrid.places) -> CheckResult:
    """Whether labgrid's coordinator answers, and what of its places can be used."""
    try:
        found = places()
    except HilError as error:
        return CheckResult(check="labgrid", state="fail", said=error.message, todo=error.hint)
    out = [f"{place.name} ({place.why_not})" for place in found if place.why_not]
    said = f"{len(found) - len(out)} of {len(found)} places can be used"
    if not out:
        return CheckResult(check="labgrid", state="ok", said=said)
    return CheckResult(
        check="labgrid", state="warn", said=f"{said}; not {', '.join(out)}", todo="hil boards shows them"
    )


def check_boards_file(host: Host) -> CheckResult:
    """The rows are outside the checkout, which CI cleans."""
    named = host.environ.get("HIL_BOARDS", "")
    todo = "HIL_BOARDS=/etc/esp-hil/boards.toml in the .env beside the runner's run.sh"
    if not named:
        return CheckResult(check="HIL_BOARDS", state="fail", said="is not set", todo=todo)
    if not Path(named).is_file():
        return CheckResult(check="HIL_BOARDS", state="fail", said=f"{named} is not a file", todo=todo)
    if Path(named).resolve().is_relative_to(host.checkout.resolve()):
        said = f"{named} lies in the checkout, which is cleaned"
        return CheckResult(check="HIL_BOARDS", state="warn", said=said, todo=todo)
    return CheckResult(check="HIL_BOARDS", state="ok", said=named)


def check_history(host: Host) -> CheckResult:
    """The history is outside the checkout, and the user may write it."""
    named = host.environ.get("HIL_HISTORY", "") or "/var/lib/esp-hil/history.sqlite"
    if "://" in named and not named.startswith("sqlite"):
        return CheckResult(check="history", state="ok", said=f"a server ({named.partition(':')[0]})")
    folder = Path(named.rpartition("///")[2]).parent
    if folder.is_dir() and os.access(folder, os.W_OK):
        return CheckResult(check="history", state="ok", said=named)
    todo = f"sudo install -d -o $USER {folder}"
    return CheckResult(check="history", state="fail", said=f"{folder} cannot be written", todo=todo)


def check_venv(host: Host) -> CheckResult:
    """Debian and Ubuntu have pip and venv in packages of their own, and refuse `pip install --user`."""
    try:
        host.run(["python3", "-c", "import ensurepip, venv"])
    except (OSError, subprocess.SubprocessError):
        todo = "sudo apt-get install python3-venv"
        return CheckResult(
            check="venv", state="fail", said="python3 cannot make virtual environments", todo=todo
        )
    return CheckResult(check="venv", state="ok", said="python3 can make virtual environments")

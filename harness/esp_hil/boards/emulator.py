"""Emulated boards: the flash image of a chip in Espressif's QEMU or in esp-emu, UART0 on a TCP socket.

    with EmulatedBoard(target("esp32c3"), "qemu", image) as board:
        device = Device(board.connect(), reopen=board.connect)

The emulator is a program of its own that the user has installed; nothing of it comes with esp-hil. Its flash
file is a copy and is the chip's flash: what the firmware writes is there after a restart.

What an emulator computes is the firmware's own code, so its answers and its memory count. Its time does not.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, get_args

from esp_hil.device.link import Link
from esp_hil.device.ports import open_link
from esp_hil.errors import BoardUnavailable, ConfigError
from esp_hil.settings import Name, variable
from esp_hil.targets import Target

LOG = logging.getLogger(__name__)

EmulatorKind = Literal["qemu", "esp-emu"]

START_S = 20.0
STOP_S = 2.0
RETRY_S = 0.05
PORTS_TO_TRY = 3
BAUD = 115_200
"""Of the console's UART: QEMU carries it at that rate, so that more would wait in the socket."""

QEMU_PROGRAMS: Final[Mapping[str, str]] = {
    "esp32": "qemu-system-xtensa",
    "esp32s3": "qemu-system-xtensa",
    "esp32c3": "qemu-system-riscv32",
}
"""The chips that Espressif's QEMU has a machine of, and in which of its programs."""

ESP_EMU_CHIPS: Final = ("esp32c3", "esp32c5", "esp32c6", "esp32p4", "esp32s3")

_VARIABLES: Final[Mapping[EmulatorKind, Name]] = {"qemu": "HIL_QEMU", "esp-emu": "HIL_ESP_EMU"}
_HOW_TO: Final[Mapping[EmulatorKind, str]] = {
    "qemu": "idf_tools.py install qemu-riscv32 qemu-xtensa, or name the board qemu:/path/to/qemu, or set HIL_QEMU",
    "esp-emu": "see github.com/espressif/esp-emulator; or name the board esp-emu:/path, or set HIL_ESP_EMU",
}


def named(board: str) -> tuple[EmulatorKind, str] | None:
    """Emulator and path of `qemu`, `qemu:/path`, `esp-emu` and `esp-emu:/path`; None for another board."""
    kind, _, path = board.partition(":")
    for known in get_args(EmulatorKind):
        if kind == known and not path.startswith("//"):
            return known, path
    return None


def find_program(
    kind: EmulatorKind,
    target: Target,
    given: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
) -> Path:
    """The program that emulates a chip: the given one, else HIL_QEMU or HIL_ESP_EMU, PATH, ESP-IDF's tools.

    Args:
        kind: which emulator.
        target: the chip.
        given: a program, or the folder that holds it; "" to look for it.
        environ: environment variables; default: this process's.
        home: the home folder; default: the user's.

    Raises:
        ConfigError: the emulator does not have this chip, or what was named is not a program.
        BoardUnavailable: it is not installed.
    """
    environ = os.environ if environ is None else environ
    name = _program_name(kind, target)
    for path, source in ((given, "the board"), (environ.get(_VARIABLES[kind], ""), _VARIABLES[kind])):
        if path:
            return _checked(Path(path).expanduser(), name, source)
    if found := shutil.which(name, path=environ.get("PATH")):
        return Path(found)
    installation = Path(
        environ.get("IDF_TOOLS_PATH") or (Path.home() if home is None else home) / ".espressif"
    )
    for installed in sorted((installation / "tools").glob(f"qemu-*/*/qemu/bin/{name}"), reverse=True):
        return installed
    raise BoardUnavailable(f"{name} is not installed", hint=_HOW_TO[kind], board=kind, step="start")


def _program_name(kind: EmulatorKind, target: Target) -> str:
    known = QEMU_PROGRAMS if kind == "qemu" else dict.fromkeys(ESP_EMU_CHIPS, "esp-emu")
    if target.name not in known:
        has = ", ".join(known)
        raise ConfigError(
            f"{kind} does not emulate the {target.name}", hint=f"it has {has}; a virtual board has every chip"
        )
    return known[target.name]


def _checked(path: Path, name: str, source: str) -> Path:
    program = path / name if path.is_dir() else path
    if not program.is_file() or not os.access(program, os.X_OK):
        raise ConfigError(f"{source} names {program}, which is not a program", hint=f"the path of {name}")
    return program.absolute()


def command_line(
    kind: EmulatorKind, program: Path, target: Target, *, flash: Path, port: int, extra: Sequence[str] = ()
) -> list[str]:
    """How the emulator is started: the chip waits for the first connection where the emulator can (QEMU)."""
    place = f"127.0.0.1:{port}"
    if kind == "esp-emu":
        words = ["--chip", target.name, "--firmware", str(flash), "--uart-tcp", place, "--save-state"]
    else:
        words = ["-M", target.name, "-display", "none", "-monitor", "none"]
        words += ["-serial", f"tcp:{place},server=on,wait=on,nodelay=on"]
        words += ["-drive", f"file={flash},if=mtd,format=raw"]
    return [str(program), *words, *extra]


class EmulatedBoard:
    """A chip in an emulator, which ends with `stop`.

    Args:
        target: the chip.
        kind: which emulator.
        image: the whole flash as one file (`esp_hil.boards.flash.merge`); a copy of it is run.
        program: the emulator or its folder; "" to look for it.
        extra: further options for it, as on a command line; None: those of HIL_EMULATOR_ARGS.

    Raises:
        ConfigError, BoardUnavailable: see `find_program`.
    """

    def __init__(
        self,
        target: Target,
        kind: EmulatorKind,
        image: Path,
        *,
        program: str = "",
        extra: Sequence[str] | None = None,
    ) -> None:
        self.target = target
        self.kind: EmulatorKind = kind
        self.url = ""
        self._program = find_program(kind, target, program)
        self._extra = shlex.split(variable("HIL_EMULATOR_ARGS")) if extra is None else list(extra)
        self._folder = Path(tempfile.mkdtemp(prefix="hil-emulated-"))
        self._flash = self._folder / "flash.bin"
        self._log = self._folder / "log.txt"
        shutil.copyfile(image, self._flash)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def connect(self) -> Link:
        """Start it unless it runs, and connect to its UART: with QEMU, that is when the chip starts.

        Raises:
            BoardUnavailable: it ended, or does not listen in time; the message has its last words.
        """
        for attempt in range(1, PORTS_TO_TRY + 1):
            if not self.running:
                self._start()
            try:
                return self._reach()
            except BoardUnavailable as error:
                # between choosing a port and its use another program may have taken it
                if "in use" not in error.message or attempt == PORTS_TO_TRY:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def restart(self) -> None:
        """End it and start it anew with the flash as it is: a power cycle. `connect` connects again."""
        self._end()
        self._start()

    def stop(self) -> None:
        """End it and remove its files; more than once does no harm."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log_text(self) -> str:
        """What the emulator itself said."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        port = _free_port()
        self.url = f"socket://127.0.0.1:{port}?baud={BAUD}"
        command = command_line(
            self.kind, self._program, self.target, flash=self._flash, port=port, extra=self._extra
        )
        LOG.info("$ %s", shlex.join(command))
        with self._log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            except OSError as error:
                said = f"cannot start {self._program}: {error.strerror}"
                raise BoardUnavailable(said, hint=_HOW_TO[self.kind], board=self.kind, step="start") from None

    def _reach(self) -> Link:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return open_link(self.url, board=self.kind)
            except BoardUnavailable:
                if not self.running:
                    raise self._ended() from None
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_S)

    def _ended(self) -> BoardUnavailable:
        last = (self.log_text().strip().splitlines() or ["without a word"])[-1]
        return BoardUnavailable(
            f"{self._program.name} ended: {last}",
            hint=f"does it have a machine {self.target.name}? is the flash 2, 4, 8 or 16 MB?",
            board=self.kind,
            step="start",
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""A virtual board as its owner sees it: start, URL, reset, kill, power-cycle, stop."""

from __future__ import annotations

import json
import logging
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from esp_hil.errors import BoardUnavailable, LinkError
from esp_hil.settings import variable
from esp_hil.targets import Runtime, Target
from esp_hil.virtual.faults import FaultPlan

LOG = logging.getLogger(__name__)

START_S = 60.0
STOP_S = 5.0


class VirtualBoard:
    """A virtual board in a process of its own, which ends at the latest when this one does.

    Args:
        target: the chip.
        runtime: of its firmware.
        flash: file of the flash image; None: a new one that is removed by `stop`.
        listen: `pty` or `tcp`; None: what this system has.
        faults: planted ones; None: none.
        log: file for what the process says on its standard error; None: beside the flash.
        line: model of its line, as `hil virtual --baud-model`; "": what HIL_BAUD_MODEL says, or a line without a rate.
    """

    def __init__(
        self,
        target: Target,
        *,
        runtime: Runtime = "espdl",
        flash: Path | None = None,
        listen: str | None = None,
        faults: FaultPlan | None = None,
        log: Path | None = None,
        line: str = "",
    ) -> None:
        self._line = line
        self.target = target
        self.runtime = runtime
        self.url = ""
        self._folder = Path(tempfile.mkdtemp(prefix="hil-board-"))
        self._flash = flash or self._folder / "flash.bin"
        kind = listen or ("tcp" if sys.platform == "win32" else "pty")
        self._listen = f"pty:{self._folder / 'port'}" if kind == "pty" else kind
        self._faults = faults
        self._log = log or self._folder / "log.txt"
        self._process: subprocess.Popen[str] | None = None

    def link_model(self, image: bytes) -> None:
        """Have the firmware hold this model in its own image: location `rodata`."""
        from esp_hil.virtual.places import rodata_of

        rodata_of(self._flash).write_bytes(image)

    def put_file(self, name: str, image: bytes) -> str:
        """Put a file into its SPIFFS partition; returns the path that LOAD takes for location `file`."""
        from esp_hil.virtual.places import MOUNT, files_of

        files_of(self._flash).mkdir(parents=True, exist_ok=True)
        (files_of(self._flash) / name).write_bytes(image)
        return str(MOUNT / name)

    def start(self) -> str:
        """Start it, or start it again after `kill`; returns its URL, the same each time.

        Raises:
            BoardUnavailable: the process did not come up; the message has its last words.
            RuntimeFailed: this machine cannot run .tflite files; the hint says what to install.
        """
        if self.runtime == "tflm":
            from esp_hil.formats.tflite.interpreter import require_tflm  # numpy: not for every --help

            require_tflm()
        command = [sys.executable, "-m", "esp_hil.virtual", "--target", self.target.name]
        command += ["--runtime", self.runtime, "--control"]
        command += ["--flash", str(self._flash), "--listen", self._listen]
        if line := self._line or variable("HIL_BAUD_MODEL"):
            command += ["--baud-model", line]
        if self._faults is not None:
            command += ["--faults", self._faults.to_json()]
        LOG.info("$ %s", shlex.join(command))
        with self._log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._process = process
        assert process.stdout
        line = _first_line(process.stdout, START_S)
        if not line:
            self.kill()
            last = (self.log_text().strip().splitlines() or ["no output"])[-1]
            raise BoardUnavailable(
                f"the virtual {self.target.name} did not start: {last}",
                hint=f"its log was {self._log}",
                board="virtual",
                step="start",
            )
        self.url = json.loads(line)["url"]
        if self._listen == "tcp":
            self._listen = f"tcp:{self.url.rpartition(':')[2]}"
        return self.url

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def reset(self) -> None:
        """Press its reset button: the port stays, RAM is lost, BOOT follows."""
        self._command("reset")

    def power_cycle(self) -> None:
        """Cut its power for a moment: the port vanishes and comes back at the same URL; the flash stays."""
        self._command("power_cycle")

    def restart(self) -> None:
        """End its process and start it anew at the same URL; the flash stays."""
        self.kill()
        self.start()

    def kill(self) -> None:
        """End its process without notice, like a crashed emulator; `start` starts it again."""
        if self._process is not None:
            self._process.kill()
            self._wait()

    def stop(self) -> None:
        """End it and remove its temporary files; more than once does no harm."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log_text(self) -> str:
        """What the process said on its standard error."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self, word: str) -> None:
        try:
            if self._process is None or self._process.stdin is None:
                raise OSError("not started")
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise LinkError(
                f"cannot {word}: {error}", hint="start it first", board="virtual", step=word
            ) from error

    def _wait(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def _first_line(stream: IO[str], timeout_s: float) -> str:
    """The first line, or "" if the stream ends or nothing comes in time (where `select` works on pipes)."""
    if sys.platform != "win32":
        until = time.monotonic() + timeout_s
        ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return ""
    return stream.readline()

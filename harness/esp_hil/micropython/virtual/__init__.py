"""A virtual MicroPython board as its owner sees it: MicroPython itself behind a pty, `espdl` by the exact reference."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from esp_hil.errors import BoardUnavailable, LinkClosed
from esp_hil.micropython.virtual.interpreter import missing

__all__ = ["VirtualMicroPython", "missing"]

START_S = 30.0
STOP_S = 5.0


class VirtualMicroPython:
    """A virtual MicroPython board in a process of its own, which ends at the latest when this one does.

    Args:
        target: the chip whose numerics the networks have.
        zoo: folder with the weights.
        quirks: what is wrong on purpose, see `quirks.QUIRKS`.
        binding: 102d875, 6012426 or ours; "": the newest that has images for the chip.
        classes: what the firmware offers; empty: all whose weights are there.
        listen: `pty` or `tcp` for a UART, `usb` for the chip's own USB.
        ring_bytes: what its receiver holds; 0: as a chip's.
        direct_writes: whether its file system takes each write at once, as FAT, and not at a file's end, as LittleFS.
        psram_bytes: what frames and networks share; 0: 8 MB.
    """

    def __init__(
        self,
        target: str,
        zoo: Path,
        *,
        quirks: Iterable[str] = (),
        binding: str = "",
        classes: Iterable[str] = (),
        listen: str = "pty",
        ring_bytes: int = 0,
        direct_writes: bool = False,
        psram_bytes: int = 0,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hil-board-"))
        self.flash = self._folder / "flash"
        where = f"pty:{self._folder / 'port'}" if listen == "pty" else listen
        self._command = [sys.executable, "-m", "esp_hil.micropython.virtual", "--control"]
        self._command += ["--target", target, "--zoo", str(zoo), "--flash", str(self.flash)]
        self._command += ["--listen", where, "--quirks", ",".join(quirks), "--classes", ",".join(classes)]
        self._command += [
            "--ring-bytes",
            str(ring_bytes),
            "--binding",
            binding,
            "--psram-bytes",
            str(psram_bytes),
        ]
        self._command += ["--direct-writes"] if direct_writes else []
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> str:
        """Start it; returns its URL.

        Raises:
            BoardUnavailable: it did not come up; the message has its last words.
        """
        log = self._folder / "log.txt"
        with log.open("a", encoding="utf-8") as words:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True
            )
        assert self._process.stdout
        readable, _, _ = select.select([self._process.stdout], [], [], START_S)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            last = (log.read_text(encoding="utf-8").strip().splitlines() or ["no output"])[-1]
            self.stop()
            raise BoardUnavailable(
                f"the virtual MicroPython board did not start: {last}",
                hint="docs/micropython.md tells what it needs",
                board="virtual",
                step="start",
            )
        self.url = json.loads(line)["url"]
        return self.url

    def _tell(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline():
            return
        raise LinkClosed("the virtual MicroPython board ended", hint="its log is lost; run it by hand")

    def reset(self) -> None:
        """Press its reset button."""
        self._tell("reset")

    def power_cycle(self) -> None:
        """Cut its power for a moment: the port vanishes and comes back at the same URL; the flash stays."""
        self._tell("power_cycle")

    def cut_power_after(self, count: int) -> None:
        """Cut its power when its program has written `count` more bytes to the flash, and switch it on again."""
        self._tell(f"cut {count}")

    def leave_free(self, count: int | None) -> None:
        """Have its file system be full after `count` more bytes; None: no longer."""
        self._tell(f"free {-1 if count is None else count}")

    def panic_at(self, operation: str, kind: str = "pointer") -> None:
        """Have the chip panic when its program next does this.

        Args:
            operation: construct, run, recognize, decode, create, store, close, remove; hello is `import espdl`.
            kind: pointer, as a network that the image lacks, or memory, as C++ without any.
        """
        self._tell(f"panic {operation} {kind}")

    def stop(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.close()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

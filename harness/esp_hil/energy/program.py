"""Any program that prints its samples as CSV: a logger of another meter, an oscilloscope's script.

The first line names the columns: `time_s` and `current_a`, and where they are known `voltage_v` and `gate` (0 or 1).
The program is started for each measurement and ended behind it.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time

import numpy as np

from esp_hil.energy.meter import MeterInfo, PowerTrace, Values
from esp_hil.errors import MeterError

NEEDED = ("time_s", "current_a")
KNOWN = (*NEEDED, "voltage_v", "gate")
END_S = 5.0
PUMP_S = 0.05


class ProgramMeter:
    """A program that is a meter.

    Args:
        command: as on a command line.
        sample_hz: of its samples, as it promises them.
        range_a: the largest current that it can tell.
        supply_v: at the board, where it prints none.
        has_gate: whether it prints a gate.

    Raises:
        MeterError: the command has no meaning.
    """

    def __init__(
        self, command: str, *, sample_hz: float, range_a: float, supply_v: float, has_gate: bool
    ) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise MeterError(f"program {command!r}: {error}") from None
        if not self._command:
            raise MeterError("program: which?", hint="program:my-logger --csv")
        self._supply_v = supply_v
        self._process: subprocess.Popen[bytes] | None = None
        self._text = bytearray()
        self._info = MeterInfo(
            kind="program",
            serial=self._command[0].rpartition("/")[2],
            sample_hz=sample_hz,
            range_a=range_a,
            averages=False,
            calibration="the program's",
            has_gate=has_gate,
        )

    @property
    def info(self) -> MeterInfo:
        """What it is."""
        return self._info

    @property
    def received(self) -> int:
        """Samples since `start`."""
        return max(0, self._text.count(b"\n") - 1)

    def start(self) -> None:
        """Start the program anew."""
        self.close()
        self._text.clear()
        try:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise MeterError(f"{self._command[0]}: {error.strerror}", hint="program:COMMAND") from None

    def pump(self) -> None:
        """Take in what it has printed."""
        self._take(PUMP_S)

    def _take(self, wait_s: float) -> bool:
        process = self._process
        if process is None or process.stdout is None:
            return False
        ready, _, _ = select.select([process.stdout], [], [], wait_s)
        data = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
        self._text += data
        if ready and not data:
            select.select([], [], [], wait_s)  # it has ended; whoever pumps goes on asking
        return bool(data)

    def stop(self) -> PowerTrace:
        """End the program; everything that it printed."""
        if self._process is not None:
            self._process.terminate()
        # what is in the pipe is read to its end; a program that goes on all the same is ended by `close`
        until = time.monotonic() + END_S
        while self._take(PUMP_S) and time.monotonic() < until:
            pass
        self.close()
        return read_csv(self._text.decode("utf-8", "replace"), self._supply_v)

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def read_csv(text: str, supply_v: float) -> PowerTrace:
    """The samples of CSV lines; one that does not parse is a lost sample, but for the last, which may be cut off.

    Raises:
        MeterError: the first line does not name the columns.
    """
    head, _, rest = text.lstrip().partition("\n")
    names = [name.strip().lower() for name in head.split(",")]
    if any(name not in names for name in NEEDED):
        raise MeterError(
            f"the program's first line is {head.strip()[:60]!r}", hint=f"columns: {','.join(KNOWN)}"
        )
    lines = rest.split("\n")[:-1]
    table = np.array([_row(line, len(names)) for line in lines if line.strip()], np.float64)
    table = table.reshape(-1, len(names))
    columns: dict[str, Values] = {name: table[:, place] for place, name in enumerate(names)}
    known = ~np.isnan(columns["time_s"])
    times_s = columns["time_s"][known]
    if len(times_s) and (np.diff(times_s) <= 0).any():
        raise MeterError("the program's times do not rise", hint="time_s in seconds, one line a sample")
    current = columns["current_a"][known]
    gate = np.nan_to_num(columns["gate"][known]) > 0.5 if "gate" in columns else None
    voltage = columns["voltage_v"][known] if "voltage_v" in columns else np.full(len(times_s), supply_v)
    return PowerTrace(
        times_s=times_s - times_s[0] if len(times_s) else times_s,
        current_a=np.where(np.isnan(voltage), np.nan, current),
        voltage_v=voltage,
        gate=gate,
        saturated=np.zeros(len(times_s), np.bool_),
    )


def _row(line: str, count: int) -> list[float]:
    try:
        cells = [float(cell) for cell in line.split(",")]
    except ValueError:
        cells = []
    return cells if len(cells) == count else [float("nan")] * count

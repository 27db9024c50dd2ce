"""What the harness adds to an inference, and what a pty carries: this machine's time, a core in a process of its own.

The other process runs the device core with an engine that takes no time worth mentioning (`answer` of
`esp_hil.virtual.simulated`), behind a pty without a rate.
"""

from __future__ import annotations

import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from esp_hil.device.device import Device

INPUT_BYTES, OUTPUT_BYTES = 784, 10
OBJECT_BYTES = 16 << 20
T = TypeVar("T")
IDLE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTripFigures:
    """Seconds of an inference beside its engine, and bytes a second of one large object.

    Attributes:
        inferences: how many were timed, one after the other.
        median_s: of what is not the engine.
        p99_s: likewise.
        downward_bytes_per_s: of an object of `object_bytes` to the device.
        upward_bytes_per_s: from it.
        object_bytes: of that object.
        load: processes that waited for a core of this machine meanwhile, per core.
    """

    inferences: int
    median_s: float
    p99_s: float
    downward_bytes_per_s: float
    upward_bytes_per_s: float
    object_bytes: int
    load: float


def measure_round_trips(inferences: int = 3000) -> RoundTripFigures:
    """Time them.

    Raises:
        HilError: the other process did not start, or the link failed.
    """
    each = _with_board(INPUT_BYTES, OUTPUT_BYTES, lambda device: _timed(device, inferences))
    rates = _with_board(OBJECT_BYTES, OBJECT_BYTES, _throughput)
    ordered = sorted(each)
    return RoundTripFigures(
        inferences=inferences,
        median_s=statistics.median(ordered),
        p99_s=ordered[int(len(ordered) * 0.99)],
        downward_bytes_per_s=rates[0],
        upward_bytes_per_s=rates[1],
        object_bytes=OBJECT_BYTES,
        load=os.getloadavg()[0] / (os.cpu_count() or 1),
    )


def _with_board(input_bytes: int, output_bytes: int, use: Callable[[Device], T]) -> T:
    from esp_hil.device.ports import open_link

    with tempfile.TemporaryDirectory(prefix="hil-bench-") as folder:
        port = str(Path(folder) / "port")
        command = [sys.executable, "-m", __name__, port, str(input_bytes), str(output_bytes)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                process.stdout.readline()
                with Device(open_link(port)) as device:
                    device.connect()
                    device.load()
                    return use(device)
            finally:
                process.kill()


def _timed(device: Device, inferences: int) -> list[float]:
    inputs = {"x": np.arange(INPUT_BYTES, dtype=np.uint16).astype(np.uint8)}
    for _ in range(200):
        device.infer(inputs)
    spent = []
    hz = device.info().clock_hz
    for _ in range(inferences):
        began = time.perf_counter()
        made = device.infer(inputs)
        spent.append(time.perf_counter() - began - made.cycles[0] / hz)
    return spent


def _throughput(device: Device) -> tuple[float, float]:
    from esp_hil.wire.objects import Object

    data = np.random.default_rng(1).integers(0, 256, OBJECT_BYTES, dtype=np.uint8).tobytes()
    began = time.perf_counter()
    device.set_input_bytes(0, data)
    middle = time.perf_counter()
    talk = device.conversation
    read = talk.session("bench").download(Object.INPUT, talk.now())
    device.wait_for(read, "bench", IDLE_S)
    ended = time.perf_counter()
    assert read.data == data
    return OBJECT_BYTES / (middle - began), OBJECT_BYTES / (ended - middle)


def _serve(port: Path, input_bytes: int, output_bytes: int) -> None:
    from esp_hil.virtual.ports import PtyPort
    from esp_hil.virtual.simulated import CoreSettings, SimulatedDevice

    core = CoreSettings(
        max_payload=8192,
        rx_window=1 << 17,
        answer_bytes=4096,
        slots_bytes=2 * (input_bytes + output_bytes) + 4096,
    )
    board = SimulatedDevice(input_bytes=input_bytes, output_bytes=output_bytes, core=core)
    board.storage.hold(b"a model")
    line = PtyPort(port)
    print("ready", flush=True)
    outgoing = b""
    while True:
        readable, _, _ = select.select(line.readers(), line.writers() if outgoing else [], [], IDLE_S)
        if readable:
            board.server.receive(line.read())
        while outgoing or (outgoing := board.server.transmit(1 << 16)):
            written = line.write(outgoing)
            if not written:
                break
            outgoing = outgoing[written:]


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

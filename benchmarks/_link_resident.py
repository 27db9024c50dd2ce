"""What 1,000 golden inputs cost that are sent each time, stored, and found on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks._link_efficiency import connected
from esp_hil.device.inference import Inference
from esp_hil.device.resident import store
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import CoreSettings, SimulatedDevice, SimulatedLink, answer

RECORDS, RECORD_BYTES, OUTPUT_BYTES = 1000, 784, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentFigures:
    """Bytes to the device and seconds of the line's clock.

    Attributes:
        baud: of the line.
        records: of the set, 784 bytes each.
        each_time: inputs sent with every run.
        storing: the set is put on the device.
        resident: the set is there: found by its hash and run.
        digests: likewise, and outputs that are as expected are not sent (bytes are those to the host).
    """

    baud: int
    records: int
    each_time: tuple[int, float]
    storing: tuple[int, float]
    resident: tuple[int, float]
    digests: tuple[int, float]


def resident_figures(baud: int) -> ResidentFigures:
    """Measure them on a simulated line with a bridge of 1 ms."""
    core = CoreSettings(golden_bytes=1 << 20)
    board = SimulatedDevice(input_bytes=RECORD_BYTES, output_bytes=OUTPUT_BYTES, core=core)
    link, device = connected(LineModel(baud=baud), board)
    source = np.random.default_rng(1)
    records = [{"x": source.integers(0, 256, RECORD_BYTES, dtype=np.uint8)} for _ in range(RECORDS)]
    right = [answer(record["x"].tobytes(), OUTPUT_BYTES) for record in records]
    device.info()

    def check(made: Iterable[Inference]) -> None:
        assert [one.outputs["y"].tobytes() for one in made] == right

    def run_resident(expected: list[bytes] | None) -> None:
        resident = store(device, records)
        assert resident is not None
        assert resident.sent_bytes == 0
        check(resident.infer(range(RECORDS), expected=expected))

    each_time = _spent(link, lambda: check(device.infer_many(records)))
    storing = _spent(link, lambda: store(device, records))
    resident = _spent(link, lambda: run_resident(None))
    up = link.up.pushed_bytes
    digests = _spent(link, lambda: run_resident(right))
    board.close()
    return ResidentFigures(
        baud=baud,
        records=RECORDS,
        each_time=each_time,
        storing=storing,
        resident=resident,
        digests=(link.up.pushed_bytes - up, digests[1]),
    )


def _spent(link: SimulatedLink, work: Callable[[], object]) -> tuple[int, float]:
    sent, began_s = link.down.pushed_bytes, link.now()
    work()
    return link.down.pushed_bytes - sent, link.now() - began_s

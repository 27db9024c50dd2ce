"""How full the simulated line is: transfers of one object, series of them, and runs over many inputs.

And what 1,000 golden inputs cost that are sent each time, stored, and found on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from esp_hil.device.device import Device
from esp_hil.device.inference import Inference
from esp_hil.device.resident import store
from esp_hil.device.tuning import choose_pad
from esp_hil.virtual.faults import FaultPlan, LineFaults
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import CoreSettings, SimulatedDevice, SimulatedLink, answer
from esp_hil.wire.objects import Object
from esp_hil.wire.transfers import DownloadTask, UploadTask

IMAGE = b"the simulated model"
CONNECT_S = 60.0
SERIES_S = 3600.0
AHEAD = 2
RECORDS, RECORD_BYTES, OUTPUT_BYTES = 1000, 784, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Payload bytes a second over what the line carries (10 bits a byte), 0..1.

    Attributes:
        baud: of the line.
        latency_s: of the bridge.
        max_payload: of the device's frames.
        object_bytes: of each object.
        objects: in a row.
        upward: from device to host.
        downward: from host to device.
    """

    baud: int
    latency_s: float
    max_payload: int
    object_bytes: int
    objects: int
    upward: float
    downward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A run over many inputs against max(transfer, compute) for each.

    Attributes:
        baud: of the line.
        input_bytes: of each input.
        output_bytes: of each output.
        compute_s: of each inference.
        ideal_s: max(transfer of the larger direction at the line rate, compute).
        each_s: what each further input took, start and end of the run left out.
        factor: each_s / ideal_s.
    """

    baud: int
    input_bytes: int
    output_bytes: int
    compute_s: float
    ideal_s: float
    each_s: float
    factor: float


def connected(
    model: LineModel, board: SimulatedDevice, faults: FaultPlan | None = None
) -> tuple[SimulatedLink, Device]:
    """A device with a loaded model behind a simulated line."""
    board.storage.hold(IMAGE)
    link = SimulatedLink(model, board, faults)
    device = Device(link, seed=1, reopen=link.reopen)
    device.connect(CONNECT_S)
    device.load()
    choose_pad(device)
    return link, device


def efficiency(
    *,
    baud: int,
    latency_s: float,
    object_bytes: int,
    objects: int,
    core: CoreSettings,
    bit_error_rate: float = 0.0,
) -> Efficiency:
    """Write so many objects one after the other, then read as many."""
    faults = LineFaults(bit_error_rate=bit_error_rate)
    board = SimulatedDevice(input_bytes=object_bytes, output_bytes=object_bytes, core=core)
    link, device = connected(
        LineModel(baud=baud, latency_s=latency_s),
        board,
        FaultPlan(seed=3, to_device=faults, to_host=faults),
    )
    data = np.random.default_rng(1).integers(0, 256, object_bytes, dtype=np.uint8)
    slots = device.info().slots
    for made in device.infer_many([{"x": data}] * slots):
        assert made.outputs["y"].tobytes() == answer(data.tobytes(), object_bytes)
    began_s = link.now()
    _series(device, link, data.tobytes(), objects)
    middle_s = link.now()
    read = _series(device, link, None, objects)
    ended_s = link.now()
    assert all(piece == answer(data.tobytes(), object_bytes) for piece in read)
    carried = object_bytes * objects / link.model.bytes_per_s
    board.close()
    return Efficiency(
        baud=baud,
        latency_s=latency_s,
        max_payload=core.max_payload,
        object_bytes=object_bytes,
        objects=objects,
        upward=carried / (ended_s - middle_s),
        downward=carried / (middle_s - began_s),
    )


def _series(device: Device, link: SimulatedLink, data: bytes | None, objects: int) -> list[bytes]:
    """Write `data` to the slots in turn, or read their outputs; three at a time, as a run over inputs does."""
    talk = device.conversation
    session = talk.session("series")
    slots = device.info().slots
    tasks: list[UploadTask | DownloadTask] = []
    for number in range(objects):
        slot = number % slots
        if data is None:
            tasks.append(session.download(Object.OUTPUT, link.now(), slot=slot))
        else:
            tasks.append(session.upload(data, Object.INPUT, link.now(), slot=slot))
        if number >= AHEAD:
            talk.wait([tasks[number - AHEAD]], "series", SERIES_S)
    talk.wait(tasks, "series", SERIES_S)
    assert not any(task.failure for task in tasks)
    return [task.data for task in tasks]


def overlap(
    *, baud: int, input_bytes: int, output_bytes: int, compute_ratio: float, inputs: int = 40
) -> Overlap:
    """Two runs, one over twice as many inputs as the other: their difference is free of start and end.

    Args:
        baud: of the line.
        input_bytes: of each input.
        output_bytes: of each output.
        compute_ratio: compute time over the time of the larger transfer.
        inputs: of the shorter run.
    """
    model = LineModel(baud=baud)
    transfer_s = max(input_bytes, output_bytes) * model.byte_s
    compute_s = transfer_s * compute_ratio
    board = SimulatedDevice(input_bytes=input_bytes, output_bytes=output_bytes, compute_s=compute_s)
    link, device = connected(model, board)
    data = np.random.default_rng(1).integers(0, 256, input_bytes, dtype=np.uint8)
    right = answer(data.tobytes(), output_bytes)
    spent: list[float] = []
    for count in (inputs, 2 * inputs):
        began_s = link.now()
        for made in device.infer_many([{"x": data}] * count):
            assert made.outputs["y"].tobytes() == right
        spent.append(link.now() - began_s)
    board.close()
    ideal_s = max(transfer_s, compute_s)
    each_s = (spent[1] - spent[0]) / inputs
    return Overlap(
        baud=baud,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        compute_s=compute_s,
        ideal_s=ideal_s,
        each_s=each_s,
        factor=each_s / ideal_s,
    )


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

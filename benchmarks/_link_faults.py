"""Inferences over a simulated line that lies: how many answers are right, refused with an error, or wrong."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import numpy as np

from esp_hil.device.device import Device
from esp_hil.errors import DeviceFault, DeviceReset, HilError, LinkClosed
from esp_hil.virtual.faults import FaultPlan, LineFaults
from esp_hil.virtual.line import Incident
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import CoreSettings, SimulatedDevice, SimulatedLink, answer

IMAGE = b"the simulated model"
DEADLINE_S = 20.0
"""Of each inference, on the line's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A kind of trouble.

    Attributes:
        name: for the table.
        faults: of each direction of the line.
        incident: what befalls the board in the middle of a transfer, if anything.
        every: after so many transfers.
    """

    name: str
    faults: LineFaults
    incident: Incident | None = None
    every: int = 50


CAMPAIGNS = (
    Campaign(name="clean", faults=LineFaults()),
    Campaign(name="bit errors 1e-5", faults=LineFaults(bit_error_rate=1e-5)),
    Campaign(name="bit errors 1e-4", faults=LineFaults(bit_error_rate=1e-4)),
    Campaign(name="bit errors 1e-3", faults=LineFaults(bit_error_rate=1e-3)),
    Campaign(name="drops 0.1 %", faults=LineFaults(drop_rate=1e-3)),
    Campaign(name="duplicates 0.1 %", faults=LineFaults(duplicate_rate=1e-3)),
    Campaign(name="reordered packets 0.01 %", faults=LineFaults(reorder_rate=1e-4)),
    Campaign(
        name="console text", faults=LineFaults(text="W (1234) wifi: beacon lost\r\n", text_every_bytes=5000)
    ),
    Campaign(
        name="console text in most frames",
        faults=LineFaults(text="E (7) hil: noise\r\n", text_every_bytes=300),
    ),
    Campaign(name="stall of 0.5 s every 50", faults=LineFaults(), incident="stall"),
    Campaign(name="disconnect every 50", faults=LineFaults(), incident="disconnect"),
    Campaign(name="reset every 50", faults=LineFaults(), incident="reset"),
    Campaign(
        name="reset every 50, bit errors 1e-4", faults=LineFaults(bit_error_rate=1e-4), incident="reset"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCount:
    """What became of the transfers of a campaign.

    Attributes:
        name: of the campaign.
        transfers: input there, output back, each `bytes_each`.
        bytes_each: of an input and of an output.
        right: the answer was the right one.
        errors: those that ended in a typed error, by its class.
        wrong: the answer was another one.
        late: those that took longer than their deadline and a retransmission time-out.
        line_s: seconds of the line's clock.
        line_bytes: that went over the line, both directions.
        resets: of the device.
    """

    name: str
    transfers: int
    bytes_each: int
    right: int
    errors: dict[str, int]
    wrong: int
    late: int
    line_s: float
    line_bytes: int
    resets: int


def run_campaign(
    campaign: Campaign, *, transfers: int, bytes_each: int = 1024, baud: int = 921_600, seed: int = 1
) -> FaultCount:
    """Make so many transfers; deterministic for a seed."""
    plan = FaultPlan(seed=seed, to_device=campaign.faults, to_host=campaign.faults)
    board = SimulatedDevice(input_bytes=bytes_each, output_bytes=bytes_each, core=CoreSettings())
    board.storage.hold(IMAGE)
    link = SimulatedLink(LineModel(baud=baud), board, plan)
    source = random.Random(seed)
    device = Device(link, seed=seed, reopen=link.reopen)
    errors: Counter[str] = Counter()
    right = wrong = late = 0
    for number in range(1, transfers + 1):
        try:
            _make_ready(device)
        except HilError as error:
            errors[f"{type(error).__name__} (connecting)"] += 1
            continue
        if campaign.incident and number % campaign.every == 0:
            at = link.now() + source.random() * 2.2 * bytes_each / (baud / 10)
            if campaign.incident == "reset":
                link.restart_at = at
            elif campaign.incident == "stall":
                link.stall_at = at
            else:
                link.disconnect_at = at
        data = source.randbytes(bytes_each)
        began_s = link.now()
        try:
            made = device.infer({"x": np.frombuffer(data, np.uint8)}, timeout_s=DEADLINE_S)
        except HilError as error:
            errors[type(error).__name__] += 1
        else:
            good = made.outputs["y"].tobytes() == answer(data, bytes_each)
            right, wrong = right + good, wrong + (not good)
        late += link.now() - began_s > DEADLINE_S + 2.0
    return FaultCount(
        name=campaign.name,
        transfers=transfers,
        bytes_each=bytes_each,
        right=right,
        errors=dict(errors),
        wrong=wrong,
        late=late,
        line_s=link.now(),
        line_bytes=link.down.pushed_bytes + link.up.pushed_bytes,
        resets=board.resets - 1,
    )


def _make_ready(device: Device) -> None:
    """A session with a loaded model; a reset that is noticed only here is not the next transfer's fault."""
    for attempt in range(3):
        try:
            if not device.connected:
                device.connect()
            if device.info().model is None:
                device.load()
            return
        except (DeviceReset, DeviceFault, LinkClosed):
            if attempt == 2:
                raise

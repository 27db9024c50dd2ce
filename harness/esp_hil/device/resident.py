"""Golden inputs that stay on the device: sent once, named by their hash, run by number. docs/PROTOCOL.md section 8.

resident = store(device, records)
for inference in resident.infer(range(len(records))):
    ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from esp_hil.device.device import CALL_S, LOAD_S, STALL_S, Device
from esp_hil.device.inference import Inference, ResidentRecord, encode_inputs
from esp_hil.errors import DeviceFault, InputError
from esp_hil.tensors import Arrays
from esp_hil.wire.answers import HELLO_GOLDEN, GoldenAnswer
from esp_hil.wire.objects import Object
from esp_hil.wire.requests import GoldenRequest
from esp_hil.wire.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A golden set that the device has open; of this session.

    Attributes:
        device: that has it.
        records: how many.
        sent_bytes: of inputs that had to be sent to put it there: 0 if it was there.
    """

    device: Device
    records: int
    sent_bytes: int

    def infer(
        self, numbers: Iterable[int], *, expected: Sequence[bytes] | None = None, cores: int = 1
    ) -> Iterator[Inference]:
        """Run records in the order of `numbers`; while one is computed the next is already asked for.

        Args:
            numbers: of records, from 0.
            expected: for each record of the set the bytes of its outputs, one after the other in index order: only
                outputs that differ are sent.
            cores: 1 or 2.

        Raises:
            InputError: no such record.
        """
        return self.device.infer_many((self._record(number, expected) for number in numbers), cores=cores)

    def _record(self, number: int, expected: Sequence[bytes] | None) -> ResidentRecord:
        if not 0 <= number < self.records:
            raise InputError(f"the golden set has {self.records} records, not {number + 1}", step="infer").at(
                board=self.device.board
            )
        return ResidentRecord(number=number, expected=expected[number] if expected is not None else None)


def offered(device: Device) -> bool:
    """Whether the device keeps golden sets."""
    return device.conversation.session("golden").offers(HELLO_GOLDEN)


def store(
    device: Device, records: Iterable[Arrays], *, progress: Callable[[int], None] | None = None
) -> Resident | None:
    """Have the device keep these inputs of the loaded model, unless it does; None: they do not fit.

    Args:
        device: with a loaded model.
        records: inputs by name, in the device's shape and dtype.
        progress: called with the number of bytes that have arrived since its last call.

    Raises:
        InputError: no record, or one has a wrong name, shape or dtype.
        DeviceFault: the device keeps no golden sets, or what it stored is not what was sent.
    """
    specs = device.info().inputs
    encoded = [b"".join(encode_inputs(record, specs)) for record in records]
    if not encoded or not encoded[0]:
        raise InputError("a golden set without inputs", step="golden", board=device.board)
    content = b"".join(encoded)
    request = GoldenRequest(len(encoded), len(encoded[0]), hashlib.sha256(content).digest())
    try:
        found = _open(device, request)
        if found:
            return Resident(device=device, records=len(encoded), sent_bytes=0)
        session = device.conversation.session("golden")
        task = session.upload(content, Object.GOLDEN, device.conversation.now(), eager=False)
        device.wait_for(task, "golden", LOAD_S, stall_s=STALL_S, progress=progress)
    except DeviceFault as error:
        if error.status == Status.TOO_LARGE:
            return None
        raise
    if not _open(device, request):
        raise DeviceFault(
            "the golden set was written and is not there",
            status=Status.STORAGE_FAILED,
            hint="--hil-no-resident sends the inputs each time; the flash may be worn",
            step="golden",
        ).at(board=device.board)
    return Resident(device=device, records=len(encoded), sent_bytes=len(content))


def _open(device: Device, request: GoldenRequest) -> bool:
    """Open the set if the device has it; it hashes all of it."""
    talk = device.conversation
    call = talk.session("golden").call(request, talk.now())
    size_s = request.records * request.record_bytes / 1e6
    device.wait_for(call, "golden", CALL_S + LOAD_S * min(1.0, size_s))
    assert isinstance(call.answer, GoldenAnswer)
    return call.answer.found == 1


def infer_all(
    device: Device, records: Sequence[Arrays], *, resident: bool = True, cores: int = 1
) -> Iterator[Inference]:
    """Run once for each record, in order; of inputs that the device keeps nothing is sent.

    Args:
        device: with a loaded model.
        records: inputs by name, in the device's shape and dtype.
        resident: False: send them, wherever they could stay.
        cores: 1 or 2.
    """
    kept = store(device, records) if resident and records and offered(device) else None
    if kept is None:
        return device.infer_many(records, cores=cores)
    return kept.infer(range(kept.records), cores=cores)

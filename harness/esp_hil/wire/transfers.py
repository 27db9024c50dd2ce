"""The open transfers of a session: objects being written and read; docs/PROTOCOL.md section 4.

Each is opened by a request, then runs as `esp_hil.wire.transfer` says; it is begun anew when its bytes
arrived wrong or the device has forgotten it.
"""

from __future__ import annotations

import zlib
from collections import deque

from esp_hil.wire.answers import FailureAnswer, OpenReadAnswer, OpenWriteAnswer
from esp_hil.wire.calls import Call, Calls, PendingCall, Statistics
from esp_hil.wire.message import Message
from esp_hil.wire.objects import Object
from esp_hil.wire.pace import ChunkSize, RoundTrip
from esp_hil.wire.packing import Packer
from esp_hil.wire.requests import OpenReadRequest, OpenWriteRequest
from esp_hil.wire.status import Status
from esp_hil.wire.stream import Ack, Data
from esp_hil.wire.transfer import READ_CREDIT_BYTES, Download, Upload

RESTARTS = 5
"""How often a transfer is begun anew."""

Outgoing = list[tuple[Message, int]]


class UploadTask(PendingCall):
    """An object written to the device; `progress` counts acknowledged bytes."""

    def __init__(self, request: OpenWriteRequest, data: bytes, upload: Upload, *, eager: bool) -> None:
        super().__init__()
        self.request = request
        self.data = data
        self.upload = upload
        self.eager = eager
        self.opened = False
        self.restarts = 0

    @property
    def on_its_way(self) -> bool:
        """The device takes it and every byte was sent: a request that is made now finds it there if none is lost."""
        return self.done or (self.opened and self.upload.all_sent)


class DownloadTask(PendingCall):
    """An object read from the device: `data`, when done; `progress` counts received bytes."""

    def __init__(self, request: OpenReadRequest, download: Download) -> None:
        super().__init__()
        self.request = request
        self.data = b""
        self.download = download
        self.restarts = 0


class Transfers:
    """The transfers of one session.

    Args:
        calls: makes their requests.
        round_trip: shared with them.
        statistics: counted into.
        line_bytes_per_s: what the line carries, or None if it has no known limit.
    """

    def __init__(
        self,
        calls: Calls,
        round_trip: RoundTrip,
        statistics: Statistics,
        line_bytes_per_s: float | None = None,
    ) -> None:
        self._line_bytes_per_s = line_bytes_per_s
        self.chunk = ChunkSize(1)
        self.rx_window = 0
        self.packer = Packer(enabled=False)
        self.has_more = False
        """DATA could have been sent and was held back by the limit."""
        self.repeated_bytes = 0
        """Of the DATA of the last `transmit`: so many had been sent before."""
        self._calls = calls
        self._round_trip = round_trip
        self._statistics = statistics
        self._uploads: dict[int, UploadTask] = {}
        self._downloads: dict[int, DownloadTask] = {}
        self._last_acks: deque[Ack] = deque(maxlen=8)
        self._acks_due: list[Ack] = []

    def set_rate(self, bytes_per_s: float) -> None:
        """The line has another rate now: what was learnt of its losses holds no more."""
        self._line_bytes_per_s = bytes_per_s
        self.chunk.forget()

    @property
    def idle(self) -> bool:
        """No transfer is open."""
        return not (self._uploads or self._downloads)

    @property
    def deadline(self) -> float:
        """When something is to be sent again."""
        times = [task.download.deadline for task in self._downloads.values()]
        times += [task.upload.deadline for task in self._uploads.values() if self._flows(task)]
        return min(times, default=float("inf"))

    def acknowledge(self, now: float) -> Outgoing:
        """The ACKs to send now, before anything else: a request behind them may need what they set free."""
        if self._calls.refused_as_busy:
            # a read whose last ACK was lost stays open on the device and keeps what it reads
            self._calls.refused_as_busy = False
            self._acks_due += self._last_acks
        for task in self._downloads.values():
            if now >= task.download.deadline:
                task.download.expire(now)
            if ack := task.download.take_ack():
                self._acks_due.append(ack)
        out: Outgoing = [(ack, ack.transfer) for ack in self._acks_due]
        self._acks_due.clear()
        return out

    def transmit(self, now: float, limit_bytes: int) -> Outgoing:
        """The DATA to send now; no further ones once there are `limit_bytes`."""
        out: Outgoing = []
        self._send_data(now, out, limit_bytes)
        if self._line_bytes_per_s:
            # what is sent now stands in line behind these bytes, and its answer behind those
            ahead = sum(task.upload.in_flight_bytes for task in self._uploads.values())
            coming = sum(task.download.missing_bytes for task in self._downloads.values())
            self._round_trip.queue_s = (ahead + min(coming, READ_CREDIT_BYTES)) / self._line_bytes_per_s
        return out

    # uploads

    def upload(
        self, data: bytes, target: Object, index: int, slot: int, now: float, *, eager: bool
    ) -> UploadTask:
        """Write an object. `eager`: send data before the device has answered that it wants them."""
        request = OpenWriteRequest(target, index, slot, len(data), zlib.crc32(data))
        task = UploadTask(request, data, self._new_upload(-1, data, now), eager=eager)
        self._open_upload(task, now)
        return task

    def _new_upload(self, transfer: int, data: bytes, now: float) -> Upload:
        return Upload(
            transfer, data, chunk=self.chunk, round_trip=self._round_trip, now=now, packer=self.packer
        )

    def _open_upload(self, task: UploadTask, now: float) -> None:
        def issued(call: Call, when: float) -> None:
            self._uploads.pop(task.upload.transfer, None)
            self._statistics.retransmitted_bytes += task.upload.retransmitted_bytes
            task.upload = self._new_upload(call.seq, task.data, when)
            task.opened = False
            self._uploads[call.seq] = task

        def answered(call: Call, _: float) -> None:
            if self._uploads.get(call.seq) is not task:
                return
            if isinstance(call.answer, OpenWriteAnswer):
                task.opened = True
                if call.answer.received != len(task.data):
                    return
            self._end_upload(task, call.failure)

        self._calls.issue(Call(task.request, issued, answered), now)

    def _end_upload(self, task: UploadTask, failure: FailureAnswer | None) -> None:
        del self._uploads[task.upload.transfer]
        self._statistics.retransmitted_bytes += task.upload.retransmitted_bytes
        if failure is None:
            task.progress = len(task.data)
        task.end(failure)

    def on_ack(self, ack: Ack, now: float) -> None:
        """Take the ACK of a write."""
        task = self._uploads.get(ack.transfer)
        if task is None:
            return
        if ack.status == Status.OK:
            task.upload.acknowledge(ack, now)
            task.progress = max(task.progress, task.upload.acknowledged_bytes)
            if task.upload.done:
                self._end_upload(task, None)
        elif ack.status == Status.BAD_TRANSFER and not task.opened:
            # its OPEN_WRITE was lost, or is not executed yet; the data behind it were for nothing
            task.upload.resend_all(now)
            task.eager = False
        elif ack.status in {Status.BAD_TRANSFER, Status.CRC_MISMATCH} and task.restarts < RESTARTS:
            task.restarts += 1
            self._statistics.restarted_transfers += 1
            self._open_upload(task, now)
        else:
            self._end_upload(task, FailureAnswer(ack.status, "the device gave up the transfer"))

    def _flows(self, task: UploadTask) -> bool:
        """Whether data may be sent: the device wants them, or OPEN_WRITE is out and the task eager."""
        return task.opened or (task.eager and self._calls.is_out(task.upload.transfer))

    def _send_data(self, now: float, out: Outgoing, limit_bytes: int) -> None:
        self.has_more = False
        self.repeated_bytes = 0
        flowing = [task for task in self._uploads.values() if self._flows(task)]
        if not flowing:
            return
        room = self.rx_window - sum(task.upload.in_flight_bytes for task in flowing)
        most = room - limit_bytes
        repeated = sum(task.upload.retransmitted_bytes for task in flowing)
        for task in flowing:
            upload = task.upload
            if now >= upload.deadline and (data := upload.expire(now)):
                out.append((data, upload.transfer))
                room -= len(data.data)
            allowance = room
            if upload.credit is not None:
                allowance = min(allowance, upload.credit - upload.in_flight_bytes)
            while room > most and (data := upload.take(now, allowance)):
                out.append((data, upload.transfer))
                room -= len(data.data)
                allowance -= len(data.data)
        self.repeated_bytes = sum(task.upload.retransmitted_bytes for task in flowing) - repeated
        self.has_more = room <= most

    # downloads

    def download(self, request: OpenReadRequest, now: float) -> DownloadTask:
        """Read an object, or a part of it."""
        task = DownloadTask(request, Download(-1, round_trip=self._round_trip, now=now))
        self._open_download(task, now)
        return task

    def _open_download(self, task: DownloadTask, now: float) -> None:
        def issued(call: Call, when: float) -> None:
            self._downloads.pop(task.download.transfer, None)
            task.download = Download(call.seq, round_trip=self._round_trip, now=when)
            self._downloads[call.seq] = task

        def answered(call: Call, when: float) -> None:
            if self._downloads.get(call.seq) is not task:
                return
            if isinstance(call.answer, OpenReadAnswer):
                task.download.opened(call.answer.length, call.answer.crc, when)
                self._progressed(task, when)
            else:
                del self._downloads[call.seq]
                task.end(call.failure)

        self._calls.issue(Call(task.request, issued, answered), now)

    def on_data(self, data: Data, now: float) -> None:
        """Take bytes of a read."""
        task = self._downloads.get(data.transfer)
        if task is not None:
            younger = True
            for other in self._downloads.values():
                if other is task:
                    younger = False
                else:
                    other.download.heard_of_another(now, younger=younger)
            task.download.receive(data, now)
            self._progressed(task, now)

    def _progressed(self, task: DownloadTask, now: float) -> None:
        download = task.download
        task.progress = max(task.progress, download.received_bytes)
        if not download.done:
            return
        del self._downloads[download.transfer]
        last = Ack(download.transfer, Status.OK, download.received_bytes, 0)
        self._acks_due.append(last)
        self._last_acks.append(last)
        if download.intact:
            task.data = download.data
            task.end()
        elif task.restarts < RESTARTS:
            task.restarts += 1
            self._statistics.restarted_transfers += 1
            self._open_download(task, now)
        else:
            task.end(FailureAnswer(Status.CRC_MISMATCH, "the bytes kept arriving damaged"))

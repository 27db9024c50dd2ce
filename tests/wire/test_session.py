"""Session as a state machine, against devices that say anything at any time."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.wire.answers import ANSWER, ANSWERS, FailureAnswer, HelloAnswer, OpenWriteAnswer, PingAnswer
from esp_hil.wire.calls import Statistics
from esp_hil.wire.frame import Frame, FrameDecoder, encode_frame
from esp_hil.wire.message import Message
from esp_hil.wire.objects import Object
from esp_hil.wire.requests import REQUESTS, OpenReadRequest, OpenWriteRequest, PingRequest
from esp_hil.wire.session import WireSession
from esp_hil.wire.status import Status
from esp_hil.wire.stream import UNANSWERED, Ack, Boot, Data, Fault
from esp_hil.wire.transfers import RESTARTS

LIMITS = HelloAnswer(1, 77, 512, 2048, 2, 4, 0)
BLOB = bytes(range(256)) * 12


def session(first_seq: int = 100) -> WireSession:
    """A session that was greeted."""
    made = WireSession(
        9,
        first_seq=first_seq,
        nonce=1,
        now=0.0,
        round_trip_s=0.3,
        line_bytes_per_s=None,
        decoder=FrameDecoder(),
        on_text=lambda text: None,
        statistics=Statistics(),
    )
    made.transmit(0.0)
    made.receive(answer(LIMITS, first_seq), 0.0)
    return made


def answer(message: Message, seq: int, status: int = 0, number: int = 9) -> bytes:
    return encode_frame(
        message.KIND, number, seq, bytes([status]) + (message.payload() if not status else b"")
    )


def say(message: Message, seq: int = 0, number: int = 9) -> bytes:
    return encode_frame(message.KIND, number, seq, message.payload())


def sent(data: bytes) -> list[tuple[int, int]]:
    """Kind and seq of each frame."""
    return [(item.kind, item.seq) for item in FrameDecoder().feed(data) if isinstance(item, Frame)]


def test_no_more_requests_are_out_than_the_device_s_queue_holds_and_seq_wraps() -> None:
    talk = session(first_seq=0xFFFD)
    calls = [talk.call(PingRequest(b""), 0.0) for _ in range(6)]
    assert sent(talk.transmit(0.0)) == [(PingRequest.KIND, seq) for seq in (0xFFFE, 0xFFFF, 0, 1)]
    talk.receive(answer(PingAnswer(b""), 0xFFFE), 0.1)
    assert calls[0].done
    assert sent(talk.transmit(0.1)) == [(PingRequest.KIND, 2)]


def test_a_gap_repeats_the_lost_request_and_those_behind_it_once() -> None:
    talk = session()
    calls = [talk.call(PingRequest(b""), 0.0) for _ in range(3)]
    talk.transmit(0.0)
    gap = say(Fault(Status.GAP, struct.pack("<H", calls[1].seq)), calls[2].seq)
    talk.receive(gap, 0.01)
    assert sent(talk.transmit(0.01)) == [(PingRequest.KIND, calls[1].seq), (PingRequest.KIND, calls[2].seq)]
    talk.receive(gap, 0.011)
    assert sent(talk.transmit(0.011)) == []


def test_a_pending_request_is_asked_after_and_not_forgotten() -> None:
    talk = session()
    call = talk.call(PingRequest(b"x"), 0.0)
    talk.transmit(0.0)
    talk.receive(answer(PingAnswer(b""), call.seq, Status.PENDING), 0.01)
    assert not call.done
    at = talk.deadline
    assert sent(talk.transmit(at)) == [(PingRequest.KIND, call.seq)]
    talk.receive(answer(PingAnswer(b"x"), call.seq), at)
    assert call.answer == PingAnswer(b"x")
    assert talk.idle


def test_a_busy_request_is_made_again_under_a_new_seq() -> None:
    talk = session()
    task = talk.download(Object.INFO, 0.0)
    ((_, first),) = sent(talk.transmit(0.0))
    talk.receive(answer(ANSWERS[OpenReadRequest.KIND + ANSWER](0, 0), first, Status.BUSY), 0.01)  # type: ignore[call-arg]
    assert not task.done
    ((kind, second),) = sent(talk.transmit(talk.deadline))
    assert (kind, second) == (OpenReadRequest.KIND, first + 1)


def test_answers_of_another_session_or_kind_or_seq_change_nothing() -> None:
    talk = session()
    call = talk.call(PingRequest(b"x"), 0.0)
    talk.transmit(0.0)
    talk.receive(answer(PingAnswer(b"x"), call.seq, number=8), 0.0)
    talk.receive(answer(PingAnswer(b"x"), call.seq + 1), 0.0)
    talk.receive(encode_frame(0xA5, 9, call.seq, b"\0"), 0.0)
    assert not call.done


def test_boot_with_another_id_is_a_restart_and_with_the_same_one_is_none() -> None:
    talk = session()
    talk.receive(say(Boot(77, 1), number=0), 0.0)
    assert not talk.reset
    talk.receive(say(Boot(78, 1), number=0), 0.0)
    assert "restarted" in talk.reset


def test_an_offset_far_beyond_what_was_asked_reserves_no_memory() -> None:
    talk = session()
    talk.download(Object.OUTPUT, 0.0)
    ((_, seq),) = sent(talk.transmit(0.0))
    talk.receive(say(Data(seq, 0xFFFF_0000, b"x" * 100)), 0.0)
    assert len(talk._transfers._downloads[seq].download._data) == 0


KINDS = sorted({*REQUESTS, *ANSWERS, *UNANSWERED, 0x8F, 0xBF})
SEQ = st.integers(99, 112)
FIELDS = st.lists(st.sampled_from([0, 1, 7, 16, 17, 18, 100, 101, 102, 256, 2047, 0xFFFF_FFFF]), max_size=6)
PAYLOAD = st.one_of(
    st.binary(max_size=40),
    FIELDS.map(lambda values: b"".join(struct.pack("<I", value) for value in values)),
    st.builds(lambda t, s, c: Ack(t, s, c, 512).payload(), SEQ, st.integers(0, 22), st.integers(0, 4000)),
    st.builds(lambda t, o, d: Data(t, o, d).payload(), SEQ, st.integers(0, 4000), st.binary(max_size=30)),
    st.builds(lambda s, d: bytes([s]) + d, st.integers(0, 24), st.binary(max_size=12)),
)
SAID = st.lists(
    st.builds(encode_frame, st.sampled_from(KINDS), st.sampled_from([0, 9, 9, 9, 9]), SEQ, PAYLOAD)
    | st.binary(max_size=20),
    max_size=30,
)


@given(SAID, st.lists(st.integers(0, 6), max_size=12))
def test_whatever_a_device_says_the_session_goes_on_in_bounded_memory(
    said: list[bytes], asked: list[int]
) -> None:
    talk = session()
    for number in asked:
        if number < 3:
            talk.upload(BLOB, Object.INPUT, 0.0, index=number, eager=bool(number))
        elif number < 5:
            talk.download(Object.OUTPUT, 0.0)
        else:
            talk.call(PingRequest(b""), 0.0)
    now = 0.0
    for data in said:
        talk.transmit(now)
        talk.receive(data, now)
        now = min(talk.deadline, now + 0.05)
    out = talk.transmit(now)
    assert len(out) < 100_000
    for task in talk._transfers._downloads.values():
        assert len(task.download._data) < 1 << 18


@pytest.mark.parametrize("status", [Status.CRC_MISMATCH, Status.BAD_TRANSFER])
def test_an_upload_that_came_to_nothing_is_opened_again_and_at_last_given_up(status: Status) -> None:
    talk = session()
    task = talk.upload(BLOB, Object.MODEL, 0.0)
    opened, transfer = 0, 0
    for number in range(50):
        now = 0.01 * number
        for kind, seq in sent(talk.transmit(now)):
            if kind == OpenWriteRequest.KIND:
                opened, transfer = opened + 1, seq
                talk.receive(answer(OpenWriteAnswer(0), seq), now)
        talk.receive(say(Ack(transfer, status, 0, 1 << 20)), now)
    assert opened == 1 + RESTARTS
    assert task.done
    assert isinstance(task.failure, FailureAnswer)
    assert task.failure.status == status

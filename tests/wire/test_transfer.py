from __future__ import annotations

import itertools
import math
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.wire.pace import CHUNK_MIN_BYTES, RTO_MAX_S, RTO_MIN_S, ChunkSize, RoundTrip
from esp_hil.wire.ranges import ByteRanges
from esp_hil.wire.status import Status
from esp_hil.wire.stream import Ack, Data
from esp_hil.wire.transfer import Download, Upload

SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p))), max_size=20
)


@given(SPANS)
def test_byte_ranges_are_the_set_of_their_bytes(spans: list[tuple[int, int]]) -> None:
    ranges, there = ByteRanges(), set[int]()
    for start, end in spans:
        fresh = set(range(start, end)) - there
        assert ranges.add(start, end) == bool(fresh)
        there |= fresh
    listed = [(0, ranges.cumulative), *ranges.beyond]
    assert {byte for start, end in listed for byte in range(start, end)} == there
    assert all(before[1] < after[0] for before, after in itertools.pairwise(listed))
    assert ranges.end == max(there, default=-1) + 1
    for start in range(0, 60, 7):
        assert ranges.holds(start, start + 5) == (set(range(start, start + 5)) <= there)


def upload(data: bytes, most: int = 100) -> Upload:
    return Upload(7, data, chunk=ChunkSize(most), round_trip=RoundTrip(), now=0.0)


def take_all(sender: Upload, window: int, now: float = 0.0) -> list[Data]:
    out = []
    while piece := sender.take(now, window - sender.in_flight_bytes):
        assert isinstance(piece, Data)
        out.append(piece)
    return out


def test_an_upload_never_has_more_in_flight_than_it_is_allowed() -> None:
    sender = upload(bytes(1000))
    pieces = take_all(sender, 250)
    assert [(piece.offset, len(piece.data)) for piece in pieces] == [(0, 100), (100, 100), (200, 50)]
    assert sender.in_flight_bytes == 250
    assert sender.take(0.0, 0) is None


def test_a_chunk_that_was_overtaken_is_sent_again_and_nothing_else() -> None:
    sender = upload(bytes(400))
    take_all(sender, 400)
    sender.acknowledge(Ack(7, Status.OK, 100, 400, ((200, 400),)), now=0.01)
    again = ByteRanges()
    for piece in take_all(sender, 400):
        again.add(piece.offset, piece.offset + len(piece.data))
    assert again.beyond == [(100, 200)]
    assert sender.retransmitted_bytes == 100
    sender.acknowledge(Ack(7, Status.OK, 400, 400), now=0.02)
    assert sender.done


def test_nothing_is_repeated_before_the_time_out_and_the_first_missing_chunk_after_it() -> None:
    sender = upload(bytes(400))
    take_all(sender, 400)
    sender.acknowledge(Ack(7, Status.OK, 100, 400), now=0.01)
    assert sender.take(0.02, 400) is None
    assert sender.deadline > 0.02
    again = sender.expire(sender.deadline)
    assert again is not None
    assert again.offset == 100


def test_the_wait_doubles_while_nothing_moves() -> None:
    sender = upload(bytes(100))
    sender.take(0.0, 100)
    waits = []
    for _ in range(6):
        at = sender.deadline
        sender.expire(at)
        waits.append(sender.deadline - at)
    assert waits[1] == pytest.approx(min(RTO_MAX_S, 2 * waits[0]))
    assert waits[-1] == pytest.approx(RTO_MAX_S)


def test_without_credit_only_the_time_out_sends() -> None:
    sender = upload(bytes(400))
    take_all(sender, 200)
    sender.acknowledge(Ack(7, Status.OK, 200, 0), now=0.0)
    assert sender.credit == 0
    assert sender.deadline < float("inf")
    assert sender.expire(sender.deadline) is not None


def test_an_upload_whose_opening_was_lost_starts_again_at_zero() -> None:
    sender = upload(bytes(300))
    take_all(sender, 300)
    sender.resend_all(0.1)
    assert sender.in_flight_bytes == 0
    assert [piece.offset for piece in take_all(sender, 300)] == [0, 100, 200]


@given(st.integers(0, 2**32), st.integers(1, 3000), st.floats(0, 0.6))
def test_an_upload_arrives_over_a_line_that_loses_chunks(seed: int, size: int, loss: float) -> None:
    source = random.Random(seed)
    data = source.randbytes(size)
    sender, ranges, got = upload(data), ByteRanges(), bytearray(size)
    now, steps = 0.0, 0
    while not sender.done:
        steps += 1
        assert steps < 20_000, "it does not end"
        pieces = take_all(sender, 500, now)
        if not pieces:
            now = max(now, sender.deadline)
            pieces = [piece] if isinstance(piece := sender.expire(now), Data) else []
        for piece in pieces:
            if source.random() >= loss:
                got[piece.offset : piece.offset + len(piece.data)] = piece.data
                ranges.add(piece.offset, piece.offset + len(piece.data))
        now += 0.001
        if source.random() >= loss:
            ack = Ack(7, Status.OK, ranges.cumulative, 500, tuple(ranges.beyond[:8]))
            sender.acknowledge(ack, now)
    assert bytes(got) == data


@given(st.integers(0, 2**32), st.integers(0, 3000))
def test_a_download_takes_chunks_in_any_order_more_than_once_and_before_its_answer(
    seed: int, size: int
) -> None:
    source = random.Random(seed)
    data = source.randbytes(size)
    pieces = [Data(9, at, data[at : at + 130]) for at in range(0, size, 130)]
    pieces += source.sample(pieces, len(pieces) // 2)
    source.shuffle(pieces)
    receiver = Download(9, round_trip=RoundTrip(), now=0.0)
    early = source.randrange(len(pieces) + 1)
    for number, piece in enumerate(pieces):
        if number == early:
            receiver.opened(size, zlib.crc32(data), 0.0)
        receiver.receive(piece, 0.0)
    if early == len(pieces):
        receiver.opened(size, zlib.crc32(data), 0.0)
    assert receiver.done
    assert receiver.intact
    assert receiver.data == data


def test_a_download_asks_for_everything_when_nothing_came_for_the_time_out() -> None:
    receiver = Download(9, round_trip=RoundTrip(), now=0.0)
    receiver.opened(100, 0, 0.0)
    receiver.receive(Data(9, 0, bytes(10)), 0.0)
    assert receiver.take_ack() is None
    receiver.expire(receiver.deadline)
    ack = receiver.take_ack()
    assert ack is not None
    assert (ack.status, ack.cumulative) == (Status.GAP, 10)
    assert receiver.take_ack() is None


def test_a_download_reports_a_gap_at_once() -> None:
    receiver = Download(9, round_trip=RoundTrip(), now=0.0)
    receiver.opened(100, 0, 0.0)
    receiver.receive(Data(9, 40, bytes(10)), 0.0)
    ack = receiver.take_ack()
    assert ack is not None
    assert (ack.cumulative, ack.ranges) == (0, ((40, 50),))


def test_bytes_past_the_end_of_a_download_are_not_taken() -> None:
    receiver = Download(9, round_trip=RoundTrip(), now=0.0)
    receiver.opened(10, zlib.crc32(bytes(10)), 0.0)
    receiver.receive(Data(9, 5, bytes(10)), 0.0)
    assert receiver.received_bytes == 0
    receiver.receive(Data(9, 0, bytes(10)), 0.0)
    assert receiver.done
    assert receiver.intact


def test_a_wrong_checksum_is_seen() -> None:
    receiver = Download(9, round_trip=RoundTrip(), now=0.0)
    receiver.opened(4, zlib.crc32(b"good"), 0.0)
    receiver.receive(Data(9, 0, b"goot"), 0.0)
    assert receiver.done
    assert not receiver.intact


def test_chunks_shrink_on_a_bad_line_and_grow_again_on_a_clean_one() -> None:
    chunk = ChunkSize(4096)
    assert chunk.next_bytes == 4096
    for _ in range(50):
        chunk.sent(200)
        chunk.lost()
    small = chunk.next_bytes
    assert CHUNK_MIN_BYTES <= small < 100
    for _ in range(3000):
        chunk.sent(chunk.next_bytes)
    assert chunk.next_bytes == 4096


def test_chunks_have_the_size_that_costs_least_for_the_losses_that_are_remembered() -> None:
    """sqrt(overhead * sent / losses), until half of a loss is forgotten as well."""
    chunk = ChunkSize(65_536)
    chunk.lost()
    chunk.sent(200_000)
    assert chunk.next_bytes == int(math.sqrt(17 * 200_000 / 1))
    chunk.sent(62_144)
    assert chunk.next_bytes == int(math.sqrt(17 * 262_144 / 1)), "so much is remembered"
    chunk.sent(2)
    assert chunk.next_bytes == int(math.sqrt(17 * 131_073 / 0.5)), "half of the bytes and of the loss"
    chunk.sent(131_072)
    assert chunk.next_bytes == 65_536
    chunk.lost()
    chunk.allow(20)
    assert chunk.next_bytes == 20, "never more than the receiver takes"
    chunk.forget()
    chunk.allow(4096)
    assert chunk.next_bytes == 4096


def test_the_time_out_follows_the_round_trips_and_a_slow_line_s_queue() -> None:
    trip = RoundTrip(0.3)
    assert trip.timeout_s() == pytest.approx(0.3)
    for _ in range(50):
        trip.measured(0.2)
    assert 0.2 < trip.timeout_s() < 0.3
    for _ in range(50):
        trip.measured(0.0001)
    assert trip.timeout_s() == pytest.approx(RTO_MIN_S, abs=0.02)
    trip.queue_s = 1.5
    assert trip.timeout_s() > 1.5


@pytest.mark.parametrize("news", [Ack(7, Status.OK, 0, 400, ((100, 200),)), Ack(7, Status.OK, 50, 400)])
def test_whatever_news_an_acknowledgement_brings_the_time_out_begins_again(news: Ack) -> None:
    """A chunk beyond a gap, or half of one: either proves that the line lives."""
    sender = upload(bytes(400))
    take_all(sender, 400)
    wait = sender.deadline
    sender.acknowledge(news, now=0.9 * wait)
    assert sender.deadline > wait


def test_news_after_time_outs_bring_the_first_wait_back() -> None:
    """Waits double while nothing comes; once the line lives they start where they began."""
    sender = upload(bytes(400))
    take_all(sender, 400)
    first = sender.deadline
    assert sender.expire(first) is not None
    doubled = sender.deadline - first
    assert doubled == pytest.approx(2 * first)
    now = first + doubled / 2
    sender.acknowledge(Ack(7, Status.OK, 100, 500), now=now)
    take_all(sender, 400, now)
    assert sender.deadline - now == pytest.approx(first)


def test_an_acknowledgement_without_news_does_not_put_the_time_out_off() -> None:
    sender = upload(bytes(400))
    take_all(sender, 400)
    wait = sender.deadline
    sender.acknowledge(Ack(7, Status.OK, 0, 400), now=wait / 2)
    assert sender.deadline == wait

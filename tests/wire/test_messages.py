from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import WireError
from esp_hil.wire.answers import ANSWER, ANSWERS, FailureAnswer, RunAnswer, parse_answer
from esp_hil.wire.frame import KIND_MAX, KIND_MIN, Frame
from esp_hil.wire.message import Message
from esp_hil.wire.requests import REQUESTS
from esp_hil.wire.status import Status, status_name
from esp_hil.wire.stream import UNANSWERED, Ack, Fault, parse_unanswered
from tests.wire.vectors import Row, rows


def parse(frame: Frame) -> Message | FailureAnswer | None:
    if frame.kind in REQUESTS:
        return REQUESTS[frame.kind].parse(frame.payload)
    return parse_answer(frame) if frame.kind in ANSWERS else parse_unanswered(frame)


def plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return value.encode().hex()
    if isinstance(value, tuple):
        return ",".join(f"{start}-{end}" for start, end in value)
    return str(value)


@pytest.mark.parametrize("row", rows(holding="type"), ids=lambda row: row["name"])
def test_messages_are_parsed_and_written_as_in_the_vectors(row: Row) -> None:
    payload = bytes.fromhex(row["payload"])
    message = parse(Frame(row["kind"], row["session"], row["seq"], payload))
    assert message is not None
    assert (message.said() if isinstance(message, Message) else "Failure") == row["type"]
    fields = " ".join(f"{name}={plain(getattr(message, name))}" for name in message.__slots__)
    assert fields == row["fields"]
    if isinstance(message, Message):
        assert message.payload() == (payload[1:] if row["kind"] in ANSWERS else payload)


def test_every_message_of_the_tables_is_in_the_vectors() -> None:
    in_file = {row["type"] for row in rows(holding="type")}
    known = {kind.said() for table in (REQUESTS, ANSWERS, UNANSWERED) for kind in table.values()}
    assert known | {"Failure"} == in_file


@given(st.integers(KIND_MIN, KIND_MAX), st.binary(max_size=64))
def test_any_payload_of_any_kind_is_a_message_or_a_wire_error(kind: int, payload: bytes) -> None:
    try:
        message = parse(Frame(kind, 1, 1, payload))
    except WireError:
        return
    if isinstance(message, Message):
        assert message.payload() == (payload[1:] if kind in ANSWERS else payload)


@pytest.mark.parametrize("kind", [*REQUESTS.values(), *ANSWERS.values(), *UNANSWERED.values()])
def test_a_payload_one_byte_short_is_refused(kind: type[Message]) -> None:
    if kind.FORM.size:
        with pytest.raises(WireError, match=kind.said()):
            kind.parse(bytes(kind.FORM.size - 1))
    if not kind.TAIL:
        with pytest.raises(WireError, match=kind.said()):
            kind.parse(bytes(kind.FORM.size + 1))


def test_an_answer_without_a_status_is_refused() -> None:
    with pytest.raises(WireError, match="without a status"):
        parse_answer(Frame(RunAnswer.KIND, 1, 1, b""))


def test_a_request_is_no_answer_and_an_unknown_kind_is_nothing() -> None:
    with pytest.raises(WireError, match="not an answer"):
        parse_answer(Frame(0x80, 1, 1, b"\0"))
    assert parse_unanswered(Frame(0xBF, 1, 1, b"anything")) is None


def test_ranges_are_whole_pairs_and_at_most_eight() -> None:
    fixed = Ack(1, 0, 0, 0).payload()
    for tail in (bytes(7), bytes(72)):
        with pytest.raises(WireError, match="ranges"):
            Ack.parse(fixed + tail)


def test_a_gap_without_the_expected_seq_is_refused() -> None:
    with pytest.raises(WireError, match="gap"):
        _ = Fault(Status.GAP, b"\1").expected_seq


def test_the_kind_of_an_answer_is_its_requests_plus_twenty_hex() -> None:
    assert {kind + ANSWER for kind in REQUESTS} == set(ANSWERS)


def test_an_unknown_status_keeps_its_number() -> None:
    assert status_name(12) == "wrong_family"
    assert status_name(200) == "status 200"

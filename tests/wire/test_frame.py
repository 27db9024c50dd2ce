from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import WireError
from esp_hil.wire.frame import (
    Frame,
    FrameDecoder,
    Noise,
    Received,
    Text,
    decode_body,
    encode_frame,
    encoded_bytes,
)
from tests.wire.vectors import Row, rows

FRAME = st.builds(
    encode_frame,
    st.integers(0x80, 0xBF),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.binary(max_size=300),
)
PRINTED = st.text("abc \r\n", max_size=40).map(str.encode)
# pieces of frames and of text, whole and cut, so that candidates of every kind appear
STREAM = st.lists(
    FRAME | PRINTED | st.binary(max_size=30) | FRAME.map(lambda f: f[: len(f) // 2]), max_size=12
).map(b"".join)


def events(received: Iterable[Received]) -> str:
    """In the form of wire.jsonl: F frame, T text (adjacent texts joined), N noise."""
    words: list[str] = []
    for item in received:
        if isinstance(item, Frame):
            words.append(f"F{item.kind:02x}{item.session:02x}{item.seq:04x}{item.payload.hex()}")
        elif isinstance(item, Noise):
            words.append(f"N{item.size}")
        elif words and words[-1].startswith("T"):
            words[-1] += item.data.hex()
        else:
            words.append("T" + item.data.hex())
    return " ".join(words)


def decode(stream: bytes, cuts: Iterable[int] = (), max_payload: int = 0xFFFF, *, flush: bool = False) -> str:
    decoder = FrameDecoder(max_payload)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    found: list[Received] = []
    for start, end in itertools.pairwise(edges):
        found += decoder.feed(stream[start:end])
    return events(found + (decoder.flush() if flush else []))


@pytest.mark.parametrize("row", rows(holding="frame"), ids=lambda row: row["name"])
def test_frames_are_encoded_and_decoded_as_in_the_vectors(row: Row) -> None:
    payload = bytes.fromhex(row["payload"])
    frame = bytes.fromhex(row["frame"])
    assert encode_frame(row["kind"], row["session"], row["seq"], payload) == frame
    assert FrameDecoder().feed(frame) == [Frame(row["kind"], row["session"], row["seq"], payload)]


@pytest.mark.parametrize("row", rows(holding="stream"), ids=lambda row: row["name"])
def test_streams_decode_as_in_the_vectors_whole_and_byte_by_byte(row: Row) -> None:
    stream = bytes.fromhex(row["stream"])
    assert decode(stream, max_payload=row["max_payload"]) == row["events"]
    assert decode(stream, range(len(stream)), row["max_payload"]) == row["events"]


@given(STREAM, st.lists(st.integers(0, 2000), max_size=8), st.sampled_from([16, 64, 256, 0xFFFF]))
def test_any_split_of_any_stream_decodes_alike(stream: bytes, cuts: list[int], max_payload: int) -> None:
    whole = decode(stream, (), max_payload, flush=True)
    assert decode(stream, cuts, max_payload, flush=True) == whole
    assert decode(stream, range(len(stream)), max_payload, flush=True) == whole


@given(STREAM, FRAME)
def test_decoder_resumes_after_a_corrupt_frame(rubbish: bytes, frame: bytes) -> None:
    # the first frame may be swallowed by an open segment; the one after its delimiter may not
    last = FrameDecoder().feed(rubbish + b"\0" + frame)[-1]
    assert isinstance(last, Frame)
    assert encode_frame(last.kind, last.session, last.seq, last.payload) == frame


@given(FRAME, st.data())
def test_a_flipped_byte_never_gives_another_frame(frame: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(frame) - 1))
    damaged = bytearray(frame)
    damaged[position] ^= data.draw(st.integers(1, 255))
    (intact,) = FrameDecoder().feed(frame)
    frames = [item for item in FrameDecoder().feed(bytes(damaged)) if isinstance(item, Frame)]
    assert frames in ([], [intact])


def test_text_is_passed_on_before_its_line_ends() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"E (12) ") == [Text(b"E (12) ")]
    assert decoder.feed(b"mem") == [Text(b"mem")]


def test_the_longest_frame_fits_the_announced_length() -> None:
    for size in (0, 1, 245, 246, 247, 65_535):
        assert len(encode_frame(0x90, 1, 1, b"\xff" * size)) <= encoded_bytes(size)


def test_oversized_payloads_are_refused_before_they_are_sent() -> None:
    with pytest.raises(WireError, match="65536 bytes"):
        encode_frame(0x90, 1, 1, bytes(65_536))


def test_a_body_without_room_for_header_and_checksum_is_refused() -> None:
    with pytest.raises(WireError, match="too short"):
        decode_body(b"\x80\x01\x02")

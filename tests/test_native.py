"""The device core through its bindings: its codec against the Python one."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil import _device
from esp_hil.wire import cobs, frame
from tests.wire.vectors import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

payloads = st.one_of(
    st.binary(max_size=600),
    st.builds(lambda n, b: bytes([b]) * n, st.integers(0, 1100), st.integers(0, 255)),
)
frames = st.builds(
    _device.encode_frame, st.integers(0x80, 0xBF), st.integers(0, 255), st.integers(0, 0xFFFF), payloads
)
texts = st.text(max_size=40).map(str.encode)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    whole = bytearray(draw(frames))
    at = draw(st.integers(0, len(whole) - 1))
    whole[at] = draw(st.integers(0, 255))
    return bytes(whole)


streams = st.lists(st.one_of(frames, texts, damaged(), st.binary(max_size=80)), max_size=8).map(b"".join)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """A stream, cut anywhere."""
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    ends = [*cuts, len(stream)]
    return [stream[a:b] for a, b in zip([0, *cuts], ends, strict=True)]


def native_events(parts: Sequence[bytes], max_payload: int) -> list[tuple[Any, ...]]:
    decoder = _device.FrameDecoder(max_payload)
    return joined(event for part in parts for event in decoder.feed(part))


def python_events(parts: Sequence[bytes], max_payload: int) -> list[tuple[Any, ...]]:
    decoder = frame.FrameDecoder(max_payload)
    return joined(plain(event) for part in parts for event in decoder.feed(part))


def plain(event: frame.Received) -> tuple[Any, ...]:
    match event:
        case frame.Frame(kind=kind, session=session, seq=seq, payload=payload):
            return ("frame", kind, session, seq, payload)
        case frame.Text(data=data):
            return ("text", data)
        case frame.Noise(size=size):
            return ("noise", size)


def joined(events: Iterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Adjacent texts as one: how a line is cut is nobody's business."""
    out: list[tuple[Any, ...]] = []
    for event in events:
        if event[0] == "text" and out and out[-1][0] == "text":
            out[-1] = ("text", out[-1][1] + event[1])
        else:
            out.append(event)
    return out


@settings(max_examples=400)
@given(pieces(), st.sampled_from([16, 256, 600]))
def test_any_split_of_any_stream_decodes_alike_twice(parts: list[bytes], max_payload: int) -> None:
    whole = native_events([b"".join(parts)], max_payload)
    assert native_events(parts, max_payload) == whole
    assert python_events(parts, max_payload) == whole


@settings(max_examples=300)
@given(payloads)
def test_both_languages_stuff_alike_and_back(payload: bytes) -> None:
    stuffed = _device.cobs_encode(payload)
    assert stuffed == cobs.encode(payload)
    assert 0 not in stuffed
    assert _device.cobs_decode(stuffed) == payload


@given(st.integers(0x80, 0xBF), st.integers(0, 255), st.integers(0, 0xFFFF), payloads)
def test_both_languages_encode_a_frame_alike(kind: int, session: int, seq: int, payload: bytes) -> None:
    encoded = _device.encode_frame(kind, session, seq, payload)
    assert encoded == frame.encode_frame(kind, session, seq, payload)
    assert _device.FrameDecoder().feed(encoded) == [("frame", kind, session, seq, payload)]


@given(st.binary(max_size=1000), st.binary(max_size=50))
def test_digests_are_those_of_the_standard_library(data: bytes, more: bytes) -> None:
    assert _device.crc32(data) == zlib.crc32(data)
    assert _device.crc32(more, _device.crc32(data)) == zlib.crc32(data + more)
    assert _device.sha256(data) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("vector", rows(holding="frame"), ids=lambda row: str(row["name"]))
def test_a_vector_is_encoded_and_decoded_as_written(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    values = (vector["kind"], vector["session"], vector["seq"], payload)
    assert _device.encode_frame(*values).hex() == vector["frame"]
    assert _device.FrameDecoder().feed(bytes.fromhex(vector["frame"])) == [("frame", *values)]


@pytest.mark.parametrize("kind", [0x7F, 0xC0])
def test_a_kind_outside_the_range_is_not_encoded(kind: int) -> None:
    with pytest.raises(ValueError, match="kind"):
        _device.encode_frame(kind, 1, 1, b"")

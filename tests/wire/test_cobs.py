from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import WireError
from esp_hil.wire import cobs

# runs around the block length of 254, separated by zeros: what plain random bytes hardly ever hold
RUN = st.integers(0, 5) | st.integers(250, 258) | st.integers(505, 512)
BODY = st.lists(RUN, max_size=60).map(lambda runs: b"\0".join(b"x" * run for run in runs)) | st.binary()


@given(BODY)
def test_what_is_encoded_decodes_to_itself_and_holds_no_zero(body: bytes) -> None:
    stuffed = cobs.encode(body)
    assert 0 not in stuffed
    assert len(stuffed) <= len(body) + 1 + len(body) // 254
    assert cobs.decode(stuffed) == body


@given(BODY)
def test_many_zeros_give_the_same_bytes_the_quick_way(body: bytes) -> None:
    # one way takes over from the other at 48 zeros: both must agree on either side of it
    padded = body + b"\0" * 48
    assert cobs._encode_many_zeros(body) == cobs.encode(body)
    assert cobs.decode(cobs.encode(padded)) == padded


@pytest.mark.parametrize("stuffed", [b"", b"\x02\x00", b"\x03a", b"\xff" + b"a" * 253])
def test_damaged_data_are_refused(stuffed: bytes) -> None:
    with pytest.raises(WireError, match="COBS"):
        cobs.decode(stuffed)


def test_a_full_block_at_the_end_has_no_code_byte_after_it() -> None:
    assert cobs.encode(b"a" * 254) == b"\xff" + b"a" * 254
    assert cobs.encode(b"a" * 254 + b"\0") == b"\xff" + b"a" * 254 + b"\x01\x01"

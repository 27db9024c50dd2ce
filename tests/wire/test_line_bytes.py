from __future__ import annotations

import os
import zlib

from esp_hil.wire.packing import Packer
from esp_hil.wire.pattern import PERIOD, pattern
from tests.wire.vectors import rows


def unpacked(data: bytes | None) -> bytes:
    assert data is not None
    return zlib.decompress(data, -15)


def test_patterns_are_those_of_the_vectors() -> None:
    seen = 0
    for row in rows(holding="type"):
        if row["type"] == "Pattern":
            fields = dict(word.split("=") for word in row["fields"].split())
            assert pattern(int(fields["number"]), 40).hex() == fields["data"]
            seen += 1
    assert seen > 3


def test_a_long_pattern_goes_round() -> None:
    whole = pattern(3, 2 * PERIOD + 5)
    assert whole[:PERIOD] == whole[PERIOD : 2 * PERIOD]
    assert whole[-5:] == whole[:5]


def test_packed_streams_of_the_vectors_unpack() -> None:
    for row in rows(holding="packed"):
        if row["unpacked"] != "refused":
            assert unpacked(bytes.fromhex(row["packed"])).hex() == row["unpacked"]


def test_what_shrinks_is_packed() -> None:
    data = bytes(500) + b"abc" * 100
    assert unpacked(Packer(enabled=True).pack(data)) == data


def test_what_does_not_shrink_stays_and_makes_the_packer_pause() -> None:
    packer = Packer(enabled=True)
    assert packer.pack(os.urandom(1000)) is None
    assert packer.pack(bytes(1000)) is None
    assert packer.pack(bytes(1000)) is not None


def test_a_packer_that_is_not_enabled_packs_nothing() -> None:
    assert Packer(enabled=False).pack(bytes(1000)) is None

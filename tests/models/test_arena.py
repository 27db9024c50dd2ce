"""The arena of a .tflite: activations, scratch and records; and the block that it has room in."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.formats.tflite import read_tflite
from esp_hil.models.arena import arena_of
from esp_hil.models.blocks import allocations, largest_block, reported_blocks, room_for
from esp_hil.targets import target
from tests.formats.tflite.networks import needs_tflm

CAT = Path(__file__).parents[2] / "golden" / "cat_or_not" / "int8" / "tflm.tflite"


@needs_tflm
def test_scratch_of_the_chip_is_added_where_it_is_asked_for() -> None:
    image = CAT.read_bytes()
    model = read_tflite(image)
    plain = arena_of(model, image, chip="esp32", esp_nn="")
    vector = arena_of(model, image, chip="esp32s3", esp_nn="")
    assert plain.measured
    assert plain.tail_bytes == vector.tail_bytes > 0
    assert vector.bytes > plain.bytes
    peak = vector.peak
    assert peak is not None
    assert peak.scratch_bytes > 0
    assert vector.head_bytes == peak.bytes
    assert arena_of(model, image, chip="esp32s3", esp_nn="off").bytes == plain.bytes


@pytest.mark.parametrize("row", allocations(), ids=lambda row: f"{row.target} {row.what}")
def test_every_published_allocation_is_judged_as_it_happened(row: object) -> None:
    assert row.judged == row.happened  # type: ignore[attr-defined]


def test_both_outcomes_are_published_for_both_memories() -> None:
    assert {(row.asked, row.happened) for row in allocations()} >= {
        ("internal", True),
        ("internal", False),
        ("psram", True),
        ("psram", False),
    }


def test_wifi_takes_of_the_largest_block_and_a_board_of_ones_own_outweighs_every_table() -> None:
    for name in ("esp32", "esp32s3", "esp32c3", "esp32c6"):
        chip = target(name)
        assert largest_block(chip, wifi=True)[0] <= largest_block(chip)[0] == chip.largest_block_bytes
    assert largest_block(target("esp32s3"), wifi=True)[0] == 196_608
    assert largest_block(target("esp32c6"), wifi=True)[1].startswith("estimated")
    assert largest_block(target("esp32"), measured=150_000) == (150_000, "measured on your board")


def test_an_arena_is_one_block_and_lies_in_psram_where_internal_ram_is_in_pieces() -> None:
    chip = target("esp32s3")
    assert room_for(265_392, chip, psram_bytes=0).place == "internal"
    assert room_for(265_393, chip, psram_bytes=0).place == "nowhere"
    assert room_for(265_393, chip, psram_bytes=1 << 23).place == "psram"
    assert room_for(1 << 22, chip, psram_bytes=1 << 23, other_bytes=(1 << 22) + 1).place == "nowhere"


def test_no_default_is_larger_than_what_a_board_of_the_chip_has_reported() -> None:
    for block in reported_blocks():
        if not block.wifi:
            assert target(block.target).largest_block_bytes <= block.largest_bytes

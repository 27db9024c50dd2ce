"""`hil plan`: an arena is one block, so the largest block of a booted chip decides, not its RAM's size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.targets import target, targets


def test_no_chip_has_a_block_larger_than_its_ram() -> None:
    assert all(0 < chip.largest_block_bytes < chip.internal_bytes for chip in targets().values())


def test_an_arena_larger_than_the_largest_block_does_not_fit_an_s3_without_psram(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(shared / "cases" / "arena_largest_block" / "arena_288k_esp32s3.espdl")
    assert main(["plan", file, "--target", "esp32s3", "--no-psram"]) == 1
    said = capsys.readouterr().out
    assert "does not fit: internal" in said
    assert "265,392" in said
    assert main(["plan", file, "--target", "esp32s3"]) == 0


def test_a_tflite_of_200_kb_has_no_room_in_an_esp32_without_psram(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(shared / "cases" / "arena_largest_block" / "conv_arena_200k.tflite")
    assert main(["plan", file, "--target", "esp32", "--no-psram"]) == 1
    assert "does not fit" in capsys.readouterr().out
    assert main(["plan", file, "--target", "esp32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["arena_in"] == "psram"


def test_the_arena_that_ran_on_an_esp32_has_room_there() -> None:
    assert target("esp32").largest_block_bytes >= 73 * 1024

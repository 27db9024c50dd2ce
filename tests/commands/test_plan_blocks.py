"""`hil plan`: an arena is one block, so the largest block of a booted chip decides, not its RAM's size."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

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


def test_scratch_of_esp_nn_counts_into_the_arena_of_a_tflite(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for version in ("off", "1.2.0", "1.2.3"):
        assert main(["plan", "cat_or_not", "--target", "esp32s3", "--esp-nn", version, "--json"]) == 0
        told[version] = json.loads(capsys.readouterr().out)
    assert told["off"]["scratch_bytes"] == 0
    assert 0 < told["1.2.0"]["scratch_bytes"] < told["1.2.3"]["scratch_bytes"]
    assert told["1.2.0"]["arena_bytes"] < told["1.2.3"]["arena_bytes"]
    assert len(told["off"]["steps"]) > 3


def test_wifi_and_ones_own_largest_block_change_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["plan", "gesture", "--target", "esp32s3", "--no-psram", "--largest"]
    assert main([*plan, "330000"]) == 0
    assert "measured on your board" in capsys.readouterr().out
    assert main([*plan, "300000"]) == 1
    assert "does not fit: internal" in capsys.readouterr().out
    assert main(["plan", "mnist", "--target", "esp32s3", "--no-psram", "--no-param-copy", "--wifi"]) == 0
    assert "with Wi-Fi" in capsys.readouterr().out


def test_the_published_allocations_are_printed_and_all_judged_rightly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--published"]) == 0
    assert "tensorflow/tensorflow#37628" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "chip"), [("gesture", "esp32s3"), ("mnist", "esp32p4"), ("cat_or_not", "esp32s3")]
)
def test_the_picture_has_every_memory_that_is_used(
    model: str, chip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "map.svg"
    main(["plan", model, "--target", chip, "--svg", str(file)])
    capsys.readouterr()
    drawn = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    said = " ".join("".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text"))
    assert ("PSRAM:" in said) == (model != "cat_or_not")
    assert ("flash:" in said) == (model == "cat_or_not")
    assert " ms" in said
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}title"))) > 10

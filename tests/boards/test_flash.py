from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.boards.flash import SECTOR, changed_sectors, flash, identify, merge, plan, problems
from esp_hil.boards.select import Board
from esp_hil.errors import FlashError
from esp_hil.esp.esptool_output import DetectedChip, EsptoolOutput
from esp_hil.esp.esptool_program import Flasher
from esp_hil.esp.image import FirmwareImage, Region
from esp_hil.progress import Advance
from tests.boards.builds import MODEL, make_build_folder

MAC = "7c:df:a1:00:00:01"
BOARD = Board(id="desk", target="esp32c3", url="/dev/ttyUSB0", mac=MAC)
CHIP = DetectedChip(target="esp32c3", revision=4, mac=MAC, flash_bytes=4 << 20)


class FakeChip:
    """A chip that is a file, behind the fake esptool."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.flash = folder / "chip.bin"
        self.flash.write_bytes(b"\xff" * (4 << 20))
        self._calls = folder / "calls.jsonl"
        self._state = folder / "state.json"
        self._values = {
            "chip": "ESP32-C3",
            "type": "ESP32-C3 (QFN32) (revision v0.4)",
            "features": "Wi-Fi, BT 5 (LE), Single Core, 160MHz",
            "mac": MAC,
            "flash_kb": 4096,
            "flash": str(self.flash),
            "max_baud": 10_000_000,
            "calls": str(self._calls),
        }
        self.set(**changes)

    def set(self, **changes: Any) -> None:
        self._values |= changes
        self._state.write_text(json.dumps(self._values))

    @property
    def flasher(self) -> Flasher:
        script = Path(__file__).parents[1] / "esp" / "fake_esptool.py"
        return Flasher(port="/dev/ttyUSB0", program=(sys.executable, str(script), str(self._state)))

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


class Bytes:
    """Progress that keeps every count."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.total = 0

    @contextmanager
    def task(self, description: str, *, total: int, unit: str = "") -> Iterator[Advance]:
        del description, unit
        self.total = total
        yield self.counts.append

    def say(self, text: str) -> None:
        del text


@pytest.fixture
def chip(tmp_path: Path) -> FakeChip:
    return FakeChip(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> FirmwareImage:
    return FirmwareImage.from_build_dir(make_build_folder(tmp_path / "build", code=bytes(range(256)) * 400))


# what is flashed


def test_a_new_chip_gets_everything_where_it_belongs(chip: FakeChip, image: FirmwareImage) -> None:
    whole = image.with_model(b"EDL2" * 5000)
    done = flash(whole, BOARD, chip.flasher)
    assert done.written == ("bootloader", "partition-table", "app", "model", "model-label")
    assert done.kept == ()
    assert done.chip.mac == MAC
    content = chip.flash.read_bytes()
    for region in whole.regions:
        assert content[region.offset : region.offset + len(region.data)] == region.data


def test_what_the_chip_has_already_is_not_written_again(chip: FakeChip, image: FirmwareImage) -> None:
    flash(image.with_model(b"old model"), BOARD, chip.flasher)
    again = flash(image.with_model(b"old model"), BOARD, chip.flasher)
    assert again.written == ()
    assert again.bytes_written == 0
    new = flash(image.with_model(b"new model"), BOARD, chip.flasher)
    assert new.written == ("model", "model-label")
    assert new.kept == ("bootloader", "partition-table", "app")


def test_progress_reaches_the_total_whether_regions_are_written_or_kept(
    chip: FakeChip, image: FirmwareImage
) -> None:
    for _ in range(2):
        progress = Bytes()
        flash(image, BOARD, chip.flasher, progress=progress)
        assert sum(progress.counts) == progress.total
    assert min(progress.counts) >= 0


def test_headers_are_not_rewritten_on_the_way(chip: FakeChip, image: FirmwareImage) -> None:
    flash(image, BOARD, chip.flasher)
    words = chip.calls[-1]
    for option in ("--flash-mode", "--flash-freq", "--flash-size"):
        assert words[words.index(option) + 1] == "keep"


def test_a_small_change_is_sent_as_a_difference_to_what_was_flashed_before(
    chip: FakeChip, image: FirmwareImage, tmp_path: Path
) -> None:
    history = tmp_path / "history"
    flash(image, BOARD, chip.flasher, history=history)
    app = image.regions[-1]
    touched = replace(app, data=app.data[:-1] + b"!")
    changed = replace(image, regions=(*image.regions[:-1], touched))
    done = flash(changed, BOARD, chip.flasher, history=history)
    assert "--diff-with" in chip.calls[-1]
    assert "--skip-flashed" not in chip.calls[-1]
    assert done.written == ("app",)
    assert done.kept == ("bootloader", "partition-table")
    flash(changed, BOARD, chip.flasher, history=history)
    assert "--skip-flashed" in chip.calls[-1]


def test_a_broken_flashing_is_forgotten(chip: FakeChip, image: FirmwareImage, tmp_path: Path) -> None:
    history = tmp_path / "history"
    flash(image, BOARD, chip.flasher, history=history)
    assert list(history.rglob("*.bin"))
    real = chip.flash
    chip.set(flash=str(tmp_path / "gone"))
    with pytest.raises(FlashError):
        flash(image, BOARD, chip.flasher, history=history)
    chip.set(flash=str(real))
    assert not list(history.rglob("*.bin"))


def test_an_emulator_gets_the_whole_flash_as_one_file(
    chip: FakeChip, image: FirmwareImage, tmp_path: Path
) -> None:
    out = merge(image.with_model(b"EDL2"), tmp_path / "flash.bin", program=chip.flasher.program)
    content = out.read_bytes()
    assert len(content) == 4 << 20
    assert content[MODEL[0] : MODEL[0] + 5] == b"EDL2\xff"


def test_the_real_esptool_merges_the_same_file(chip: FakeChip, image: FirmwareImage, tmp_path: Path) -> None:
    whole = image.with_model(b"EDL2" * 100)
    expected = merge(whole, tmp_path / "fake.bin", program=chip.flasher.program).read_bytes()
    merged = merge(whole, tmp_path / "real.bin").read_bytes()
    assert merged == expected


# which chip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chip": "ESP32-S3"}, "the chip is an esp32s3, the image is for esp32c3"),
        ({"mac": "7c:df:a1:00:00:02"}, "board desk has 7c:df:a1:00:00:01"),
        ({"flash_kb": 2048}, "the image needs 4 MB of flash, the chip has 2 MB"),
    ],
)
def test_the_wrong_chip_is_refused_before_a_byte_is_written(
    chip: FakeChip, image: FirmwareImage, changes: dict[str, Any], said: str
) -> None:
    chip.set(**changes)
    with pytest.raises(FlashError, match=said):
        flash(image, BOARD, chip.flasher)
    assert all("write-flash" not in words for words in chip.calls)
    assert set(chip.flash.read_bytes()) == {0xFF}


def test_the_port_of_another_board_is_refused(chip: FakeChip, image: FirmwareImage) -> None:
    unnamed = replace(BOARD, mac="")
    other = Board(id="shelf", target="esp32c3", mac=MAC.upper())
    with pytest.raises(FlashError, match=r"\(MAC 7c:df:a1:00:00:01\) is board shelf"):
        flash(image, unnamed, chip.flasher, others=(unnamed, other))


@pytest.mark.parametrize(
    ("board", "chip", "image_changes", "said"),
    [
        ({}, {}, {}, None),
        ({"flash_bytes": 4 << 20}, {}, {}, None),
        ({"flash_bytes": 8 << 20}, {}, {}, "boards.toml says 8 MB of flash, the chip has 4 MB"),
        ({"target": "esp32c6"}, {}, {}, "the board is an esp32c6"),
        ({"psram_bytes": 0}, {}, {"needs_psram": True}, "the image needs PSRAM"),
        ({"psram_bytes": 0}, {"embedded_psram_bytes": 8 << 20}, {}, "0 MB of PSRAM, the chip has 8 MB"),
        ({"psram_bytes": 8 << 20}, {"embedded_psram_bytes": 0}, {"needs_psram": True}, None),
        ({}, {"revision": 301}, {"revisions": (0, 199)}, "revision 3.01"),
        (
            {"target": "esp32p4"},
            {"target": "esp32p4", "revision": 103},
            {"target": "esp32p4", "revisions": (300, 399)},
            "the image is for v3.00 to v3.99; build with --build-profile p4-rev1",
        ),
        (
            {"target": "esp32p4"},
            {"target": "esp32p4", "revision": 301},
            {"target": "esp32p4", "revisions": (1, 199)},
            "build with --build-profile p4-rev3",
        ),
        ({}, {"revision": 2}, {"revisions": (3, 199)}, "revision 0.02"),
        ({}, {"revision": None, "mac": "", "flash_bytes": None}, {}, None),
    ],
)
def test_chip_board_and_image_are_compared(
    image: FirmwareImage,
    board: dict[str, Any],
    chip: dict[str, Any],
    image_changes: dict[str, Any],
    said: str | None,
) -> None:
    found = problems(replace(CHIP, **chip), replace(image, **image_changes), replace(BOARD, **board))
    if said is None:
        assert found == []
    else:
        assert any(said in problem for problem in found), found


def test_a_chip_tells_what_it_is(chip: FakeChip) -> None:
    chip.set(
        features="Wi-Fi, BT 5 (LE), Dual Core + LP Core, 240MHz, Embedded PSRAM 8MB (AP_3v3)", chip="ESP32-S3"
    )
    found = identify(chip.flasher)
    assert found.target == "esp32s3"
    assert found.revision == 4
    assert found.flash_bytes == 4 << 20
    assert found.embedded_psram_bytes == 8 << 20


# the line


def test_a_rate_that_the_cable_does_not_carry_gives_way_to_the_next(
    chip: FakeChip, image: FirmwareImage
) -> None:
    chip.set(max_baud=460_800)
    done = flash(image, BOARD, chip.flasher)
    assert done.baud == 460_800
    rates = [int(words[words.index("--baud") + 1]) for words in chip.calls]
    assert rates == [921_600, 460_800, 921_600, 460_800]


def test_the_log_has_each_command_line_of_esptool_and_why_a_rate_gave_way(
    chip: FakeChip, image: FirmwareImage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil")
    chip.set(max_baud=460_800)
    flash(image, BOARD, chip.flasher)
    command_lines = [line for line in caplog.messages if line.startswith("$ ")]
    rates = [int(line.split(" --baud ")[1].split()[0]) for line in command_lines]
    assert rates == [921_600, 460_800, 921_600, 460_800]
    assert sum(line.startswith("esptool at 921600 baud: ") for line in caplog.messages) == 2


def test_a_line_that_carries_no_rate_is_an_error_with_esptool_s_own_words(
    chip: FakeChip, image: FirmwareImage
) -> None:
    chip.set(max_baud=9600)
    with pytest.raises(FlashError, match="Packet content transfer stopped") as raised:
        flash(image, BOARD, chip.flasher)
    assert len(chip.calls) == 3
    assert "Connected to ESP32-C3" in raised.value.output


@pytest.mark.parametrize(
    ("fatal", "hint"),
    [
        (
            "Could not open /dev/ttyUSB0, the port is busy or doesn't exist. ([Errno 13] Permission denied)",
            "hil doctor",
        ),
        (
            "Could not open COM3, the port is busy or doesn't exist. (PermissionError('Access is denied.'))",
            "close the program",
        ),
        ("Could not open /dev/ttyUSB9. ([Errno 2] No such file or directory)", "plugged in"),
        ("Wrong boot mode detected (0x13)! The chip needs to be in download mode.", "hold BOOT, press RESET"),
        ("This chip is ESP32-S3, not ESP32-C3. Wrong chip argument?", "another chip"),
        ("File 'app.bin' (length 5) at offset 0x10000 will not fit in 2 bytes of flash.", "flash-4mb"),
    ],
)
def test_trouble_that_a_lower_rate_does_not_cure_is_told_at_once(
    chip: FakeChip, fatal: str, hint: str
) -> None:
    chip.set(fatal=fatal)
    with pytest.raises(FlashError) as raised:
        identify(chip.flasher)
    assert hint in raised.value.hint
    assert len(chip.calls) == 1


def test_a_port_that_is_not_there_is_told_by_the_real_esptool(tmp_path: Path) -> None:
    missing = str(tmp_path / "ttyUSB9")
    with pytest.raises(FlashError) as raised:
        identify(Flasher(port=missing))
    assert "plugged in?" in raised.value.hint


def test_an_esptool_that_is_missing_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(FlashError, match="cannot start") as raised:
        identify(Flasher(port="x", program=(str(tmp_path / "none"),)))
    assert "pip install" in raised.value.hint


def test_emulators_are_reached_without_reset_lines_and_without_a_stub(chip: FakeChip) -> None:
    flasher = Flasher.at("socket://localhost:5555?baud=115200")
    assert flasher.port == "socket://localhost:5555", "pyserial knows no such option of a socket"
    identify(replace(flasher, program=chip.flasher.program))
    (words,) = chip.calls
    assert "--no-stub" in words
    assert words[words.index("--before") + 1] == "no-reset"


# the plan, with recorded flash contents


def region(data: bytes, offset: int = 0x10000, name: str = "app") -> Region:
    return Region(name=name, offset=offset, data=data)


SECTORS = [bytes([number]) * SECTOR for number in range(8)]


def test_without_a_record_every_region_is_compared_whole() -> None:
    assert [entry.old for entry in plan([region(b"a"), region(b"b", 0)], {})] == [None, None]


def test_a_region_with_few_changed_sectors_is_sent_as_a_difference() -> None:
    old = b"".join(SECTORS)
    new = b"".join([*SECTORS[:3], b"x" * SECTOR, *SECTORS[4:]])
    (entry,) = plan([region(new)], {0x10000: old})
    assert entry.old == old
    assert changed_sectors(old, new) == 1


def test_a_region_that_changed_in_most_sectors_is_sent_whole() -> None:
    old = b"".join(SECTORS)
    new = b"".join(reversed(SECTORS))
    (entry,) = plan([region(new)], {0x10000: old})
    assert entry.old is None


def test_unchanged_regions_alone_are_left_to_esptool_s_own_comparison() -> None:
    (entry,) = plan([region(b"same")], {0x10000: b"same"})
    assert entry.old is None


def test_an_unchanged_region_beside_a_changed_one_is_only_verified() -> None:
    old = b"".join(SECTORS)
    new = old[:-1] + b"!"
    app, table = plan([region(new), region(b"table", 0x8000, "table")], {0x10000: old, 0x8000: b"table"})
    assert app.old == old
    assert table.old == b"table"


@given(st.binary(max_size=5 * SECTOR), st.binary(max_size=5 * SECTOR))
def test_changed_sectors_are_those_of_the_new_bytes(old: bytes, new: bytes) -> None:
    count = changed_sectors(old, new)
    assert 0 <= count <= -(-len(new) // SECTOR)
    assert (count == 0) == old.startswith(new) if len(old) >= len(new) else count > 0


# esptool's words


def test_the_positions_of_several_regions_add_up() -> None:
    output = EsptoolOutput([region(bytes(100), 0x1000, "a"), region(bytes(300), 0x10000, "b")])
    output.feed("'a.bin' at 0x00001000 already in flash, skipping write.")
    assert output.done_bytes == 100
    output.feed("Writing at 0x00010080 \u2501\u2501\u2501  42.0% 1.00kB/2.00kB [0s]")
    assert output.done_bytes == 100 + 0x80
    output.feed("Wrote 300 bytes (200 compressed) at 0x00010000 in 0.0 seconds (1.0 kbit/s).")
    assert output.done_bytes == 400
    assert (output.kept, output.written, output.bytes_written) == (["a"], ["b"], 300)


def test_the_tail_has_no_progress_bars() -> None:
    output = EsptoolOutput([region(bytes(10))])
    for number in range(30):
        output.feed(f"line {number}")
        output.feed("Writing at 0x00010001 ━ 1.0% 1B/2B [0s]")
    assert output.tail.splitlines()[-1] == "line 29"
    assert len(output.tail.splitlines()) == 12


@given(st.text())
def test_any_line_is_digested(line: str) -> None:
    output = EsptoolOutput([region(bytes(10))])
    output.feed(line)
    assert output.done_bytes <= 10


@pytest.mark.skipif(os.name == "nt", reason="kills a POSIX program")
def test_a_flasher_that_hangs_is_killed_at_its_deadline(tmp_path: Path) -> None:
    from esp_hil.esp.esptool_program import failed, run_program

    output = EsptoolOutput()
    sleeper = [sys.executable, "-c", "import time; print('Connecting...', flush=True); time.sleep(60)"]
    status = run_program(sleeper, 1.0, output)
    assert status < 0
    assert "killed at its deadline" in str(failed(output, status))

"""The suites on a real board's row: built or prebuilt, linted, flashed, opened; esptool and ESP-IDF are fakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from esp_hil.boards import provision
from esp_hil.boards.build import BuildOrder
from esp_hil.boards.profiles import check_chip, check_idf
from esp_hil.boards.provision import profile_of, sizes_of
from esp_hil.boards.select import Board
from esp_hil.errors import BuildError, ConfigError
from esp_hil.esp.esptool_output import DetectedChip
from esp_hil.esp.esptool_program import Flasher
from esp_hil.esp.image import FirmwareImage, model_label
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.progress import Silent
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from esp_hil.targets import target
from esp_hil.virtual import VirtualBoard
from tests.boards.builds import FACTORY, MODEL, FakeIdf, make_build_folder
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="boards are pseudo-terminals here")

MNIST = (ROOT / "golden" / "mnist" / "w8a8" / "c.espdl").read_bytes()
MAC = "7c:df:a1:00:00:01"


class Bench:
    """A row `desk` whose port is a virtual board and whose esptool writes to a file."""

    def __init__(self, machine: VirtualBoard, folder: Path) -> None:
        self.folder = folder
        self.flash = folder / "chip.bin"
        self.flash.write_bytes(b"\xff" * (4 << 20))
        self._calls = folder / "calls.jsonl"
        self._state = folder / "state.json"
        self.set_chip("ESP32-C3")
        rows = ["[desk]", 'target = "esp32c3"', f'url = "{machine.url}"', f'mac = "{MAC}"']
        (folder / "boards.toml").write_text("\n".join(rows) + "\n", encoding="utf-8")

    def set_chip(self, name: str) -> None:
        """What esptool finds at the port."""
        values = {
            "chip": name, "type": f"{name} (QFN32) (revision v0.4)", "features": "Wi-Fi, BT 5 (LE)",
            "mac": MAC, "flash_kb": 4096, "flash": str(self.flash), "max_baud": 10_000_000,
            "calls": str(self._calls),
        }  # fmt: skip
        self._state.write_text(json.dumps(values), encoding="utf-8")

    @property
    def calls(self) -> list[list[str]]:
        """esptool's command lines so far."""
        return (
            [json.loads(line) for line in self._calls.read_text().splitlines()]
            if self._calls.exists()
            else []
        )

    @property
    def written(self) -> list[list[str]]:
        """Those of them that write."""
        return [words for words in self.calls if "write-flash" in words]

    def run(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        recipe: str = "w8a8",
        model: str = "mnist",
    ) -> subprocess.CompletedProcess[str]:
        """The numerics suite on the desk."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites/test_numerics.py"]
        command += [
            "--target",
            "esp32c3",
            "--hil-board",
            "desk",
            "--hil-model",
            model,
            "--hil-recipe",
            recipe,
        ]
        command += [
            "--hil-inputs",
            "4",
            "--hil-runs",
            "3",
            "--hil-results",
            str(self.folder / "out"),
            *arguments,
        ]
        own = {
            "HIL_BOARDS": str(self.folder / "boards.toml"),
            "HIL_STATE": str(self.folder / "state"),
            "HIL_BUILDS": str(self.folder / "builds"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "HIL_ESPTOOL": f"{sys.executable} {ROOT / 'tests' / 'esp' / 'fake_esptool.py'} {self._state}",
            "HOME": str(self.folder),
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith("IDF_")}
        return subprocess.run(
            command, cwd=ROOT, env={**others, **own, **(environ or {})},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    @property
    def rows(self) -> tuple[Run, ...]:
        """What was recorded."""
        return read_runs(self.folder / "out").runs


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with VirtualBoard(target("esp32c3")) as machine:
        yield Bench(machine, tmp_path)


def test_a_prebuilt_image_and_the_model_are_on_the_chip_before_it_is_opened_and_not_written_twice(
    desk: Bench, tmp_path: Path
) -> None:
    folder = make_build_folder(tmp_path / "app" / "build")
    done = desk.run("--build-dir", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    flash, image = desk.flash.read_bytes(), FirmwareImage.from_build_dir(folder)
    for region in image.regions:
        assert flash[region.offset : region.offset + len(region.data)] == region.data
    assert flash[FACTORY[0] :].startswith((folder / "esp_hil.bin").read_bytes())
    assert flash[MODEL[0] :].startswith(MNIST)
    assert flash[sum(MODEL) - 4096 :].startswith(model_label(MNIST))
    (row,) = desk.rows
    assert row.passed
    assert row.board == "desk"
    # pytest-embedded's other way to say it, and nothing to write
    before = len(desk.written)
    again = desk.run("--app-path", str(tmp_path / "app"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(desk.written) == before + 1
    assert "--skip-flashed" in desk.written[-1]
    assert desk.flash.read_bytes() == flash


def test_without_a_prebuilt_image_esp_idf_builds_one_once(desk: Bench, tmp_path: Path) -> None:
    idf = FakeIdf(tmp_path / "idf", ROOT)
    for _ in range(2):
        done = desk.run(environ=idf.environ)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(idf.calls) == 1
    assert "-DIDF_TARGET=esp32c3" in idf.calls[0]
    assert "-DHIL_ENGINE=espdl" in idf.calls[0]
    assert "-DHIL_PROFILE=perf" in idf.calls[0]
    assert desk.flash.read_bytes()[FACTORY[0]] == 0xE9


def test_without_esp_idf_and_without_an_image_the_error_says_both_ways_out(desk: Bench) -> None:
    done = desk.run()
    assert done.returncode == 1
    assert "no ESP-IDF 5.3 or newer" in done.stdout
    assert "--build-dir" in done.stdout
    assert "--skip-autoflash y" in done.stdout
    assert desk.calls == []
    (row,) = desk.rows
    assert row.failure is not None
    assert row.failure.kind == "build"


def test_a_board_that_has_its_firmware_is_not_touched_with_skip_autoflash(desk: Bench) -> None:
    done = desk.run("--skip-autoflash", "y")
    assert done.returncode == 0, done.stdout + done.stderr
    assert desk.calls == []


def test_a_model_that_lint_refuses_reaches_neither_flash_nor_line(desk: Bench, tmp_path: Path) -> None:
    folder = make_build_folder(tmp_path / "build")
    # as somebody has it who does not know yet which chips the recipe is for
    models = tmp_path / "golden"
    shutil.copytree(ROOT / "golden" / "gesture", models / "gesture")
    toml = models / "gesture" / "model.toml"
    lines = [line for line in toml.read_text().splitlines(keepends=True) if not line.startswith("unsuited")]
    toml.write_text("".join(lines))
    refused = ("--build-dir", str(folder)), ("--skip-autoflash", "y")
    for arguments in refused:
        done = desk.run(*arguments, model="gesture", recipe="w16a16", environ={"HIL_GOLDEN": str(models)})
        assert done.returncode == 1
        assert "DoesNotFit" in done.stdout
        assert "645,120" in done.stdout
    assert desk.written == []
    assert [row.failure.kind for row in desk.rows if row.failure] == ["out_of_memory", "out_of_memory"]
    assert all(row.link is None or row.link.bytes_up < 5_000 for row in desk.rows)


def test_an_image_does_not_go_onto_another_chip(desk: Bench, tmp_path: Path) -> None:
    folder = make_build_folder(tmp_path / "build")
    desk.set_chip("ESP32-C6")
    done = desk.run("--build-dir", str(folder))
    assert done.returncode == 1
    assert "the chip is an esp32c6, the image is for esp32c3" in done.stdout
    assert desk.written == []
    (row,) = desk.rows
    assert row.failure is not None
    assert row.failure.kind == "flash"


# what a build is made of


@pytest.mark.parametrize(
    ("board", "wanted", "profile"),
    [
        (Board(id="a", target="esp32s3"), (), ("perf",)),
        (Board(id="a", target="esp32s3"), ("debug",), ("debug",)),
        (Board(id="a", target="esp32s3"), ("size", "usb"), ("size", "usb")),
        (Board(id="a", target="esp32s3"), ("fast-uart",), ("perf", "fast-uart")),
        (Board(id="a", target="esp32s3", flash_bytes=8 << 20), ("usb",), ("perf", "flash-8mb", "usb")),
        (Board(id="a", target="esp32s3", flash_bytes=8 << 20), ("flash-4mb",), ("perf", "flash-4mb")),
        (Board(id="a", target="esp32s3", psram_bytes=0), ("psram-quad",), ("perf", "psram-quad")),
        (
            Board(id="a", target="esp32c3", kind="emulated", emulator="qemu"),
            ("fast-uart",),
            ("perf", "emulated", "fast-uart"),
        ),
        (Board(id="a", target="esp32p4"), (), ("perf", "p4-rev1")),
        (Board(id="a", target="esp32p4"), ("p4-rev3",), ("perf", "p4-rev3")),
        (Board(id="a", target="esp32s3", flash_bytes=8 << 20), (), ("perf", "flash-8mb")),
        (Board(id="a", target="esp32", psram_bytes=0), (), ("perf", "psram-off")),
        (Board(id="a", target="esp32c3", kind="emulated", emulator="qemu"), (), ("perf", "emulated")),
    ],
)
def test_what_was_asked_for_is_added_to_what_the_board_needs(
    board: Board, wanted: tuple[str, ...], profile: tuple[str, ...]
) -> None:
    assert profile_of(board, wanted, target=board.target) == profile


@pytest.mark.parametrize(
    ("revision", "profile"),
    [
        (None, "p4-rev1"),
        (0, "p4-rev1"),
        (103, "p4-rev1"),
        (300, "p4-rev3"),
        (301, "p4-rev3"),
        (400, "p4-rev3"),
    ],
)
def test_an_esp32p4_gets_the_image_of_its_revision(revision: int | None, profile: str) -> None:
    board = Board(id="a", target="esp32p4", flash_bytes=16 << 20)
    assert profile_of(board, (), target="esp32p4", revision=revision) == ("perf", profile, "flash-16mb")
    assert profile_of(board, ("p4-rev3", "debug"), target="esp32p4", revision=revision) == (
        "flash-16mb",
        "p4-rev3",
        "debug",
    )


@pytest.mark.parametrize("version", ["5.3.5", "5.4.0", "5.4.3", "5.5.0", "5.5.1"])
def test_an_esp_idf_that_knows_no_esp32p4_v3_is_refused_before_it_builds(version: str) -> None:
    with pytest.raises(BuildError, match=r"v3\.0 and newer") as refused:
        check_idf(("perf", "p4-rev3"), version)
    assert "5.5.2" in refused.value.hint
    check_idf(("perf", "p4-rev1"), version)


@pytest.mark.parametrize("version", ["5.4.4", "5.5.2", "5.5.5", "6.0.0", "6.1.0"])
def test_an_esp_idf_that_knows_esp32p4_v3_builds_it(version: str) -> None:
    check_idf(("perf", "p4-rev3"), version)


def test_sizes_of_an_image_that_nobody_measured_are_not_zero_but_absent(tmp_path: Path) -> None:
    assert sizes_of(None) == {}
    assert sizes_of(FirmwareImage.from_build_dir(make_build_folder(tmp_path / "b"))) == {}


def test_every_committed_model_that_fits_a_chip_passes_lint_there() -> None:
    from esp_hil.lint.preflight import preflight

    model = catalogue.load("mnist")
    for name in ("esp32c3", "esp32s3", "esp32p4"):
        chip = target(name)
        file = open_device_file(model.artifact("w8a8", chip.family))
        assert not [finding for finding in preflight(file, chip) if finding.severity == "error"]


def test_the_revision_of_an_attached_esp32p4_is_asked_before_its_image_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    orders: list[tuple[str, ...]] = []

    def build(order: BuildOrder, idf: object, **rest: object) -> FirmwareImage:
        del idf, rest
        orders.append(order.profile)
        raise BuildError("enough", step="build")

    asked: list[str] = []

    def identify(flasher: Flasher) -> DetectedChip:
        asked.append(flasher.port)
        return DetectedChip(target="esp32p4", revision=301)

    monkeypatch.setattr(provision, "build", build)
    monkeypatch.setattr(provision, "find_idf", lambda: None)
    monkeypatch.setattr(provision, "identify", identify)
    desk = Board(id="desk", target="esp32p4", listed=True)
    for profile in ((), ("p4-rev1",)):
        making = provision.Provision(
            target("esp32p4"),
            "espdl",
            provision.Source(profile=profile),
            lambda: pytest.fail("no model"),
            Silent(),
        )
        with pytest.raises(BuildError, match="enough"):
            making.flash(desk, "/dev/ttyACM0")
    assert orders == [("perf", "p4-rev3"), ("perf", "p4-rev1")]
    assert asked == ["/dev/ttyACM0"]


@pytest.mark.parametrize(
    ("target", "profile", "said"),
    [
        ("esp32", "usb", "no USB-Serial/JTAG"),
        ("esp32c2", "usb", "no USB-Serial/JTAG"),
        ("esp32c3", "psram-octal", "no PSRAM"),
        ("esp32c6", "psram-xip", "no PSRAM"),
        ("esp32s3", "p4-rev3", "it is for esp32p4"),
        ("esp32s3", "xtal-26mhz", "it is for esp32, esp32c2"),
        ("esp32p4", "p4-rev1,perf,p4-rev3", "name one"),
    ],
)
def test_a_profile_that_the_chip_has_no_use_for_is_refused_before_minutes_go_by(
    target: str, profile: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_chip(tuple(profile.split(",")), target)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("target", "profile"),
    [
        ("esp32c3", "perf,debug,usb,psram-off,flash-2mb,flash-4mb"),
        ("esp32s3", "perf,usb,psram-octal,psram-xip,psram-slow"),
        ("esp32", "debug,psram-quad,xtal-26mhz,emulated,fast-uart"),
        ("esp32p4", "size,p4-rev3,psram-xip,flash-32mb-octal,spiffs"),
    ],
)
def test_profiles_of_the_chip_add_up(target: str, profile: str) -> None:
    check_chip(tuple(profile.split(",")), target)

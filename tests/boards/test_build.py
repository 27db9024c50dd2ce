from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from esp_hil import __version__
from esp_hil.boards import build as build_module
from esp_hil.boards.build import (
    BuildOrder,
    BuildProgress,
    _alive,
    _follow,
    build,
    build_failed,
    fingerprint,
    firmware_folder,
    has_build_apps,
    look_at,
    parse_sizes,
    with_sizes,
)
from esp_hil.cli import main
from esp_hil.commands import build as command
from esp_hil.errors import BuildError, ConfigError, FlashError
from esp_hil.esp import idf as idf_module
from esp_hil.esp.idf import Idf, find_idf, version_of
from esp_hil.esp.image import FirmwareImage, image_of, model_label
from esp_hil.progress import Advance
from tests.boards.builds import MODEL, FakeIdf, make_build_folder
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake ESP-IDF is made of POSIX scripts")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A firmware folder with one runtime and the profiles."""
    folder = tmp_path / "firmware"
    for name in ("engines/espdl", "profiles", "main", "locks", "build/old", "managed_components/x"):
        (folder / name).mkdir(parents=True)
    for name in ("CMakeLists.txt", "engines/espdl/CMakeLists.txt", "main/app_main.cpp", "sdkconfig.defaults"):
        (folder / name).write_text(name)
    for name in ("perf", "debug", "debug.esp32c3", "flash-8mb"):
        (folder / "profiles" / name).write_text(name)
    return folder


@pytest.fixture
def fake(tmp_path: Path) -> FakeIdf:
    return FakeIdf(tmp_path / "idf", ROOT)


@pytest.fixture
def idf(fake: FakeIdf) -> Idf:
    return find_idf(fake.environ, home=fake.path.parent)


C3 = BuildOrder(target="esp32c3")


def test_an_installed_package_s_firmware_is_built_in_the_cache_and_left_as_it_is(
    source: Path, idf: Idf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.boards.build.checkout", lambda: None)
    monkeypatch.setattr("esp_hil.boards.build.shipped", lambda name: source if name == "firmware" else None)
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HIL_BUILDS", raising=False)
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    for path in [source, *source.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        image = build(C3, idf)
        assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before
        copied = firmware_folder()
        assert image.folder.is_relative_to(copied)
        assert copied.is_relative_to(tmp_path / "cache")
        assert (copied / "main" / "app_main.cpp").read_text() == "main/app_main.cpp"
        assert (copied / "version.txt").read_text().strip() == __version__
        assert os.access(copied / "sdkconfig.defaults", os.W_OK)
    finally:
        for path in [source, *source.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    (source / "main" / "app_main.cpp").write_text("another release")
    assert firmware_folder() != copied


def test_a_cache_that_cannot_be_written_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.boards.build.checkout", lambda: None)
    monkeypatch.setattr("esp_hil.boards.build.shipped", lambda name: source)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="HIL_CACHE"):
        firmware_folder()


class Counting:
    """Progress that adds up."""

    def __init__(self) -> None:
        self.done = 0

    @contextmanager
    def task(self, description: str, *, total: int, unit: str = "") -> Iterator[Advance]:
        del description, unit
        yield self._advance
        assert self.done <= total

    def _advance(self, count: int) -> None:
        self.done += count

    def say(self, text: str) -> None:
        del text


# building


def test_a_build_gives_the_image_of_its_folder(source: Path, idf: Idf, fake: FakeIdf) -> None:
    progress = Counting()
    image = build(C3, idf, source=source, progress=progress)
    assert image.target == "esp32c3"
    assert image.folder == source / "build" / "esp32c3-espdl-perf"
    assert [region.name for region in image.regions] == ["bootloader", "partition-table", "app"]
    assert (image.idf, image.version) == ("v5.3.5", "0.1.0")
    assert progress.done == 100
    assert "-DIDF_TARGET=esp32c3 " in fake.calls[0]
    assert "-DHIL_PROFILE=perf " in fake.calls[0]


def test_the_log_has_the_command_line_of_a_build_and_says_where_none_was_needed(
    source: Path, idf: Idf, fake: FakeIdf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil")
    image = build(C3, idf, source=source)
    ((line,), calls) = (caplog.messages, fake.calls)
    assert line.startswith(f"$ {idf.python} {idf.path / 'tools' / 'idf.py'} -C ")
    assert f" -B {image.folder} " in line
    assert line.endswith(" build")
    assert len(calls) == 1
    caplog.clear()
    build(C3, idf, source=source)
    assert caplog.messages == [f"{image.folder} is built already"]


def test_nothing_is_built_twice(source: Path, idf: Idf, fake: FakeIdf) -> None:
    first = build(C3, idf, source=source)
    assert build(C3, idf, source=source) == first
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "name",
    [
        "main/app_main.cpp",
        "sdkconfig.defaults",
        "profiles/debug",
        "locks/esp32c3-espdl.lock",
        "../pyproject.toml",
    ],
)
def test_a_changed_file_is_built_again(source: Path, idf: Idf, fake: FakeIdf, name: str) -> None:
    build(C3, idf, source=source)
    (source / name).write_text("changed")
    build(C3, idf, source=source)
    assert len(fake.calls) == 2


@pytest.mark.parametrize("name", ["build/old/x", "managed_components/x/y", "sdkconfig", ".git"])
def test_what_a_build_leaves_behind_does_not_count(source: Path, idf: Idf, fake: FakeIdf, name: str) -> None:
    build(C3, idf, source=source)
    if name != ".git":
        (source / name).write_text("x")
    build(C3, idf, source=source)
    assert len(fake.calls) == 1


def test_a_source_that_changed_while_it_was_built_is_looked_at_again(
    source: Path, idf: Idf, fake: FakeIdf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build_module._run_idf

    def edited(*given: Any) -> None:
        run(*given)
        (source / "main" / "app_main.cpp").write_text("saved in the meantime")

    monkeypatch.setattr(build_module, "_run_idf", edited)
    build(C3, idf, source=source)
    monkeypatch.setattr(build_module, "_run_idf", run)
    build(C3, idf, source=source)
    assert len(fake.calls) == 2
    build(C3, idf, source=source)
    assert len(fake.calls) == 2


def test_another_compiler_or_esp_idf_is_built_again(source: Path, idf: Idf, fake: FakeIdf) -> None:
    before = fingerprint(C3, idf, source, source)
    assert fingerprint(C3, replace(idf, version="5.4.1"), source, source) != before
    fake.set_compiler("riscv32-esp-elf-gcc 14.2.0")
    assert fingerprint(C3, idf, source, source) != before


def test_orders_that_differ_have_folders_of_their_own(tmp_path: Path) -> None:
    model = tmp_path / "m.espdl"
    orders = [
        C3,
        replace(C3, target="esp32c6"),
        replace(C3, profile=("debug",)),
        replace(C3, profile=("perf", "flash-8mb")),
        replace(C3, model=model),
        replace(C3, definitions={"A": "1"}),
        replace(C3, definitions={"A": "2"}),
    ]
    assert len({order.folder_name for order in orders}) == len(orders)


def test_a_build_folder_that_somebody_changed_is_built_again(source: Path, idf: Idf, fake: FakeIdf) -> None:
    image = build(C3, idf, source=source)
    app = image.folder / "esp_hil.bin"
    app.write_bytes(app.read_bytes() + b"x")
    build(C3, idf, source=source)
    assert len(fake.calls) == 2


def test_a_failed_build_names_its_first_error_and_its_log(source: Path, idf: Idf, fake: FakeIdf) -> None:
    fake.fail.write_text(
        "main/app_main.cpp:12:3: error: 'x' was not declared\nninja: build stopped\nFAILED: all\n"
    )
    with pytest.raises(BuildError, match="was not declared") as raised:
        build(C3, idf, source=source)
    assert "hil_build.log" in raised.value.hint
    fake.fail.unlink()
    build(C3, idf, source=source)  # and leaves nothing that stands in the way


def test_a_build_that_does_not_fit_says_what_to_do(tmp_path: Path) -> None:
    lines = ["ld: region `iram0_0_seg' overflowed by 1234 bytes", "ninja: build stopped"]
    error = build_failed(2, lines, tmp_path / "gone.log")
    assert "overflowed by 1234" in error.message
    assert "--build-profile size" in error.hint
    assert (tmp_path / "gone.log").read_text().splitlines() == lines


# builds beside each other


def test_two_chips_and_two_runtimes_keep_their_components_apart(
    source: Path, idf: Idf, fake: FakeIdf
) -> None:
    (source / "engines" / "tflm").mkdir()
    (source / "engines" / "tflm" / "CMakeLists.txt").write_text("")
    chips = (C3, replace(C3, target="esp32c6"))
    orders = [replace(order, runtime=runtime) for order in chips for runtime in ("espdl", "tflm")]
    for order in orders:
        build(order, idf, source=source)
        view = source / "build" / ".sources" / f"{order.target}-{order.runtime}"
        (view / "dependencies.lock").write_text(order.folder_name)  # as the component manager leaves it
        (view / "managed_components").mkdir(exist_ok=True)
    before = len(fake.calls)
    for order in orders:
        build(order, idf, source=source)  # each sees that its own lock is another one now, and no other's
        build(order, idf, source=source)
    assert len(fake.calls) == before + len(orders)
    assert len({call.split()[call.split().index("-C") + 1] for call in fake.calls}) == len(orders)


def test_a_view_shows_the_sources_as_they_are_and_keeps_what_is_its_own(source: Path) -> None:
    view = source / "build" / "view"
    (view / "managed_components").mkdir(parents=True)
    (view / "old").mkdir()
    (source.parent / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "7.8.9"\n')
    for _ in range(2):
        look_at(source, view, C3)
    assert (view / "main" / "app_main.cpp").read_text() == "main/app_main.cpp"
    assert (view / "version.txt").read_text() == "7.8.9\n"
    assert not (view / "old").exists()
    assert (view / "managed_components").is_dir()
    assert not (view / "build").exists()
    (source / "main" / "app_main.cpp").write_text("changed")
    assert (view / "main" / "app_main.cpp").read_text() == "changed"


def test_a_committed_lock_is_what_a_view_starts_from(source: Path, tmp_path: Path) -> None:
    (source / "locks" / "esp32c3-espdl.lock").write_text("esp-dl: 3.3.9")
    for target, expected in (("esp32c3", True), ("esp32c6", False)):
        view = tmp_path / target
        view.mkdir()
        look_at(source, view, replace(C3, target=target))
        assert (view / "dependencies.lock").is_file() is expected


def test_where_links_cannot_be_made_the_view_is_a_copy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: Path, target_is_directory: bool = False) -> None:
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    view = tmp_path / "view"
    view.mkdir()
    for text in ("one", "two"):
        (source / "main" / "app_main.cpp").write_text(text)
        look_at(source, view, C3)
        assert (view / "main" / "app_main.cpp").read_text() == text
        assert not (view / "main").is_symlink()


def test_the_bootloader_s_own_count_does_not_end_the_progress_of_the_whole() -> None:
    steps = BuildProgress()
    lines = ["[1/1043] a", "[20/1043] bootloader begins", "[1/102] b", "[102/102] c", "[522/1043] d"]
    assert [steps.take(line) for line in lines] == [0, 1, 0, 0, 49]
    assert steps.take("[1040/1040] the end, after CMake ran again") == 50
    assert steps.take("no step") == 0


def test_a_build_that_says_nothing_for_a_while_is_told_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "ALIVE_SECONDS", 0.001)
    told = threading.Event()
    with _alive(lambda count: told.set() if count == 0 else None):
        assert told.wait(30)
    told.clear()
    assert "hil-build-alive" not in {thread.name for thread in threading.enumerate()}


def test_what_a_build_started_ends_with_it(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    child = "import os,sys,time; open(sys.argv[1],'w').write(str(os.getpid())); time.sleep(600)"
    parent = (
        f"import subprocess,sys; p=subprocess.Popen([sys.executable,'-c',{child!r},sys.argv[1]]); "
        "print('up',flush=True); p.wait()"
    )

    def stop(line: str) -> None:
        assert line == "up\n"
        while not (started.is_file() and started.read_text()):
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _follow([sys.executable, "-c", parent, str(started)], os.environ, stop)
    status = Path(f"/proc/{started.read_text()}/status")
    deadline = time.monotonic() + 30
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < deadline, "the compiler goes on"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (replace(C3, target="esp8266"), "esp8266"),
        (replace(C3, runtime="tvm"), "espdl"),
        (replace(C3, profile=("fast",)), "perf"),
        (replace(C3, profile=("debug.esp32c3",)), "perf"),
        (replace(C3, model=Path("no-such.espdl")), "no-such"),
    ],
)
def test_what_the_firmware_does_not_have_is_refused_before_building(
    source: Path, idf: Idf, fake: FakeIdf, order: BuildOrder, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        build(order, idf, source=source)
    assert fake.calls == []


def test_a_missing_compiler_says_how_to_install_it(source: Path, idf: Idf) -> None:
    with pytest.raises(BuildError, match="xtensa-esp32s3-elf-gcc") as raised:
        build(replace(C3, target="esp32s3"), idf, source=source)
    assert "install.sh esp32s3" in raised.value.hint


def test_the_firmware_of_this_project_has_what_its_orders_name(idf: Idf) -> None:
    assert fingerprint(C3, idf, ROOT / "firmware", ROOT / "firmware")


# ESP-IDF


def test_without_esp_idf_the_error_says_where_it_looked_and_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="newer; found no folder to look in"):
        find_idf({}, home=tmp_path)
    (tmp_path / "esp" / "old" / "esp-idf").mkdir(parents=True)
    with pytest.raises(
        BuildError, match=r"5\.3 or newer; looked at .*old/esp-idf \(home folder: not there\)"
    ) as raised:
        find_idf({}, home=tmp_path)
    assert "export.sh" in raised.value.hint
    assert "--build-dir" in raised.value.hint


def test_an_activated_esp_idf_that_is_too_old_is_refused_even_if_a_newer_one_is_installed(
    tmp_path: Path,
) -> None:
    old = FakeIdf(tmp_path / "old", ROOT, version=(5, 2, 3))
    newer = FakeIdf(tmp_path / "home" / "esp", ROOT)
    assert version_of(newer.path) == "5.3.5"
    with pytest.raises(BuildError, match=r"IDF_PATH: version 5\.2\.3"):
        find_idf(old.environ, home=tmp_path / "home")


def export_of(fake: FakeIdf) -> None:
    """Give a fake ESP-IDF the program that says what activation would set."""
    lines = [
        f"PATH={fake.compiler.parent}:$PATH",
        f"IDF_PYTHON_ENV_PATH={fake.environ['IDF_PYTHON_ENV_PATH']}",
    ]
    (fake.path / "tools" / "idf_tools.py").write_text(f"print({os.linesep.join(lines)!r})\n")


def test_an_installed_esp_idf_is_used_without_being_activated(tmp_path: Path) -> None:
    fake = FakeIdf(tmp_path / "esp", ROOT)
    export_of(fake)
    idf = find_idf({"PATH": "/usr/bin"}, home=tmp_path)
    assert idf.path == fake.path
    assert idf.environment["PATH"] == f"{fake.compiler.parent}:/usr/bin"
    assert idf.environment["IDF_PATH"] == str(fake.path)


def test_an_esp_idf_that_is_not_activated_is_asked_with_its_own_python(tmp_path: Path) -> None:
    fake = FakeIdf(tmp_path / "esp", ROOT)
    # what idf_tools.py says depends on who runs it: with our Python, of a folder that is not there
    (fake.path / "tools" / "idf_tools.py").write_text(
        "import sys; print('PATH=/tools:$PATH'); print('IDF_PYTHON_ENV_PATH=/none/' + sys.executable)\n"
    )
    tools = tmp_path / "tools"
    for name in ("idf5.3_py3.8_env", "idf5.3_py3.12_env", "idf5.4_py3.13_env", "idf5.3_py3.14_env"):
        (tools / "python_env" / name / "bin").mkdir(parents=True)
        if "3.14" not in name:  # one that was removed, but for its folder
            (tools / "python_env" / name / "bin" / "python").symlink_to(sys.executable)
    idf = find_idf({"PATH": "/usr/bin", "IDF_TOOLS_PATH": str(tools)}, home=tmp_path)
    assert idf.python == str(tools / "python_env" / "idf5.3_py3.12_env" / "bin" / "python")
    assert idf.environment["PATH"] == "/tools:/usr/bin"


def test_the_selected_one_of_the_installation_manager_is_used(tmp_path: Path) -> None:
    fakes = [FakeIdf(tmp_path / name, ROOT, version=(5, 4, n)) for n, name in enumerate(("a", "b"))]
    for fake in fakes:
        export_of(fake)
    listed = tmp_path / "home" / ".espressif" / "tools" / "eim_idf.json"
    listed.parent.mkdir(parents=True)
    entries = [
        {"id": str(n), "path": str(fake.path), "idfToolsPath": str(tmp_path)} for n, fake in enumerate(fakes)
    ]
    listed.write_text(json.dumps({"idfInstalled": entries, "idfSelectedId": "1"}))
    idf = find_idf({"PATH": ""}, home=tmp_path / "home")
    assert (idf.path, idf.version) == (fakes[1].path, "5.4.1")
    assert idf.environment["IDF_TOOLS_PATH"] == str(tmp_path)


def test_the_list_of_the_installation_manager_is_found_where_the_tools_are(tmp_path: Path) -> None:
    fake = FakeIdf(tmp_path / "a", ROOT, version=(5, 5, 1))
    export_of(fake)
    (tmp_path / "tools").mkdir()
    listed = {"idfInstalled": [{"id": "1", "path": str(fake.path), "idfToolsPath": str(tmp_path / "tools")}]}
    (tmp_path / "tools" / "eim_idf.json").write_text(json.dumps(listed))
    environ = {"PATH": "", "IDF_TOOLS_PATH": str(tmp_path / "tools")}
    assert find_idf(environ, home=tmp_path / "home").path == fake.path


def test_the_docker_image_s_tools_lie_beside_its_esp_idf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "opt" / "idf").mkdir(parents=True)
    monkeypatch.setattr(idf_module, "_FIXED", (str(tmp_path / "opt" / "idf"),))
    found = [one for one in idf_module.candidates({}, tmp_path) if one.source == "Docker image"]
    assert [one.tools for one in found] == [str(tmp_path / "opt")]
    told = idf_module.candidates({"IDF_TOOLS_PATH": "/elsewhere"}, tmp_path)
    assert [one.tools for one in told if one.source == "Docker image"] == ["/elsewhere"]


def test_an_incomplete_esp_idf_says_to_install_it(tmp_path: Path) -> None:
    FakeIdf(tmp_path / "esp", ROOT)  # without idf_tools.py
    with pytest.raises(BuildError, match="not installed completely") as raised:
        find_idf({"PATH": "/usr/bin"}, home=tmp_path)
    assert "install.sh" in raised.value.hint


# images


def test_a_prebuilt_folder_is_an_image(tmp_path: Path) -> None:
    image = FirmwareImage.from_build_dir(make_build_folder(tmp_path / "b"))
    assert image.elf == tmp_path / "b" / "esp_hil.elf"
    assert image.flash_bytes == 4 << 20
    assert not image.needs_psram
    assert [row.name for row in image.partitions] == ["factory", "model"]
    assert image.settings.mode == "dio"


def test_psram_that_must_be_there_is_known_from_the_configuration(tmp_path: Path) -> None:
    needs = make_build_folder(tmp_path / "a", config={"SPIRAM": True})
    tries = make_build_folder(tmp_path / "b", config={"SPIRAM": True, "SPIRAM_IGNORE_NOTFOUND": True})
    assert FirmwareImage.from_build_dir(needs).needs_psram
    assert not FirmwareImage.from_build_dir(tries).needs_psram


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("flasher_args.json", "not a build folder"),
        ("esp_hil.bin", "cannot read"),
        ("partition_table/partition-table.bin", "cannot read"),
    ],
)
def test_an_incomplete_build_folder_names_what_is_missing(tmp_path: Path, missing: str, said: str) -> None:
    folder = make_build_folder(tmp_path / "b")
    (folder / missing).unlink()
    with pytest.raises(BuildError, match=said):
        FirmwareImage.from_build_dir(folder)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    folder = make_build_folder(tmp_path / "b")
    shutil.rmtree(folder / "config")
    with pytest.raises(ConfigError, match=r"sdkconfig\.json"):
        FirmwareImage.from_build_dir(folder)


def test_an_application_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = make_build_folder(tmp_path / "b")
    (folder / "esp_hil.bin").write_bytes(b"\xe9" * 400)
    with pytest.raises(BuildError, match="does not describe itself"):
        FirmwareImage.from_build_dir(folder)


def test_images_have_the_same_hash_only_if_every_byte_and_place_is_the_same(tmp_path: Path) -> None:
    one = FirmwareImage.from_build_dir(make_build_folder(tmp_path / "a"))
    same = FirmwareImage.from_build_dir(make_build_folder(tmp_path / "b"))
    other = FirmwareImage.from_build_dir(make_build_folder(tmp_path / "c", code=b"d"))
    moved = replace(one, regions=(replace(one.regions[0], offset=0x1000), *one.regions[1:]))
    assert one.sha256 == same.sha256
    assert len({one.sha256, other.sha256, moved.sha256, one.with_model(b"m").sha256}) == 4


def test_a_model_goes_into_its_partition_with_a_label_in_the_last_sector(tmp_path: Path) -> None:
    image = FirmwareImage.from_build_dir(make_build_folder(tmp_path / "b")).with_model(b"EDL2....")
    model, label = image.regions[-2:]
    assert (model.name, model.offset, model.data) == ("model", MODEL[0], b"EDL2....")
    assert label.offset == sum(MODEL) - 0x1000
    assert label.data == model_label(b"EDL2....")
    again = image.with_model(b"EDL1")
    assert [region.name for region in again.regions].count("model") == 1


def test_the_label_is_what_the_firmware_reads() -> None:
    # "HILM", 9 bytes, CRC-32 of "123456789" (its check value), CRC-32 of these 12 bytes
    assert model_label(b"123456789").hex() == "48494c4d09000000" + "2639f4cb" + "22292e86"


def test_a_model_that_does_not_fit_its_partition_is_refused(tmp_path: Path) -> None:
    image = FirmwareImage.from_build_dir(make_build_folder(tmp_path / "b"))
    assert image.with_model(bytes(MODEL[1] - 0x1000))
    with pytest.raises(FlashError, match="for a partition of"):
        image.with_model(bytes(MODEL[1] - 0x1000 + 1))
    with pytest.raises(FlashError, match="no partition `model`"):
        replace(image, partitions=image.partitions[:1]).with_model(b"m")


def test_pytest_embedded_s_options_name_a_prebuilt_image(tmp_path: Path) -> None:
    folder = make_build_folder(tmp_path / "app" / "build")
    assert image_of(build_dir=None, app_path=None) is None
    for given in (
        {"build_dir": str(folder), "app_path": None},
        {"build_dir": None, "app_path": str(folder.parent)},
    ):
        image = image_of(**given)
        assert image is not None
        assert image.folder == folder
    with pytest.raises(ConfigError, match="no build folder at"):
        image_of(build_dir="elsewhere", app_path=str(tmp_path))


def test_idf_build_apps_builds_where_esp_idf_s_python_has_it(fake: FakeIdf, source: Path) -> None:
    import idf_build_apps

    packages = str(Path(idf_build_apps.__file__).parent.parent)
    (source / "CMakeLists.txt").write_text("include($ENV{IDF_PATH}/tools/cmake/project.cmake)\n")
    (source / "sdkconfig").write_text("of the user")
    with_it = find_idf(fake.environ | {"PYTHONPATH": packages}, home=fake.path.parent)
    assert has_build_apps(with_it)
    assert not has_build_apps(find_idf(fake.environ, home=fake.path.parent))
    order = BuildOrder(target="esp32c3", profile=("perf", "debug"))
    counting = Counting()
    image = build(order, with_it, source=source, progress=counting)
    assert image.target == "esp32c3"
    assert counting.done == 100
    (call,) = fake.calls
    assert "-DSDKCONFIG_DEFAULTS=" in call  # idf-build-apps's own; firmware/CMakeLists.txt decides anew
    assert "-DHIL_PROFILE=perf;debug" in call
    assert call.endswith(" build")
    build(order, with_it, source=source)
    assert len(fake.calls) == 1
    assert (source / "sdkconfig").read_text() == "of the user"
    fake.fail.write_text("main.cpp:7: error: no such thing")
    (source / "main" / "app_main.cpp").write_text("other")
    with pytest.raises(BuildError, match=r"main\.cpp:7: error: no such thing"):
        build(order, with_it, source=source)


def test_a_build_folder_has_one_builder_at_a_time(
    idf: Idf, source: Path, fake: FakeIdf, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(C3, idf, source=source)
    monkeypatch.setattr("esp_hil.boards.build.BUILD_SECONDS", 0.05)
    folder = source / "build" / C3.folder_name
    with FileLock(folder.with_name(f"{folder.name}.lock")), pytest.raises(BuildError, match="keeps building"):
        build(C3, idf, source=source)
    build(C3, idf, source=source)
    assert len(fake.calls) == 1


NINJA = """
import os, signal, subprocess, sys, time
compiler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
def end(*_):
    os.killpg(compiler.pid, signal.SIGTERM)
    compiler.wait()
    sys.exit(2)
signal.signal(signal.SIGTERM, end)
print(compiler.pid, flush=True)
while True:
    time.sleep(1)
"""
"""As ninja does it: a compiler has a process group of its own, and is ended when ninja is asked to end."""


@pytest.mark.skipif(os.name == "nt", reason="no process groups on Windows")
def test_a_build_that_is_ended_leaves_no_compiler_behind() -> None:
    compilers: list[int] = []

    def take(line: str) -> None:
        compilers.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_module._follow([sys.executable, "-c", NINJA], os.environ, take)
    (compiler,) = compilers
    with pytest.raises(ProcessLookupError):
        os.kill(compiler, 0)


@pytest.mark.skipif(os.name == "nt", reason="no process groups on Windows")
def test_a_build_that_does_not_end_when_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "_END_SECONDS", 0.1)
    deaf = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True)"
    seen: list[int] = []

    def take(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_module._follow([sys.executable, "-c", f"{deaf}; time.sleep(600)"], os.environ, take)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


# sizes


def test_sizes_are_read_by_memory_and_part() -> None:
    text = json.dumps(
        {
            "version": "1.2",
            "total_size": 160,
            "layout": [
                {"name": "DRAM", "total": 100, "used": 60, "free": 40, "parts": {".bss": {"size": 20}}},
                {"name": "Flash Code", "total": 0, "used": 7, "free": 0, "parts": {}},
            ],
        }
    )
    (dram, code), total = parse_sizes(text)
    assert (dram.name, dram.used, dram.total, dict(dram.parts)) == ("DRAM", 60, 100, {".bss": 20})
    assert code.total == 0
    assert total == 160


def test_a_map_that_is_none_is_an_error_and_not_a_zero(tmp_path: Path) -> None:
    folder = make_build_folder(tmp_path / "b")
    (folder / "esp_hil.map").write_text("nothing\n")
    with pytest.raises(BuildError, match=r"cannot read esp_hil\.map"):
        with_sizes(FirmwareImage.from_build_dir(folder))


def test_a_map_is_read_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_build_folder(tmp_path / "b")
    (folder / "esp_hil.map").write_text("one\n")
    asked: list[int] = []

    def read(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(len(asked))
        layout = [{"name": "DRAM", "total": 100, "used": len(asked), "free": 0, "parts": {}}]
        said = json.dumps({"version": "1.2", "total_size": len(asked), "layout": layout})
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(subprocess, "run", read)
    first, again = (with_sizes(FirmwareImage.from_build_dir(folder)) for _ in range(2))
    assert (first.sizes, first.total_bytes) == (again.sizes, again.total_bytes)
    assert first.total_bytes == len(asked) == 1
    (folder / "esp_hil.map").write_text("two\n")
    assert with_sizes(FirmwareImage.from_build_dir(folder)).total_bytes == 2
    (folder / build_module.SIZES).write_text("damaged")
    assert with_sizes(FirmwareImage.from_build_dir(folder)).total_bytes == 3


# the command


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_hil_build_shows_a_prebuilt_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_build_folder(tmp_path / "b")
    assert command.run(arguments("--build-dir", str(folder), "--json")) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["target"] == "esp32c3"
    assert [region["name"] for region in shown["regions"]] == ["bootloader", "partition-table", "app"]
    assert command.run(arguments("--build-dir", str(folder))) == 0
    assert "4 MB flash" in capsys.readouterr().out


def test_hil_build_without_a_chip_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["build"])
    assert "which chip? (hil build --target esp32s3; see hil build --help)" in capsys.readouterr().err

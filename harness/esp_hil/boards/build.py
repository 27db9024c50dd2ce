"""Builds the firmware with ESP-IDF, once for each (target, runtime, profile), and again only after changes.

    image = build(BuildOrder(target="esp32s3", profile=("perf", "flash-16mb")), find_idf())

The fingerprint of a build is the SHA-256 over all sources of the firmware, the order, the lock of its managed
components, the version of ESP-IDF and that of the compiler. What decides is content, never a time stamp.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from esp_hil.boards import profiles
from esp_hil.boards.build_failure import cause_of
from esp_hil.errors import BuildError, ConfigError
from esp_hil.esp.backtrace import toolchain_prefix
from esp_hil.esp.idf import Idf
from esp_hil.esp.image import FLASHER_ARGS, FirmwareImage, Section
from esp_hil.json_text import read_json
from esp_hil.progress import Advance, Progress, Silent
from esp_hil.settings import VERSION, cache_folder, checkout, shipped, variable_path
from esp_hil.targets import target as target_of

LOG = logging.getLogger(__name__)

FINGERPRINT = "hil_fingerprint.json"
LOG_FILE = "hil_build.log"
LOCK = "dependencies.lock"
SIZES = "hil_sizes.json"
"""What esp-idf-size said of the linker map in a build folder."""
SOURCES = ".sources"
"""Folder among the build folders: of each chip and runtime the sources as ESP-IDF sees them."""

_NOT_SOURCES = {"build", "managed_components", "__pycache__", "tests", "fuzz", "bindings"}
_NOT_SOURCE_FILES = {"sdkconfig", "sdkconfig.old", "dependencies.lock"}
_STEP = re.compile(r"^\[(\d+)/(\d+)\]")
_JOB = Path(__file__).with_name("build_apps_job.py")
_ASK_SECONDS = 60
BUILD_SECONDS = 3600
"""Deadline of idf.py; a first build of ESP-IDF and ESP-DL takes minutes on a small machine."""
_END_SECONDS = 5.0
"""How long ninja has to end its compilers before it is killed."""
ALIVE_SECONDS = 5.0
"""How often the progress hears that a silent build goes on; it decides how often it says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What to build.

    Attributes:
        target: the chip.
        runtime: a folder of firmware/engines.
        profile: fragments of firmware/profiles; later ones win.
        model: a model to embed in the application, or None.
        definitions: further CMake variables, for projects that add components of their own.
    """

    target: str
    runtime: str = "espdl"
    profile: tuple[str, ...] = profiles.DEFAULT
    model: Path | None = None
    definitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder_name(self) -> str:
        """Name of its build folder: readable, and another one for another order."""
        name = "-".join((self.target, self.runtime, *self.profile))
        rest = json.dumps([str(self.model), *sorted(self.definitions.items())])
        if self.model or self.definitions:
            name += f"-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"
        return name


def firmware_folder() -> Path:
    """The firmware's sources, in a folder that can be written.

    ESP-IDF keeps fetched components and their lock beside the sources. Those of an installed package stay as they
    are: they are copied into the user's cache, once for each content, and built there.

    Raises:
        BuildError: the package does not carry them, or the cache cannot be written.
    """
    folder = shipped("firmware")
    if folder is None or not (folder / "CMakeLists.txt").is_file():
        hint = "run from a checkout of esp-hil, or give a prebuilt image with --build-dir"
        raise BuildError("the firmware's sources are not installed", hint=hint, step="build")
    return folder if checkout() is not None else _in_cache(folder)


def _in_cache(source: Path) -> Path:
    """A copy of the sources, found again by their content."""
    digest = hashlib.sha256(VERSION.encode())
    files = [path.relative_to(source) for path in sources(source)]
    for path in files:
        data = (source / path).read_bytes()
        digest.update(f"{path.as_posix()} {len(data)} ".encode() + data)
    folder = cache_folder() / "firmware" / digest.hexdigest()[:16]
    done = folder / ".complete"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if not done.is_file():
                for path in files:
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    # contents only: an installed package may be read-only
                    shutil.copyfile(source / path, folder / path)
                (folder / "version.txt").write_text(f"{VERSION}\n", encoding="utf-8")
                done.touch()
    except OSError as error:
        hint = "set HIL_CACHE to a folder that can be written"
        raise BuildError(f"cannot write {folder}: {error.strerror}", hint=hint, step="build") from error
    return folder


def build(
    order: BuildOrder,
    idf: Idf,
    *,
    source: Path | None = None,
    builds: Path | None = None,
    progress: Progress | None = None,
) -> FirmwareImage:
    """Build, unless the build folder holds just this.

    Args:
        order: what to build.
        idf: with what.
        source: the firmware's folder; default: this checkout's.
        builds: where build folders go; default: as HIL_BUILDS says, else `build` in the firmware's folder.
        progress: gets the number of compiled files.

    Returns:
        The image with its sizes.

    Raises:
        UnknownTarget, ConfigError: no such chip, runtime or profile.
        BuildError: no compiler, or idf.py failed; the message has its first error, the log is named.
    """
    source = source or firmware_folder()
    check_order(order, source)
    profiles.check_chip(order.profile, order.target)
    profiles.check_idf(order.profile, idf.version)
    shown = progress or Silent()
    builds = builds or variable_path("HIL_BUILDS") or source / "build"
    folder = builds / order.folder_name
    view = builds / SOURCES / f"{order.target}-{order.runtime}"
    for made in (folder, view):
        made.mkdir(parents=True, exist_ok=True)
    # several workers may want the same image: the first one builds, the others find it built
    with _alone(folder):
        if _recorded(folder) == fingerprint(order, idf, source, view):
            LOG.info("%s is built already", folder)
        else:
            # ESP-IDF keeps an existing configuration when its defaults change
            for stale in ("sdkconfig", FINGERPRINT):
                (folder / stale).unlink(missing_ok=True)
            # its profiles share the fetched components
            with _alone(view):
                look_at(source, view, order)
                shown.say(
                    f"build {order.folder_name} begins: minutes the first time; all output: {folder / LOG_FILE}"
                )
                before = _fingerprint(order, idf, source)
                _run_idf(order, idf, view, folder, shown)
            # the lock of the components may have been written by this very build
            if _fingerprint(order, idf, source) == before:
                _record(folder, fingerprint(order, idf, source, view), FirmwareImage.from_build_dir(folder))
            else:
                shown.say(
                    f"{order.folder_name}: sources were changed while they were built; the next build looks again"
                )
        return with_sizes(FirmwareImage.from_build_dir(folder))


def look_at(source: Path, view: Path, order: BuildOrder) -> None:
    """Make a folder in which the firmware is built for one chip and runtime: links to the sources, and what is its own.

    ESP-IDF keeps fetched components and their lock beside the sources, and they are others for each chip and
    runtime: in one folder a build for ESP32-S3 would change what the one for ESP32-P4 found, and a configure
    for tflm delete ESP-DL under a compiler that reads it. A committed lock, `locks/<target>-<runtime>.lock`, gives all
    users the same components.

    Args:
        source: the firmware's folder.
        view: the folder; its `managed_components` and `dependencies.lock` stay.
        order: whose chip and runtime it is for.
    """
    wanted = {
        path.name: path
        for path in source.iterdir()
        if path.name not in _NOT_SOURCES | _NOT_SOURCE_FILES and not path.name.startswith(".")
    }
    for path in view.iterdir():
        if path.name not in _NOT_SOURCES | _NOT_SOURCE_FILES:
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    for name, path in wanted.items():
        try:
            (view / name).symlink_to(path.resolve(), target_is_directory=path.is_dir())
        except OSError:  # Windows lets few users make links
            shutil.copytree(path, view / name) if path.is_dir() else shutil.copy2(path, view / name)
    if "version.txt" not in wanted:
        (view / "version.txt").write_text(f"{_version(source)}\n", encoding="utf-8")
    lock = source / "locks" / f"{order.target}-{order.runtime}.lock"
    if lock.is_file():
        shutil.copyfile(lock, view / LOCK)


def _version(source: Path) -> str:
    """The application's version: that of the checkout, else this package's."""
    project = source.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    found = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    return found[1] if found else VERSION


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process builds there meanwhile."""
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock"), timeout=BUILD_SECONDS):
            yield
    except Timeout:
        hint = f"is another build under way? else delete {folder.name}.lock"
        raise BuildError(f"another process keeps building in {folder}", hint=hint, step="build") from None


def check_order(order: BuildOrder, source: Path) -> None:
    """Refuse what the firmware does not have.

    Raises:
        UnknownTarget, ConfigError: no such chip, runtime or profile; the hint lists those there are.
    """
    target_of(order.target)
    runtimes = [path.parent.name for path in sorted(source.glob("engines/*/CMakeLists.txt"))]
    if order.runtime not in runtimes:
        raise ConfigError(
            f"no runtime {order.runtime!r}", hint=f"one of: {', '.join(runtimes)}", step="build"
        )
    check_profile(order.profile, source)
    if order.model is not None and not order.model.is_file():
        raise ConfigError(f"no model at {order.model}", step="build")


def check_profile(names: Sequence[str], source: Path | None = None) -> None:
    """Make sure that fragments of firmware/profiles are there.

    Args:
        names: of the fragments.
        source: the firmware's sources; None: ours.

    Raises:
        ConfigError: there is none of that name; the hint lists those there are.
    """
    if not names:
        return
    folder = (source or firmware_folder()) / "profiles"
    known = [path.name for path in sorted(folder.iterdir()) if "." not in path.name]
    for name in names:
        if name not in known:
            hint = f"one or several of: {', '.join(known)}"
            raise ConfigError(f"no build profile {name!r}", hint=hint, step="build")


def fingerprint(order: BuildOrder, idf: Idf, source: Path, view: Path) -> str:
    """SHA-256 of everything that a build depends on.

    Args:
        order: what to build.
        idf: with what.
        source: the firmware's folder.
        view: where it is built, with the lock of its components.

    Raises:
        BuildError: the compiler is not installed.
    """
    return _fingerprint(order, idf, source, view / LOCK)


def _fingerprint(order: BuildOrder, idf: Idf, source: Path, *locks: Path) -> str:
    whole = hashlib.sha256()
    facts = [order.target, order.runtime, *order.profile, *map("=".join, sorted(order.definitions.items()))]
    for fact in (*facts, idf.version, str(idf.path), compiler_version(order.target, idf)):
        whole.update(fact.encode() + b"\0")
    # the version of the application comes from pyproject.toml
    others = (*locks, source.parent / "pyproject.toml", order.model)
    for path in (*sources(source), *(path for path in others if path is not None and path.is_file())):
        name = path.relative_to(source) if path.is_relative_to(source) and path not in locks else path
        whole.update(name.as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def sources(folder: Path) -> Iterator[Path]:
    """The files of the firmware that a build reads, in a fixed order."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in _NOT_SOURCES and not path.name.startswith("."):
                yield from sources(path)
        elif path.name not in _NOT_SOURCE_FILES:
            yield path


def compiler_version(target: str, idf: Idf) -> str:
    """First line of what the target's compiler says of itself.

    Raises:
        BuildError: it is not installed.
    """
    name = f"{toolchain_prefix(target_of(target))}gcc"
    compiler = shutil.which(name, path=idf.environment.get("PATH"))
    if compiler is None:
        raise BuildError(
            f"the compiler {name} is not installed",
            hint=f"run {idf.path / 'install.sh'} {target}, then activate ESP-IDF again",
            step="build",
        )
    done = subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
    )
    return done.stdout.partition("\n")[0]


def _run_idf(order: BuildOrder, idf: Idf, view: Path, folder: Path, progress: Progress) -> None:
    definitions = {
        "IDF_TARGET": order.target,
        "SDKCONFIG": str(folder / "sdkconfig"),
        "HIL_ENGINE": order.runtime,
        "HIL_PROFILE": ";".join(order.profile),
        "HIL_MODEL": str(order.model.resolve()) if order.model else "",
        **order.definitions,
    }
    command = _command(order, idf, view, folder, definitions)
    with (
        (folder / LOG_FILE).open("w", encoding="utf-8") as log,
        progress.task(f"build {order.folder_name}", total=100, unit="%") as advance,
        _alive(advance),
    ):
        steps = BuildProgress()
        lines: list[str] = []

        def take(line: str) -> None:
            log.write(line)
            lines.append(line.rstrip("\n"))
            if gained := steps.take(line):
                advance(gained)

        status = _follow(command, idf.environment, take)
    if status != 0:
        raise build_failed(status, lines, folder / LOG_FILE)


@contextmanager
def _alive(advance: Advance) -> Iterator[None]:
    """Tell the progress that the work goes on, while CMake or one large file says nothing for a while."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(ALIVE_SECONDS):
            advance(0)

    teller = threading.Thread(target=tell, name="hil-build-alive", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


class BuildProgress:
    """How far a build is, from ninja's `[7/1043]`.

    ESP-IDF's bootloader is a build inside the build that counts from 1 again, to a number of its own. The first count
    is that of the whole; one of less than half as many steps is another one's.
    """

    def __init__(self) -> None:
        self._total = 0
        self._percent = 0

    def take(self, line: str) -> int:
        """The percent that a line of output adds."""
        step = _STEP.match(line)
        if step is None or 2 * int(step[2]) < self._total:
            return 0
        self._total = int(step[2])
        percent = 100 * int(step[1]) // max(1, self._total)
        gained = max(0, percent - self._percent)
        self._percent += gained
        return gained


def _command(
    order: BuildOrder, idf: Idf, source: Path, folder: Path, definitions: Mapping[str, str]
) -> list[str]:
    """idf-build-apps where ESP-IDF's Python has it, else idf.py itself."""
    if has_build_apps(idf):
        rest = {name: value for name, value in definitions.items() if name != "IDF_TARGET"}
        job = {"app_dir": str(source), "build_dir": str(folder), "target": order.target, "cmake_vars": rest}
        return [idf.python, str(_JOB), json.dumps(job)]
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    return idf.command("-C", str(source), "-B", str(folder), *options, "build")


def has_build_apps(idf: Idf) -> bool:
    """Whether idf-build-apps is installed in ESP-IDF's Python environment."""
    try:
        done = subprocess.run(
            [idf.python, "-c", "import idf_build_apps"],
            env=dict(idf.environment),
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _follow(command: Sequence[str], environment: Mapping[str, str], take: Callable[[str], None]) -> int:
    """Run a program, give each line of its output to `take`; returns its exit status."""
    LOG.info("$ %s", shlex.join(command))
    try:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=os.name != "nt",
        )
    except OSError as error:
        raise BuildError(f"cannot start {command[0]}: {error.strerror}", step="build") from None
    watchdog = threading.Timer(BUILD_SECONDS, _end, [process])
    watchdog.start()
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                take(line)
        except BaseException:
            _end(process)
            raise
        finally:
            watchdog.cancel()
    return process.returncode


def _end(process: subprocess.Popen[str]) -> None:
    """End a build with all that it started: ninja and the compilers would go on without idf.py."""
    if os.name == "nt":
        process.kill()
        return
    with suppress(ProcessLookupError):  # all of them have ended
        # ninja gives each compiler a process group of its own, and ends them itself when it is asked to
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            process.poll()  # a process that nobody has waited for would count as running
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


def build_failed(status: int, lines: Sequence[str], log: Path) -> BuildError:
    """The error of a failed build: the line of its output that names the cause, what to do about it, where all is."""
    if not log.is_file():  # idf-build-apps may have emptied the folder meanwhile
        log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    cause = cause_of(lines)
    return BuildError(
        f"idf.py ended with {status}: {cause.line}", hint=f"{cause.advice}; log: {log}", step="build"
    )


def _recorded(folder: Path) -> str | None:
    """The fingerprint of the build in a folder; None if it has none, or what it built was changed since."""
    try:
        record = read_json(folder / FINGERPRINT)
        if record["image_sha256"] == FirmwareImage.from_build_dir(folder).sha256:
            return str(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, BuildError, ConfigError):
        pass  # whatever is there, it is not a build of ours that came to its end
    return None


def _record(folder: Path, made_of: str, image: FirmwareImage) -> None:
    record = {"fingerprint": made_of, "image_sha256": image.sha256, "flasher_args": FLASHER_ARGS}
    (folder / FINGERPRINT).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def with_sizes(image: FirmwareImage) -> FirmwareImage:
    """The image with esp-idf-size's figures; unchanged where it has no linker map.

    Reading a map takes a second or two: the answer is kept in the build folder, for this map and this esp-idf-size.

    Raises:
        BuildError: esp-idf-size cannot read the map.
    """
    if image.map is None:
        return image
    kept = image.folder / SIZES
    made_of = _sizes_made_of(image.map)
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = read_json(kept)
        if record["made_of"] == made_of:
            sections, total = parse_sizes(json.dumps(record["sizes"]))
            return replace(image, sizes=sections, total_bytes=total)
    command = [sys.executable, "-m", "esp_idf_size", "--format", "json2", str(image.map)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    try:
        sections, total = parse_sizes(done.stdout)
    except (ValueError, KeyError, TypeError):
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(
            f"esp-idf-size cannot read {image.map.name}: {said[-1] if said else 'no output'}",
            hint="pip install 'esp-idf-size>=2,<3'",
            step="build",
        ) from None
    with suppress(OSError):  # somebody else's build folder may be read-only
        kept.write_text(
            json.dumps({"made_of": made_of, "sizes": json.loads(done.stdout)}) + "\n", encoding="utf-8"
        )
    return replace(image, sizes=sections, total_bytes=total)


def _sizes_made_of(linker_map: Path) -> str:
    """What the figures depend on: the map's content, and what reads it."""
    try:
        reader = version("esp-idf-size")
    except PackageNotFoundError:
        reader = ""
    return f"{hashlib.sha256(linker_map.read_bytes()).hexdigest()} {reader}"


def parse_sizes(text: str) -> tuple[tuple[Section, ...], int]:
    """The memories of esp-idf-size's `json2` format 1.x, and the image's total size in bytes.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    table = json.loads(text)
    sections = tuple(
        Section(
            name=row["name"],
            used=int(row["used"]),
            total=int(row["total"]),
            parts={name: int(part["size"]) for name, part in row["parts"].items()},
        )
        for row in table["layout"]
    )
    return sections, int(table["total_size"])

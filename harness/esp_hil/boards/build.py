"""Builds the firmware with ESP-IDF, once for each (target, runtime, profile), and again only after changes.

    image = build(BuildOrder(target="esp32s3", profile=("perf", "flash-16mb")), find_idf())

The fingerprint of a build is the SHA-256 over all sources of the firmware, the order, the lock of its managed
components, the version of ESP-IDF and that of the compiler. What decides is content, never a time stamp.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from esp_hil.boards import profiles
from esp_hil.errors import BuildError, ConfigError
from esp_hil.esp.backtrace import toolchain_prefix
from esp_hil.esp.idf import Idf
from esp_hil.esp.image import FLASHER_ARGS, Image, Section
from esp_hil.progress import Progress, Silent
from esp_hil.settings import cache_folder, checkout, shipped, variable_path
from esp_hil.targets import target as target_of
from esp_hil.version import VERSION

LOG = logging.getLogger(__name__)

FINGERPRINT = "hil_fingerprint.json"
LOG_FILE = "hil_build.log"

_NOT_SOURCES = {"build", "managed_components", "__pycache__", "tests", "fuzz", "bindings"}
_NOT_SOURCE_FILES = {"sdkconfig", "sdkconfig.old", "dependencies.lock"}
_STEP = re.compile(r"^\[(\d+)/(\d+)\]")
_FAILURE = re.compile(r"\berror\b[: ]|undefined reference|CMake Error|overflowed by|FAILED:", re.IGNORECASE)
_JOB = Path(__file__).with_name("build_apps_job.py")
_TAIL_LINES = 25
_ASK_SECONDS = 60
BUILD_SECONDS = 3600
"""Deadline of idf.py; a first build of ESP-IDF and ESP-DL takes minutes on a small machine."""


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
) -> Image:
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
    profiles.check_idf(order.profile, idf.version)
    folder = (builds or variable_path("HIL_BUILDS") or source / "build") / order.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    # several workers may want the same image: the first one builds, the others find it built
    with _alone(folder):
        if _recorded(folder) == fingerprint(order, idf, source):
            LOG.info("%s is built already", folder)
        else:
            # ESP-IDF keeps an existing configuration when its defaults change
            for stale in ("sdkconfig", FINGERPRINT):
                (folder / stale).unlink(missing_ok=True)
            _run_idf(order, idf, source, folder, progress or Silent())
            # the lock of the components may have been written by this very build
            _record(folder, fingerprint(order, idf, source), Image.from_build_dir(folder))
        return with_sizes(Image.from_build_dir(folder))


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
    known = [path.name for path in sorted((source / "profiles").iterdir()) if "." not in path.name]
    for name in order.profile:
        if name not in known:
            hint = f"one or several of: {', '.join(known)}"
            raise ConfigError(f"no build profile {name!r}", hint=hint, step="build")
    if order.model is not None and not order.model.is_file():
        raise ConfigError(f"no model at {order.model}", step="build")


def fingerprint(order: BuildOrder, idf: Idf, source: Path) -> str:
    """SHA-256 of everything that a build depends on.

    Raises:
        BuildError: the compiler is not installed.
    """
    whole = hashlib.sha256()
    facts = [order.target, order.runtime, *order.profile, *map("=".join, sorted(order.definitions.items()))]
    for fact in (*facts, idf.version, str(idf.path), compiler_version(order.target, idf)):
        whole.update(fact.encode() + b"\0")
    # the version of the application comes from pyproject.toml
    others = (source / "dependencies.lock", source.parent / "pyproject.toml", order.model)
    for path in (*sources(source), *(path for path in others if path is not None and path.is_file())):
        name = path.relative_to(source) if path.is_relative_to(source) else path
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


def _run_idf(order: BuildOrder, idf: Idf, source: Path, folder: Path, progress: Progress) -> None:
    definitions = {
        "IDF_TARGET": order.target,
        "SDKCONFIG": str(folder / "sdkconfig"),
        "HIL_ENGINE": order.runtime,
        "HIL_PROFILE": ";".join(order.profile),
        "HIL_MODEL": str(order.model.resolve()) if order.model else "",
        **order.definitions,
    }
    command = _command(order, idf, source, folder, definitions)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    failures: list[str] = []
    with (
        (folder / LOG_FILE).open("w", encoding="utf-8") as log,
        progress.task(f"build {order.folder_name}", total=100, unit="%") as advance,
    ):
        done = 0

        def take(line: str) -> None:
            nonlocal done
            log.write(line)
            tail.append(line.rstrip())
            if _FAILURE.search(line):
                failures.append(line.strip())
            if step := _STEP.match(line):
                percent = 100 * int(step[1]) // max(1, int(step[2]))
                advance(max(0, percent - done))
                done = max(done, percent)

        status = _follow(command, idf.environment, take)
    if status != 0:
        raise build_failed(status, failures, tail, folder / LOG_FILE)


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
        )
    except OSError as error:
        raise BuildError(f"cannot start {command[0]}: {error.strerror}", step="build") from None
    watchdog = threading.Timer(BUILD_SECONDS, process.kill)
    watchdog.start()
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            take(line)
    watchdog.cancel()
    return process.returncode


def build_failed(status: int, failures: Sequence[str], tail: Iterable[str], log: Path) -> BuildError:
    """The error of a failed build: the first line that names a cause, and what to do about the known ones."""
    text = "\n".join((*failures, *tail))
    said = failures[0] if failures else next(iter(reversed([line for line in tail if line])), "no output")
    return BuildError(
        f"idf.py ended with {status}: {said}", hint=f"{_advice(text)}; log: {log}", step="build"
    )


_ADVICE = (
    (
        r"overflowed by|is too small for binary|region .* overflow",
        "use --build-profile size (pytest: --hil-build-profile), or more flash",
    ),
    (r"Failed to resolve component|Cannot find component|esp-dl", "is the component registry reachable?"),
    (r"No space left on device", "free some disk space"),
    (r"requirements are not satisfied|No module named", "run ESP-IDF's install.sh again"),
    (r"is not able to compile a simple test program", "broken toolchain: run ESP-IDF's install.sh again"),
)


def _advice(text: str) -> str:
    return next(
        (advice for pattern, advice in _ADVICE if re.search(pattern, text)), "read the end of the log"
    )


def _recorded(folder: Path) -> str | None:
    """The fingerprint of the build in a folder; None if it has none, or what it built was changed since."""
    try:
        record = json.loads((folder / FINGERPRINT).read_text(encoding="utf-8"))
        if record["image_sha256"] == Image.from_build_dir(folder).sha256:
            return str(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, BuildError, ConfigError):
        pass  # whatever is there, it is no build of ours that came to its end
    return None


def _record(folder: Path, made_of: str, image: Image) -> None:
    record = {"fingerprint": made_of, "image_sha256": image.sha256, "flasher_args": FLASHER_ARGS}
    (folder / FINGERPRINT).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def with_sizes(image: Image) -> Image:
    """The image with esp-idf-size's figures; unchanged where it has no linker map.

    Raises:
        BuildError: esp-idf-size cannot read the map.
    """
    if image.map is None:
        return image
    command = [sys.executable, "-m", "esp_idf_size", "--format", "json2", str(image.map)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    try:
        sections, total = parse_sizes(done.stdout)
        return replace(image, sizes=sections, total_bytes=total)
    except (ValueError, KeyError, TypeError):
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BuildError(
            f"esp-idf-size cannot read {image.map.name}: {said[-1] if said else 'no output'}",
            hint="pip install 'esp-idf-size>=2,<3'",
            step="build",
        ) from None


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

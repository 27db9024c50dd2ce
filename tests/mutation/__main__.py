"""`python -m tests.mutation`: plant changes in a copy of this checkout, one at a time; count those no test notices.

    python -m tests.mutation                    # seeds 1..100, a line each, then the count; 1 if fewer than 90 died
    python -m tests.mutation --seeds 7,12-20
    python -m tests.mutation --near             # only the tests nearest to a module: stricter, and quick
    python -m tests.mutation --list             # what the seeds draw

Nothing of the ground truth beside the project is used: what dies here dies in a clean clone. A mutant of Python meets
the tests of its module and those that import it, then those of its layer, then those of the layers that use it; a
mutant of the device core is compiled and meets the C++ tests, and if it lives the Python tests with a module made of
it. A change counts as killed if the test that failed fails again with it and passes without it: a test that fails now
and then kills nothing. Survivors and equivalents that are known stand in survivors.toml with their reasons; an
equivalent is a change that no test can notice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.near import CORE, stages
from tests.mutation.sites import Line, Site, draws, lines_of

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).with_name("survivors.toml")
LEAST_KILLED_PERCENT = 90
DEADLINE_S = 900.0
CORE_DEADLINE_S = 120.0
"""Of the C++ tests, which take seconds: a device that sends without end shall not take a quarter of an hour."""
NO_TESTS = 5
"""pytest's status where a folder has none."""

# The import hook of an editable install would find the checkout instead of the copy.
_SITE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "ScikitBuildRedirectingFinder"]
"""


@dataclass(slots=True)
class Bench:
    """A copy of the checkout in which changes are planted and taken back."""

    folder: Path
    _clock: int = 0

    def prepare(self) -> None:
        """Copy what git knows, and the compiled module; build the C++ tests."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in listed.stdout.split("\0"):
            if name and (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.folder / name)
        import esp_hil._device

        module = Path(str(esp_hil._device.__file__))
        shutil.copyfile(module, self.folder / "harness" / "esp_hil" / module.name)
        (self.folder / ".mutation").mkdir()
        (self.folder / ".mutation" / "sitecustomize.py").write_text(_SITE, encoding="utf-8")

    def write(self, file: str, text: str) -> None:
        """Write a file with a time of its own, so that neither bytecode nor an object file is taken for it."""
        path = self.folder / file
        path.write_text(text, encoding="utf-8")
        self._clock = max(
            self._clock + 2, int(time.time()) + 1
        )  # newer than any object file, and never the same twice
        os.utime(path, (self._clock, self._clock))

    def run(
        self,
        command: list[str],
        *,
        log: str = "log.txt",
        well: tuple[int, ...] = (0,),
        deadline_s: float = DEADLINE_S,
    ) -> bool:
        """Whether a command of the copy ends well, in time; its output is kept."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HIL_")}
        paths = [self.folder / ".mutation", self.folder, self.folder / "harness"]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        with (
            (self.folder / ".mutation" / log).open("wb") as output,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                return process.wait(deadline_s) in well
            except subprocess.TimeoutExpired:
                return False
            finally:
                if process.poll() is None or process.returncode:
                    _end_group(process.pid)

    def tests(self, paths: tuple[str, ...]) -> bool:
        """Whether these tests pass; the first failure ends them."""
        there = [path for path in paths if (self.folder / path.split("::")[0]).exists()]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout", "120"]
        return not there or self.run([*command, "--hypothesis-seed", "0", *there], well=(0, NO_TESTS))

    def last_failure(self) -> str:
        """The line of the output that names what failed."""
        lines = (self.folder / ".mutation" / "log.txt").read_text(errors="replace").splitlines()
        named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
        return named[0].split(" - ")[0] if named else "it did not end, or ended badly"

    def is_confirmed(self, failure: str) -> bool:
        """Whether a test that failed under a change fails again; also true of a failure that names no test."""
        _, _, test = failure.partition(" ")
        return "::" not in test or not self.tests((test,))

    def require_sound(self, failure: str) -> None:
        """Make sure that a test of pytest which killed a change passes without it.

        Raises:
            SystemExit: it fails without any change as well.
        """
        _, _, test = failure.partition(" ")
        if "::" in test and not self.tests((test,)) and not self.tests((test,)):
            raise SystemExit(f"{test} fails without any change: {self.folder}")

    def killer(self, paths: tuple[str, ...]) -> str:
        """The test of these that fails, and fails again; empty if there is none."""
        for _ in range(3):
            if self.tests(paths):
                return ""
            failure = self.last_failure()
            if self.is_confirmed(failure):
                return failure
        return ""

    def build(self, name: str, target: str, *options: str) -> bool:
        """Configure and build a program of the C++ side in a folder of its own."""
        made = self.folder / ".mutation" / name
        if not (made / "build.ninja").is_file() and not self.run(
            ["cmake", "-S", ".", "-B", str(made), "-G", "Ninja", *options], log="build.txt"
        ):
            raise SystemExit((self.folder / ".mutation" / "build.txt").read_text(errors="replace"))
        return self.run(["cmake", "--build", str(made), "--target", target, "-j", "1"], log="build.txt")

    def build_tests(self) -> bool:
        """Build the C++ tests without optimization; false if the change does not compile."""
        options = (
            "-DHIL_BUILD_TESTS=ON",
            "-DHIL_BUILD_BINDINGS=OFF",
            "-DCMAKE_BUILD_TYPE=Debug",
            "-DCMAKE_CXX_FLAGS_DEBUG=-O0",
        )
        return self.build("core", "test_core", *options)

    def build_module(self) -> bool:
        """Build esp_hil._device of the copy and put it in its place."""
        python = f"-DPython_EXECUTABLE={sys.executable}"
        if not self.build(
            "module", "_device", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0", python
        ):
            return False
        (made,) = (self.folder / ".mutation" / "module").rglob("_device.*.so")
        shutil.copyfile(made, self.module)
        return True

    @property
    def module(self) -> Path:
        """esp_hil._device of the copy."""
        (found,) = (self.folder / "harness" / "esp_hil").glob("_device.*.so")
        return found

    def run_core(self) -> bool:
        """Run the C++ tests."""
        program = self.folder / ".mutation" / "core" / "firmware" / "tests" / "test_core"
        return self.run([str(program)], deadline_s=CORE_DEADLINE_S)


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def try_python(bench: Bench, site: Site, near: bool) -> str:
    """What killed a change of Python; empty if nothing did."""
    if not bench.run([sys.executable, "-c", f"import ast; ast.parse(open({site.file!r}).read())"]):
        return "it does not compile"
    for paths in list(stages(bench.folder, site.file))[: 1 if near else None]:
        if killer := bench.killer(paths):
            return killer
    return ""


def try_core(bench: Bench, site: Site, near: bool) -> str | None:
    """What killed a change of the core; empty if nothing did, None if it does not compile."""
    if not bench.build_tests():
        return None
    if not bench.run_core():
        return bench.last_failure()
    whole = bench.module.read_bytes()
    try:
        if not bench.build_module():
            return None
        for paths in CORE[: 1 if near else None]:
            if killer := bench.killer(paths):
                return killer
        return ""
    finally:
        bench.module.write_bytes(whole)


def mutant(bench: Bench, lines: list[Line], seed: int, near: bool) -> tuple[Line, Site, str]:
    """Plant what a seed draws; returns the change and what killed it.

    Raises:
        SystemExit: nothing that the seed draws compiles.
    """
    for line, site in draws(lines, seed):
        source = (bench.folder / site.file).read_text(encoding="utf-8")
        attempt = try_python if site.file.endswith(".py") else try_core
        bench.write(site.file, site.applied_to(source))
        try:
            killed = attempt(bench, site, near)
        finally:
            bench.write(site.file, source)
        if killed is not None:
            bench.require_sound(killed)
            return line, site, killed
    raise SystemExit(f"seed {seed}: nothing that it draws compiles")


def known() -> dict[tuple[str, str, str], str]:
    """File, line's text and change -> what is said of it in survivors.toml: "survivor" or "equivalent"."""
    with KNOWN.open("rb") as file:
        rows = tomllib.load(file)["mutant"]
    return {(row["file"], row["line"], row["change"]): row["verdict"] for row in rows}


def numbers(text: str) -> list[int]:
    """`1,5-7` -> 1, 5, 6, 7."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> int:
    """Try each seed's change; 0 if enough died."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--seeds", type=numbers, default=numbers("1-100"), help="such as 1,5-7")
    parser.add_argument("--near", action="store_true", help="only the tests of the module's own folder")
    parser.add_argument("--list", action="store_true", help="only print what the seeds draw")
    arguments = parser.parse_args()
    lines = lines_of(ROOT)
    if arguments.list:
        for seed in arguments.seeds:
            line, site = next(draws(lines, seed))
            print(f"{seed:4} {site}  `{line.text}`")
        return 0
    reasons = known()
    killed = equivalent = 0
    with tempfile.TemporaryDirectory(prefix="hil-mutants-") as name:
        bench = Bench(Path(name))
        bench.prepare()
        if not (bench.build_tests() and bench.run_core()):
            raise SystemExit("the C++ tests do not pass as they are")
        for seed in arguments.seeds:
            begin = time.monotonic()
            line, site, by = mutant(bench, lines, seed, arguments.near)
            said = "killed" if by else reasons.get((site.file, line.text, site.said), "SURVIVED")
            killed += bool(by)
            equivalent += said == "equivalent"
            told = by or f"`{line.text}`"
            print(f"{seed:4} {said:10} {site}  [{time.monotonic() - begin:.0f} s] {told}", flush=True)
    total = len(arguments.seeds)
    print(f"{killed} of {total} killed, {equivalent} equivalent, {total - killed - equivalent} survived")
    return int(100 * killed < LEAST_KILLED_PERCENT * total)


if __name__ == "__main__":
    sys.exit(main())

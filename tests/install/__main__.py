"""`python -m tests.install`: each way to install this checkout runs the demo, inside a checkout and outside.

    python -m tests.install                     # sdist, wheel, folder and editable: a line each; 1 if one fails
    python -m tests.install --ways wheel

A way is: a new virtual environment, `pip install` of what there is to install with its dependencies from pip's index,
then MNIST on a virtual ESP32-P4 and a virtual ESP32-S3: by `hil run` in an empty folder, and by pytest in a checkout.
Both must end with two good rows; the package that was imported must be the installed one, also inside a checkout; and
the firmware's sources must be at hand. The checkout is a copy of the tracked files: what git does not know cannot help.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("wheel", "editable", "folder", "sdist")
TARGETS = "esp32p4,esp32s3"
LAST_LINES = 30

_LOOK = """
import json, sys
import esp_hil
from esp_hil.boards.build import firmware_folder
runs = esp_hil.load(sys.argv[1])
print(json.dumps({
    "package": esp_hil.__file__,
    "firmware": str(firmware_folder()),
    "rows": sorted(zip(runs["target"].tolist(), runs["status"].tolist())),
}))
"""


def run(*command: str | Path, cwd: Path, cache: Path) -> str:
    """What a program prints, with nothing of this shell's that would change what Python or we do.

    Raises:
        SystemExit: it failed; with its last lines.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HIL_", "PYTHON", "IDF_"))
    }
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env=kept | {"HIL_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-LAST_LINES:])
        raise SystemExit(f"{' '.join(words)}: ended with {done.returncode}\n{tail}")
    return done.stdout


def copy_of_the_checkout(folder: Path) -> Path:
    """The tracked files, and nothing else."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def what_to_install(way: str, checkout: Path, dist: Path, cache: Path) -> list[str]:
    """What pip is told; a wheel and an sdist are made first, the wheel from the sdist as a package index has it."""
    if way in {"folder", "editable"}:
        return ["-e", str(checkout)] if way == "editable" else [str(checkout)]
    if not dist.is_dir():
        run(sys.executable, "-m", "build", "--outdir", dist, checkout, cwd=checkout, cache=cache)
    (file,) = dist.glob("*.whl" if way == "wheel" else "*.tar.gz")
    return [str(file)]


def prove(way: str, folder: Path, checkout: Path, dist: Path) -> None:
    """Install by that way and run the demo twice.

    Raises:
        SystemExit: it did not work; says what.
    """
    cache = folder / "cache"
    wanted = what_to_install(way, checkout, dist, cache)
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "-q", *wanted, cwd=folder, cache=cache)
    empty = folder / "empty"
    empty.mkdir()
    outside, inside = empty / "results", folder / "results"
    run(
        *(scripts / "hil", "run", "mnist", "--target", TARGETS, "--board", "virtual", "--results", outside),
        cwd=empty,
        cache=cache,
    )
    demo = (
        "suites",
        "--target",
        TARGETS,
        "--hil-board",
        "virtual",
        "--hil-model",
        "mnist",
        "--hil-results",
        inside,
    )
    run(scripts / "python", "-m", "pytest", "-q", *demo, cwd=checkout, cache=cache)
    for where, results in ((empty, outside), (checkout, inside)):
        told = json.loads(
            run(scripts / "python", "-c", _LOOK, results, cwd=where, cache=cache).splitlines()[-1]
        )
        if told["rows"] != [["esp32p4", "ok"], ["esp32s3", "ok"]]:
            raise SystemExit(f"{way}: its rows are {told['rows']}")
        home = checkout if way == "editable" else folder / "venv"
        if not Path(told["package"]).resolve().is_relative_to(home.resolve()):
            raise SystemExit(f"{way}: in {where} Python imports {told['package']}")


def main() -> int:
    """0 if every way that was asked for works."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.install", description="Do all ways to install it work?"
    )
    parser.add_argument("--ways", default=",".join(WAYS), help=f"comma-separated; default: {','.join(WAYS)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="hil-install-") as made:
        base = Path(made)
        checkout = copy_of_the_checkout(base / "checkout")
        for way in parser.parse_args().ways.split(","):
            folder = base / way
            folder.mkdir()
            try:
                prove(way, folder, checkout, base / "dist")
            except SystemExit as problem:
                failed += 1
                print(f"{way}: FAILED: {problem}", flush=True)
            else:
                print(f"{way}: installed, the demo passed outside and inside a checkout", flush=True)
            shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

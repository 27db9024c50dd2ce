"""The straight line of a run in docs/ARCHITECTURE.md is the one that a combination takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

MOST_STOPS = 10

# pytest in a process of its own, watched: which modules are called with the combination or with what it has become
# on its way (the board held for it, the board with its file, the steps' surroundings, the row in the making).
_WATCH = """
import json, sys
from pathlib import Path
import pytest
import esp_hil
from esp_hil.session.board_session import BoardSession
from esp_hil.session.file_on_board import FileOnBoard
from esp_hil.session.options import Combination
from esp_hil.session.prepared_board import PreparedBoard
from esp_hil.session.run_builder import RunBuilder
from esp_hil.session.session import Attempt
from esp_hil.results.record import Run

package = Path(esp_hil.__file__).parent
carriers = (Combination, BoardSession, PreparedBoard, FileOnBoard, Attempt, RunBuilder)
order, written = {}, []

def watch(frame, event, value):
    code = frame.f_code
    if event not in ("call", "return") or not code.co_filename.startswith(str(package)):
        return
    module = Path(code.co_filename).relative_to(package).with_suffix("").as_posix()
    if event == "return":
        made = value[0] if isinstance(value, tuple) and value else value
        if isinstance(made, Combination):
            order.setdefault(module)
        return
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        given = frame.f_locals.get(name)
        if isinstance(given, carriers):
            order.setdefault(module)
        elif isinstance(given, Run) and module.startswith("results/") and code.co_name == "append":
            order.setdefault(module)  # the row arrives

sys.setprofile(watch)
status = pytest.main(sys.argv[2:])
sys.setprofile(None)
Path(sys.argv[1]).write_text(json.dumps([int(status), list(order)]))
"""


def listed() -> list[str]:
    """The stops that the page lists: module names, as `session/fleet`."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = page.partition("## The straight line of a run")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+)`:", section, re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The modules that MNIST on a virtual board enters on its way to a row, in the order of the first time."""
    folder = tmp_path_factory.mktemp("walk")
    words = [
        "suites/test_numerics.py",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--target",
        "esp32p4",
    ]
    words += ["--hil-board", "virtual", "--hil-model", "mnist", "--hil-runs", "3", "--hil-inputs", "2"]
    words += ["--hil-results", str(folder / "results")]
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, str(folder / "walk.json"), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    status, order = json.loads((folder / "walk.json").read_text(encoding="utf-8"))
    assert status == 0, done.stdout
    return [str(module) for module in order]


def test_the_stops_of_the_page_are_the_modules_that_a_combination_enters_in_their_order(
    walked: list[str],
) -> None:
    assert walked == listed()


def test_the_way_has_at_most_ten_stops(walked: list[str]) -> None:
    assert len(walked) <= MOST_STOPS

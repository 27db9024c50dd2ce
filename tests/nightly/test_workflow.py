"""The nightly's workflow, executed here: a green night, one with a regression, one without a board."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from esp_hil.virtual.faults import EngineFaults, FaultPlan
from tests.conftest import ROOT
from tests.nightly.workflow import Done, Expression, execute

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the workflow's steps are bash, its boards ptys"
)

WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
TOX = """#!{python}
# stands for tox, whose environment would be this one: runs the commands of tox.ini
import configparser, os, re, shlex, subprocess, sys
if "--notest" in sys.argv:
    sys.exit(0)
name = sys.argv[sys.argv.index("-e") + 1]
ini = configparser.ConfigParser(interpolation=None)
ini.read("{root}/tox.ini")
line = re.sub(r"\\{{env:(\\w+):?([^}}]*)\\}}", lambda f: os.environ.get(f[1], f[2]), ini["testenv:" + name]["commands"])
words = shlex.split(line.replace("{{posargs}}", os.environ["TEST_POSARGS"]))
words[1] = "{root}/suites/test_numerics.py"
words.insert(2, "{root}/suites/test_regression.py")
words += ["--rootdir", "{root}", "-c", "{root}/pyproject.toml"]
sys.exit(subprocess.run([sys.executable, "-m", *words]).returncode)
"""


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """The folder of a checkout on a host, whose python3 makes virtual environments that are this one."""
    folder = tmp_path / "checkout"
    for name, text in {
        "bin/python3": "#!/bin/bash\nexit 0\n",
        "bin/gh": GH.format(folder=tmp_path),
        ".venv/bin/python": "#!/bin/bash\nexit 0\n",
        ".venv/bin/tox": TOX.format(python=sys.executable, root=ROOT),
        ".tox/board/bin/hil": f'#!/bin/bash\nexec {sys.executable} -m esp_hil.cli "$@"\n',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


PAYLOAD = {"pull_request": {"label": {"name": "hil"}, "number": 7}}
GH = """#!/bin/bash
# stands for GitHub's program: keeps what it was asked to post
echo "$@" > {folder}/gh.txt
cp "${{@: -1}}" {folder}/posted.md
"""


def night(runner: Path, boards: str, event: str = "schedule") -> Done:
    rows = runner.parent / "boards.toml"
    rows.write_text(boards)
    environ = {
        **os.environ,
        "PATH": f"{runner / 'bin'}:{os.environ['PATH']}",
        "HIL_BOARDS": str(rows),
        "HIL_STATE": str(runner.parent / "state"),
        "HIL_LOCKS": str(runner.parent / "locks"),
        "CI": "true",
        "TEST_POSARGS": "--skip-autoflash y --hil-model mnist --hil-recipe w8a8 --hil-inputs 4 --hil-runs 10 "
        "--hil-gate-simulated -p no:cacheprovider",
    }
    workflow = runner / "nightly.yml"
    text = WORKFLOW.read_text(encoding="utf-8")
    workflow.write_text(
        text.replace("/var/lib/esp-hil/history.sqlite", str(runner.parent / "history.sqlite"))
    )
    (done,) = execute(workflow, event, folder=runner, environ=environ, payload=PAYLOAD.get(event, {}))
    return done


@pytest.fixture
def machine() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def row(machine: ExitStack, name: str, chip: str, factor: float) -> str:
    """A board whose latency follows from its MACs, `factor` times."""
    engine = EngineFaults(cycles_per_mac=0.5, cycles_noise=0.001, cycles_factor=factor)
    board = machine.enter_context(VirtualBoard(target(chip), faults=FaultPlan(engine=engine)))
    return f'[{name}]\ntarget = "{chip}"\nurl = "{board.url}"\n'


BURNT = '[s3-out]\ntarget = "esp32s3"\nurl = "/dev/ttyX9"\nquarantine = "burnt"\n'


def test_a_green_night_and_then_one_with_a_regression_of_one_board(runner: Path, machine: ExitStack) -> None:
    with ExitStack() as first:
        done = night(runner, row(first, "s3-a", "esp32s3", 1.0) + row(first, "p4-a", "esp32p4", 1.0) + BURNT)
    assert done.ok, done.output
    assert "::notice title=esp-hil left out::s3-out: in quarantine: burnt" in done.output
    assert "### esp-hil: all well; 2 runs on 2 boards" in done.summary
    assert "**Left out**" in done.summary
    assert "s3-out" in done.summary.partition("**Left out**")[2], (
        "a board that is missing is named where people read"
    )
    assert done.unproven == ["uses: actions/checkout@v4", "uses: actions/upload-artifact@v4"]
    assert done.steps["pull request"] == "skipped"

    shutil.rmtree(runner / "reports")  # as the checkout of the next night does
    boards = row(machine, "s3-a", "esp32s3", 1.2) + row(machine, "p4-a", "esp32p4", 1.0)
    done = night(runner, boards, "pull_request")
    assert not done.ok
    assert done.steps["night"] == "failure"
    assert done.steps["actions/upload-artifact@v4"] == "success", "what a red night recorded is kept"
    comment = (runner / "reports/out/rack1/comment.md").read_text(encoding="utf-8")
    assert comment in done.summary
    assert done.steps["pull request"] == "success"
    asked = (runner.parent / "gh.txt").read_text(encoding="utf-8")
    assert asked.startswith(
        "pr comment 7 --edit-last --create-if-none --body-file reports/out/rack1/comment.md"
    )
    assert (runner.parent / "posted.md").read_text(encoding="utf-8") == comment
    assert "### esp-hil: 1 worse; 2 runs on 2 boards" in comment
    (worse,) = [line for line in comment.splitlines() if "latency\\_ms" in line]
    assert "s3-a" in worse
    assert "→" in worse
    assert "\\+20.0 %" in worse
    assert "p4-a" not in worse
    assert "(https://github.com/o/r/actions/runs/1#artifacts)" in comment
    assert "::error title=esp-hil worse::mnist-w8a8-espdl-esp32s3@s3-a: " in done.output


@pytest.mark.parametrize("boards", ["", BURNT])
def test_a_night_without_a_board_is_red_with_one_sentence(runner: Path, boards: str) -> None:
    done = night(runner, boards)
    assert not done.ok
    assert done.steps["inventory"] == "failure"
    assert done.steps["night"] == "skipped"
    (line,) = [line for line in done.output.splitlines() if line.startswith("::error")]
    assert "can be used" in line
    assert ("s3-out in quarantine: burnt" if boards else "boards.toml has no row") in line


def test_a_label_that_is_not_ours_starts_nothing(runner: Path) -> None:
    assert execute(WORKFLOW, "pull_request", folder=runner, environ={}) == []


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("vars.NONE || '[1]'", "[1]"),
        ('fromJson(vars.NONE || \'["a", "b"]\')', ["a", "b"]),
        ("always() && steps.a.outputs.n", "3"),
        ("failure()", False),
        ("steps.a.outputs.n == 3 && !failure()", True),
        ("github.event_name != 'pull_request' || vars.NONE == 'x'", True),
    ],
)
def test_expressions_mean_what_githubs_mean(expression: str, value: object) -> None:
    context = {"vars": {}, "github": {"event_name": "schedule"}, "steps": {"a": {"outputs": {"n": "3"}}}}
    assert Expression(context, failed=False).value(expression) == value
    assert json.dumps(value)

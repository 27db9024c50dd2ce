"""Beside other people's tests the plugin does nothing until it is asked: their names, order and outcome are theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# names and habits of the conftests of ESP-DL and ESP-IDF: options, fixtures, marks, hooks that filter and report
CONFTEST = """
import pytest

OURS_BEFORE = "board model recipe runtime runs warmup inputs data cores zoo results baseline across threshold".split()

def pytest_addoption(parser):
    group = parser.getgroup("idf")
    group.addoption("--env", help="only run tests of this environment")
    for name in OURS_BEFORE:
        parser.addoption("--" + name, default="all")
    for name in ("history", "record", "skip-lint", "gate-simulated", "virtual-faults", "pipeline-id", "dev-user"):
        parser.addoption("--" + name)
    parser.addini("board", "theirs")
    parser.addini("model", "theirs")

def pytest_configure(config):
    if not config.getoption("target"):
        raise ValueError("Please specify one target")
    for name in ("target", "env", "config", "board", "model", "combination"):
        config.addinivalue_line("markers", name + ": theirs")

@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    session.config.option.target = session.config.option.target.lower()

def pytest_collection_modifyitems(config, items):
    env, target = config.getoption("env"), config.getoption("target")
    items[:] = [item for item in items if target in [m.args[0] for m in item.iter_markers("target")]]
    if env:
        items[:] = [item for item in items if env in [m.args[0] for m in item.iter_markers("env")]]

def _fixture(name):
    return pytest.fixture(name=name)(lambda: "their " + name)

NAMES = "bench board console frames measured against combination model config session".split()

for _name in NAMES:
    globals()["_" + _name] = _fixture(_name)
"""
TESTS = """
import pytest

@pytest.mark.target("esp32s3")
@pytest.mark.env("generic")
@pytest.mark.parametrize("level", ["b", "a"])
def test_zzz(bench, console, frames, measured, against, combination, board, model, config, session, level, request):
    assert (bench, console, combination) == ("their bench", "their console", "their combination")
    assert request.config.getoption("model") == "mobilenet"
    assert request.config.getoption("--board") == "all"

@pytest.mark.target("esp32s3")
@pytest.mark.env("generic")
def test_aaa(combination):
    pass

@pytest.mark.target("esp32p4")
def test_of_another_chip():
    raise AssertionError
"""
COMMAND = ("--target", "ESP32S3", "--env", "generic", "--model", "mobilenet")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\npython_files = pytest_*.py\naddopts = --strict-markers\n"
        "filterwarnings = ignore::pytest.PytestExperimentalApiWarning\n"  # of pytest-embedded; ESP-DL's has it too
    )
    # a folder of theirs that is named as one of ours
    for folder in (tmp_path / "apps", tmp_path / "suites" / "micropython"):
        folder.mkdir(parents=True)
        (folder / f"pytest_{folder.name}.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | variables,
    )


def outcomes(text: str) -> list[str]:
    return [line.split(" ")[0] for line in text.splitlines() if "::" in line and "PASSED" in line]


def test_their_options_fixtures_marks_and_order_are_theirs(foreign: Path) -> None:
    before = set(foreign.rglob("*"))
    with_us = run(foreign, "-v", *COMMAND, HIL_BOARD="virtual", HIL_RUNS="none of your business")
    assert with_us.returncode == 0, with_us.stdout + with_us.stderr
    without = run(foreign, "-v", "-p", "no:esp_hil", *COMMAND)
    assert outcomes(with_us.stdout) == outcomes(without.stdout)
    assert len(outcomes(with_us.stdout)) == 6
    for text in (with_us.stdout, with_us.stderr):
        assert "warning" not in text.lower()
        # pytest's own header lists every installed plugin
        assert "esp-hil" not in "".join(line for line in text.splitlines() if not line.startswith("plugins:"))
    made = {path for path in set(foreign.rglob("*")) - before if "__pycache__" not in path.parts}
    assert made == set()


def test_an_editable_install_is_no_warning_at_the_end_of_each_run(foreign: Path) -> None:
    """pytest would rewrite the asserts of every file of a plugin's distribution, also of the one that finds it."""
    done = run(foreign, "--collect-only", "-q")
    assert "PytestAssertRewriteWarning" not in done.stdout + done.stderr


@pytest.mark.parametrize("dist", ["load", "loadscope"])
def test_with_workers_too(foreign: Path, dist: str) -> None:
    before = set(foreign.rglob("*"))
    done = run(foreign, "-q", "-n", "2", "--dist", dist, *COMMAND, HIL_RUNS="none of your business")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
    assert "esp-hil" not in done.stdout
    made = {path for path in set(foreign.rglob("*")) - before if "__pycache__" not in path.parts}
    assert made == set()


def test_their_exit_status_is_theirs(foreign: Path) -> None:
    assert run(foreign, "-q", "--target", "esp32h2").returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert run(foreign, "-q", "--target", "esp32p4").returncode == pytest.ExitCode.TESTS_FAILED


def test_mixed_with_ours_their_tests_stay_in_their_places(foreign: Path) -> None:
    mine = "def test_mine(hil_combination):\n    pass\n"
    (foreign / "apps" / "pytest_mine.py").write_text(mine, encoding="utf-8")
    (foreign / "conftest.py").write_text("", encoding="utf-8")
    for name in ("pytest_apps.py", "pytest_zoo.py"):
        (foreign / "apps" / name).write_text("def test_theirs():\n    pass\n", encoding="utf-8")
    done = run(foreign, "apps", "-q", "--collect-only", "--target", "esp32s3", "--hil-model", "mnist")
    names = [line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line]
    assert names[0] == "apps/pytest_apps.py"
    assert names[-1] == "apps/pytest_zoo.py"
    assert set(names[1:-1]) == {"apps/pytest_mine.py"}

"""What `tox -e nightly` runs, on one model: quiet on a sound board, red in the right words on planted faults."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil.results.journal import read_runs

ROOT = Path(__file__).parents[2]
MODELLED = json.loads((ROOT / "nightly" / "virtual.json").read_text())["engine"]


def commands() -> list[list[str]]:
    """The command lines in tox.ini, with the defaults of their variables."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    lines = tox["testenv:nightly"]["commands"].replace("{posargs}", "")
    lines = re.sub(r"\{env:\w+:([^}]*)\}", r"\1", lines)
    return [shlex.split(line) for line in lines.splitlines() if line.strip()]


def nightly_command() -> list[str]:
    """The arguments of pytest in tox.ini."""
    ((_, *arguments),) = (command for command in commands() if command[0] == "pytest")
    return arguments


def nightly(results: Path, **faults: object) -> subprocess.CompletedProcess[str]:
    """Run it for MNIST on one chip, with further faults in the plan; options given again replace the first."""
    plan = json.dumps({"engine": MODELLED | faults})
    more = [
        "--target",
        "esp32p4",
        "--hil-model",
        "mnist",
        "--hil-virtual-faults",
        plan,
        "--hil-results",
        str(results),
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *nightly_command(), *more, "-n", "1", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_environment_compares_every_model_with_the_baseline_and_gates_simulated_time() -> None:
    command = nightly_command()
    assert "--hil-gate-simulated" in command
    assert command[command.index("--hil-baseline") + 1] == "reports/baselines/virtual.jsonl"
    assert "--hil-model" not in command
    assert command[command.index("--target") + 1] == "esp32p4,esp32s3"


def test_what_the_detection_promises_is_measured_before_anything_is_compared() -> None:
    assert commands()[0] == ["hil", "bench", "regressions", "--check"]


def test_the_committed_baseline_can_be_read_and_is_of_sound_boards() -> None:
    rows = read_runs(ROOT / "reports" / "baselines" / "virtual.jsonl").runs
    assert all(run.passed and run.kind == "virtual" for run in rows)
    assert len({(run.model, run.recipe, run.target) for run in rows}) == len(rows)


def test_a_sound_board_is_no_news(tmp_path: Path) -> None:
    done = nightly(tmp_path, cycles_seed=5)
    assert done.returncode == 0, done.stdout
    assert "WORSE" not in done.stdout


def test_five_percent_slower_ends_it_red(tmp_path: Path) -> None:
    done = nightly(tmp_path, cycles_seed=2, cycles_factor=1.05)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "test_nothing_got_worse_than_the_baseline[mnist-w8a8-esp32p4]" in done.stdout
    assert re.search(
        r"WORSE +mnist w8a8 espdl on esp32p4: latency_ms .* \(\+[45]\.\d %\) \(simulated\); 95 % .*"
        r"confirmed by 1 re-run; every layer alike",
        done.stdout,
    ), done.stdout
    assert "latency\\_ms" in (tmp_path / "changes.md").read_text(encoding="utf-8")


def test_one_wrong_integer_ends_it_red(tmp_path: Path) -> None:
    done = nightly(tmp_path, cycles_seed=2, output=[{"tensor": "output", "index": 3, "add_lsb": 2}])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "test_the_device_answers_what_the_exact_reference_says[mnist-w8a8-esp32p4]" in done.stdout
    assert "port: WRONG over 12 inputs: output output: 12 of 120 values differ, by up to 2 LSB" in done.stdout
    assert "port_different 0 -> 12 values; confirmed by 1 re-run" in done.stdout

"""The suites on a task as they are run, on virtual boards: right ones, one with a fault, and without weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from esp_hil import tasks
from esp_hil.results.journal import read_runs
from esp_hil.results.outcome import status_of
from tests.conftest import ROOT
from tests.tasks.test_tasks import zoo

PICTURES = ("skimage", "matplotlib", "mahotas")


def suite(results: Path, *words: str, weights: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "HIL_ZOO"}
    given = ["--hil-zoo", str(weights)] if weights else []
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "suites",
            "--target",
            "esp32s3",
            "--hil-board",
            "virtual",
            "-q",
        ),
        *("-p", "no:xdist", "--hil-runs", "1", "--hil-warmup", "1", "--hil-model", "face_detect"),
        *("--hil-results", str(results), *given, *words),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def weights() -> Path:
    for package in PICTURES:
        pytest.importorskip(package)
    return zoo()


def test_a_right_board_passes_and_each_network_has_a_whole_row(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_BAUD_MODEL", "115200,limit=1000000")
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    done = suite(tmp_path, weights=weights)
    assert done.returncode == 0, done.stdout
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    rows = [line for line in lines if "check_of" not in line]
    assert {line["check_of"] for line in lines if "check_of" in line} <= {row["run_id"] for row in rows}
    assert [row["model"] for row in rows] == ["face_detect-msr", "face_detect-mnp"]
    # the second stage looks at each candidate of the first
    assert rows[0]["inputs"] == len(tasks.read_spec("face_detect").golden) <= rows[1]["inputs"]
    for row in rows:
        assert row["link"]["baud"] == 921_600  # tuned, like every line
        assert row["link"]["bytes_up"] > 0
        assert row["layers"]
        assert row["steps"]["load_ms"] > 0
        assert row["steps"]["pre_ms"] > 0
        assert row["leak_bytes"] == 0


def test_a_network_that_is_wrong_fails_as_integers_and_as_boxes(weights: Path, tmp_path: Path) -> None:
    plan = {"engine": {"output": [{"tensor": "box", "index": 2, "add_lsb": 40}]}}
    done = suite(tmp_path, "--hil-virtual-faults", json.dumps(plan), weights=weights)
    assert done.returncode == 1
    assert "test_the_device_answers_what_the_exact_reference_says[face_detect-mnp-zoo-esp32s3]" in done.stdout
    assert "mean IoU, device vs exact" in done.stdout
    assert "astronaut: face 0.974" in done.stdout
    assert "overlap 0.812 below 0.9" in done.stdout
    check_that_every_artefact_is_red(tmp_path)


def check_that_every_artefact_is_red(folder: Path) -> None:
    """The tests of the task are in the rows of its networks, and what is red in pytest is so everywhere."""
    runs = {run.model: run for run in read_runs(folder).runs}
    wrong = runs["face_detect-mnp"]
    assert status_of(wrong) == "wrong"
    said = {check.name: check for check in wrong.checks}
    for name in (
        "test_the_device_answers_what_the_exact_reference_says",
        "test_the_results_are_those_of_the_exact_reference",
    ):
        assert said[name].outcome == "failed"
        assert said[name].message
    frame = pd.read_parquet(folder / "results.parquet").set_index("model")
    assert frame.loc["face_detect-mnp", "status"] == "wrong"
    assert int(ElementTree.parse(folder / "junit.xml").getroot().get("failures", 0)) >= 1
    assert "❌ wrong" in (folder / "report.md").read_text("utf-8")


def test_without_weights_it_is_skipped_aloud(tmp_path: Path) -> None:
    done = suite(tmp_path, weights=None)
    assert done.returncode == 0
    assert "give --zoo DIR (pytest: --hil-zoo DIR) or HIL_ZOO" in done.stdout


def test_a_task_is_found_without_naming_its_suite() -> None:
    command = [sys.executable, "-m", "pytest", "suites", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["--target", "esp32s3", "--hil-board", "virtual", "--hil-model"]

    def collected(models: str) -> str:
        done = subprocess.run([*command, models], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    alone = collected("face_detect")
    assert "test_tasks.py::test_what_is_in_the_picture_is_found[face_detect-zoo-esp32s3]" in alone
    assert "test_numerics" not in alone  # without weights there is no network to say anything of
    both = collected("face_detect,mnist")
    assert "face_detect-zoo-esp32s3" in both
    assert "mnist-w8a8-esp32s3" in both
    assert "did you mean 'face_detect'" in collected("face_detekt")

"""`unsuited` in a recipe: chips that cannot hold its result are left out, aloud, and nothing else is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil.errors import ConfigError
from esp_hil.models import catalogue
from esp_hil.results.journal import read_runs
from tests.conftest import ROOT

REASON = "model.toml of gesture says that w16a16 is unsuited for esp32c3"


def suites(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "suites/test_numerics.py",
    ]
    command += ["--hil-board", "virtual", "--hil-model", "gesture", "--hil-recipe", "w16a16"]
    command += ["--hil-inputs", "1", "--hil-runs", "1", "--hil-results", str(results)]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


def test_a_chip_that_cannot_hold_it_is_left_out_with_the_reason_once(tmp_path: Path) -> None:
    done = suites(tmp_path, "--target", "esp32c3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(REASON) == 1
    assert "passed" not in done.stdout
    assert (tmp_path / "runs.jsonl").read_text("utf-8") == ""
    assert not (tmp_path / "report.html").exists()


def test_the_other_chips_of_the_same_run_are_tested(tmp_path: Path) -> None:
    done = suites(tmp_path, "--target", "esp32c3,esp32p4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert REASON in done.stdout
    assert "passed" in done.stdout
    assert [run.target for run in read_runs(tmp_path).runs] == ["esp32p4"]


def model_with(tmp_path: Path, unsuited: str) -> None:
    shutil.copytree(ROOT / "golden" / "gesture", tmp_path / "gesture")
    path = tmp_path / "gesture" / "model.toml"
    lines = path.read_text("utf-8").splitlines()
    changed = [f"unsuited = {unsuited}" if line.startswith("unsuited") else line for line in lines]
    assert changed != lines
    path.write_text("\n".join(changed), "utf-8")


@pytest.mark.parametrize(
    ("unsuited", "words"),
    [
        ('["esp32c33"]', "esp32c33"),
        ("[3]", "unsuited"),
        ('"esp32c3"', "unsuited"),
    ],
)
def test_what_names_no_chip_is_one_line_with_the_file(unsuited: str, words: str, tmp_path: Path) -> None:
    model_with(tmp_path, unsuited)
    with pytest.raises(ConfigError) as caught:
        catalogue.load("gesture", (tmp_path,))
    said = str(caught.value)
    assert words in said
    assert "model.toml" in said
    assert "\n" not in said


def test_an_empty_list_leaves_nothing_out(tmp_path: Path) -> None:
    model_with(tmp_path, "[]")
    assert catalogue.load("gesture", (tmp_path,)).recipe("w16a16").unsuited == ()

"""Where a row comes from."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from esp_hil.report import write_reports
from esp_hil.results.provenance import BRANCH, provenance_of
from tests.report.samples import sample_run

WHO = ("-c", "user.name=a", "-c", "user.email=a@b.example")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *WHO, *words], cwd=folder, check=True, capture_output=True)


def test_a_row_names_the_branch_that_was_checked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "-b", "faster-conv")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    monkeypatch.chdir(tmp_path)
    assert provenance_of(model_sha256="", golden_sha256="").tools[BRANCH] == "faster-conv"


def test_without_a_branch_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert BRANCH not in provenance_of(model_sha256="", golden_sha256="").tools
    (tmp_path / "checkout").mkdir()
    git(tmp_path / "checkout", "init", "-q")
    git(tmp_path / "checkout", "commit", "-q", "--allow-empty", "-m", "one")
    git(tmp_path / "checkout", "checkout", "-q", "--detach")
    monkeypatch.chdir(tmp_path / "checkout")
    found = provenance_of(model_sha256="", golden_sha256="")
    assert found.git_sha
    assert BRANCH not in found.tools


def test_the_head_of_the_page_names_it(tmp_path: Path) -> None:
    run = sample_run()
    run = replace(run, provenance=replace(run.provenance, tools={BRANCH: "faster-conv"}))
    page = write_reports([run], tmp_path, formats=["html"])["html"].read_text("utf-8")
    assert "branch <code>faster-conv</code>" in page

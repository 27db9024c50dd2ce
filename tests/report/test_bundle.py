"""An archive of a run: the same files give the same bytes, and what was changed in it is found."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.errors import ReportError
from esp_hil.report.bundle import MANIFEST, make_bundle, problems_of
from esp_hil.results.journal import Recorder
from tests.report.samples import a_night


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    recorder = Recorder(folder / "runs.jsonl")
    for run in a_night():
        recorder.append(run)
    return folder


def test_a_bundle_has_rows_reports_and_their_digests(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = results / "bundle.zip"
    assert main(["report", str(results), "--bundle", str(bundle)]) == 1  # some runs are wrong
    with zipfile.ZipFile(bundle) as archive:
        names = set(archive.namelist())
        assert names >= {"runs.jsonl", "report.html", "results.parquet", "metrics.txt", MANIFEST}
        assert "bundle.zip" not in names
        assert json.loads(archive.read(MANIFEST))["files"].keys() == names - {MANIFEST}
    assert main(["report", str(bundle), "--check"]) == 0
    assert "as its manifest says" in capsys.readouterr().out


def test_the_same_files_make_the_same_bytes(results: Path, tmp_path: Path) -> None:
    (results / ".hidden").write_text("x")
    for name in ("a.zip", "b.zip"):
        make_bundle(results, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_was_changed_added_or_lost_is_named(results: Path, tmp_path: Path) -> None:
    (results / "more.txt").write_text("more")
    make_bundle(results, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        new.writestr(MANIFEST, old.read(MANIFEST))
        new.writestr("runs.jsonl", old.read("runs.jsonl") + b" ")
        new.writestr("extra.txt", "extra")
    assert problems_of(tmp_path / "a.zip") == ()
    assert problems_of(tmp_path / "b.zip") == (
        "more.txt: missing",
        "extra.txt: not in the manifest",
        "runs.jsonl: changed",
    )
    assert main(["report", str(tmp_path / "b.zip"), "--check"]) == 1


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("a", "b")
    for name in ("x.zip", "y.zip", "none.zip"):
        with pytest.raises(ReportError, match="is not a bundle"):
            problems_of(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError, match="nothing to pack"):
        make_bundle(tmp_path / "empty", tmp_path / "z.zip")

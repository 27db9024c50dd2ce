"""The example of README runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from esp_hil.results.journal import Recorder, read_runs
from tests.conftest import ROOT
from tests.report.samples import with_cycles


def test_the_example_of_the_readme_says_which_model_got_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(from esp_hil\.results.*?)```", text, re.DOTALL)
    baseline = tmp_path / "reports" / "baselines" / "virtual.jsonl"
    baseline.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / "reports" / "baselines" / "virtual.jsonl", baseline)
    recorder = Recorder(tmp_path / "reports" / "out" / "tonight" / "runs.jsonl")
    for run in read_runs(baseline).runs:
        factor = 1.07 if (run.model, run.recipe) == ("mnist", "w8a8") else 1.0
        recorder.append(with_cycles(run, factor))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    said = capsys.readouterr().out
    table = said.split("latency_ms", 1)[0]
    assert "mnist" in table
    assert "gesture" not in table

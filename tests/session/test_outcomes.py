"""A fault is planted, pytest runs the suites, and every artefact says the same: the table of docs/outcomes.md.

The quick ones run always, the others with HIL_PROOF_OUTCOMES=1: `tox run -e proof-outcomes`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from esp_hil.boards.lease import acquire
from esp_hil.results.history import History
from esp_hil.results.outcome import deciding, status_of
from esp_hil.targets import target
from esp_hil.virtual import EngineFaults, FaultPlan, VirtualBoard
from tests.conftest import ROOT

TABLE = ROOT / "docs" / "outcomes.md"
MODELLED = {"cycles_per_mac": 0.5, "cycles_noise": 0.01, "cycles_seed": 1}
DOWN = "postgres://hil:secret@127.0.0.1:1/none?connect_timeout=1"
WHOLE = bool(os.environ.get("HIL_PROOF_OUTCOMES"))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is planted, and what has to be said.

    Attributes:
        name: first cell of its row in docs/outcomes.md.
        exit: pytest's exit status.
        status: of the row in every artefact; "": there is no row.
        words: that stand in the terminal, the page, report.md, junit and parquet.
        engine: faults of the virtual board.
        plant: see plant_in_process.
        quick: whether it is run always.
        ahead: that the suites are run without the fault first, for a baseline.
        outside: whether the board is a process that outlives a reset, as a chip does.
        files: of the suites.
        more: arguments.
    """

    name: str
    exit: int
    status: str
    words: str
    engine: dict[str, Any] = field(default_factory=dict)
    plant: str = ""
    quick: bool = False
    ahead: bool = False
    outside: bool = False
    files: tuple[str, ...] = ("test_numerics.py",)
    more: tuple[str, ...] = ()


FAULTS = (
    Fault(
        name="wrong integer",
        exit=1,
        status="wrong",
        words="first wrong at node",
        engine={"output": [{"tensor": "output", "index": 4, "add_lsb": 1}]},
        quick=True,
        files=("test_numerics.py", "test_robustness.py"),
    ),
    Fault(
        name="+7 % latency",
        exit=1,
        status="worse",
        words="latency_ms",
        engine={"cycles_factor": 1.07, "cycles_seed": 2},
        ahead=True,
        files=("test_regression.py",),
        more=("--hil-gate-simulated",),
    ),
    Fault(
        name="leak",
        exit=1,
        status="failed",
        words="free heap went from",
        plant="leak",
        files=("test_memory.py",),
    ),
    Fault(
        name="reset in the middle", exit=0, status="ok", words="", engine={"reset_at_run": 3}, outside=True
    ),
    Fault(
        name="wrong size accepted",
        exit=1,
        status="failed",
        words="DID NOT RAISE",
        plant="size",
        files=("test_numerics.py", "test_robustness.py"),
    ),
    Fault(
        name="does not fit",
        exit=1,
        status="failed",
        words="internal RAM",
        quick=True,
        more=("--target", "esp32c3", "--hil-model", "gesture", "--hil-recipe", "w16a16"),
    ),
    Fault(
        name="broken board",
        exit=1,
        status="broken",
        words="panic",
        engine={"panic_at_run": 1, "panic_again": True},
        files=("test_numerics.py", "test_latency.py"),
    ),
    Fault(name="board in use", exit=1, status="broken", words="is in use by process", quick=True),
    Fault(name="nothing listens", exit=1, status="broken", words="nothing listens at"),
    Fault(name="history down", exit=10, status="ok", words="", more=("--hil-history", DOWN)),
    Fault(name="disk full", exit=1, status="", words="No space left on device", quick=True),
    Fault(name="Ctrl-C", exit=2, status="ok", words="stopped before the end", plant="interrupt"),
)


def run(
    fault: Fault, folder: Path, *more: str, planted: bool = True, board: str = "virtual"
) -> subprocess.CompletedProcess[str]:
    engine = MODELLED | (fault.engine if planted else {})
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.session.plant_in_process",
        ),
        *(f"suites/{name}" for name in (fault.files if planted else ("test_numerics.py",))),
        *("--hil-board", board, "--hil-inputs", "2", "--hil-runs", "10" if fault.ahead else "3"),
        *("--hil-results", str(folder)),
        *(("--hil-virtual-faults", json.dumps({"engine": engine})) if board == "virtual" else ()),
        *(
            ()
            if "--target" in fault.more
            else ("--target", "esp32p4", "--hil-model", "mnist", "--hil-recipe", "w8a8")
        ),
        *fault.more,
        *more,
    ]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PLANT": fault.plant if planted else ""},
    )


def golden_without_unsuited(folder: Path) -> Path:
    """The models, with a recipe that a chip cannot hold and that does not say so."""
    shutil.copytree(ROOT / "golden" / "gesture", folder / "gesture")
    path = folder / "gesture" / "model.toml"
    path.write_text(re.sub(r"(?m)^unsuited = .*\n", "", path.read_text("utf-8")), "utf-8")
    return folder


def run_on_its_board(fault: Fault, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """On a virtual board of the run, on one that outlives a reset, or on one that cannot be had."""
    if fault.name == "nothing listens":
        return run(fault, folder, *more, "--hil-wait", "0", board="socket://127.0.0.1:1")
    if not (fault.outside or fault.name == "board in use"):
        return run(fault, folder, *more)
    with VirtualBoard(target("esp32p4"), faults=FaultPlan(engine=EngineFaults(**fault.engine))) as opened:
        if fault.outside:
            return run(fault, folder, *more, board=opened.url)
        held = acquire(opened.url, "desk")
        try:
            return run(fault, folder, *more, "--hil-wait", "0", board=opened.url)
        finally:
            held.release()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_artefact_says_the_same(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (fault.quick or WHOLE):
        pytest.skip("takes its time: tox run -e proof-outcomes")
    folder, more = tmp_path / "results", list[str]()
    if "--hil-history" not in fault.more:
        more += ["--hil-history", str(tmp_path / "history.sqlite")]
    if fault.name == "does not fit":
        monkeypatch.setenv("HIL_GOLDEN", str(golden_without_unsuited(tmp_path / "golden")))
    if fault.name == "disk full":
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full on this system")
        folder.mkdir()
        (folder / "runs.jsonl").symlink_to("/dev/full")
    if fault.ahead:
        assert run(fault, tmp_path / "base", planted=False).returncode == 0
        more += ["--hil-baseline", str(tmp_path / "base")]
    done = run_on_its_board(fault, folder, *more)
    said = done.stdout + done.stderr
    assert done.returncode == fault.exit, said
    assert fault.words in said
    assert "INTERNALERROR" not in said
    assert "secret" not in said
    if fault.status:
        check_artefacts(fault, folder)
    else:
        assert said.count(f"ReportError: {fault.words}") <= 1
        assert not (folder / "report.html").exists()
    if "--hil-history" not in fault.more:
        check_history(fault, tmp_path / "history.sqlite")
    check_pytest(fault, done.stdout)


def check_artefacts(fault: Fault, folder: Path) -> None:
    root = ElementTree.parse(folder / "junit.xml").getroot()
    red = int(root.get("failures", 0)), int(root.get("errors", 0))
    wanted = {"ok": (0, 0), "broken": (0, 1)}.get(fault.status, (1, 0))
    assert red == wanted, fault.name
    frame = pd.read_parquet(folder / "results.parquet")
    counted = frame[frame.attempt == frame.attempt.max()] if fault.status == "ok" else frame
    assert fault.status in set(counted.status)
    markdown, page = ((folder / name).read_text("utf-8") for name in ("report.md", "report.html"))
    if fault.status == "ok":
        assert "❌" not in markdown.replace("not counted", "")
    else:
        assert re.search(rf"\| \S+ {fault.status} \|", markdown)
        assert "-1 further" not in markdown
        assert fault.status in page
    plain = markdown.replace("\\", "")
    for text in (plain, page):
        assert fault.words in text
    measured = (folder / "metrics.txt").read_text("utf-8")
    passed = re.findall(r"^hil_passed\{.*\} ([01])\.0", measured, re.MULTILINE)
    assert ("0" in passed) == (fault.status != "ok")
    if fault.status != "ok":
        check_the_reason(fault, root, frame)


def check_the_reason(fault: Fault, root: ElementTree.Element, frame: pd.DataFrame) -> None:
    """junit and parquet say why, in the words of the terminal."""
    told = [str(one.get("message")) for kind in ("failure", "error") for one in root.iter(kind)]
    assert any(fault.words in message for message in told), told
    red = frame[frame.status == fault.status]
    assert any(fault.words in str(reason) for reason in red.reason), list(red.reason)
    # of two attempts the suites judge one; the other row has no checks
    assert (red.checks_failed > 0).any()


def check_history(fault: Fault, path: Path) -> None:
    with History.open(str(path)) as history:
        runs = list(history.runs())
    statuses = [status_of(one) for one, counts in zip(runs, deciding(runs), strict=True) if counts]
    assert statuses == ([fault.status] if fault.status else [])


def check_pytest(fault: Fault, stdout: str) -> None:
    """The one cause is said by one test."""
    last = stdout.strip().splitlines()[-1]
    failed, errors = (int((re.search(rf"(\d+) {word}", last) or [0, 0])[1]) for word in ("failed", "error"))
    if fault.status == "broken" or fault.name == "disk full":
        assert (failed, errors) == (0, 1), last
    elif fault.exit == 1:
        assert (failed, errors) == (1, 0), last


def test_each_fault_has_its_row_in_the_table() -> None:
    rows = [line.split("|")[1:-1] for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| ")]
    told = {row[0].strip(): (row[1].strip(), row[2].strip()) for row in rows[1:]}
    assert told == {fault.name: (str(fault.exit), fault.status or "no row") for fault in FAULTS}

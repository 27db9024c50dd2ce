"""The suites as a user starts them: `pytest` in a process of its own, on virtual boards."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from esp_hil.targets import target
from esp_hil.virtual import EngineFaults, FaultPlan, OffByLsb, VirtualBoard
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm

QUICK = ("--hil-inputs", "12", "--hil-runs", "5", "--hil-model", "mnist", "--hil-recipe", "w8a8")


def suites(*arguments: str, files: tuple[str, ...] = ("suites",)) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def rows(folder: Path) -> tuple[Run, ...]:
    return read_runs(folder).runs


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    last = done.stdout.strip().splitlines()[-1]
    return {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) (\w+)", last)}


def test_the_main_job_ends_in_rows_and_reports_that_say_predicted(tmp_path: Path) -> None:
    done = suites(
        "--target", "esp32p4,esp32c3", "--hil-board", "virtual", *QUICK, "--hil-results", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path)
    assert [(row.target, row.kind, row.simulated) for row in found] == [
        ("esp32c3", "virtual", True),
        ("esp32p4", "virtual", True),
    ]
    for row in found:
        assert row.verdict is not None
        assert row.verdict.bit_exact
        assert row.verdict.honest
        assert len(row.cycles) == 5
        assert row.counters["arena_bytes"][0] == 32_144
    assert {path.name for path in tmp_path.iterdir()} >= {
        "runs.jsonl", "results.csv", "results.parquet", "report.md", "report.html", "junit.xml",
    }  # fmt: skip
    assert "predicted" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "predicted" in (tmp_path / "results.csv").read_text(encoding="utf-8")
    assert str(tmp_path / "report.html") in done.stdout


def test_each_combination_is_run_once_for_all_the_tests_that_read_it(tmp_path: Path) -> None:
    done = suites("--target", "esp32s3", "--hil-board", "virtual", *QUICK, "--hil-results", str(tmp_path))
    assert outcome(done)["passed"] > 10
    (row,) = rows(tmp_path)
    assert row.link is not None
    model = ROOT / "golden" / "mnist" / "w8a8" / "esp32s3.espdl"
    assert row.link.bytes_up < 1.5 * model.stat().st_size, "the model went over the line once"


@pytest.fixture(params=["output", "parameter"])
def wrong_engine(request: pytest.FixtureRequest) -> EngineFaults:
    """An engine with one wrong integer: in what it answers, or in a weight that it computes with."""
    if request.param == "output":
        return EngineFaults(output=(OffByLsb(tensor="output", index=4, add_lsb=1),))
    return EngineFaults(parameter=(OffByLsb(tensor="fc2.weight", index=100, add_lsb=100),))


def test_one_wrong_integer_in_the_engine_turns_the_port_red(
    wrong_engine: EngineFaults, tmp_path: Path
) -> None:
    with VirtualBoard(target("esp32p4"), faults=FaultPlan(engine=wrong_engine)) as board:
        done = suites(
            "--target", "esp32p4", "--hil-board", board.url, *QUICK, "--hil-results", str(tmp_path),
            files=("suites/test_numerics.py",),
        )  # fmt: skip
    assert outcome(done).get("failed", 0) >= 1
    assert "error" not in outcome(done)
    assert "device vs exact (port)" in done.stdout
    assert "WRONG" in done.stdout
    (row,) = rows(tmp_path)
    assert row.verdict is not None
    assert not row.verdict.ok
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert suite.find(".//failure") is not None
    assert suite.find(".//error") is None


def test_a_reset_in_the_middle_of_an_inference_is_a_failed_row_and_the_second_attempt_works(
    tmp_path: Path,
) -> None:
    faults = FaultPlan(engine=EngineFaults(reset_at_run=5))
    with VirtualBoard(target("esp32p4"), faults=faults) as board:
        arguments = ("--target", "esp32p4", "--hil-board", board.url, *QUICK, "--hil-results", str(tmp_path))
        done = suites(*arguments, files=("suites/test_numerics.py",))
    assert done.returncode == 0, done.stdout
    first, second = rows(tmp_path)
    assert first.failure is not None
    assert (first.failure.kind, first.attempt) == ("reset", 1)
    assert second.passed
    assert second.attempt == 2


def test_pytest_embedded_s_dut_and_the_harness_take_turns_at_one_port(tmp_path: Path) -> None:
    arguments = ("--target", "esp32p4", "--hil-board", "virtual", *QUICK, "--hil-results", str(tmp_path))
    files = ("suites/test_console.py", "suites/test_numerics.py")
    done = suites(*arguments, "--embedded-services", "serial", files=files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome(done) == {"passed": 6}
    (row,) = rows(tmp_path)
    assert row.passed
    without = suites(*arguments, files=files[:1])
    assert outcome(without) == {"skipped": 3}
    assert "--embedded-services serial" in without.stdout


@needs_tflm
@pytest.mark.parametrize("baud", [9_600, 57_600])
def test_a_slow_line_is_no_error_from_the_first_byte_to_the_teardown(
    baud: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that carries this and no more: the model, a verdict, and its port lent to pytest-embedded."""
    monkeypatch.setenv("HIL_BAUD_MODEL", f"{baud},limit={baud}")
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    done = suites(
        *("--target", "esp32c3", "--hil-board", "virtual", "--hil-model", "fashion", "--hil-recipe", "int8"),
        *("--hil-inputs", "1", "--hil-runs", "1", "--hil-results", str(tmp_path)),
        *("--embedded-services", "serial", "--baud", str(baud)),
        files=("suites/test_console.py", "suites/test_numerics.py"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome(done) == {"passed": 6}
    (row,) = rows(tmp_path)
    assert row.passed
    assert row.link is not None
    assert row.link.baud == baud


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["which chip", "--hil-board virtual"]),
        (("--target", "esp32p5"), ["unknown target 'esp32p5'", "esp32p4"]),
        (("--target", "esp32p4", "--hil-model", "mnits"), ["no model 'mnits'", "did you mean 'mnist'"]),
        (
            ("--target", "esp32p4", "--hil-model", "mnist", "--hil-recipe", "w4a4"),
            ["no recipe 'w4a4'", "w8a8"],
        ),
        (("--target", "esp32p4", "--hil-board", "virtal"), ["no board 'virtal'", "did you mean 'virtual'"]),
        (("--target", "esp32p4", "--port", "/dev/ttyNONE"), ["no port /dev/ttyNONE", "hil boards"]),
        (
            ("--target", "esp32p4", "--hil-model", "mlperf-tiny-kws"),
            ["given by path", "--hil-mlperf-tiny DIR"],
        ),
        (("--target", "esp32p4", "--hil-runs", "0"), ["--hil-runs 0", "at least 1"]),
        (
            ("--target", "esp32p4", "--hil-board", "virtual", "--hil-results", "pyproject.toml/x"),
            ["cannot write"],
        ),
    ],
    ids=["no target", "target", "model", "recipe", "board", "port", "benchmark", "runs", "results"],
)
def test_a_wrong_option_is_said_once_with_what_to_do(arguments: tuple[str, ...], words: list[str]) -> None:
    done = suites(*arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")]
    assert len(said) == 1, done.stdout
    for word in words:
        assert word in said[0]


def test_without_a_board_the_error_tells_how_to_get_one(tmp_path: Path) -> None:
    done = suites(
        "--target", "esp32s2", *QUICK, "--hil-results", str(tmp_path), files=("suites/test_numerics.py",)
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert (done.stdout + done.stderr).count("no esp32s2 is attached") == 1
    assert "--hil-board virtual" in done.stdout + done.stderr


def test_a_long_build_is_seen_while_it_goes_on_though_pytest_captures_the_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import pytest\nfrom esp_hil import plugin\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_runtestloop(session):\n"
        "    session.config.shown = plugin._progress(session.config)\n"
    )
    (tmp_path / "test_it.py").write_text(
        "def test_it(request):\n    print('captured')\n    request.config.shown.say('build: 7 %')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build: 7 %" in done.stderr.splitlines()
    assert "captured" not in done.stdout + done.stderr

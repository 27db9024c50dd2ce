"""`hil run` starts pytest with our options."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.commands import run
from esp_hil.results.journal import read_runs


def words(*arguments: str) -> list[str]:
    parser = ArgumentParser()
    run.add_arguments(parser)
    return run._arguments(parser.parse_args(arguments))


def test_short_names_become_pytest_s() -> None:
    assert words("--target", "esp32s3") == ["--hil-suites", "--target", "esp32s3"]
    said = words(
        "mnist", "gesture", "--target", "esp32s3", "--board", "virtual", "--port", "COM3", "--runs", "5",
        "--gate-simulated", "-n", "2", "--pytest", "-x -k 'a or b'",
    )  # fmt: skip
    assert said == [
        "--hil-suites", "--target", "esp32s3", "--hil-model", "mnist,gesture", "--port=COM3",
        "--hil-board=virtual", "--hil-runs=5", "--hil-gate-simulated", "-n", "2", "-x", "-k", "a or b",
    ]  # fmt: skip


def test_an_open_quotation_mark_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--target", "esp32s3", "--pytest", "'"]) == 2
    assert "quotation" in capsys.readouterr().err


class Started:
    """A pytest that is interrupted with us so many times, and then ends by itself."""

    def __init__(self, interrupts: int, status: int) -> None:
        self.left, self.status, self.terminated = interrupts, status, 0

    def wait(self) -> int:
        if self.left:
            self.left -= 1
            raise KeyboardInterrupt
        return self.status

    def terminate(self) -> None:
        self.terminated += 1


@pytest.mark.parametrize(("interrupts", "terminated"), [(1, 0), (2, 1)])
def test_ctrl_c_waits_for_the_reports_of_pytest_and_a_second_one_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], interrupts: int, terminated: int
) -> None:
    started = Started(interrupts, 2)
    monkeypatch.setattr("subprocess.Popen", lambda *_a, **_o: started)
    assert main(["run", "--target", "esp32s3"]) == 130
    assert (started.left, started.terminated) == (0, terminated)
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "said"), [(0, 0), (1, 1), (4, 2), (5, 2), (10, 10), (11, 11)])
def test_a_status_that_tells_what_is_missing_beside_green_tests_is_handed_on(
    monkeypatch: pytest.MonkeyPatch, status: int, said: int
) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_a, **_o: Started(0, status))
    assert main(["run", "--target", "esp32s3"]) == said


def test_it_runs_the_suites_where_nothing_else_lies_and_says_no_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ask = ["run", "mnist", "--target", "esp32s3", "--board", "virtual", "--recipe", "w8a8", "--inputs", "3"]
    ask += ["--runs", "2", "--pytest", "-q -k exact_reference_says -p no:cacheprovider"]
    assert main([*ask, "--results", "out"]) == 0, capfd.readouterr().out
    assert [row.passed for row in read_runs(tmp_path / "out").runs] == [True]
    wrong = '{"engine": {"output": [{"tensor": "output", "index": 0, "add_lsb": 1}]}}'
    assert main([*ask, "--results", "bad", "--virtual-faults", wrong]) == 1
    capfd.readouterr()
    assert main(["run", "mnits", "--target", "esp32s3", "--board", "virtual"]) == 2
    told = "".join(capfd.readouterr())
    assert "did you mean 'mnist'" in told

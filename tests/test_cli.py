"""The command `hil` as a shell sees it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from esp_hil import cli


def test_a_reader_that_has_seen_enough_ends_the_command_in_silence() -> None:
    """As `hil ... | head -1`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "esp_hil.cli", "report", "--columns"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "did you mean 'run'?"),
        (
            ["run", "mnist", "--target", "esp32s3", "--bord", "virtual"],
            "hil run: error: unrecognized arguments: --bord virtual; did you mean --board?",
        ),
        (["lint", "mnist", "--taget=esp32s3"], "did you mean --target?"),
        (["golden", "verfy", "mnist"], "did you mean 'verify'?"),
        (["lint", "mnist", "--xyz"], "hil lint: error: unrecognized arguments: --xyz\n"),
        (["conformance", "--target", "esp32s3", "--operator", "Cnov"], "did you mean 'Conv'?"),
    ],
)
def test_a_misspelt_word_is_told_which_one_was_probably_meant(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(words)
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2
    assert said in capsys.readouterr().err

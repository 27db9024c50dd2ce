"""The command `hil` as a shell sees it."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil import cli, commands, targets


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


COMMANDS = sorted(path.stem for path in Path(commands.__path__[0]).glob("[a-z]*.py"))


def typed(command: str) -> list[list[str]]:
    """The words of each `hil ...` in a command's examples; two blanks begin what is said of it."""
    text = getattr(importlib.import_module(f"{commands.__name__}.{command}"), "EXAMPLES", "")
    found = re.findall(rf"hil ({command}\b.*?)(?:\s{{2,}}|\s*\||;|$)", text, re.MULTILINE)
    return [shlex.split(words) for words in found]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
def test_help_shows_what_to_type_and_each_example_parses(command: str) -> None:
    examples = typed(command)
    assert examples
    for words in examples:
        args, unknown = cli.build_parser().parse_known_args(words)
        assert not unknown, words
        assert args.command == command


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
def test_names_of_models_chips_and_profiles_in_examples_are_there(command: str) -> None:
    """What argparse takes as any word, and a user copies."""
    root = Path(__file__).parents[1]
    fragments = {path.name for path in (root / "firmware" / "profiles").iterdir()}
    for words in typed(command):
        args = cli.build_parser().parse_args(words)
        chips = (getattr(args, "target", None) or "").split(",")
        assert all(targets.target(chip) for chip in chips if chip), words
        assert set((getattr(args, "build_profile", None) or "perf").split(",")) <= fragments, words
        models = getattr(args, "model", None) or []
        for model in [models] if isinstance(models, str | Path) else models:
            assert Path(model).suffix or (root / "golden" / model).is_dir(), words

"""The command `hil` as a shell sees it."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil import cli, commands, targets
from esp_hil.results.regress.gates import with_thresholds

COMMANDS = sorted(path.stem for path in Path(commands.__path__[0]).glob("[a-z]*.py"))


def typed(command: str) -> list[list[str]]:
    """The words of each `hil ...` in a command's examples; two blanks begin what is said of it."""
    text = getattr(importlib.import_module(f"{commands.__name__}.{command}"), "EXAMPLES", "")
    found = re.findall(rf"hil ({command}\b.*?)(?:\s{{2,}}|\s*\||;|$)", text, re.MULTILINE)
    return [shlex.split(words) for words in found]


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
            "hil run: error: unrecognized arguments: --bord virtual (did you mean --board? see hil run --help)\n",
        ),
        (
            ["history", "steps", "--metrik", "latency_ms"],
            "did you mean --metric? see hil history steps --help",
        ),
        (["lint", "mnist", "--taget=esp32s3"], "did you mean --target?"),
        (["golden", "verfy", "mnist"], "did you mean 'verify'?"),
        (
            ["lint", "mnist", "--xyz"],
            "hil lint: error: unrecognized arguments: --xyz (see hil lint --help)\n",
        ),
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
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run pets", "hil run: error: which chip? (hil run pets --target esp32s3 --board virtual; see"),
        ("run pets --recipe w8a8", "which chip? (hil run pets --target esp32s3 --board virtual;"),
        ("layers pets", "which chip? (hil layers pets --target esp32s3 --board virtual;"),
        ("link /dev/ttyUSB9", "which chip? (hil link /dev/ttyUSB9 --target esp32s3;"),
        ("link --target esp32", "which board? (hil link virtual --target esp32s3"),
        ("virtual", "which chip? (hil virtual --target esp32s3;"),
        ("build", "which chip? (hil build --target esp32s3;"),
        ("quantize pets", "which recipe? which chip? (hil quantize pets --recipe w8a8 --target esp32p4;"),
        ("sensitivity 'my pets' --recipe x", "which chip? (hil sensitivity 'my pets' --target esp32s3;"),
        ("plan pets", "hil plan: error: which chip? (hil plan pets --target esp32s3; see hil plan --help)"),
        ("plan --target esp32", "hil plan: error: which model? (hil plan mnist --target esp32s3;"),
        ("predict pets", "hil predict: error: which chip? (hil predict pets --target esp32p4;"),
        ("predict", "which model? which chip? (hil predict mnist --target esp32p4;"),
        ("flash --model x", "--build-dir is missing (hil flash --build-dir firmware/build/"),
        ("golden", "which action? (hil golden list; see hil golden --help)"),
        ("golden build", "which model? (see hil golden build --help)"),
        ("", "hil: error: which command? (hil doctor; see hil --help)"),
        ("run --target", "argument --target: expected one argument (see hil run --help)"),
        ("predict mnist --cores x", "invalid int value: 'x' (see hil predict --help)"),
    ],
)
def test_what_is_missing_is_asked_for_in_one_line_with_what_to_type(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(shlex.split(words))
    told = capsys.readouterr()
    assert said in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
def test_usage_names_what_is_to_be_put_in_by_capitals(command: str) -> None:
    usage = cli.build_parser().parse_known_args(typed(command)[0])[0].parser.format_usage()
    places = re.sub(r"\{.*?\}|--?[\w-]+|usage: hil [a-z ]+", " ", usage)
    assert re.findall(r"[a-z]{2,}", re.sub(r"[A-Z]\w*(\.\w+)?", "", places)) == []


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])
def test_a_command_never_answers_a_wrong_word_with_its_usage(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([command], [command, "--no-such-option"], [*typed(command)[0], "--no-such-option"]):
        parser = cli.build_parser()
        with contextlib.suppress(SystemExit):
            _, unknown = parser.parse_known_args(words)
            parser.refuse(unknown)
        told = capsys.readouterr().err
        assert told.startswith("hil")
        assert "--help)\n" in told
        assert told.count("\n") == 1


def test_the_password_of_a_url_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgres://hil:secret@host/x"
    for words in (["history", "--histroy", url, "show"], ["run", url], ["history", "--history", "x", url]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(words)
        told = capsys.readouterr().err
        assert "host/x" in told
        assert "secret" not in told


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
        assert chips[0] or command not in {"plan", "predict", "build"} or "--build-dir" in words, words
        assert with_thresholds(getattr(args, "threshold", None) or ()), words
        assert all(targets.target(chip) for chip in chips if chip), words
        assert set((getattr(args, "build_profile", None) or "perf").split(",")) <= fragments, words
        models = getattr(args, "model", None) or []
        for model in [models] if isinstance(models, str | Path) else models:
            assert Path(model).suffix or (root / "golden" / model).is_dir(), words

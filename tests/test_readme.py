"""What README and the pages of docs/ tell people to type exists under that name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esp_hil.cli import build_parser
from esp_hil.session.option_rows import ROWS
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {path.stem for path in (ROOT / "harness" / "esp_hil" / "commands").glob("[a-z]*.py")}
ENVIRONMENTS = set(
    re.findall(r"^\[testenv:([\w-]+)\]", (ROOT / "tox.ini").read_text(encoding="utf-8"), re.MULTILINE)
)


def code_of(page: Path) -> str:
    """The page's code: blocks and spans, a line each."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```.*?$(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*blocks, *spans])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_of_ours_exists(page: Path) -> None:
    known = {row.option for row in ROWS.values()}
    named = {option.rstrip("-") for option in re.findall(r"--hil-[a-z-]+", page.read_text(encoding="utf-8"))}
    assert named - known - {"--hil"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_hil_exists(page: Path) -> None:
    named = set(re.findall(r"^(?:\S*/)?hil ([a-z]+)\b", code_of(page), re.MULTILINE))
    assert named - COMMANDS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_environment_of_tox_exists(page: Path) -> None:
    named = {
        name
        for names in re.findall(r"tox run -e ([\w,-]+)", page.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert named - ENVIRONMENTS == set()


def test_readme_s_lines_of_hil_run_are_understood() -> None:
    lines = re.findall(r"^hil (run .*)$", code_of(ROOT / "README.md"), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        words = line.partition("#")[0].split()
        if "..." not in line and "MODEL..." not in words:
            build_parser().parse_args(words)

"""The table of boards in docs/FIRMWARE.md: every command is one that `hil build` takes."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from esp_hil.boards.build import check_profile
from esp_hil.boards.profiles import added_up
from esp_hil.commands import build as command
from esp_hil.targets import target
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "FIRMWARE.md").read_text(encoding="utf-8")
ROWS = [
    line.strip("|").split("|")
    for line in PAGE.partition("### Boards that people own")[2].partition("\n#")[0].splitlines()
    if line.startswith("| ") and "`hil build" in line
]
OWNED = (
    "N8R2",
    "N8R8",
    "N16R8",
    "N32R8V",
    "WROVER",
    "C3-MINI",
    "C6",
    "CrowPanel",
    "v1.x",
    "v3.x",
    "C2",
    "C5",
)


def test_the_boards_that_people_asked_for_have_a_row() -> None:
    boards = " ".join(" ".join(row[:2]) for row in ROWS)
    assert [name for name in OWNED if name not in boards] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_the_command_of_a_board_is_one_that_hil_build_takes(row: list[str]) -> None:
    commands = re.findall(r"`hil build ([^`]+)`", row[2])
    assert commands
    for words in commands:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        args = parser.parse_args(shlex.split(words))
        chip = target(args.target).name
        profile = added_up([name for name in args.build_profile.split(",") if name], target=chip)
        check_profile(profile, ROOT / "firmware")
        others = [name for name in re.findall(r"`([\w,-]+)`", row[2]) if "hil" not in name]
        for name in ",".join(others).split(","):
            if name and not name.startswith("--"):
                check_profile([name], ROOT / "firmware")

"""A machine as a host of boards: what is written for it, and what is said of one that lacks something."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from esp_hil.boards import runner
from esp_hil.boards.labgrid import Place
from esp_hil.boards.runner import Host, check_farm, examine_runner, labels, udev_rules
from esp_hil.boards.select import Board
from esp_hil.cli import main
from esp_hil.errors import BoardUnavailable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="udev is Linux's")

BOARDS = (
    Board(id="s3-a", target="esp32s3", serial_number="0001"),
    Board(id="c3-b", target="esp32c3", usb_path="1-1.4"),
    Board(id="far", target="esp32s3", url="rfc2217://rack:4000"),
)


def test_the_rules_name_boards_by_what_their_rows_say_and_keep_others_away() -> None:
    text = udev_rules(BOARDS)
    assert 'ENV{ID_SERIAL_SHORT}=="0001", SYMLINK+="esp-hil/s3-a"' in text
    assert 'KERNELS=="1-1.4", SYMLINK+="esp-hil/c3-b"' in text
    assert "esp-hil/far" not in text, "a port of another machine"
    for vendor in ("303a", "10c4", "1a86", "0403", "067b"):
        (line,) = [line for line in text.splitlines() if "tty" in line and vendor in line]
        assert 'GROUP="dialout"' in line
        assert 'ENV{ID_MM_DEVICE_IGNORE}="1"' in line


def test_a_runner_has_a_label_of_its_host_and_of_each_board() -> None:
    assert labels("rack1", BOARDS) == "esp-hil,rack1,board-s3-a,board-c3-b,board-far"


def test_the_command_writes_the_files_and_says_what_root_does_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "boards.toml"
    rows.write_text('[s3-a]\ntarget = "esp32s3"\nserial_number = "0001"\n')
    monkeypatch.setenv("HIL_BOARDS", str(rows))
    monkeypatch.setenv("HIL_LOCKS", "/run/boards")
    out = tmp_path / "out"
    assert main(["runner", "setup", "--out", str(out), "--host", "rack1"]) == 0
    assert (out / "99-esp-hil.rules").read_text() == udev_rules([BOARDS[0]])
    assert (out / "esp-hil.conf").read_text() == "d /run/boards 1777 root root -\n"
    said = capsys.readouterr().out
    assert "./config.sh --labels esp-hil,rack1,board-s3-a" in said
    assert "sudo cp" in said


@pytest.fixture
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that lacks nothing."""
    monkeypatch.setenv("HIL_LOCKS", str(tmp_path / "locks"))
    udev = tmp_path / "udev"
    udev.mkdir()
    (udev / runner.RULES).touch()
    (tmp_path / "boards.toml").touch()
    return Host(
        environ={
            "HIL_BOARDS": str(tmp_path / "boards.toml"),
            "HIL_HISTORY": str(tmp_path / "history.sqlite"),
        },
        groups=frozenset({"dialout"}),
        checkout=tmp_path / "checkout",
        run=lambda command: "active\n" if command[0] == "systemctl" else "",
        udev=(udev,),
    )


def states(host: Host) -> dict[str, str]:
    return {finding.check: finding.state for finding in examine_runner(host) if finding.state != "ok"}


def test_a_host_that_lacks_nothing_is_told_so(good: Host) -> None:
    assert states(good) == {}


def test_each_thing_that_is_missing_is_found_and_has_a_command(good: Host, tmp_path: Path) -> None:
    assert states(replace(good, groups=frozenset({"users"}))) == {"dialout": "fail"}
    bare = replace(good, udev=(tmp_path / "none",))
    assert states(bare) == {"udev": "warn", "ModemManager": "fail"}
    (good.udev[0] / "85-brltty.rules").touch()
    assert states(good) == {"brltty": "warn"}
    (good.udev[0] / "85-brltty.rules").unlink()
    assert states(replace(good, environ={})) | {"history": "fail"} == {
        "HIL_BOARDS": "fail",
        "history": "fail",
    }
    inside = replace(good, checkout=tmp_path)
    assert states(inside) == {"HIL_BOARDS": "warn"}
    folder = tmp_path / "locks"
    folder.mkdir(mode=0o755)
    assert states(good) == {"leases": "fail"}
    folder.chmod(0o1777)

    def no_venv(command: list[str]) -> str:
        raise subprocess.CalledProcessError(1, command)

    assert states(replace(good, run=no_venv)) == {"venv": "fail"}
    assert all(finding.todo for finding in examine_runner(bare) if finding.state != "ok")


def test_a_history_on_a_server_is_not_looked_for_on_the_disk(good: Host) -> None:
    there = good.environ | {"HIL_HISTORY": "postgresql+psycopg://hil:secret@db/hil"}  # type: ignore[operator]
    (finding,) = [one for one in examine_runner(replace(good, environ=there)) if one.check == "history"]
    assert finding.state == "ok"
    assert "secret" not in finding.said


@pytest.mark.parametrize(
    ("why", "state", "said"),
    [
        ("", "ok", "2 of 2 places can be used"),
        ("its exporter is gone", "warn", "1 of 2 places can be used; not s3-b (its"),
    ],
)
def test_a_farm_is_asked_which_places_can_be_used(why: str, state: str, said: str) -> None:
    places = [
        Place(name=name, tags={}, acquired="", why_not=reason, power=False)
        for name, reason in (("s3-a", ""), ("s3-b", why))
    ]
    found = check_farm(lambda: places)
    assert found.state == state
    assert found.said.startswith(said)


def test_a_farm_that_does_not_answer_is_a_failure_with_what_to_do() -> None:
    def places() -> list[Place]:
        raise BoardUnavailable("labgrid's coordinator at farm:1 does not answer", hint="is it up?")

    found = check_farm(places)
    assert (found.state, found.todo) == ("fail", "is it up?")

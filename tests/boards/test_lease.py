"""Who may use a board: between processes, users, names of one port; and what is said when nobody may."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp_hil.boards import lease
from esp_hil.boards.lease import acquire, folder, holder_of
from esp_hil.cli import main
from esp_hil.errors import BoardInUse, BoardUnavailable

posix = pytest.mark.skipif(sys.platform == "win32", reason="users and signals are POSIX's")
as_root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can become a second user"
)
NOBODY = 65534

HOLD = """
import json, os, sys, time
from esp_hil.boards.lease import acquire, this_process
from esp_hil.errors import BoardUnavailable
user, place = int(sys.argv[1]), sys.argv[2]
this_process()
if user:
    import fcntl  # Python itself may lie where only its owner can read
    os.setgid(user)
    os.setuid(user)
os.umask(0o077)
try:
    held = acquire(place, "desk")
except BoardUnavailable as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}), flush=True)
    sys.exit(1)
print(json.dumps({"lease": held.holder.lease}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of leases for this test; pytest's own folders can only be reached by the user of the tests."""
    with tempfile.TemporaryDirectory(prefix="hil-test-locks-") as name:
        above = Path(name)
        above.chmod(0o755)
        monkeypatch.setenv("HIL_LOCKS", str(above / "locks"))
        yield above


class Holder:
    """A process that takes a lease, as another user if that is asked, and keeps it until it is ended."""

    def __init__(self, place: str, user: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(user), place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/" if sys.platform != "win32" else None,
        )
        assert self.process.stdout
        self.said = json.loads(self.process.stdout.readline() or '{"error": "nothing was said"}')

    def end(self, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate(timeout=20)


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.end(kill=True)


def test_a_second_process_is_told_who_has_the_board_and_since_when(holders: list[Holder]) -> None:
    holders.append(Holder("/dev/ttyX0"))
    found = holder_of("/dev/ttyX0")
    assert found is not None
    assert found.pid == holders[0].process.pid
    assert found.lease == holders[0].said["lease"]
    with pytest.raises(BoardInUse) as caught:
        acquire("/dev/ttyX0", "desk")
    assert f"in use by process {found.pid} of {found.user} on {found.host}" in str(caught.value)
    assert f"since {found.since_utc}" in str(caught.value)
    assert "--hil-wait" in caught.value.hint
    acquire("/dev/ttyX1", "other").release()


def test_the_job_of_a_ci_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WORKFLOW", "nightly")
    monkeypatch.setenv("GITHUB_RUN_ID", "4711")
    held = acquire("/dev/ttyX0", "desk")
    found = holder_of("/dev/ttyX0")
    assert found is not None
    assert found.job == "nightly 4711"
    held.release()
    assert holder_of("/dev/ttyX0") is None


def test_a_killed_holder_leaves_no_lease_behind(holders: list[Holder]) -> None:
    holders.append(Holder("/dev/ttyX0"))
    holders[0].end(kill=True)
    assert holder_of("/dev/ttyX0") is None
    acquire("/dev/ttyX0", "desk").release()


def test_names_of_one_port_are_one_lease(tmp_path: Path) -> None:
    port = tmp_path / "ttyX0"
    port.touch()
    alias = tmp_path / "esp-desk"
    try:
        alias.symlink_to(port)
    except OSError:
        pytest.skip("no symbolic links here")
    held = acquire(str(alias), "desk")
    with pytest.raises(BoardInUse):
        acquire(str(port), "desk")
    held.release()
    held = acquire("rfc2217://rack:4000?ign_set_control", "rack")
    with pytest.raises(BoardInUse):
        acquire("rfc2217://rack:4000", "rack")
    held.release()
    held.release()


def test_a_run_that_waits_gets_the_board_when_it_is_let_go_of(holders: list[Holder]) -> None:
    holders.append(Holder("/dev/ttyX0"))
    said: list[str] = []
    threading.Timer(0.7, holders[0].end).start()
    began_s = time.monotonic()
    acquire("/dev/ttyX0", "desk", wait_s=20, say=said.append).release()
    assert 0.3 < time.monotonic() - began_s < 15
    (line,) = said
    assert line.startswith(f"desk: waiting for process {holders[0].process.pid} of ")


def test_a_wait_ends_with_who_was_waited_for(holders: list[Holder]) -> None:
    holders.append(Holder("/dev/ttyX0"))
    with pytest.raises(BoardInUse, match=r"in use by process \d+ .*; waited 1 s"):
        acquire("/dev/ttyX0", "desk", wait_s=1)


def test_many_processes_never_hold_one_board_at_once(tmp_path: Path) -> None:
    """Each writes when it has the board and when it lets go; some are killed with it in their hands."""
    script = """
import sys, time, os, random
from esp_hil.boards.lease import acquire
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for _ in range(15):
    held = acquire("/dev/ttyX0", "desk", wait_s=60)
    os.write(file, f"{os.getpid()} has\\n".encode())
    time.sleep(random.random() / 200)
    if len(sys.argv) > 2 and random.random() < 0.2:
        os.write(file, f"{os.getpid()} gone\\n".encode())
        os.kill(os.getpid(), 9)
    os.write(file, f"{os.getpid()} gone\\n".encode())
    held.release()
"""
    log = tmp_path / "log"
    log.touch()
    kill = ["kill"] if sys.platform != "win32" else []
    started = [subprocess.Popen([sys.executable, "-c", script, str(log), *kill]) for _ in range(4)]
    assert {process.wait(120) for process in started} <= {0, -9}
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) >= 8
    for has, gone in zip(lines[::2], lines[1::2], strict=True):
        assert (has[1], gone[1]) == ("has", "gone")
        assert has[0] == gone[0], "two had it at once"


# users


@as_root
def test_a_second_user_gets_free_boards_and_is_told_who_has_the_others(holders: list[Holder]) -> None:
    acquire("/dev/ttyX0", "desk").release()  # the folder and the file are ours
    holders.append(Holder("/dev/ttyX0", NOBODY))
    assert "lease" in holders[0].said, holders[0].said
    with pytest.raises(BoardInUse, match=f"process {holders[0].process.pid} of nobody"):
        acquire("/dev/ttyX0", "desk")
    holders[0].end()
    held = acquire("/dev/ttyX0", "desk")
    holders.append(Holder("/dev/ttyX0", NOBODY))
    assert holders[1].said["error"] == "BoardInUse"
    assert f"process {os.getpid()} of root" in holders[1].said["text"]
    held.release()


@as_root
def test_a_folder_that_a_second_user_made_first_serves_all(holders: list[Holder], locks: Path) -> None:
    locks.chmod(0o777)
    holders.append(Holder("/dev/ttyX0", NOBODY))
    assert "lease" in holders[0].said, holders[0].said
    assert stat.S_IMODE(folder().stat().st_mode) == 0o1777
    with pytest.raises(BoardInUse):
        acquire("/dev/ttyX0", "desk")


@as_root
def test_a_folder_without_permission_is_named_as_that_and_not_as_another_run(holders: list[Holder]) -> None:
    folder().mkdir()
    folder().chmod(0o755)
    holders.append(Holder("/dev/ttyX0", NOBODY))
    assert holders[0].said["error"] == "BoardUnavailable"
    assert f"no permission to lock boards in {folder()} (root's, mode 755)" in holders[0].said["text"]
    assert f"chmod 1777 {folder()}" in holders[0].said["text"]


@as_root
def test_a_file_of_an_older_version_is_named_with_what_to_do(holders: list[Holder]) -> None:
    acquire("/dev/ttyX0", "desk").release()
    (file,) = folder().iterdir()
    file.chmod(0o644)
    holders.append(Holder("/dev/ttyX0", NOBODY))
    assert f"chmod 666 {file}" in holders[0].said["text"]


@posix
def test_a_lock_behind_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    acquire("/dev/ttyX0", "desk").release()
    (file,) = folder().iterdir()
    file.unlink()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    file.symlink_to(precious)
    with pytest.raises(BoardUnavailable, match="no permission to lock"):
        acquire("/dev/ttyX0", "desk")
    assert precious.read_text() == "mine"


def test_the_list_of_boards_says_who_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = tmp_path / "ttyX0"
    port.touch()
    rows = tmp_path / "boards.toml"
    rows.write_text(f'[desk]\ntarget = "esp32s3"\nurl = {str(port)!r}\n')
    monkeypatch.setenv("HIL_BOARDS", str(rows))
    held = acquire(str(port), "desk")
    assert main(["boards"]) == 0
    assert f"in use by process {os.getpid()} of " in capsys.readouterr().out
    assert main(["boards", "--json"]) == 0
    (board,) = json.loads(capsys.readouterr().out)["boards"]
    assert board["holder"]["lease"] == held.holder.lease
    held.release()
    assert main(["boards"]) == 0
    assert "in use by" not in capsys.readouterr().out


def test_what_a_holder_writes_is_never_half_a_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    held = acquire("/dev/ttyX0", "desk")
    (file,) = folder().iterdir()
    file.write_text('{"lease": "half')
    with pytest.raises(BoardInUse, match="in use by another run"):
        acquire("/dev/ttyX0", "desk")
    held.release()
    assert lease.holder_of("/dev/ttyX0") is None

"""Boards of a labgrid farm: real coordinator, exporters and ser2net on loopback, virtual boards behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from esp_hil.boards.labgrid import _tag, acquire, board_words, wish_of
from esp_hil.boards.labgrid_identity import identity, in_words, is_gone
from esp_hil.boards.select import Board, select, why_out
from esp_hil.cli import main
from esp_hil.errors import BoardInUse, BoardUnavailable, ConfigError, HilError
from esp_hil.results.journal import read_runs
from esp_hil.session.board_session import open_session
from esp_hil.session.option_rows import Options
from esp_hil.session.options import combinations
from esp_hil.targets import target
from tests.conftest import ROOT
from tests.farm.bench import Coordinator, Farm, farm, needs_labgrid, place, wait_until_free
from tests.test_plugin import QUICK

S3, P4 = target("esp32s3"), target("esp32p4")

# what needs no farm


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("labgrid:s3-a", ("labgrid:s3-a",)),
        ("labgrid:target=esp32s3,psram=8MB", ("labgrid:target=esp32s3,psram=8MB",)),
        ("s3-a,labgrid:target=esp32s3, psram=8MB,p4-a", ("s3-a", "labgrid:target=esp32s3,psram=8MB", "p4-a")),
        ("labgrid:a_b=c,labgrid:a_b=d,e_f=g", ("labgrid:a_b=c", "labgrid:a_b=d,e_f=g")),
        ("labgrid:s3-a,rfc2217://h:1?a=b", ("labgrid:s3-a", "rfc2217://h:1?a=b")),
        ("", ()),
    ],
)
def test_tags_behind_a_comma_belong_to_the_place_before_them(text: str, words: tuple[str, ...]) -> None:
    assert board_words(text) == words


@pytest.mark.parametrize("words", ["", "two words", "target=", "=x", "Target=x", "target=x,y", "a/b"])
def test_what_is_neither_a_place_nor_tags_is_said(words: str) -> None:
    with pytest.raises(ConfigError, match="neither a place nor tags"):
        wish_of(words)


def test_a_process_is_gone_only_if_that_is_known() -> None:
    own = identity()
    assert not is_gone(own)
    ended = subprocess.Popen(
        [sys.executable, "-c", "from esp_hil.boards.labgrid_identity import identity; print(identity())"],
        stdout=subprocess.PIPE,
        text=True,
    )
    name = ended.communicate()[0].strip()
    if sys.platform == "linux":
        assert is_gone(name)
        assert in_words(name).startswith(f"process {ended.pid} of ")
    host, _, rest = name.partition("/")
    for other in (f"other-{host}/{rest}", f"{name[:-4]}0000", f"{host}/jane", "", "a/b.hil-1-1-"):
        assert not is_gone(other)


def test_a_coordinator_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("grpc_reflection", reason='pip install "esp-hil[farm]"')
    monkeypatch.setattr("esp_hil.boards.labgrid_keeper.CONNECT_S", 0.1)
    monkeypatch.setenv("HIL_LABGRID", "127.0.0.1:1")
    with pytest.raises(BoardUnavailable, match=r"coordinator at 127.0.0.1:1 does not answer .*HIL_LABGRID"):
        acquire({"name": "s3-a"}, "desk")


def test_without_grpc_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esp_hil.boards.labgrid.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install .esp-hil\[farm\]"):
        acquire({"name": "s3-a"}, "desk")


# a farm


class Switch(BaseHTTPRequestHandler):
    """A power switch with a REST interface; remembers what it was told."""

    told: list[str] = []  # noqa: RUF012 - one server for these tests
    on: dict[str, str] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        *_, index, value = self.path.split("/")
        if value in {"0", "1"}:
            self.told.append(f"{index}/{value}")
            self.on[index] = value
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.on.get(index, "1").encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def switch() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Switch)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{index}}/{{value}}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory, switch: str) -> Iterator[Farm]:
    boards = {"s3-a": "esp32s3", "p4-a": "esp32p4", "s3-b": "esp32s3"}
    with farm(tmp_path_factory.mktemp("farm"), boards, machines=2, power=switch) as found:
        yield found


@pytest.fixture(autouse=True)
def places_are_free_afterwards(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    if "rack" not in request.fixturenames:
        yield
        return
    found: Farm = request.getfixturevalue("rack")
    monkeypatch.setenv("HIL_LABGRID", found.address)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{ROOT / '.labgrid' / 'bin'}")
    yield
    wait_until_free(found.address, tuple(found.boards))


@needs_labgrid
def test_a_board_of_a_farm_is_used_like_one_of_this_machine(rack: Farm, tmp_path: Path) -> None:
    with open_session(S3, board="labgrid:s3-a") as session:
        session.connect()
        session.reset()
        assert session.device.info().chip == "esp32s3"
        assert session.id == "labgrid:s3-a"
        custody = session.board.custody
        assert custody is not None
        assert (custody.place, custody.host) == ("s3-a", rack.machine_of["s3-a"])
        assert custody.port.startswith("rfc2217://127.0.0.1:")
        assert custody.cable.startswith("/dev/pts/")
        assert place("s3-a").holder.startswith(f"process {os.getpid()} of ")
    assert place("s3-a").acquired == ""


@needs_labgrid
def test_tags_get_any_place_that_fits_and_each_only_once(rack: Farm) -> None:
    one, other = (acquire({"target": "esp32s3"}, "desk") for _ in range(2))
    assert {one.place.name, other.place.name} == {"s3-a", "s3-b"}
    with pytest.raises(BoardInUse, match=r"s3-a is in use by process \d+ .*s3-b is in use") as caught:
        acquire({"target": "esp32s3"}, "desk")
    assert "--hil-wait" in caught.value.hint
    other.release()
    again = acquire({"target": "esp32s3"}, "desk")
    assert again.place.name == other.place.name
    for lease in (one, again, again):
        lease.release()


@needs_labgrid
def test_who_waits_gets_the_place_when_it_is_released(rack: Farm) -> None:
    said: list[str] = []
    first = acquire({"name": "p4-a"}, "desk")

    def told(text: str) -> None:
        said.append(text)
        first.release()

    second = acquire({"name": "p4-a"}, "desk", wait_s=60, say=told)
    assert second.place.name == "p4-a"
    assert f"p4-a is in use by process {os.getpid()}" in said[0]
    second.release()


@needs_labgrid
@pytest.mark.parametrize("wish", ["labgrid:none", "labgrid:target=esp32s3,psram=8MB"])
def test_a_place_that_no_farm_has_is_a_mistake(rack: Farm, wish: str) -> None:
    with pytest.raises(HilError, match=r"no place .*(none|psram=8MB)"):
        open_session(S3, board=wish)


@needs_labgrid
def test_the_tag_of_a_place_says_its_chip(rack: Farm) -> None:
    with pytest.raises(ConfigError, match="labgrid:p4-a is an esp32p4"):
        select(S3, board="labgrid:p4-a")
    options = Options(
        targets=("esp32s3", "esp32p4"),
        board="labgrid:s3-a,labgrid:p4-a",
        models=("mnist",),
        recipes=("w8a8",),
    )
    assert [(one.target.name, one.board) for one in combinations(options)] == [
        ("esp32p4", "labgrid:p4-a"),
        ("esp32s3", "labgrid:s3-a"),
    ]


@needs_labgrid
def test_a_place_in_quarantine_is_used_by_nobody_until_it_is_lifted(
    rack: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_session(S3, board="labgrid:s3-a") as session:
        gone = session.supervisor.give_up("Smells: burnt!")
        assert "hil boards --lift labgrid:s3-a" in gone.hint
    with pytest.raises(BoardUnavailable, match="in quarantine: smells_burnt"):
        open_session(S3, board="labgrid:s3-a")
    lease = acquire({"target": "esp32s3"}, "desk")
    assert lease.place.name == "s3-b", "the other one is taken"
    with pytest.raises(BoardInUse, match="s3-b is in use"):
        acquire({"target": "esp32s3"}, "desk")
    lease.release()
    assert main(["boards"]) == 0
    assert "in quarantine: smells_burnt" in capsys.readouterr().out
    assert main(["boards", "--lift", "labgrid:s3-a"]) == 0
    acquire({"name": "s3-a"}, "desk").release()


@needs_labgrid
def test_a_place_with_a_power_port_is_switched_off_and_on(rack: Farm) -> None:
    Switch.told.clear()
    with open_session(P4, board="labgrid:p4-a") as session:
        assert session.board.board.power_cycle
        session.board.power_cycle()
        session.connect()
    index = list(rack.boards).index("p4-a")
    assert Switch.told == [f"{index}/0", f"{index}/1"]


@needs_labgrid
def test_rows_of_boards_toml_may_name_places(
    rack: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from esp_hil.boards.pool import any_of

    rows = tmp_path / "boards.toml"
    rows.write_text(
        '[desk]\ntarget = "esp32s3"\nlabgrid = "s3-a"\n[spare]\ntarget = "esp32s3"\nlabgrid = "psram=8MB"\n'
    )
    monkeypatch.setenv("HIL_BOARDS", str(rows))
    with open_session(S3, board="desk") as session:
        assert session.id == "desk"
        assert main(["boards", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert {found["name"] for found in told["places"] if found["acquired"]} == {"s3-a"}
    found = any_of(["esp32s3"])
    assert found.boards == ("desk",)
    assert found.left_out == {"spare": "no place of labgrid: psram=8MB"}


HOLD = """
import sys, time
from esp_hil.boards.labgrid import acquire
acquire({"name": sys.argv[1]}, "desk")
print("has", flush=True)
time.sleep(600)
"""


@needs_labgrid
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_place_is_free_soon_after_its_run_was_ended(rack: Farm, how: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, "s3-b"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has\n"
    assert place("s3-b").holder.startswith(f"process {process.pid} of ")
    process.send_signal(signal.Signals[how])
    process.wait()
    process.stdout.close()
    wait_until_free(rack.address, ("s3-b",))


@needs_labgrid
def test_a_place_whose_run_and_keeper_were_both_killed_is_freed_by_the_next_run(rack: Farm) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, "s3-b"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    keepers = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if (folder / "cmdline").exists()
        and b"labgrid_keeper" in _read(folder / "cmdline")
        and f"PPid:\t{process.pid}\n".encode() in _read(folder / "status")
    ]
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(keepers[0], signal.SIGKILL)
    process.kill()
    process.wait()
    process.stdout.close()
    assert place("s3-b").acquired, "nobody was there to release it"
    acquire({"name": "s3-b"}, "desk").release()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@needs_labgrid
def test_a_keeper_that_was_killed_is_said(rack: Farm) -> None:
    lease = acquire({"name": "s3-b"}, "desk")
    lease._keeper._process.kill()
    with pytest.raises(BoardUnavailable, match="the process that holds its place was ended"):
        lease.url()
    lease.release()


@needs_labgrid
def test_the_suites_run_on_a_place_that_has_the_tags(rack: Farm, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "suites/test_numerics.py", "-q", "-p", "no:cacheprovider"),
            *("--target", "esp32s3", "--hil-board", "labgrid:target=esp32s3", "--skip-autoflash", "y"),
            *(*QUICK, "--hil-results", str(tmp_path / "out")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = read_runs(tmp_path / "out").runs
    assert run.board in {"labgrid:s3-a", "labgrid:s3-b"}
    assert run.custody is not None
    assert f"labgrid:{run.custody.place}" == run.board


@needs_labgrid
def test_places_of_a_machine_that_went_away_say_so_and_come_back_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with farm(tmp_path, {"s3-a": "esp32s3"}) as found:
        monkeypatch.setenv("HIL_LABGRID", found.address)
        session = open_session(S3, board="labgrid:s3-a")
        session.connect()
        found.kill("rack0")
        admin = Coordinator(found.address, "bench/looks")
        until = time.monotonic() + 30
        while admin.resources and time.monotonic() < until:
            time.sleep(0.05)
        admin.close()
        with pytest.raises(HilError):
            session.device.ping(b"x")
        with pytest.raises(BoardUnavailable, match=r"lost place s3-a: no exporter of it is there \(rack0\)"):
            session.recover(HilError("it was gone"))
        session.close()
        assert place("s3-a").why_not == "no exporter of it is there (rack0)"
        with pytest.raises(BoardUnavailable, match=r"no exporter of it is there \(rack0\)"):
            open_session(S3, board="labgrid:s3-a")


def test_a_reason_in_any_letters_puts_a_place_in_quarantine() -> None:
    assert _tag("Flash is worn out!") == "flash_is_worn_out"
    assert _tag("\u677f\u574f") == "yes"
    assert _tag("") == ""


def test_a_board_of_a_farm_that_cannot_be_asked_is_left_out_and_the_others_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("esp_hil.boards.labgrid.importlib.util.find_spec", lambda _: None)
    said = why_out(Board(id="far", target="esp32s3", labgrid="s3-a"), ())
    assert "gRPC" in said

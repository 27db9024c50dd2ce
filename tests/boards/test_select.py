from __future__ import annotations

import json
from pathlib import Path

import pytest

from esp_hil.boards import select as boards
from esp_hil.boards.opening import open_board
from esp_hil.boards.select import Board, rows, select
from esp_hil.cli import main
from esp_hil.device.ports import SerialPort
from esp_hil.errors import BoardUnavailable, ConfigError
from esp_hil.settings import PACKAGE
from esp_hil.targets import target
from esp_hil.virtual import VirtualBoard

S3, P4 = target("esp32s3"), target("esp32p4")
ROWS = """
[desk-s3]
target = "esp32s3"
serial_number = "0001"
baud = 921600

[usb-p4]
target = "esp32p4"
mac = "AA:BB:CC:00:11:22"

[shelf-c3]
target = "esp32c3"
usb_path = "1-1.4"
psram_bytes = 0

[rack]
target = "esp32s3"
url = "rfc2217://rack:4000"
"""


def port(url: str, **known: object) -> SerialPort:
    table = {
        "vid": None,
        "pid": None,
        "serial_number": "",
        "usb_path": "",
        "description": "",
        "url": url,
    } | known
    return SerialPort(**table)  # type: ignore[arg-type]  # a table of a test


PORTS = (
    port("/dev/ttyUSB0", vid=0x10C4, serial_number="0001", usb_path="1-1.2"),
    port("/dev/ttyUSB1", vid=0x1A86, usb_path="1-1.4"),
    port("/dev/ttyACM0", vid=0x303A, serial_number="aabbcc001122", usb_path="1-2"),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, and none of this machine's ports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIL_BOARDS", raising=False)
    monkeypatch.setenv("HIL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(boards, "serial_ports", lambda: PORTS)
    return tmp_path


@pytest.fixture
def with_rows(here: Path) -> None:
    (here / "boards.toml").write_text(ROWS, encoding="utf-8")


def test_without_a_file_of_the_user_there_are_no_rows() -> None:
    assert rows() == {}


def test_rows_come_from_this_folder_or_the_file_that_the_environment_names(
    here: Path, monkeypatch: pytest.MonkeyPatch, with_rows: None
) -> None:
    assert set(rows()) == {"desk-s3", "usb-p4", "shelf-c3", "rack"}
    other = here / "other.toml"
    other.write_text('[one]\ntarget = "esp32"\nurl = "COM3"\n', encoding="utf-8")
    monkeypatch.setenv("HIL_BOARDS", str(other))
    assert rows() == {"one": Board(id="one", target="esp32", url="COM3", listed=True)}
    monkeypatch.setenv("HIL_BOARDS", str(here / "nowhere.toml"))
    with pytest.raises(ConfigError, match="HIL_BOARDS"):
        rows()


def test_the_packaged_file_explains_itself() -> None:
    text = (PACKAGE / "boards.toml").read_text(encoding="utf-8")
    example = "\n".join(line.removeprefix("# ") for line in text.splitlines() if "=" in line or "[" in line)
    Path("boards.toml").write_text(example, encoding="utf-8")
    assert rows()["desk-s3"].baud == 921_600


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a]\ntarget = 'esp32'\nurl = 'x'\ncolour = 'red'", "unknown key 'colour'"),
        ("[a]\ntarget = 'esp32'\nurl = 5", "url should be str"),
        ("[a]\ntarget = 'esp32'\nurl = 'x'\nbaud = '9600'", "baud should be int"),
        ("[a]\ntarget = 'esp99'\nurl = 'x'", "unknown target 'esp99'"),
        ("[a]\nurl = 'x'", "no target"),
        ("[a]\ntarget = 'esp32'", "cannot be found"),
        ("[a]\ntarget = 'esp32'\nurl = 'x'\nkind = 'virtual'", "silicon or emulated"),
        ("[a]\ntarget = 'esp32'\nemulator = 'bochs'", "no emulator 'bochs'"),
        ("[a]\ntarget = 'esp32'\nemulator = 'qemu'\nurl = 'socket://there:1'", "an emulator has no url"),
        ("[a]\ntarget = 'esp32'\nemulator = 'qemu'\nkind = 'silicon'", "is of kind emulated"),
        ("a = 5", "not a table"),
        ("[a", "boards.toml"),
    ],
)
def test_a_mistake_in_a_row_is_named(here: Path, text: str, says: str) -> None:
    (here / "boards.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        rows()


def test_boards_are_found_by_serial_number_usb_path_mac_or_url(with_rows: None) -> None:
    found = {name: board.port(PORTS) for name, board in rows().items()}
    assert found == {
        "desk-s3": "/dev/ttyUSB0",
        "usb-p4": "/dev/ttyACM0",
        "shelf-c3": "/dev/ttyUSB1",
        "rack": "rfc2217://rack:4000",
    }
    assert all(board.port(()) is None for name, board in rows().items() if name != "rack")


def test_an_id_a_port_and_virtual_can_be_chosen(with_rows: None) -> None:
    assert select(S3, board="desk-s3").baud == 921_600
    assert select(S3, board="desk-s3", baud=115_200).baud == 115_200
    assert select(S3, board="desk-s3", port="/dev/ttyX").port(()) == "/dev/ttyX"
    assert select(P4, board="virtual") == Board(id="virtual", target="esp32p4", kind="virtual")
    assert select(P4, port="COM7").url == "COM7"
    for url in ("/dev/ttyUSB9", "com3", "socket://localhost:5555"):
        assert select(P4, board=url) == Board(id=url, target="esp32p4", url=url)


def test_the_attached_board_of_the_target_is_the_default(with_rows: None) -> None:
    assert select(S3).id == "desk-s3"
    assert select(P4).id == "usb-p4"


def test_a_board_of_another_chip_and_an_unknown_id_are_refused(with_rows: None) -> None:
    with pytest.raises(ConfigError, match="desk-s3 is an esp32s3, the run is for esp32p4"):
        select(P4, board="desk-s3")
    with pytest.raises(ConfigError) as caught:
        select(S3, board="desk-s4")
    assert "did you mean 'desk-s3'" in caught.value.hint
    with pytest.raises(ConfigError):
        select(P4, board="virtul")


def test_without_a_board_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "serial_ports", lambda: PORTS[:2])
    with pytest.raises(BoardUnavailable, match="no esp32s3 is attached") as caught:
        select(S3)
    assert "--hil-board virtual" in caught.value.hint


def test_only_ports_of_the_chip_s_maker_are_asked_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def chip_at(url: str) -> str:
        asked.append(url)
        return "esp32p4"

    monkeypatch.setattr(boards, "_chip_at", chip_at)
    assert select(P4).url == "/dev/ttyACM0"
    with pytest.raises(BoardUnavailable, match="asked /dev/ttyACM0"):
        select(S3)
    assert asked == ["/dev/ttyACM0"] * 2


def test_a_port_is_asked_by_talking_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with VirtualBoard(P4) as machine:
        monkeypatch.setattr(boards, "serial_ports", lambda: (port(machine.url, vid=0x303A),))
        assert select(P4).url == machine.url
        with pytest.raises(BoardUnavailable):
            select(S3)


def test_a_virtual_board_opens_runs_and_ends_with_its_holder() -> None:
    held = open_board(P4, board="virtual")
    try:
        assert (held.id, held.kind) == ("virtual", "virtual")
        held.device.connect()
        assert held.device.info().chip == "esp32p4"
    finally:
        held.close()
    held.close()


def test_two_runs_never_share_a_board() -> None:
    with VirtualBoard(P4) as machine:
        first = open_board(P4, board=machine.url)
        # by another name of the same port
        alias = Path("alias")
        alias.symlink_to(machine.url)
        with pytest.raises(BoardUnavailable, match="in use by process"):
            open_board(P4, board=str(alias.absolute()))
        first.device.connect()
        first.device.info()
        assert first.kind == "virtual"
        first.close()
        second = open_board(P4, board=machine.url)
        second.close()


def test_a_board_that_is_not_attached_cannot_be_opened(
    with_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "serial_ports", lambda: ())
    with pytest.raises(BoardUnavailable, match="desk-s3: select: desk-s3 is not attached"):
        open_board(S3, board="desk-s3")


def test_a_port_that_cannot_be_opened_is_unlocked_again() -> None:
    for _ in range(2):
        with pytest.raises(BoardUnavailable, match="no port"):
            open_board(P4, board="/dev/ttyNothing7")


def test_the_command_lists_boards_and_strangers(
    with_rows: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.device.ports.serial_ports", lambda: PORTS[:2])
    assert main(["boards"]) == 0
    text = capsys.readouterr().out
    assert "desk-s3" in text
    assert "not attached" in text
    assert main(["boards", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert {row["id"]: row["port"] for row in table["boards"]}["shelf-c3"] == "/dev/ttyUSB1"
    assert table["ports"] == []


def test_the_command_says_when_there_is_nothing_but_virtual_boards(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.device.ports.serial_ports", lambda: PORTS[2:])
    assert main(["boards"]) == 1
    text = capsys.readouterr().out
    assert "--hil-board virtual" in text
    assert "no board of boards.toml is attached: status 1" in text
    assert "303a" in text

"""The virtual board: MicroPython itself behind a pty. What needs no weights is tested without any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from esp_hil.device.ports import open_link
from esp_hil.errors import (
    BoardUnavailable,
    ConfigError,
    DeviceReset,
    HandshakeError,
    HilError,
    InputError,
    LinkClosed,
    LinkTimeout,
    OutOfMemory,
    RuntimeFailed,
    ScriptFailed,
    WireError,
)
from esp_hil.micropython import face_database
from esp_hil.micropython.bindings import BINDINGS, binding
from esp_hil.micropython.boards import opened
from esp_hil.micropython.driver import MicroPythonBoard, open_board
from esp_hil.micropython.firmware import MicroPythonFirmware
from esp_hil.micropython.raw_repl import RawRepl
from esp_hil.micropython.virtual import VirtualMicroPython, missing
from esp_hil.micropython.virtual.interpreter import interpreter
from esp_hil.micropython.virtual.quirks import QUIRKS, parse_quirks
from esp_hil.micropython.virtual.storage import PowerLost, Storage
from esp_hil.targets import target
from esp_hil.tasks import Image

needs_interpreter = pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")
ENROLL = (
    "import espdl, struct\nd = espdl._Database('/face.db', 512)\nprint(d.enroll(bytes(_hil_data), {name!r}))"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicroPython]:
    with VirtualMicroPython("esp32s3", tmp_path_factory.mktemp("no-weights")) as made:
        yield made


@pytest.fixture
def board(machine: VirtualMicroPython) -> Iterator[MicroPythonBoard]:
    with open_board(machine.url) as made:
        yield made


def feature(seed: int) -> bytes:
    values = np.random.default_rng(seed).normal(size=512).astype(np.float32)
    made: bytes = (values / np.float32(np.linalg.norm(values))).tobytes()
    return made


def enroll(board: MicroPythonBoard, seed: int, name: str) -> None:
    board.upload(feature(seed))
    board._script(ENROLL.format(name=name))


@needs_interpreter
def test_it_is_micropython_and_says_that_it_is_no_board(board: MicroPythonBoard) -> None:
    assert board.firmware.version.startswith("MicroPython v")
    assert (board.firmware.kind, board.firmware.target) == ("virtual", "esp32s3")
    assert board.firmware.classes == ()
    assert board._script("print(sum(range(10)))").strip() == b"45"


@needs_interpreter
def test_a_class_whose_weights_are_missing_is_missing(board: MicroPythonBoard) -> None:
    black = Image(width=4, height=4, format="rgb888", data=bytes(48))
    with pytest.raises(HandshakeError, match="MP_DL_FACE_DETECTOR_ENABLED"):
        board.run("FaceDetector", black)


@needs_interpreter
@pytest.mark.parametrize("count", [1, 127, 128, 129, 256, 257, 10_000])
def test_uploads_of_any_length_arrive(board: MicroPythonBoard, count: int) -> None:
    data = bytes(np.random.default_rng(count).integers(0, 256, count, np.uint8))
    assert board.upload(data).bytes == count
    assert len(board._script("print(len(_hil_data))")) > 0


@needs_interpreter
def test_files_are_written_and_read_byte_by_byte(board: MicroPythonBoard) -> None:
    data = bytes(range(256)) * 9
    board.write_file("/some.bin", data)
    assert board.read_file("/some.bin") == data
    board.remove_file("/some.bin")
    board.remove_file("/some.bin")
    with pytest.raises(ScriptFailed, match="OSError") as told:
        board.read_file("/some.bin")
    assert told.value.exception == "OSError"


@needs_interpreter
def test_exceptions_on_the_board_are_typed_and_the_board_stays_usable(board: MicroPythonBoard) -> None:
    with pytest.raises(ScriptFailed, match="ZeroDivisionError"):
        board._script("1/0")
    with pytest.raises(ScriptFailed, match="SyntaxError"):
        board._script("def")
    with pytest.raises(OutOfMemory):
        board._script("raise MemoryError")
    assert board._script("print(1)").strip() == b"1"


@needs_interpreter
def test_what_comes_faster_than_it_is_read_is_lost_as_on_a_chip(machine: VirtualMicroPython) -> None:
    """The receiver holds 260 bytes: a driver without windows would lose what is above."""
    link = open_link(machine.url)
    try:
        repl = RawRepl(link)
        repl.enter()
        repl.start("import time\ntime.sleep_ms(300)\nimport sys\nprint(len(sys.stdin.buffer.read(200)))", 5.0)
        link.exchange(b"x" * 2000, link.now())
        assert repl.finish(5.0).stdout.strip() == b"200"
        machine.reset()
        repl.enter()
        repl.start("import time\ntime.sleep_ms(300)\nimport sys\nprint(len(sys.stdin.buffer.read(500)))", 5.0)
        link.exchange(b"x" * 2000, link.now())
        with pytest.raises(LinkTimeout):
            repl.finish(0.5)
        machine.reset()
        repl.enter()
    finally:
        link.close()


def expect_reset(board: MicroPythonBoard, *, hard: bool) -> None:
    """A reset loses what is in memory, and keeps files."""
    board.write_file("/kept", b"kept")
    board._script("lost = 1")
    board.reset(hard=hard)
    with pytest.raises(ScriptFailed, match="NameError"):
        board._script("print(lost)")
    assert board.read_file("/kept") == b"kept"


@needs_interpreter
@pytest.mark.parametrize("hard", [True, False])
def test_a_reset_empties_memory_and_keeps_files(machine: VirtualMicroPython, hard: bool) -> None:
    with open_board(machine.url) as board:
        expect_reset(board, hard=hard)


@needs_interpreter
def test_lost_power_in_the_middle_of_an_enrolment_leaves_the_old_file_on_littlefs(
    machine: VirtualMicroPython,
) -> None:
    with open_board(machine.url) as board:
        board.remove_file("/face.db")
        enroll(board, 0, "anna")
        before = board.read_file("/face.db")
        machine.cut_power_after(6 + 2 + 1000)
        with pytest.raises(HilError):
            enroll(board, 1, "torn")
        board.reconnect()
        assert board.read_file("/face.db") == before


@needs_interpreter
def test_the_database_survives_lost_power_up_to_the_torn_record_on_fat(tmp_path: Path) -> None:
    with (
        VirtualMicroPython("esp32s3", tmp_path, direct_writes=True) as machine,
        open_board(machine.url) as board,
    ):
        for seed, name in enumerate(("anna", "bert")):
            enroll(board, seed, name)
        whole = board.read_file("/face.db")
        assert len(whole) == 6 + 2 * 2082
        machine.cut_power_after(6 + 2 + 1000)
        with pytest.raises(HilError):
            enroll(board, 9, "torn")
        board.reconnect()
        torn = board.read_file("/face.db")
        assert len(torn) == len(whole) + 2 + 1000
        with pytest.raises(HilError, match="bytes"):
            face_database.parse(torn, flavour="binding")
        assert face_database.mend(torn).to_bytes() == whole


@needs_interpreter
def test_the_database_of_the_board_is_that_of_the_parser(machine: VirtualMicroPython) -> None:
    with open_board(machine.url) as board:
        board.remove_file("/face.db")
        for seed, name in enumerate(("anna", "", "x" * 31)):
            enroll(board, seed, name)
        board._script("import espdl\nespdl._Database('/face.db', 512).delete(2)")
        made = face_database.parse(board.read_file("/face.db"), length=512)
        assert [(face.id, face.name) for face in made.faces] == [(1, "anna"), (3, "x" * 31)]
        assert [face.id for face in made.records] == [1, 0, 3]
        assert made.faces[1].feature.tobytes() == feature(2)
        # and back: what is made here is loaded there
        more = made.enrolled(np.frombuffer(feature(7), np.float32), "zoe")
        board.write_file("/face.db", more.to_bytes())
        told = board._script("import espdl\nprint([r[0] for r in espdl._Database('/face.db', 512).rows])")
        assert told.strip() == b"[1, 3, 4]"


@needs_interpreter
def test_a_power_cycle_makes_the_port_vanish_and_come_back(machine: VirtualMicroPython) -> None:
    with open_board(machine.url) as board:
        board.write_file("/kept", b"kept")
        machine.power_cycle()
        with pytest.raises(HilError):
            board._script("print(1)")
        board.reconnect()
        assert board.read_file("/kept") == b"kept"


@needs_interpreter
def test_lost_bytes_are_noticed_and_the_board_is_usable_afterwards(tmp_path: Path) -> None:
    with (
        VirtualMicroPython("esp32s3", tmp_path, quirks=["drops_bytes"]) as machine,
        pytest.raises(HilError) as told,
        open_board(machine.url) as board,
    ):
        board.upload(bytes(20_000))
    assert isinstance(told.value, WireError | LinkTimeout | ScriptFailed)


def said(board: MicroPythonBoard, count: int) -> bytes:
    return board._script(f"import sys; sys.stdout.write('x' * {count})")


@needs_interpreter
def test_its_own_usb_port_loses_long_output_unless_the_host_raises_dtr(tmp_path: Path) -> None:
    """TinyUSB writes without waiting then; whoever opens such a port with both lines low hears a part of it."""
    with VirtualMicroPython("esp32s3", tmp_path, listen="usb") as machine:
        with open_board(machine.url) as board:
            assert said(board, 1000) == b"x" * 1000
        with MicroPythonBoard(open_link(machine.url)) as board:
            assert said(board, 200) == b"x" * 200
            # how much depends on the pieces in which the interpreter's output comes: 320 bytes of each are heard
            assert len(said(board, 10_000)) < 10_000


@needs_interpreter
@pytest.mark.parametrize("hard", [True, False])
def test_at_its_own_usb_port_a_reset_comes_back_though_rts_does_nothing(tmp_path: Path, hard: bool) -> None:
    with VirtualMicroPython("esp32s3", tmp_path, listen="usb") as machine, open_board(machine.url) as board:
        expect_reset(board, hard=hard)


@needs_interpreter
@pytest.mark.parametrize("listen", ["pty", "usb"])
@pytest.mark.parametrize("operation", ["store", "close", "create"])
def test_a_panic_in_the_middle_of_a_call_is_said_and_the_next_call_works(
    tmp_path: Path, listen: str, operation: str
) -> None:
    with VirtualMicroPython("esp32s3", tmp_path, listen=listen) as machine, open_board(machine.url) as board:
        machine.panic_at(operation)
        with pytest.raises((DeviceReset, LinkClosed)) as told:
            board.write_file("/new", b"new")
        if listen == "pty":
            assert "Guru Meditation" in str(told.value)
        board.write_file("/new", b"newer")
        assert board.read_file("/new") == b"newer"


@needs_interpreter
def test_a_full_file_system_is_an_oserror_and_keeps_what_was_there(machine: VirtualMicroPython) -> None:
    with open_board(machine.url) as board:
        board.write_file("/kept", b"kept")
        machine.leave_free(10)
        with pytest.raises(ScriptFailed, match="OSError"):
            board.write_file("/more", bytes(5000))
        machine.leave_free(None)
        board.write_file("/more", bytes(5000))
        assert board.read_file("/kept") == b"kept"


@needs_interpreter
def test_each_binding_offers_what_its_firmware_has(tmp_path: Path) -> None:
    for name, wanted in BINDINGS.items():
        with (
            VirtualMicroPython("esp32s3", tmp_path, binding=name) as machine,
            open_board(machine.url) as board,
        ):
            assert (board.firmware.binding, board.firmware.espdl) == (name, wanted.espdl)
            assert dict(board.firmware.formats) == dict(wanted.formats)


@needs_interpreter
def test_arguments_are_taken_as_the_binding_takes_them(tmp_path: Path) -> None:
    script = "import espdl\nespdl._options({given}, {named}, espdl._ORDER, {{'features': True}})"
    with VirtualMicroPython("esp32s3", tmp_path) as machine, open_board(machine.url) as board:
        board._script(script.format(given="(320, 240, 0)", named="{'features': False}"))
        with pytest.raises(ScriptFailed, match="TypeError"):
            board._script(script.format(given="(320, 240, 0, True)", named="{}"))
        with pytest.raises(ScriptFailed, match="TypeError"):
            board._script(script.format(given="(320,)", named="{'width': 3}"))
    with (
        VirtualMicroPython("esp32s3", tmp_path, binding="6012426") as machine,
        open_board(machine.url) as board,
        pytest.raises(ScriptFailed, match="TypeError"),
    ):
        board._script(script.format(given="()", named="{'pixel_format': 0}"))


@needs_interpreter
def test_it_is_reached_through_a_socket_as_well(tmp_path: Path) -> None:
    with VirtualMicroPython("esp32s3", tmp_path, listen="tcp") as machine, open_board(machine.url) as board:
        assert machine.url.startswith("socket://")
        assert board.upload(bytes(1000)).bytes == 1000


@needs_interpreter
def test_a_second_program_cannot_take_the_port(machine: VirtualMicroPython) -> None:
    with open_board(machine.url), pytest.raises(BoardUnavailable):
        open_board(machine.url)


def test_a_missing_interpreter_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HIL_MICROPYTHON", str(tmp_path / "nothing.mjs"))
    with pytest.raises(RuntimeFailed, match="npm install"):
        interpreter()
    assert "npm install" in missing() or "nodejs" in missing()


def test_what_cannot_be_asked_of_a_board_is_refused(tmp_path: Path) -> None:
    s3 = target("esp32s3")
    with pytest.raises(ConfigError, match="no quirk 'loud'"):
        opened(s3, board="virtual", zoo=tmp_path, quirks=("loud",))
    with pytest.raises(ConfigError, match="--zoo"):
        opened(s3, board="virtual")
    with pytest.raises(ConfigError, match="cannot be flashed"):
        opened(s3, board="virtual", zoo=tmp_path, image=tmp_path / "firmware.bin")
    with pytest.raises(ConfigError, match="only be planted in a virtual"):
        opened(s3, board="/dev/ttyNONE", quirks=("forgets",))
    assert parse_quirks(QUIRKS) == frozenset(QUIRKS)


def test_on_littlefs_a_file_is_the_old_one_until_it_is_closed(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "flash")
    storage.change("create", "/b")
    storage.store("/b", 0, b"1234")
    storage.close("/b")
    storage.change("create", "/b", empty=True)
    storage.store("/b", 0, b"xy")
    assert storage.load("/b") == b"1234"
    storage.power_off()
    storage.close("/b")
    assert storage.load("/b") == b"1234"
    storage.store("/b", 6, b"z")
    storage.close("/b")
    assert storage.load("/b") == b"1234\0\0z"


def test_the_flash_keeps_what_was_written_before_the_power_went(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "flash", direct=True)
    storage.store("/a/../b", 0, b"")
    storage.store("/b", 0, b"12345678")
    storage.cut_power_after(3)
    storage.store("/b", 6, b"ab")
    with pytest.raises(PowerLost):
        storage.store("/b", 0, b"xyz")
    assert storage.load("/b") == b"x23456ab"
    storage.store("/b", 1, b"y")
    assert storage.load("/b") == b"xy3456ab"
    storage.change("rename", "/b", to="/c")
    assert storage.names() == {"folders": [], "files": ["/c"]}


def firmware(**said: object) -> MicroPythonFirmware:
    words = {
        "version": "MicroPython v1.26.0",
        "machine": "Generic ESP32S3 module with Octal-SPIRAM with ESP32S3",
    }
    return MicroPythonFirmware.of(
        {**words, "platform": "esp32", "espdl": ["FaceDetector"], "jpeg": True, "free": 0, **said}
    )


def test_a_real_firmware_is_taken_for_the_binding_whose_constants_it_has() -> None:
    newest = firmware(formats={"RGB888": 0, "GRAYSCALE": 3, "RGB565": 6})
    assert (newest.binding, newest.espdl) == ("102d875", "3.1.5")
    assert firmware(formats={}).binding == "6012426"
    assert firmware(formats={"RGB888": 0, "RGB565": 9}).binding == "ours"
    assert firmware(espdl=None).binding == ""


def test_rgb565_is_big_endian_on_an_esp32s3_and_the_other_order_is_refused() -> None:
    board = firmware(formats={"RGB888": 0, "GRAYSCALE": 3, "RGB565": 6})
    assert board.constant("rgb565be") == 6
    with pytest.raises(InputError, match="does not take rgb565le") as told:
        board.constant("rgb565le")
    assert "big-endian" in told.value.hint


def test_a_binding_without_an_image_for_the_chip_is_said_to_have_none() -> None:
    assert binding("", "esp32s3").name == "102d875"
    assert binding("", "esp32p4").name == "ours"
    with pytest.raises(ConfigError, match="no image for esp32p4"):
        binding("102d875", "esp32p4")
    with pytest.raises(ConfigError, match=r"for esp32s3 and esp32p4, not for esp32 "):
        binding("", "esp32")
    with pytest.raises(ConfigError, match="no binding 'newest'"):
        binding("newest", "esp32s3")

"""Virtual boards as processes: served, reset, killed, cut off, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.device.device import Device
from esp_hil.device.ports import open_link
from esp_hil.errors import (
    BoardUnavailable,
    DeviceCrashed,
    DeviceFault,
    DeviceReset,
    HilError,
    LinkClosed,
    RuntimeFailed,
)
from esp_hil.esp.supervise import Watch
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import target
from esp_hil.virtual import EngineFaults, FaultPlan, LineFaults, OffByLsb, VirtualBoard
from esp_hil.virtual.chip import ChipIdentity, boot_log
from esp_hil.wire.status import Status
from tests.conftest import ROOT

ARTEFACTS = ROOT / "golden" / "mnist" / "w8a8"
LISTEN = ["tcp"] if sys.platform == "win32" else ["pty", "tcp"]
Inputs = dict[str, NDArray[np.int8]]


def image(family: str = "esp32p4") -> bytes:
    return (ARTEFACTS / f"{family}.espdl").read_bytes()


def picture(seed: int = 0) -> Inputs:
    return {"input": np.random.default_rng(seed).integers(-128, 128, (1, 28, 28, 1), dtype=np.int8)}


@pytest.fixture(scope="module")
def reference() -> ExactReference:
    return ExactReference(read_espdl(image()), "esp32p4")


Start = Callable[..., tuple[VirtualBoard, Device]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a virtual P4 and a device that can open its port again."""
    opened: list[VirtualBoard | Device] = []

    def start_it(faults: FaultPlan | None = None, listen: str | None = None) -> tuple[VirtualBoard, Device]:
        board = VirtualBoard(target("esp32p4"), faults=faults, listen=listen)
        opened.append(board)
        board.start()

        device = Device(open_link(board.url), board="virtual", reopen=lambda: open_link(board.url))
        opened.append(device)
        return board, device

    yield start_it
    for one in reversed(opened):
        if isinstance(one, Device):
            one.close()
        else:
            one.stop()


def prepare(device: Device) -> None:
    device.connect()
    device.upload_model(image())
    device.load()


def check(device: Device, reference: ExactReference, count: int = 3) -> None:
    for seed in range(count):
        inputs = picture(seed)
        answered = device.infer(inputs).outputs
        for name, wanted in reference.run(inputs).items():
            assert np.array_equal(answered[name], wanted)


@pytest.mark.parametrize("listen", LISTEN)
def test_it_answers_as_the_exact_reference_over_pty_and_tcp(
    start: Start, reference: ExactReference, listen: str
) -> None:
    _, device = start(listen=listen)
    prepare(device)
    info = device.info()
    assert (info.chip, info.kind, info.families) == ("esp32p4", "virtual", ("esp32p4",))
    assert info.model is not None
    assert info.model.sha256 == reference.model.sha256
    check(device, reference)
    inputs = [picture(seed) for seed in range(20)]
    for given, result in zip(inputs, device.infer_many(inputs), strict=True):
        (wanted,) = reference.run(given).values()
        assert np.array_equal(result.outputs["output"], wanted)
    for name, wanted in reference.run_all(inputs[0]).items():
        assert device.tensor(name, inputs[0]) == wanted.tobytes()
    counters = device.counters()
    assert counters["arena_bytes"].value == 32_144
    assert counters["heap_internal_free_bytes"].value > 0


def test_a_model_for_another_chip_is_refused_and_the_right_one_still_loads(
    start: Start, reference: ExactReference
) -> None:
    _, device = start()
    device.connect()
    device.upload_model(image("esp32s3"))
    with pytest.raises(DeviceFault, match="esp32p4 runs esp32p4") as caught:
        device.load()
    assert caught.value.status == Status.WRONG_FAMILY
    prepare(device)
    check(device, reference)


def test_a_second_host_is_turned_away(start: Start) -> None:
    board, device = start(listen="tcp")
    device.connect()
    with pytest.raises(HilError), Device(open_link(board.url)) as second:
        second.connect(2.0)
    device.ping()


def test_it_survives_hosts_that_come_and_go(start: Start, reference: ExactReference) -> None:
    board, first = start()
    prepare(first)
    first.close()
    for _ in range(3):
        with Device(open_link(board.url)) as device:
            device.connect()
            assert device.info().model is not None
            check(device, reference, count=1)


# in the middle of things

SLOW = FaultPlan(engine=EngineFaults(delay_s=1.0))
# the line is stalled at that byte of the upload, so that whatever is done to the board is done then
STALLED = FaultPlan(to_device=LineFaults(stall_after_bytes=100_000, stall_s=1.0))
Deed = Callable[[VirtualBoard], None]
DEEDS: dict[str, tuple[Deed, type[HilError]]] = {
    "reset": (VirtualBoard.reset, DeviceReset),
    "kill": (VirtualBoard.kill, LinkClosed),
    "power cut": (VirtualBoard.power_cycle, LinkClosed),
}


def later(deed: Deed, board: VirtualBoard) -> threading.Timer:
    timer = threading.Timer(0.3, deed, [board])
    timer.start()
    return timer


@pytest.mark.parametrize("name", DEEDS)
def test_what_befalls_it_during_an_upload_is_a_typed_error_and_the_next_run_works(
    start: Start, reference: ExactReference, name: str
) -> None:
    deed, error = DEEDS[name]
    board, device = start(STALLED)
    device.connect()
    timer = later(deed, board)
    with pytest.raises(error, match="virtual: upload"):
        device.upload_model(image())
    timer.join()
    if not board.running:
        board.start()
    with pytest.raises(DeviceFault, match="did not come to its end"):
        load_again(device)
    prepare(device)
    check(device, reference)


def load_again(device: Device) -> None:
    device.connect()
    device.load()


@pytest.mark.parametrize("name", DEEDS)
def test_what_befalls_it_during_an_inference_is_a_typed_error_and_the_flash_keeps_the_model(
    start: Start, reference: ExactReference, name: str
) -> None:
    deed, error = DEEDS[name]
    board, device = start(SLOW)
    prepare(device)
    timer = later(deed, board)
    begun = time.monotonic()
    with pytest.raises(error, match="virtual: infer"):
        device.infer(picture())
    # typed at once, not by a time-out
    assert time.monotonic() - begun < 10
    timer.join()
    if not board.running:
        board.start()
    load_again(device)
    check(device, reference, count=1)


def test_a_panic_during_an_inference_is_a_crash_with_its_console_text(
    start: Start, reference: ExactReference
) -> None:
    _, device = start(FaultPlan(engine=EngineFaults(panic_at_run=2)))
    prepare(device)
    device.infer(picture())
    with pytest.raises(DeviceCrashed, match="virtual: infer: panic") as caught:
        device.infer(picture())
    assert "MEPC" in caught.value.console
    load_again(device)
    check(device, reference)


def test_a_reset_by_itself_during_an_inference_is_noticed(start: Start, reference: ExactReference) -> None:
    _, device = start(FaultPlan(engine=EngineFaults(reset_at_run=2)))
    prepare(device)
    device.infer(picture())
    with pytest.raises(DeviceReset):
        device.infer(picture())
    load_again(device)
    check(device, reference)


def test_a_requested_reset_brings_boot_and_a_boot_log(start: Start) -> None:
    _, device = start()
    prepare(device)
    before = device.info()
    device.reset()
    device.connect()
    after = device.info()
    assert (after.boot_id != before.boot_id, after.reset_reason, after.model) == (True, "software", None)
    assert after.mac == before.mac
    assert any("RTC_SW" in line.text for line in device.console)


# planted faults


def test_one_lsb_planted_in_the_engine_is_one_lsb_in_the_answer(
    start: Start, reference: ExactReference
) -> None:
    fault = OffByLsb(tensor="output", index=3, add_lsb=1)
    _, device = start(FaultPlan(engine=EngineFaults(output=(fault,))))
    prepare(device)
    (wanted,) = reference.run(picture()).values()
    difference = device.infer(picture()).outputs["output"].astype(int) - wanted
    assert difference.ravel().tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_a_bad_line_costs_time_and_no_answer(start: Start, reference: ExactReference) -> None:
    bad = LineFaults(
        bit_error_rate=2e-5,
        drop_rate=2e-5,
        duplicate_rate=2e-5,
        text="W (7) wifi: noise\n",
        text_every_bytes=20_000,
    )
    _, device = start(FaultPlan(seed=5, to_device=bad, to_host=bad))
    prepare(device)
    check(device, reference, count=30)
    assert device.link_statistics().retransmitted_bytes > 0
    assert any("wifi: noise" in line.text for line in device.console)


def test_a_disconnection_is_a_closed_link_and_the_port_comes_back(
    start: Start, reference: ExactReference
) -> None:
    _, device = start(FaultPlan(to_device=LineFaults(disconnect_after_bytes=50_000)))
    device.connect()
    with pytest.raises(LinkClosed):
        device.upload_model(image())
    prepare(device)
    check(device, reference)


# the process


def test_its_boot_log_reads_like_a_chip_s() -> None:
    for name in ("esp32", "esp32s3", "esp32p4"):
        chip = target(name)
        watch = Watch()
        watch.feed(boot_log(ChipIdentity(target=chip, name="x"), "power_on"))
        boot = watch.boot
        assert (watch.boots, boot.reset_kind, boot.flash_bytes) == (1, "power_on", chip.flash_bytes)
        assert (boot.cpu_hz, boot.app, boot.app_started) == (chip.clock_hz, "hil-virtual", True)
        assert (boot.psram_bytes or 0) == chip.psram_bytes


def test_the_flash_outlives_the_process(tmp_path: Path, reference: ExactReference) -> None:
    flash = tmp_path / "flash.bin"
    with VirtualBoard(target("esp32p4"), flash=flash) as board, Device(open_link(board.url)) as device:
        prepare(device)
        mac = device.info().mac
    with VirtualBoard(target("esp32p4"), flash=flash) as board, Device(open_link(board.url)) as device:
        load_again(device)
        check(device, reference, count=1)
        assert device.info().mac == mac


def test_a_board_that_cannot_start_says_why(tmp_path: Path) -> None:
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"no flash")
    board = VirtualBoard(target("esp32p4"), flash=flash)
    with pytest.raises(BoardUnavailable, match="has 8 bytes, the board's flash has"):
        board.start()
    board.stop()


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="process ids are not looked up like that on Windows")
def test_it_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os; from esp_hil.targets import target; from esp_hil.virtual import VirtualBoard;"
        "board = VirtualBoard(target('esp32c3')); board.start();"
        "print(board._process.pid, board.url, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    pid, url = done.stdout.split()
    assert gone(int(pid))
    assert not Path(url).exists()


def ping_for_a_while(device: Device) -> None:
    for _ in range(1000):
        device.ping()
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
def test_run_by_hand_it_prints_its_url_resets_on_sigusr1_and_leaves_nothing_behind(tmp_path: Path) -> None:
    link = tmp_path / "board"
    command = [sys.executable, "-m", "esp_hil.virtual", "--target", "esp32c3", "--listen", f"pty:{link}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    with process, process.stdout:
        assert str(link) in process.stdout.readline()
        with Device(open_link(str(link))) as device:
            device.connect()
            process.send_signal(signal.SIGUSR1)
            with pytest.raises(DeviceReset):
                ping_for_a_while(device)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not link.exists()


def test_what_runs_tflite_files_is_asked_for_before_the_board_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Started without it, it would end at once, and look like a cable that was pulled."""

    def lacking() -> None:
        raise RuntimeFailed("running .tflite files needs tflite-micro")

    monkeypatch.setattr("esp_hil.formats.tflite.interpreter.require_tflm", lacking)
    with pytest.raises(RuntimeFailed, match="tflite-micro"):
        VirtualBoard(target("esp32"), runtime="tflm").start()

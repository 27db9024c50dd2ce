"""The device against the real core in this process: what it says, and what bad lines and restarts do."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.device.conversation import RETRANSMIT_S
from esp_hil.device.device import Device
from esp_hil.device.link import Link
from esp_hil.errors import (
    DeviceCrashed,
    DeviceFault,
    DeviceReset,
    HandshakeError,
    HilError,
    InputError,
    LinkClosed,
    LinkError,
    LinkTimeout,
)
from esp_hil.models.device_file import FileTensor
from esp_hil.targets import target
from esp_hil.wire import session as wire_session
from esp_hil.wire.frame import Frame, FrameDecoder, encode_frame
from esp_hil.wire.objects import Location
from esp_hil.wire.session import WireSession
from esp_hil.wire.status import Status
from esp_hil.wire.stream import Ack
from tests.device.in_process import FakeLink, InProcessBoard, answer

IMAGE = b"esp32p4 adder " + bytes(range(256))
A = np.arange(16, dtype=np.int8)[np.newaxis]
B = A[:, ::-1].copy()
HELLO_BYTES = 20
Edit = Callable[[bytearray, int], None]


@pytest.fixture
def board() -> InProcessBoard:
    return InProcessBoard()


@pytest.fixture
def device(board: InProcessBoard) -> Iterator[Device]:
    """Connected, with the model loaded."""
    with Device(FakeLink(board), board="bench", seed=1) as device:
        device.connect()
        device.upload_model(IMAGE)
        device.load()
        yield device


def check(device: Device, a: NDArray[np.int8] = A, b: NDArray[np.int8] = B) -> None:
    """One inference must be right."""
    outputs = device.infer({"a": a, "b": b}).outputs
    total, digest = answer(a.tobytes(), b.tobytes())
    assert outputs["sum"].tobytes() == total
    assert outputs["digest"].tobytes() == digest


# what it does


def test_an_inference_gives_arrays_of_the_device_s_shapes_and_types(device: Device) -> None:
    result = device.infer({"a": A, "b": B})
    assert {name: (array.dtype.name, array.shape) for name, array in result.outputs.items()} == {
        "sum": ("int8", (1, 16)),
        "digest": ("uint8", (4,)),
    }
    check(device)


def test_the_first_run_is_cold_and_later_ones_give_the_cycles_of_each_repetition(device: Device) -> None:
    # the engine's cycles count its runs
    assert (device.infer({"a": A, "b": B}).cold_cycles, device.infer({"a": A, "b": B}).cold_cycles) == (
        1001,
        None,
    )
    repeated = device.infer({"a": A, "b": B}, repeats=5, warmup=2)
    assert repeated.cycles == (1005, 1006, 1007, 1008, 1009)


def test_many_inferences_come_in_order_and_are_read_ahead_only_as_far_as_there_are_slots(
    device: Device,
) -> None:
    asked = []

    def inputs() -> Iterator[dict[str, NDArray[np.int8]]]:
        for number in range(40):
            asked.append(number)
            yield {"a": A + np.int8(number), "b": B}

    for number, result in enumerate(device.infer_many(inputs())):
        expected, _ = answer((A + np.int8(number)).tobytes(), B.tobytes())
        assert result.outputs["sum"].tobytes() == expected
        assert len(asked) <= number + device.info().slots


def test_a_board_with_memory_for_one_slot_and_no_capture_answers_all_the_same() -> None:
    # a set is two inputs of 16 bytes, an output of 16 and one of 4, each at a multiple of 16
    with Device(FakeLink(InProcessBoard(slots_bytes=100, capture_bytes=0)), seed=1) as device:
        device.connect()
        device.upload_model(IMAGE)
        device.load()
        assert (device.info().slots, device.info().capture_bytes) == (1, 0)
        results = list(device.infer_many({"a": A + np.int8(number), "b": B} for number in range(5)))
        for number, result in enumerate(results):
            expected, _ = answer((A + np.int8(number)).tobytes(), B.tobytes())
            assert result.outputs["sum"].tobytes() == expected
        with pytest.raises(DeviceFault) as refused:
            device.tensor("tripled", {"a": A, "b": B})
        assert refused.value.status == Status.TOO_LARGE
        check(device)


@pytest.mark.parametrize("length", [16, 200, 5000])
def test_inputs_and_outputs_of_any_size_travel_inline_or_as_transfers(length: int) -> None:
    # 512-byte frames and 256-byte answers: 16 fits both, 200 only the request, 5000 neither
    source = np.random.default_rng(length)
    with Device(FakeLink(InProcessBoard(length=length)), seed=1) as device:
        device.connect()
        device.upload_model(IMAGE)
        device.load()
        a, b = source.integers(-128, 128, (2, 1, length), dtype=np.int8)
        for _ in range(3):
            check(device, a, b)
        for result in device.infer_many({"a": a, "b": b} for _ in range(5)):
            assert result.outputs["sum"].tobytes() == answer(a.tobytes(), b.tobytes())[0]


def test_inputs_can_be_set_one_by_one_and_run_later(device: Device) -> None:
    device.set_input("a", A)
    device.set_input("b", B)
    assert device.tensor("tripled") == bytes(3 * byte % 256 for byte in B.tobytes())


def test_an_intermediate_tensor_comes_by_name_and_an_unknown_one_is_refused(device: Device) -> None:
    assert device.tensor("tripled", {"a": A, "b": A}) == bytes(3 * byte for byte in range(16))
    with pytest.raises(DeviceFault, match="unknown_tensor") as caught:
        device.tensor("nothing", {"a": A, "b": A})
    assert caught.value.status == Status.UNKNOWN_TENSOR
    check(device)


def test_a_profile_lists_the_layers_and_counters_have_units(device: Device) -> None:
    assert [(layer.name, layer.cycles) for layer in device.profile({"a": A, "b": B})] == [
        ("triple", 10),
        ("add", 20),
    ]
    arena = device.counters()["arena_bytes"]
    assert (arena.value, arena.unit) == (64, "byte")


def test_progress_of_an_upload_adds_up_to_the_image(device: Device) -> None:
    steps: list[int] = []
    image = b"esp32p4 " + random.Random(1).randbytes(20_000)
    device.upload_model(image, progress=steps.append)
    assert sum(steps) == len(image)
    assert len(steps) > 5


def test_a_model_that_the_device_has_is_not_sent_again(board: InProcessBoard, device: Device) -> None:
    before = device.link_statistics().sent_bytes
    device.upload_model(IMAGE)
    assert device.link_statistics().sent_bytes - before < 60


def test_a_model_in_ram_runs_too(device: Device) -> None:
    device.upload_model(IMAGE + b"ram", location=Location.RAM)
    assert device.load(Location.RAM).model is not None
    check(device)


def test_ping_comes_back(device: Device) -> None:
    assert device.ping(b"\0are you there\0") == b"\0are you there\0"


def test_the_statistics_count_both_directions(board: InProcessBoard) -> None:
    link = FakeLink(board)
    device = Device(link, seed=1)
    device.connect()
    stats = device.link_statistics()
    assert (stats.sent_bytes, stats.received_bytes) == (len(link.sent), len(link.received))
    assert (stats.sent_frames, stats.noise_segments) == (1, 0)


# what it refuses


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"a": A}, "'b' is missing"),
        ({"a": A, "b": B, "c": B}, "no input 'c'"),
        ({"a": A, "b": B[:, :-1]}, r"'b' is int8 \(1, 15\)"),
        ({"a": A.astype(np.uint8), "b": B}, "'a' is uint8"),
        ({"a": A[0], "b": B}, r"'a' is int8 \(16,\)"),
    ],
)
def test_wrong_inputs_are_refused_before_anything_is_sent(
    device: Device, inputs: dict[str, NDArray[np.int8]], says: str
) -> None:
    before = device.link_statistics()
    with pytest.raises(InputError, match=says):
        device.infer(inputs)
    assert device.link_statistics() == before
    check(device)


def test_the_device_checks_raw_inputs_itself(device: Device) -> None:
    with pytest.raises(DeviceFault, match="bench: input"):
        device.set_input_bytes(0, b"\0" * 3)
    with pytest.raises(DeviceFault):
        device.set_input_bytes(5, bytes(16))
    with pytest.raises(InputError, match="'c'"):
        device.set_input("c", A)
    check(device)


def test_a_model_of_another_family_is_refused_in_the_device_s_words(device: Device) -> None:
    device.upload_model(b"esp32s3 adder")
    with pytest.raises(DeviceFault, match="made for esp32s3") as caught:
        device.load()
    assert caught.value.status == Status.WRONG_FAMILY
    assert "artefact" in caught.value.hint
    device.upload_model(IMAGE)
    device.load()
    check(device)


def test_an_empty_image_and_no_model_are_refused(board: InProcessBoard) -> None:
    device = Device(FakeLink(board), seed=1)
    device.connect()
    with pytest.raises(InputError, match="empty"):
        device.upload_model(b"")
    with pytest.raises(DeviceFault) as caught:
        device.load()
    assert caught.value.status == Status.NO_MODEL


def test_repeats_beyond_the_device_s_memory_for_cycles_are_refused(device: Device) -> None:
    with pytest.raises(DeviceFault, match="too_large"):
        device.infer({"a": A, "b": B}, repeats=101)


def test_without_a_session_it_says_so(board: InProcessBoard) -> None:
    device = Device(FakeLink(board))
    assert not device.connected
    with pytest.raises(LinkError, match="connect first"):
        device.info()


# the handshake's contract


def value(
    name: str = "a", dtype: str = "int8", shape: tuple[int, ...] = (1, 16), exponent: int = -7
) -> FileTensor:
    return FileTensor(name=name, dtype=dtype, shape=shape, exponent=exponent, affine=None)


def test_a_device_that_is_what_the_run_needs_passes(device: Device) -> None:
    model = device.info().model
    assert model is not None
    info = device.require(
        target=target("esp32p4"), model_sha256=model.sha256, inputs=[value(), value("b", exponent=-6)]
    )
    assert info.chip == "esp32p4"


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([value()], "has inputs a, b, the model file a"),
        ([value(), value("b", "int16")], "input b is"),
        ([value(), value("b", exponent=-5)], "input b is"),
        ([value(), value("b", shape=(1, 4, 4), exponent=-6)], "input b is"),
    ],
)
def test_other_inputs_than_the_file_s_fail_the_handshake(
    device: Device, inputs: list[FileTensor], says: str
) -> None:
    with pytest.raises(HandshakeError, match=says):
        device.require(inputs=inputs)


def test_another_chip_family_or_model_fails_the_handshake_in_one_sentence(device: Device) -> None:
    with pytest.raises(
        HandshakeError, match="bench: handshake: the device is an esp32p4, the run is for esp32s3"
    ):
        device.require(target=target("esp32s3"))
    with pytest.raises(HandshakeError, match="loaded model is for esp32p4, not for c"):
        device.require(family="c")
    with pytest.raises(HandshakeError, match="the run is for 000000000000"):
        device.require(model_sha256="0" * 64)


def test_no_model_fails_the_handshake_if_one_is_needed(board: InProcessBoard) -> None:
    device = Device(FakeLink(board), seed=1)
    device.connect()
    device.require(target=target("esp32p4"))
    with pytest.raises(HandshakeError, match="no model is loaded"):
        device.require(model_sha256="0" * 64)


# a bad line


def conversation(device: Device) -> None:
    """Everything that is said in a run; each answer is checked."""
    device.connect()
    device.upload_model(IMAGE)
    device.load()
    check(device)
    device.set_input("a", A)
    device.set_input("b", B)
    assert device.tensor("tripled") == bytes(3 * byte % 256 for byte in B.tobytes())
    for result in device.infer_many([{"a": A, "b": B}] * 3):
        assert result.outputs["sum"].tobytes() == answer(A.tobytes(), B.tobytes())[0]
    assert device.counters()["arena_bytes"].value == 64


class OneEdit:
    """Damages the byte at one position of a direction's stream."""

    def __init__(self, position: int, edit: Edit) -> None:
        self.position, self.edit, self.passed = position, edit, 0

    def __call__(self, data: bytes) -> bytes:
        here, self.passed = self.position - self.passed, self.passed + len(data)
        if not 0 <= here < len(data):
            return data
        damaged = bytearray(data)
        self.edit(damaged, here)
        return bytes(damaged)


def flip(data: bytearray, at: int) -> None:
    data[at] ^= 1 + at % 255


def drop(data: bytearray, at: int) -> None:
    del data[at]


def insert_zero(data: bytearray, at: int) -> None:
    data.insert(at, 0)


@pytest.mark.parametrize("edit", [flip, drop, insert_zero])
@pytest.mark.parametrize("direction", ["to_device", "to_host"])
def test_every_single_damaged_byte_ends_in_right_answers_or_a_typed_error(direction: str, edit: Edit) -> None:
    clean = FakeLink(InProcessBoard())
    conversation(Device(clean, seed=1))
    length = len(clean.sent if direction == "to_device" else clean.received)
    assert length > 800
    right = 0
    for position in range(length):
        link = FakeLink(InProcessBoard(), **{direction: OneEdit(position, edit)})
        try:
            conversation(Device(link, seed=1))
            right += 1
        except HilError:
            pass
        assert link.clock < 60, f"byte {position}: it took {link.clock:.0f} s"
    # one damaged byte is what the protocol repairs: an error instead would be a weakness, not a wrong answer
    assert right == length


@pytest.mark.parametrize("seed", range(30))
def test_a_line_with_one_flipped_bit_in_a_thousand_gives_right_answers(seed: int) -> None:
    source = random.Random(seed)

    def noisy(data: bytes) -> bytes:
        damaged = bytearray(data)
        for at in range(len(damaged)):
            if source.random() < 8e-3:
                damaged[at] ^= 1 << source.randrange(8)
        return bytes(damaged)

    link = FakeLink(InProcessBoard(), to_device=noisy, to_host=noisy)
    device = Device(link, seed=seed)
    conversation(device)
    assert device.link_statistics().noise_segments > 0
    assert link.clock < 300


def test_the_log_of_a_bad_line_tells_of_the_board_what_was_sent_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil")
    source = random.Random(5)

    def lossy(data: bytes) -> bytes:
        return bytes(byte ^ (1 << source.randrange(8) if source.random() < 8e-3 else 0) for byte in data)

    link = FakeLink(InProcessBoard(), to_device=lossy, to_host=lossy)
    device = Device(link, board="desk", seed=5)
    device.connect()
    again = device.link_statistics().repeated_requests
    conversation(device)
    told = [record.message for record in caplog.records if record.levelno == logging.INFO]
    assert all(line.startswith("desk: ") for line in told)
    repeated = [line for line in told if line.endswith("is sent again: no answer came")]
    # every request that was repeated is told, but for the HELLO before the first answer
    assert 0 < len(repeated) == device.link_statistics().repeated_requests - again
    assert any("a damaged frame came" in line for line in told)
    assert sum(int(line.split()[1]) for line in told if "bytes of DATA are sent again" in line) > 0


def test_the_log_of_a_clean_line_has_every_frame_at_debug_and_nothing_louder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="esp_hil")
    device = Device(FakeLink(InProcessBoard()), board="desk", seed=1)
    conversation(device)
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    told = [record.message for record in caplog.records]
    counted = device.link_statistics()
    assert sum(line.startswith("desk: > ") for line in told) == counted.sent_frames
    assert sum(line.startswith("desk: < ") for line in told) == counted.received_frames
    assert told[0].startswith("desk: > Hello, seq ")
    assert any(line.startswith("desk: < RunAnswer, seq ") for line in told)


def test_without_the_log_no_record_of_a_frame_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a frame was described for nobody")

    monkeypatch.setattr(wire_session.LOG, "debug", never)
    conversation(Device(FakeLink(InProcessBoard()), seed=1))


def test_the_log_tells_a_reset_and_how_it_was_done(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil")
    device.reset()
    device.connect()
    device.reset(hard=True)
    assert caplog.messages == ["bench: reset by request", "bench: reset by its line"]


def test_a_read_whose_last_ack_was_lost_does_not_block_the_next_run() -> None:
    # outputs of 5,000 bytes are read; the device keeps what it reads until it knows that it arrived
    dropped = 0

    def without_last_acks(data: bytes) -> bytes:
        nonlocal dropped
        kept = b""
        for frame in FrameDecoder().feed(data):
            assert isinstance(frame, Frame)
            last = frame.kind == Ack.KIND and Ack.parse(frame.payload).cumulative == 5000
            if last and dropped < 4:
                dropped += 1
            else:
                kept += encode_frame(frame.kind, frame.session, frame.seq, frame.payload)
        return kept

    link = FakeLink(InProcessBoard(length=5000), to_device=without_last_acks)
    with Device(link, seed=1) as device:
        device.connect()
        device.upload_model(IMAGE)
        device.load()
        a = np.resize(A, (1, 5000))
        for _ in range(4):
            check(device, a, a)
    assert dropped == 4
    assert link.clock < 5


def test_hello_is_repeated_the_moment_the_board_says_that_it_has_booted() -> None:
    lost = 0

    def first_hello_lost(data: bytes) -> bytes:
        nonlocal lost
        lost += bool(data)
        return b"" if lost == 1 else data

    link = FakeLink(InProcessBoard(), to_device=first_hello_lost)
    Device(link, seed=1).connect()
    assert lost > 1
    assert link.clock < RETRANSMIT_S


def test_console_text_between_and_inside_frames_is_kept_and_harms_nothing() -> None:
    line = b"W (1234) wifi: something happened\r\n"
    count = 0

    def chatty(data: bytes) -> bytes:
        nonlocal count
        count += 1
        middle = len(data) // 2 if count % 3 == 0 else 0
        return data[:middle] + line + data[middle:]

    lines: list[str] = []
    link = FakeLink(InProcessBoard(), to_host=chatty)
    device = Device(link, seed=1, on_text=lines.append)
    conversation(device)
    whole = [text for text in lines if line.decode().strip() in text]
    assert len(whole) >= count - 1
    assert device.console[0].at <= device.console[-1].at


def test_a_dead_line_ends_at_the_deadline_and_says_that_nothing_came(board: InProcessBoard) -> None:
    link = FakeLink(board, to_host=lambda data: b"")
    device = Device(link, board="bench", seed=1)
    with pytest.raises(LinkTimeout, match=r"bench: hello: no answer within 10 s \(not a byte came"):
        device.connect()
    assert 10 <= link.clock < 13
    assert not device.connected


def test_a_console_without_our_firmware_is_recognised(board: InProcessBoard) -> None:
    link = FakeLink(board, to_host=lambda data: b"hello world\r\n" if data else b"")
    with pytest.raises(LinkTimeout, match="is the firmware of this harness on it"):
        Device(link, seed=1).connect()


def test_a_wrong_baud_rate_is_recognised_by_its_noise(board: InProcessBoard) -> None:
    link = FakeLink(board, to_host=lambda data: b"\0\x85\x93" + b"\xe7" * 20 + b"\0" if data else b"")
    with pytest.raises(LinkTimeout, match="check the baud rate"):
        Device(link, seed=1).connect()


def test_a_line_that_dies_during_an_upload_is_a_time_out_of_that_step(
    device: Device, board: InProcessBoard
) -> None:
    link = device_link(device)
    link.to_host = lambda data: b""
    start = link.clock
    with pytest.raises(LinkTimeout, match="bench: upload"):
        device.upload_model(IMAGE + b"other")
    assert link.clock - start < 70
    link.to_host = lambda data: data
    device.connect()
    device.upload_model(IMAGE)
    device.load()
    check(device)


def device_link(device: Device) -> FakeLink:
    link = device._talk._link
    assert isinstance(link, FakeLink)
    return link


# restarts


@pytest.mark.parametrize("bytes_before", [1, 40, 150, 300, 450, 600, 800])
def test_a_restart_at_any_moment_is_a_typed_error_and_the_next_session_works(bytes_before: int) -> None:
    board = InProcessBoard()
    passed = 0

    def restarting(data: bytes) -> bytes:
        nonlocal passed
        before, passed = passed, passed + len(data)
        if before < bytes_before <= passed:
            board.reset()
            return data[bytes_before - before :]
        return data

    link = FakeLink(board, to_device=restarting)
    device = Device(link, seed=1)
    if bytes_before > HELLO_BYTES:
        with pytest.raises(DeviceReset, match="restarted"):
            conversation(device)
        assert not device.connected
    assert link.clock < 3
    conversation(device)


def test_a_restart_is_seen_by_its_boot_log_even_if_boot_was_lost(
    device: Device, board: InProcessBoard
) -> None:
    board.console = b"ESP-ROM:esp32p4-eco1\r\nrst:0x1 (POWERON),boot:0x8\r\n"
    with pytest.raises(DeviceReset, match="boot log"):
        device.ping()
    device.connect()
    check_after_restart(device)


def test_a_restart_that_nobody_announced_is_seen_at_the_next_request(
    device: Device, board: InProcessBoard
) -> None:
    board.reset()
    board.exchange(b"")
    with pytest.raises(DeviceReset, match="knows nothing of this session"):
        device.ping()
    device.connect()
    check_after_restart(device)


def check_after_restart(device: Device) -> None:
    device.load()
    check(device)


def test_a_requested_reset_ends_the_session_and_the_flash_keeps_the_model(device: Device) -> None:
    old = device.info().boot_id
    device.reset()
    with pytest.raises(LinkError, match="connect first"):
        device.info()
    device.connect()
    assert device.info().boot_id != old
    check_after_restart(device)


def test_the_reset_line_does_the_same(device: Device) -> None:
    device.reset(hard=True)
    device.connect()
    check_after_restart(device)


def test_old_boot_text_before_hello_is_no_restart(board: InProcessBoard) -> None:
    board.console = (
        b"\r\nESP-ROM:esp32p4\r\nGuru Meditation Error: Core  0 panic'ed (Illegal)\r\nRebooting...\r\n"
    )
    device = Device(FakeLink(board), seed=1)
    conversation(device)
    assert any("Guru" in line.text for line in device.console)


def test_a_panic_is_a_crash_with_its_text_though_the_device_reboots_at_once(
    device: Device, board: InProcessBoard
) -> None:
    board.console = (
        b"Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.\r\n"
        b"PC      : 0x42001234  EXCVADDR: 0x00000010\r\nBacktrace: 0x42001234:0x3fc0\r\nRebooting...\r\n"
    )
    board.reset()
    with pytest.raises(DeviceCrashed, match="bench: infer: panic") as caught:
        device.infer({"a": A, "b": B})
    assert "Backtrace" in caught.value.console
    device.connect()
    check_after_restart(device)


def test_a_port_that_vanishes_is_opened_again_by_connect(board: InProcessBoard) -> None:
    links: list[FakeLink] = []

    def reopen() -> Link:
        links.append(FakeLink(board))
        return links[-1]

    device = Device(reopen(), board="bench", reopen=reopen, seed=1)
    conversation(device)
    links[0].closed = True
    with pytest.raises(LinkClosed, match="bench: ping"):
        device.ping()
    conversation(device)
    assert len(links) == 2


def test_a_session_is_told_of_the_line_s_new_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deadlines follow from it."""
    told: list[float] = []
    monkeypatch.setattr(WireSession, "set_rate", lambda self, rate: told.append(rate))
    link = FakeLink(InProcessBoard())
    monkeypatch.setattr(link, "set_baud", lambda baud: setattr(link, "bytes_per_s", baud / 10))
    with Device(link) as device:
        device.conversation.set_baud(9_600)
        assert told == []
        device.connect()
        device.conversation.set_baud(115_200)
        assert told == [11_520]

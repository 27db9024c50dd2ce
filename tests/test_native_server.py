"""The device core through its bindings: whole conversations with a server."""

from __future__ import annotations

import gc
import hashlib
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil import _device
from esp_hil.wire.status import Status
from tests.null_device import (
    DATA,
    IMAGE,
    INPUT,
    LOAD,
    OPEN_WRITE,
    PING,
    RESET,
    Host,
    NullBoard,
    NullEngine,
    NullStorage,
    Refused,
)


@pytest.fixture(params=[True, False], ids=["threaded", "inline"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(threaded=request.param)
    yield made
    made.engine.may_end.set()
    made.server.close()


def test_a_model_is_uploaded_loaded_and_run(host: Host) -> None:
    assert host.hello()[0] == Status.OK
    assert host.load() == struct.pack("<BIB", 0, 1, 4)
    assert host.engine.image == IMAGE
    answer = host.run(repeats=3)
    assert struct.unpack_from("<BQQH", answer) == (0, 1000, 1000, 3)
    assert answer[19:] == INPUT[::-1]
    assert host.read(3) == INPUT[::-1]
    assert host.read(7) == struct.pack("<3Q", 1000, 1000, 1000)


def test_capture_profile_and_counters_come_back(host: Host) -> None:
    host.hello()
    host.load()
    assert host.run(1 | 4 | 8, b"x")[0] == Status.OK
    assert host.read(4) == INPUT
    assert cbor2.loads(host.read(5)) == [["reverse", "Reverse", 999]]
    info = cbor2.loads(host.read(0))
    names = {row["id"]: row["name"] for row in info["counters"]}
    values = {names[number]: value for number, value in cbor2.loads(host.read(6))}
    assert values["arena_used"] == 77
    assert values["heap_free"] == 2**40
    assert values["link_data_received"] == len(IMAGE)
    assert values["runs"] == 1


def test_info_describes_board_engine_and_model(host: Host) -> None:
    host.hello()
    host.load()
    info = cbor2.loads(host.read(0))
    assert info["boot_id"] == 0xDEADBEEF
    assert info["families"] == ["c"]
    assert info["model"]["sha256"] == hashlib.sha256(IMAGE).hexdigest()
    assert info["model"]["location"] == "ram"
    assert [tensor["role"] for tensor in info["tensors"]] == ["input", "output"]
    assert info["tensors"][0]["shape"] == [1, 64]
    assert info["tensors"][0]["exponent"] == -7


def test_an_exception_with_a_status_is_answered_with_it(host: Host) -> None:
    host.hello()
    host.engine.error = Refused(Status.WRONG_FAMILY, "made for esp32s3")
    assert host.load() == bytes([Status.WRONG_FAMILY]) + b"made for esp32s3"
    assert not host.engine.loaded
    host.engine.error = None
    assert host.load()[0] == Status.OK
    host.engine.error = Refused(Status.OUT_OF_MEMORY, "the arena needs 9 MB")
    assert host.run() == bytes([Status.OUT_OF_MEMORY]) + b"the arena needs 9 MB"


def test_any_other_exception_is_a_failure_with_its_text(host: Host) -> None:
    host.hello()
    host.load()
    host.engine.error = ZeroDivisionError("in layer 3")
    assert host.run() == bytes([Status.ENGINE_FAILED]) + b"ZeroDivisionError: in layer 3"
    host.engine.error = Refused(999, "odd")
    assert host.run() == bytes([Status.ENGINE_FAILED]) + b"odd"
    host.engine.error = None
    assert host.run()[0] == Status.OK


@pytest.mark.parametrize("outputs", [[], [b"short"], [b"x" * 64, b"y"]])
def test_outputs_that_are_not_those_of_the_model_fail_the_run(host: Host, outputs: list[bytes]) -> None:
    host.hello()
    host.load()
    host.engine.outputs = lambda data: outputs
    assert host.run()[0] == Status.ENGINE_FAILED


def test_an_unknown_tensor_is_named_so(host: Host) -> None:
    host.hello()
    host.load()
    assert host.run(1 | 4, b"conv_9") == bytes([Status.UNKNOWN_TENSOR]) + b"conv_9"


def test_a_storage_that_fails_ends_the_upload(host: Host) -> None:
    host.hello()
    host.storage.error = OSError("flash worn out")
    assert host.write(1, IMAGE) == Status.STORAGE_FAILED
    host.storage.error = None
    assert host.write(1, IMAGE) == Status.OK
    assert host.ask(LOAD, struct.pack("<BBH", 1, 1, 0)) == bytes([Status.NO_MODEL]) + b"nothing is there"


def test_a_reset_calls_the_board_after_the_answer(host: Host) -> None:
    host.hello()
    assert host.ask(RESET, b"\1") == b"\0"
    assert host.board.resets == []
    host.server.poll()
    assert host.board.resets == [1]
    assert host.server.stopped


def test_boot_and_log_are_sent(host: Host) -> None:
    host.server.boot()
    host.server.log(3, "grüße")
    host.take()
    assert host.frames == [
        (0xB1, 0, 0, struct.pack("<IB", 0xDEADBEEF, 7)),
        (0xB2, 0, 0, b"\3" + "grüße".encode()),
    ]


def test_the_server_answers_while_the_engine_runs() -> None:
    done = threading.Event()
    host = Host(threaded=True, on_work_done=done.set)
    host.hello()
    host.load()
    host.engine.may_end.clear()
    done.clear()
    assert host.run(wait=False) == b""
    assert host.engine.began.wait(30)
    run = host.seq
    assert host.ask(PING, b"still here", wait=False) == b"\0still here"
    assert host.write(2, INPUT, slot=1) == Status.OK
    assert host.server.busy
    host.engine.may_end.set()
    assert done.wait(30)
    host.server.poll()
    host.take()
    assert [f[3][0] for f in host.frames if f[0] == 0xA4 and f[2] == run] == [Status.OK]
    host.server.close()


def test_threads_may_feed_and_drain_at_once() -> None:
    host = Host(threaded=True, rx_window=1 << 20)
    host.hello()
    big = bytes(range(251)) * 4000
    opened = host.ask(OPEN_WRITE, struct.pack("<BHHII", 1, 1, 0, len(big), zlib.crc32(big)))
    assert opened[0] == Status.OK
    chunks = [
        _device.encode_frame(DATA, 7, 0, struct.pack("<HI", host.seq, at) + big[at : at + 4000])
        for at in range(0, len(big), 4000)
    ]

    def feed() -> None:
        for chunk in chunks:
            host.server.receive(chunk)

    feeder = threading.Thread(target=feed)
    feeder.start()
    while feeder.is_alive():
        host.take()
    feeder.join()
    host.take()
    assert host.storage.images[1] == big


def test_a_closed_server_says_so() -> None:
    host = Host()
    host.server.close()
    host.server.close()
    with pytest.raises(RuntimeError, match="closed"):
        host.server.poll()


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ({"max_payload": 100}, "max_payload"),
        ({"rx_window": 10}, "rx_window"),
        ({"max_slots": 17}, "max_slots"),
    ],
)
def test_sizes_that_cannot_work_are_refused(sizes: dict[str, int], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Host(**sizes)


def test_a_board_without_identity_is_refused() -> None:
    board = NullBoard()
    del board.identity["chip"]
    with pytest.raises(KeyError, match="chip"):
        _device.Server(NullEngine(), board, NullStorage(), clock_hz=1, slots_bytes=64)


def test_a_server_that_its_board_holds_is_collected() -> None:
    host = Host()
    gone = weakref.ref(host.engine)
    host.board.server = host.server  # type: ignore[attr-defined]
    host.engine.server = host.server  # type: ignore[attr-defined]
    del host
    gc.collect()
    assert gone() is None


def conversation() -> bytes:
    """The bytes that a host sends in a whole run."""
    host = Host(threaded=False)
    host.hello()
    host.load()
    host.write(2, INPUT)
    host.run(2)
    host.read(3)
    return host.sent


CONVERSATION = conversation()


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=30))
def test_any_split_of_a_conversation_is_answered_alike(cuts: list[int]) -> None:
    at_once, in_pieces = Host(threaded=False), Host(threaded=False)
    at_once.server.receive(CONVERSATION)
    ends = sorted({*cuts, len(CONVERSATION)})
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        in_pieces.server.receive(CONVERSATION[start:end])
    at_once.take()
    in_pieces.take(limit=7)
    assert in_pieces.frames == at_once.frames
    assert in_pieces.storage.images == {1: IMAGE}


@settings(max_examples=300)
@given(st.integers(0, len(CONVERSATION) - 1), st.integers(1, 255))
def test_after_any_corrupted_byte_the_next_session_works(at: int, flip: int) -> None:
    host = Host(threaded=False)
    line = bytearray(CONVERSATION)
    line[at] ^= flip
    host.server.receive(line)
    host.take()
    assert host.storage.images.get(1, IMAGE) == IMAGE
    host.seq = 5000
    assert host.hello()[0] == Status.OK
    assert host.load()[0] == Status.OK
    assert host.run()[19:] == INPUT[::-1]

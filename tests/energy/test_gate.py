"""The gate on the device's side: high for exactly the repetitions, by the same core that a chip runs."""

from __future__ import annotations

import struct

import pytest

from esp_hil.wire.status import Status
from tests import null_device
from tests.null_device import Host

GATE = 0x8B
RUN_GATE = 128


class Pin:
    """Keeps what happens to the pin and how many runs had been made by then."""

    def __init__(self) -> None:
        self.happened: list[tuple[str, int, int]] = []
        self.runs = 0

    def count(self, data: bytes) -> list[bytes]:
        self.runs += 1
        return [data[::-1]]

    def choose(self, pin: int) -> None:
        if pin == 99:
            raise ValueError("no such pin")
        self.happened.append(("choose", pin, self.runs))

    def set(self, high: bool) -> None:
        self.happened.append(("set", int(high), self.runs))


def device(**options: int) -> tuple[Host, Pin]:
    pin = Pin()
    host = Host(gate=pin, **options)
    host.engine.outputs = pin.count
    host.hello()
    host.load()
    return host, pin


def run(host: Host, *, flags: int, warmup: int = 0, repeats: int = 1, inputs: bytes = b"") -> bytes:
    return host.ask(null_device.RUN, struct.pack("<HBBHHB", 0, flags, 1, warmup, repeats, 0) + inputs)


def test_the_gate_is_high_for_the_repetitions_and_for_nothing_else() -> None:
    host, pin = device()
    assert host.ask(GATE, bytes([4, 0]))[0] == Status.OK
    answer = run(host, flags=1 | RUN_GATE, warmup=3, repeats=5, inputs=null_device.INPUT)
    assert pin.happened == [("choose", 4, 0), ("set", 0, 0), ("set", 1, 3), ("set", 0, 8)]
    # cold, last, repeats, then the window: the engine says 1000 cycles for each of five
    assert answer[0] == Status.OK
    assert struct.unpack("<QQHQ", answer[1:]) == (1000, 1000, 5, 5000)


def test_a_gated_run_may_have_more_repetitions_than_are_remembered() -> None:
    host, _ = device(max_repeats=4)
    host.ask(GATE, bytes([4, 0]))
    answer = run(host, flags=1 | RUN_GATE, repeats=9, inputs=null_device.INPUT)
    assert struct.unpack("<QQHQ", answer[1:])[2:] == (9, 9000)
    assert len(host.read(7)) == 8 * 4
    assert run(host, flags=0, repeats=9)[0] == Status.TOO_LARGE


def test_a_run_that_fails_lowers_the_gate() -> None:
    host, pin = device()
    host.ask(GATE, bytes([4, 0]))
    host.engine.error = ValueError("broken")
    assert run(host, flags=1 | RUN_GATE, inputs=null_device.INPUT)[0] == Status.ENGINE_FAILED
    assert pin.happened[-2:] == [("set", 1, 0), ("set", 0, 0)]


def test_without_a_pin_a_gated_run_is_refused_and_a_new_session_forgets_it() -> None:
    host, _ = device()
    assert run(host, flags=1 | RUN_GATE, inputs=null_device.INPUT)[0] == Status.BAD_REQUEST
    assert host.ask(GATE, bytes([99, 0]))[0] == Status.BAD_RANGE
    assert host.ask(GATE, bytes([4, 2]))[0] == Status.BAD_REQUEST
    assert host.ask(GATE, bytes([4, 1]))[0] == Status.OK
    assert host.ask(GATE, bytes([255, 0]))[0] == Status.OK
    assert run(host, flags=1 | RUN_GATE, inputs=null_device.INPUT)[0] == Status.BAD_REQUEST


@pytest.mark.parametrize("gated", [True, False])
def test_the_device_says_in_its_hello_whether_it_has_a_gate(gated: bool) -> None:
    host = Host(gate=Pin() if gated else None)
    flags = host.hello()[-1]
    assert bool(flags & 32) == gated
    if not gated:
        assert host.ask(GATE, bytes([4, 0]))[0] == Status.UNKNOWN_KIND

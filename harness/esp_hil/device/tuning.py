"""The best baud rate of a line: tried upwards, each tested with a pattern both ways; docs/PROTOCOL.md section 7."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from esp_hil.device.device import CALL_S, Device
from esp_hil.errors import HandshakeError, HilError, LinkError, LinkTimeout
from esp_hil.json_text import read_json
from esp_hil.settings import cache_folder
from esp_hil.wire.answers import HELLO_LINE, LineAnswer, PrbsAnswer
from esp_hil.wire.requests import LineRequest, PingRequest, PrbsRequest

LOG = logging.getLogger(__name__)

RATES = (230_400, 460_800, 921_600, 1_500_000, 2_000_000, 3_000_000)
TRIAL_MS = 1500
RECONNECT_S = 3.0
SETTLE_S = 0.02
"""Both ends have changed by then."""
FRAME_BYTES = 1000
PAD_BYTES = 62
"""Of a full packet of the usual bridges: 64 with 2 bytes of status."""
PAD_GAIN = 0.8
PINGS = 4
WINDOW_BYTES = 8_000
"""Sent at once: what every device's receive buffer holds."""
TEST_BYTES = 32_000
MAX_LOST = 0.002
"""A rate is good when no more frames than this get lost: it must be better than the one below by far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTest:
    """A rate under the pattern.

    Attributes:
        baud: of the line; 0: it has none.
        frames: sent in each direction.
        size_bytes: of each frame's pattern.
        lost_down: frames that did not reach the device, or not intact.
        lost_up: likewise from the device.
        wrong: intact frames with other bytes than the pattern's.
        noise_down: damaged segments that the device saw.
        noise_up: likewise here.
        seconds: that it took.
    """

    baud: int
    frames: int
    size_bytes: int
    lost_down: int
    lost_up: int
    wrong: int
    noise_down: int
    noise_up: int
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the rate can be used."""
        return self.wrong == 0 and max(self.lost_down, self.lost_up) <= MAX_LOST * self.frames

    @property
    def bytes_per_s(self) -> float:
        """Pattern bytes that arrived, in both directions."""
        arrived = 2 * self.frames - self.lost_down - self.lost_up
        return arrived * self.size_bytes / self.seconds if self.seconds > 0 else 0.0


def try_line(device: Device, *, test_bytes: int = TEST_BYTES, within_s: float = float("inf")) -> LineTest:
    """Send the pattern both ways at the present rate.

    Raises:
        LinkTimeout: requests did not get through either, or not `within_s`.
    """
    talk = device.conversation
    limits = talk.session("line").limits
    assert limits
    size = min(FRAME_BYTES, limits.max_payload - 2, talk.session("line").payload_bytes)
    per_round = max(1, min(WINDOW_BYTES, limits.rx_window) // (size + 24))
    rounds = max(1, test_bytes // (per_round * size))
    frames = rounds * per_round
    noise = talk.statistics.noise_segments
    session = talk.session("line")
    received, wrong = session.patterns_received, session.patterns_wrong
    down = wrong_down = noise_down = 0
    _ask(device, PrbsRequest(0, 0), min(CALL_S, within_s))
    began_s = talk.now()

    def left_s() -> float:
        """For one answer: once the trial is over the device has gone back, and hears nothing at this rate."""
        left = within_s - (talk.now() - began_s)
        if left <= 0:
            raise LinkTimeout("the test took longer than the trial lasts", step="line", board=device.board)
        return min(CALL_S, left)

    for number in range(rounds + 1):
        sending = per_round if number < rounds else 0
        session.send_patterns(sending, size)
        answer = _ask(device, PrbsRequest(sending, size), left_s())
        assert isinstance(answer, PrbsAnswer)
        down, wrong_down = down + answer.received, wrong_down + answer.wrong
        noise_down += answer.noise_segments
        # a new request ends what is left of the last one's frames
        _wait_for_patterns(device, received + min(number + 1, rounds) * per_round, left_s)
    return LineTest(
        baud=talk.link.baud or 0,
        frames=frames,
        size_bytes=size,
        lost_down=max(0, frames - down),
        lost_up=max(0, frames - (session.patterns_received - received)),
        wrong=wrong_down + session.patterns_wrong - wrong,
        noise_down=noise_down,
        noise_up=talk.statistics.noise_segments - noise,
        seconds=talk.now() - began_s,
    )


def _wait_for_patterns(device: Device, received: int, left_s: Callable[[], float]) -> None:
    """Until as many have come, or no more come: each PING is answered before the patterns that wait."""
    session = device.conversation.session("line")
    before = -1
    while before < session.patterns_received < received:
        before = session.patterns_received
        rate = device.conversation.link.bytes_per_s or 1e6
        deadline = device.conversation.now() + min(1.0, 2 * WINDOW_BYTES / rate)
        while session.patterns_received < received and device.conversation.now() < deadline:
            _ask(device, PingRequest(b""), left_s())


def _ask(
    device: Device, message: LineRequest | PrbsRequest | PingRequest, timeout_s: float = CALL_S
) -> object:
    talk = device.conversation
    call = talk.session("line").call(message, talk.now())
    device.wait_for(call, "line", timeout_s)
    return call.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What `tune` found: every rate that was tried, in order, and why one was given up."""

    baud: int
    tests: tuple[LineTest, ...]
    given_up: tuple[tuple[int, str], ...]


def tune(
    device: Device, *, max_baud: int = RATES[-1], memory: RateMemory | None = None, first: int = 0
) -> Tuned:
    """Go to the best rate that the line carries; a connected device whose line has no rate stays as it is.

    Args:
        device: connected, at the rate of its start.
        max_baud: the highest to try.
        memory: of rates that were found before: the one of this board is tried first, and what is found is kept.
        first: the rate that this very line was found to carry: it is tried before all others, and none above it;
            0: not known.

    Raises:
        LinkError: the board does not answer any more at the rate of its start.
    """
    talk = device.conversation
    start = talk.link.baud
    info = device.info()
    if not talk.session("line").offers(HELLO_LINE) or not _has_rate(device):
        return Tuned(baud=start or 0, tests=(), given_up=())
    start = info.baud
    remembered = first or (memory.get(info.mac) if memory else None)
    rates = [rate for rate in RATES if start < rate <= min(max_baud, first or max_baud)]
    if remembered in rates:
        found = _climb(device, start, [remembered])
        if found.baud == remembered:
            return found
    found = _climb(device, start, rates)
    if memory:
        memory.put(info.mac, found.baud)
    return found


def _has_rate(device: Device) -> bool:
    """Whether both ends can change it; a pty is told the device's, which a virtual board's model goes by."""
    talk = device.conversation
    baud = device.info().baud
    if not baud:
        return False
    if talk.link.baud is None:
        try:
            talk.set_baud(baud)
        except LinkError:
            return False
        talk.connect_baud = baud
    return True


def _climb(device: Device, start: int, rates: Iterable[int]) -> Tuned:
    """One rate after the other, up to the first that is not good.

    A test that did not come to its end is made once more: a busy moment of this machine decides nothing.
    """
    best = start
    tests: list[LineTest] = []
    given_up: list[tuple[int, str]] = []
    for rate in rates:
        found = _tried(device, rate)
        if isinstance(found, HilError):
            best = _go_back(device, best, start)
            found = _tried(device, rate)
        if isinstance(found, LineTest):
            tests.append(found)
            if found.good:
                _ask(device, LineRequest(0, 0, 0))
                best = rate
                continue
        given_up.append((rate, _why_not(found)))
        LOG.info("%s: %d baud given up: %s", device.board, *given_up[-1])
        best = _go_back(device, best, start)
        break
    return Tuned(baud=best, tests=tuple(tests), given_up=tuple(given_up))


def _tried(device: Device, rate: int) -> LineTest | HilError:
    try:
        return _try(device, rate)
    except HilError as error:
        return error


def _why_not(found: LineTest | HilError) -> str:
    if isinstance(found, HilError):
        return found.message
    return f"{found.lost_down} + {found.lost_up} of 2 x {found.frames} frames lost"


def _try(device: Device, rate: int) -> LineTest:
    """The test at a new rate; whoever called confirms it, or goes back.

    Raises:
        LinkError: nothing got through, or one end cannot do that rate.
    """
    answer = _ask(device, LineRequest(rate, TRIAL_MS, 0))
    assert isinstance(answer, LineAnswer)
    device.conversation.set_baud(rate)
    # at the new rate nothing comes unasked: this only waits
    device.conversation.pause(SETTLE_S)
    _ask(device, PingRequest(b""), timeout_s=TRIAL_MS / 3e3)
    share_s = TRIAL_MS / 1e3 / 3
    most = int(share_s * rate / 10 / 2)
    size = min(TEST_BYTES, max(4 * FRAME_BYTES, most))
    return try_line(device, test_bytes=size, within_s=TRIAL_MS / 1.5e3)


def _go_back(device: Device, rate: int, start: int) -> int:
    """To the rate that was kept, once the device has gone there too, or else to the one of its start."""
    talk = device.conversation
    if talk.link.baud != rate:
        talk.set_baud(rate)
        talk.pause(TRIAL_MS / 1e3 + SETTLE_S)
    try:
        if not device.connected:
            talk.connect_baud = rate
            device.connect(RECONNECT_S)
        _ask(device, PingRequest(b""), timeout_s=RECONNECT_S)
    except LinkTimeout:
        if rate == start:
            raise
        talk.connect_baud = start
        device.connect()
        return start
    finally:
        talk.connect_baud = start
    return rate


def restore(device: Device) -> None:
    """Back to the rate of the device's start, so that other programs find its console there; at the end of a session.

    Does nothing without a session or when the line is at that rate: the device goes back by itself when it hears
    nothing that it understands.
    """
    talk = device.conversation
    baud = talk.connect_baud
    if not device.connected or not baud or talk.link.baud in {None, baud}:
        return
    try:
        _ask(device, LineRequest(baud, 0, 0), timeout_s=1.0)
        talk.set_baud(baud)
    except LinkError:
        return


class RateMemory:
    """The best rates of boards by MAC, in a file of the user's cache.

    Args:
        path: the file; None: baud.json in the user's cache.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = cache_folder() / "baud.json" if path is None else path

    def get(self, mac: str) -> int | None:
        """The rate that was found for it; what cannot be read is forgotten."""
        rate = self._table().get(mac)
        return rate if isinstance(rate, int) else None

    def put(self, mac: str, baud: int) -> None:
        """Remember it; a cache that cannot be written costs the next session its tests, nothing else."""
        table = self._table() | {mac: baud}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
            fresh.write_text(json.dumps(table, indent=1, sort_keys=True), encoding="utf-8")
            fresh.replace(self.path)
        except OSError:
            return

    def _table(self) -> dict[str, object]:
        try:
            table = read_json(self.path)
        except (OSError, ValueError):
            return {}
        return table if isinstance(table, dict) else {}


def choose_pad(device: Device) -> int:
    """Have the device end what it sends with as many 00 as fill a bridge's packet, if that makes answers come sooner.

    A bridge hands on an unfilled packet only when its latency timer runs out (16 ms); delimiters fill it at once.
    Returns the pad in bytes, 0 or PAD_BYTES, which holds until the next session.
    """
    talk = device.conversation
    if not talk.session("line").offers(HELLO_LINE) or talk.link.bytes_per_s is None:
        return 0
    plain_s = _round_trip_s(device)
    _ask(device, LineRequest(0, 0, PAD_BYTES))
    if _round_trip_s(device) < PAD_GAIN * plain_s:
        return PAD_BYTES
    _ask(device, LineRequest(0, 0, 0))
    return 0


def _round_trip_s(device: Device) -> float:
    """The best of a few, so that a busy moment of this machine decides nothing."""
    talk = device.conversation
    best_s = float("inf")
    for _ in range(PINGS):
        began_s = talk.now()
        _ask(device, PingRequest(b""))
        best_s = min(best_s, talk.now() - began_s)
    return best_s


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReport:
    """What `hil link` tells: the rates that were tried, a longer test at the best one, and what went over the line."""

    start_baud: int
    tuned: Tuned
    final: LineTest
    pad: int
    round_trip_s: float
    sent_bytes: int
    received_bytes: int
    repeated_requests: int
    retransmitted_bytes: int


def measure_line(
    device: Device, *, test_bytes: int, max_baud: int, memory: RateMemory | None = None, forget: bool = False
) -> LineReport:
    """Tune, test, and go back to the rate of the start.

    Raises:
        LinkError: the board does not answer.
        HandshakeError: its firmware does not know the test.
    """
    if not device.conversation.session("line").offers(HELLO_LINE):
        raise HandshakeError(
            "its firmware cannot test the line", hint="flash the firmware of this harness", board=device.board
        )
    start = device.info().baud
    if forget and memory:
        memory.put(device.info().mac, 0)
    tuned = tune(device, max_baud=max_baud, memory=memory)
    pad = choose_pad(device)
    final = try_line(device, test_bytes=test_bytes)
    round_trip_s = _round_trip_s(device)
    restore(device)
    counted = device.link_statistics()
    return LineReport(
        start_baud=start,
        tuned=tuned,
        final=final,
        pad=pad,
        round_trip_s=round_trip_s,
        sent_bytes=counted.sent_bytes,
        received_bytes=counted.received_bytes,
        repeated_requests=counted.repeated_requests,
        retransmitted_bytes=counted.retransmitted_bytes,
    )

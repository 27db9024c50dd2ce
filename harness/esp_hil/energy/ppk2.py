"""Nordic's Power Profiler Kit II over its serial port, by the few bytes of its protocol that are needed here.

It takes 100,000 samples a second of 4 bytes each, little-endian: 14 bits of its converter, 3 of the measuring range,
6 of a counter that tells of lost samples (one bit between range and counter has no meaning), and the levels of its
8 logic inputs. Factors by range stand in the metadata that it prints. Sources: Nordic's Power Profiler app for nRF
Connect (github.com/NordicSemiconductor/pc-nrfconnect-ppk) and the documentation of IRNAS' ppk2-api, whose code is
GPL and not used here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from esp_hil.energy.meter import Flags, MeterInfo, PowerTrace, Values
from esp_hil.errors import BoardUnavailable, LinkError, MeterError

USB_VENDOR, USB_PRODUCT = 0x1915, 0xC00A
SAMPLE_HZ = 100_000.0
RANGE_A = 1.0
NEAR_END = 0.98
"""Of the range: beyond this, what it tells need not be what flows."""

SUPPLY_V = (0.8, 5.0)

AVERAGE_START, AVERAGE_STOP = 0x06, 0x07
DEVICE_RUNNING_SET, REGULATOR_SET, SET_POWER_MODE = 0x0C, 0x0D, 0x11
GET_META_DATA = 0x19
AMPERE_METER, SOURCE_METER = 1, 2

VOLTS_A_COUNT = 4 * 1.8 / 163_840
RANGES = 5
SETTLING = 3
"""So many samples after a change of range are not true yet; they take the value of the first one that is."""

RESTLESS_BLOCK = 5_000
RESTLESS_SHARE = 0.05
"""If more than this share of so many samples is not true yet, the rest does not stand for it."""

_TWO_PORTS = "a PPK2 has two ports; its data port is the first one"
ANSWER_S = 2.0
PUMP_S = 0.05
RESYNC_WORDS = 8
"""So many counters in a row must fit before bytes are taken for samples again."""


class MeterLine(Protocol):
    """A byte stream to a meter: what `esp_hil.device.link.Link` can do."""

    def now(self) -> float:
        """The time by which `until` is meant, in seconds."""
        ...

    def exchange(self, outgoing: bytes, until: float) -> tuple[int, bytes]:
        """Write what it takes; how much that was, and what has come, waiting no longer than `until`."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ppk2Factors:
    """Factors by range, as Nordic's app uses them.

    Current of a range, in A, of x = (4 counts - o) * 1.8 V / 163840 / r: ug * (x * (gs * x + gi) + s * supply + i).
    """

    r: tuple[float, ...]
    o: tuple[float, ...]
    gs: tuple[float, ...]
    gi: tuple[float, ...]
    s: tuple[float, ...]
    i: tuple[float, ...]
    ug: tuple[float, ...]

    @staticmethod
    def read(metadata: str) -> Ppk2Factors:
        """The factors of the metadata.

        Raises:
            MeterError: some are missing: without them there is no scale.
        """
        found = {name.lower(): float(value) for name, value in _FACTOR.findall(metadata)}
        names = ("r", "o", "gs", "gi", "s", "i", "ug")
        missing = [f"{name}{n}" for name in names for n in range(RANGES) if f"{name}{n}" not in found]
        if missing:
            raise MeterError(
                f"the PPK2 tells no factor {missing[0].upper()}", hint="Nordic's app can update its firmware"
            )
        return Ppk2Factors(**{name: tuple(found[f"{name}{n}"] for n in range(RANGES)) for name in names})

    def amperes(self, counts: NDArray[np.uint32], ranges: NDArray[np.uint32], supply_v: float) -> Values:
        """Current of samples."""
        r, o, gs, gi, s, i, ug = (
            np.asarray(factor)[ranges]
            for factor in (self.r, self.o, self.gs, self.gi, self.s, self.i, self.ug)
        )
        x = (counts - o / 4) * (VOLTS_A_COUNT / r)
        current: Values = ug * (x * (gs * x + gi) + s * supply_v + i)
        return current


_FACTOR = re.compile(r"^\s*([A-Z]+\d):\s*([-+0-9.eE]+)\s*$", re.MULTILINE)


class Ppk2:
    """A PPK2 that supplies the board, or stands in its supply.

    Args:
        line: open.
        supply_v: at the board.
        sources: whether it supplies the board itself; else it is an ampere meter in another supply.
        serial: of the piece.
        gate_channel: which of its logic inputs the gate is wired to; None: none.

    Raises:
        MeterError: it does not answer, or cannot supply that voltage.
    """

    def __init__(
        self,
        line: MeterLine,
        *,
        supply_v: float,
        sources: bool = True,
        serial: str = "",
        gate_channel: int | None = 0,
    ) -> None:
        low, high = SUPPLY_V
        if not low <= supply_v <= high:
            raise MeterError(
                f"a PPK2 supplies {low} to {high} V, not {supply_v:g}", hint="supply_v of boards.toml"
            )
        self._line = line
        self._supply_v = supply_v
        self._gate_channel = gate_channel
        self._bytes: list[bytes] = []
        self._count = 0
        self._send(bytes([AVERAGE_STOP]))
        self._drain()
        self._calibration = Ppk2Factors.read(self._metadata())
        millivolts = round(1000 * supply_v)
        self._send(bytes([SET_POWER_MODE, SOURCE_METER if sources else AMPERE_METER]))
        self._send(bytes([REGULATOR_SET, millivolts >> 8, millivolts & 0xFF]))
        self._send(bytes([DEVICE_RUNNING_SET, 1]))
        self._info = MeterInfo(
            kind="ppk2",
            serial=serial,
            sample_hz=SAMPLE_HZ,
            range_a=RANGE_A,
            calibration="of the maker, stored in the meter",
            has_gate=gate_channel is not None,
        )

    @property
    def info(self) -> MeterInfo:
        """What it is."""
        return self._info

    @property
    def received(self) -> int:
        """Samples since `start`."""
        return self._count // 4

    def start(self) -> None:
        """Begin anew."""
        self._bytes, self._count = [], 0
        self._send(bytes([AVERAGE_START]))

    def pump(self) -> None:
        """Take in what has come."""
        self._take(PUMP_S)

    def stop(self) -> PowerTrace:
        """End sampling; everything since `start`."""
        self._send(bytes([AVERAGE_STOP]))
        self._drain()
        counts, ranges, logic, lost = unpacked(b"".join(self._bytes))
        current = self._calibration.amperes(counts, ranges, self._supply_v)
        current = settled(current, ranges)
        current[lost | restless(ranges)] = np.nan
        gate = None
        if self._gate_channel is not None:
            gate = (logic >> self._gate_channel) & 1 == 1
        return PowerTrace.regular(
            current,
            sample_hz=SAMPLE_HZ,
            voltage_v=self._supply_v,
            gate=gate,
            saturated=current > NEAR_END * RANGE_A,
        )

    def close(self) -> None:
        """Let go of it; it goes on supplying the board."""
        self._line.close()

    def _exchange(self, command: bytes, until: float) -> tuple[int, bytes]:
        """A meter that vanishes is the meter's trouble, not the board's."""
        try:
            return self._line.exchange(command, until)
        except (LinkError, BoardUnavailable) as error:
            raise MeterError(f"the PPK2 is gone: {error.message}", hint="is it still plugged in?") from error

    def _take(self, wait_s: float) -> bool:
        _, data = self._exchange(b"", self._line.now() + wait_s)
        return self._keep(data)

    def _keep(self, data: bytes) -> bool:
        """Samples that came; whether there were any."""
        if data:
            self._bytes.append(data)
            self._count += len(data)
        return bool(data)

    def _drain(self) -> None:
        until = self._line.now() + ANSWER_S
        while self._take(PUMP_S):
            if self._line.now() > until:
                raise MeterError("it does not stop sending: is this port a PPK2's?", hint=_TWO_PORTS)

    def _send(self, command: bytes) -> None:
        until = self._line.now() + ANSWER_S
        while command:
            sent, data = self._exchange(command, until)
            command = command[sent:]
            self._keep(data)
            if command and self._line.now() > until:
                raise MeterError("the PPK2 takes no commands", hint="unplug it and plug it in again")

    def _metadata(self) -> str:
        until = self._line.now() + ANSWER_S
        found = b""
        command = bytes([GET_META_DATA])
        while b"END" not in found:
            sent, data = self._exchange(command, until)
            command = command[sent:]
            found += data
            if self._line.now() >= until and b"END" not in found:
                raise MeterError(
                    f"no metadata within {ANSWER_S:g} s: is this port a PPK2's?", hint=_TWO_PORTS
                )
        return found.decode("ascii", "replace")


Unpacked = tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32], Flags]


def unpacked(data: bytes) -> Unpacked:
    """Counts, ranges, logic levels, and which samples are made up for lost ones.

    The counter tells how many are missing, up to 63 in a row. Bytes that got lost shift all that follows: the place
    from which counters fit again is looked for.
    """
    pieces: list[NDArray[np.uint32]] = []
    gaps: list[int] = []
    lanes = [_words(data, offset) for offset in range(4)]
    at = _aligned(data, 0)
    expected = None
    while len(data) - at >= 4:
        words, counters, breaks = lanes[at % 4]
        first = at // 4
        later = np.searchsorted(breaks, first)
        end = int(breaks[later]) + 1 if later < len(breaks) else len(words)
        gaps.append(0 if expected is None else int((counters[first] - expected) % 64))
        pieces.append(words[first:end])
        expected = int(counters[end - 1]) + 1
        at = _aligned(data, at + 4 * (end - first))
    if not pieces:
        none = np.zeros(0, np.uint32)
        return none, none, none, np.zeros(0, np.bool_)
    lost: Flags = np.concatenate(
        [np.repeat([True, False], [gap, len(piece)]) for gap, piece in zip(gaps, pieces, strict=True)]
    )
    words = np.zeros(len(lost), np.uint32)
    words[~lost] = np.concatenate(pieces)
    held = np.maximum.accumulate(np.where(lost, 0, np.arange(len(lost))))
    words = words[held]
    ranges = np.minimum((words >> 14) & 7, RANGES - 1).astype(np.uint32)
    return (words & 0x3FFF).astype(np.uint32), ranges, (words >> 24).astype(np.uint32), lost


def _words(data: bytes, offset: int) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.intp]]:
    """Samples as they stand from an offset of 0 to 3 bytes on, their counters, and behind which ones these break."""
    words = np.frombuffer(data, "<u4", max(0, len(data) - offset) // 4, min(offset, len(data))).astype(
        np.uint32
    )
    counters = ((words >> 18) & 63).astype(np.int64)
    return words, counters, np.flatnonzero((np.diff(counters) - 1) % 64)


def _aligned(data: bytes, at: int) -> int:
    """The first place from `at` on where counters of samples follow each other."""
    for start in range(at, len(data) - 4 * RESYNC_WORDS):
        words = np.frombuffer(data, "<u4", RESYNC_WORDS, start)
        counters = ((words >> 18) & 63).astype(np.int64)
        if not ((np.diff(counters) - 1) % 64).any():
            return start
    # too few are left to tell
    return at if len(data) - at < 4 * RESYNC_WORDS and at % 4 == 0 else len(data)


def restless(ranges: NDArray[np.uint32]) -> Flags:
    """Where the range changes so often that what it told is made up for the most part: nothing was measured there."""
    steps = np.diff(ranges.astype(np.int64), prepend=ranges[:1].astype(np.int64)) != 0
    found = np.zeros(len(ranges), np.bool_)
    for begin in range(0, len(ranges), RESTLESS_BLOCK):
        block = slice(begin, begin + RESTLESS_BLOCK)
        found[block] = SETTLING * steps[block].sum() > RESTLESS_SHARE * RESTLESS_BLOCK
    return found


def settled(current: Values, ranges: NDArray[np.uint32]) -> Values:
    """The current with the samples right after a change of range put right."""
    steps = np.flatnonzero(np.diff(ranges.astype(np.int64))) + 1
    if not len(steps):
        return current
    unsettled = np.zeros(len(current), np.bool_)
    for offset in range(SETTLING):
        places = steps + offset
        unsettled[places[places < len(current)]] = True
    good = np.flatnonzero(~unsettled)
    if not len(good):
        return current
    following = good[np.minimum(np.searchsorted(good, np.arange(len(current))), len(good) - 1)]
    found: Values = current[following]
    return found

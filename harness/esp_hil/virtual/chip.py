"""The virtual chip: the device core with an engine, a flash and a console; it can be started again."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from esp_hil._device import Server
from esp_hil.counters import BYTES, CLOCK_CYCLES, CLOCK_TIMER, HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE
from esp_hil.settings import VERSION
from esp_hil.targets import Runtime, Target
from esp_hil.virtual.engine import CRASH, SYSTEM_BYTES, ExactEngine
from esp_hil.virtual.faults import EngineFaults
from esp_hil.virtual.flash import Flash, GoldenPartition
from esp_hil.virtual.places import Places
from esp_hil.virtual.settings import Rate
from esp_hil.virtual.tflm_engine import TflmEngine
from esp_hil.wire.requests import NO_GATE

ResetReason = Literal["power_on", "software", "panic"]

_REASONS: dict[ResetReason, tuple[int, str]] = {
    "power_on": (1, "rst:0x1 (POWERON)"),
    "software": (3, "rst:0x3 (RTC_SW_SYS_RST)"),
    "panic": (4, "rst:0xc (RTC_SW_CPU_RST)"),
}
"""Number in BOOT (ESP-IDF's esp_reset_reason_t) and words of the boot log."""

RX_WINDOW_BYTES = 1 << 16
MAX_PAYLOAD_BYTES = 8192
ANSWER_BYTES = 4096
CAPTURE_BYTES = 16 << 20
MAX_REPEATS = 10_000
MAX_SLOTS = 4
SLOTS_BYTES_INTERNAL = 1 << 16
SLOTS_BYTES_PSRAM = 4 << 20

_DUMP = "\r\nCore  0 register dump:\r\nMEPC    : 0x40001234  RA      : 0x40001200\r\n\r\nRebooting...\r\n"
CRASHES: Mapping[str, str] = {
    "panic": "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.\r\n"
    + _DUMP,
    "stack_overflow": "Guru Meditation Error: Core  0 panic'ed (Stack protection fault).\r\n" + _DUMP,
    "out_of_memory": "E (99) dl::Model: Mem alloc fail. size 0x00010000\r\nabort() was called at PC 0x40001234"
    " on core 0\r\n" + _DUMP,
    "task_watchdog": "E (99) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the "
    "watchdog in time:\r\nE (99) task_wdt:  - main (CPU 0)\r\nE (99) task_wdt: Aborting.\r\n" + _DUMP,
    "brownout": "Brownout detector was triggered\r\n\r\n",
}
"""What the console says of each kind of crash that can be planted, in ESP-IDF's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipIdentity:
    """What tells one virtual board from another: its chip and a name (its flash file, say)."""

    target: Target
    name: str

    @property
    def mac(self) -> str:
        """A locally administered MAC that follows from the name."""
        digest = hashlib.sha256(f"{self.target.name} {self.name}".encode()).digest()
        return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))

    def table(self, reason: ResetReason, boot_id: int) -> Mapping[str, str | int]:
        """What INFO says of the board."""
        target = self.target
        return {
            "app": "hil-virtual",
            "app_version": VERSION,
            "chip": target.name,
            "mac": self.mac,
            "idf": "none",
            "sdkconfig_sha256": "",
            "image_sha256": "",
            "reset_reason": reason,
            "kind": "virtual",
            "revision": 100,
            "cores": target.cores,
            "clock_hz": target.clock_hz,
            "flash_bytes": target.flash_bytes,
            "psram_bytes": target.psram_bytes,
            "internal_bytes": target.internal_bytes,
            "boot_id": boot_id,
            "reset_reason_code": _REASONS[reason][0],
        }


Engine = ExactEngine | TflmEngine

_ENGINES: dict[Runtime, type[Engine]] = {"espdl": ExactEngine, "tflm": TflmEngine}


PINS = 55
"""An ESP32-P4 has 0..54; which of them a board has to spare is the wiring's business."""


class _VirtualGate:
    """A pin that nothing is wired to."""

    def choose(self, pin: int) -> None:
        """Make it the gate; 255: none."""
        if PINS <= pin < NO_GATE:
            raise ValueError(f"there is no GPIO {pin}")

    def set(self, high: bool) -> None:
        """Its level."""


class VirtualChip:
    """The chip of a virtual board.

    Args:
        identity: who it is.
        runtime: of its firmware.
        flash: its flash; stays open.
        faults: of its engine.
        wake: called from any thread when `work` has something to do.
        rate: of its line; None: it has none.
    """

    def __init__(
        self,
        identity: ChipIdentity,
        runtime: Runtime,
        flash: Flash,
        faults: EngineFaults,
        wake: Callable[[], None],
        *,
        rate: Rate | None = None,
    ) -> None:
        self._rate = rate
        self.restart: ResetReason | None = None
        """Set, from any thread, when the chip must start anew."""
        self._identity = identity
        self._runtime = runtime
        self._flash = flash
        self._faults = faults
        self._wake = wake
        self._console = b""
        self._boot_ids = random.SystemRandom()
        self._server: Server | None = None
        self._reason: ResetReason = "power_on"

    def start(self, reason: ResetReason) -> None:
        """(Re)start: RAM is empty, the console says so, BOOT follows."""
        self._abandon_server()
        if self._rate is not None:
            # what the console said of a crash leaves at the rate that the line had; the core finds that of the start
            self._rate.restarted(self._console)
            self._console = b""
        self.restart = None
        self._reason = reason
        target = self._identity.target
        self._engine: Engine = _ENGINES[self._runtime](target, self._faults, self._on_run)
        board = _BoardOfCore(
            self, self._identity.table(reason, self._boot_ids.randrange(1, 1 << 32)), self._engine
        )
        golden = GoldenPartition(self._flash, self._flash.golden) if self._flash.golden else None
        self._server = Server(
            self._engine,
            board,
            Places(self._flash, target.psram_bytes // 2),
            clock_hz=target.clock_hz,
            slots_bytes=SLOTS_BYTES_PSRAM if target.psram_bytes else SLOTS_BYTES_INTERNAL,
            max_slots=MAX_SLOTS,
            rx_window=RX_WINDOW_BYTES,
            max_payload=MAX_PAYLOAD_BYTES,
            answer_bytes=ANSWER_BYTES,
            capture_bytes=CAPTURE_BYTES,
            max_repeats=MAX_REPEATS,
            threaded=True,
            on_work_done=self._wake,
            golden=golden,
            line=self._rate,
            gate=_VirtualGate(),
        )
        self._console += boot_log(self._identity, reason).encode()
        self._server.boot()

    def receive(self, data: bytes) -> None:
        """Bytes from the line."""
        self._running.receive(data)

    def transmit(self, limit: int) -> bytes:
        """Bytes for the line: first what the console says."""
        if self._console:
            text, self._console = self._console[:limit], self._console[limit:]
            return text
        return self._running.transmit(limit)

    def work(self) -> None:
        """End and begin jobs, restart if that is due."""
        self._running.poll()
        if self.restart:
            reason = self.restart
            if reason == "panic":
                self._console += CRASHES[self._faults.crash].encode()
            self.start(reason)

    @property
    def _running(self) -> Server:
        assert self._server is not None
        return self._server

    def _on_run(self, number: int) -> None:
        if number == self._faults.reset_at_run and self._reason == "power_on":
            self.ask_restart("software")
        first = self._reason == "power_on" or self._faults.panic_again
        if number == CRASH or (number == self._faults.panic_at_run and first):
            self.ask_restart("panic")

    def ask_restart(self, reason: ResetReason) -> None:
        """Start anew soon; from any thread."""
        self.restart = reason
        self._wake()

    def _abandon_server(self) -> None:
        """Let go of the core at once: a restart does not wait for the inference that it interrupts."""
        if self._server is not None:
            threading.Thread(target=_end, args=(self._server, self._engine), daemon=True).start()
            self._server = None


def _end(server: Server, engine: Engine) -> None:
    server.close()
    engine.unload()


class _BoardOfCore:
    """The board around the core, as the core wants it."""

    def __init__(self, chip: VirtualChip, identity: Mapping[str, str | int], engine: Engine) -> None:
        self.identity = identity
        self._chip = chip
        self._engine = engine

    def reset(self, mode: int) -> None:
        # there is no ROM loader behind a virtual board: both modes start the application again
        del mode
        self._chip.ask_restart("software")

    def counters(self) -> Sequence[tuple[str, str, int]]:
        """Free heap, from what the model takes and a fixed share for the system: predicted, not measured."""
        target = self._chip._identity.target
        internal = target.internal_bytes - SYSTEM_BYTES - self._engine.needed_bytes("internal")
        psram = target.psram_bytes - self._engine.needed_bytes("psram")
        rows = [(HEAP_INTERNAL_FREE, BYTES, max(0, internal))]
        if target.psram_bytes:
            rows.append((HEAP_PSRAM_FREE, BYTES, max(0, psram)))
        now_us = time.monotonic_ns() // 1000
        rows += [(CLOCK_CYCLES, "cycles", now_us * target.clock_hz // 1_000_000), (CLOCK_TIMER, "us", now_us)]
        return rows


def boot_log(identity: ChipIdentity, reason: ResetReason) -> str:
    """What the console says at a start, in the form of ESP-IDF's."""
    target = identity.target
    rom = "ets Jul 29 2019 12:21:46" if target.name == "esp32" else f"ESP-ROM:{target.name}-virtual"
    lines = [
        "",
        rom,
        f"{_REASONS[reason][1]},boot:0x0 (VIRTUAL)",
        "I (5) boot: chip revision: v1.0",
        f"I (6) boot: SPI Flash Size : {target.flash_bytes >> 20}MB",
    ]
    if target.psram_bytes:
        lines.append(f"I (9) esp_psram: Found {target.psram_bytes >> 20}MB PSRAM device")
    lines += [
        f"I (12) cpu_start: cpu freq: {target.clock_hz} Hz",
        "I (12) app_init: Project name:     hil-virtual",
        f"I (12) app_init: App version:      {VERSION}",
        "",
    ]
    return "\r\n".join(lines)

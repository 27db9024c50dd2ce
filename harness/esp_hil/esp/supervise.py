r"""What a chip's console says: how it booted, and that (and why) it crashed. Text in, values out; no I/O.

    watch = Watch()
    watch.feed("Guru Meditation Error: Core  0 panic'ed (LoadProhib")     # pieces of any size
    watch.feed("ited). Exception was unhandled.\r\n")
    if watch.crash: raise crashed(watch.crash)

The wording is ESP-IDF's (esp_system/panic.c and panic_arch.c, task_wdt.c, brownout.c, newlib's abort.c and
assert.c, heap/multi_heap_poisoning.c, bootloader_support, esp_psram) of v5.3 .. v5.5, and the mask ROMs'.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from esp_hil.errors import DeviceCrashed
from esp_hil.esp.bootlog import RESET_LINE, ROM_BANNER, Boot, first_group, parse_boot, plain

CrashKind = Literal[
    "panic",
    "abort",
    "assert",
    "stack_overflow",
    "heap_corruption",
    "out_of_memory",
    "task_watchdog",
    "interrupt_watchdog",
    "brownout",
    "flash_read",
    "invalid_image",
    "partition_table",
    "psram",
]

CRASH_LINES = 400
"""Console lines of one crash that are kept: registers, 1 KiB of stack and a backtrace are about 80."""

OMEN_LINES = 40
"""How many lines before a crash an omen (memory ran out, the watchdog barked) still counts as its cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """One crash as far as its text has come.

    Attributes:
        kind: the most specific class that a line named.
        reason: the line that named it, without its log tag.
        task: name of the task, or "".
        core: number of the core, or None.
        pc: program counter of the fault (PC of Xtensa, MEPC of RISC-V, or of abort()), or None.
        address: the faulting data address (EXCVADDR, MTVAL), or None.
        backtrace: code addresses, innermost first; a RISC-V dump without unwinding gives MEPC and RA, or
            where abort() was called.
        stack: words of stack memory that a RISC-V dump shows, from the stack pointer up.
        registers: by the dump's own names.
        elf_sha256: first digits of the hash of the ELF that was running, or "".
        text: all console lines of the crash.
    """

    kind: CrashKind
    reason: str
    task: str
    core: int | None
    pc: int | None
    address: int | None
    backtrace: tuple[int, ...]
    stack: tuple[int, ...]
    registers: Mapping[str, int]
    elf_sha256: str
    text: str


# The most telling first: a failed assert of the heap ends in abort(), but the heap is what is wrong.
_RULES: tuple[tuple[CrashKind, re.Pattern[str]], ...] = (
    ("brownout", re.compile(r"Brownout detector was triggered")),
    (
        "stack_overflow",
        re.compile(
            r"Stack canary watchpoint triggered|A stack overflow in task|Stack protection fault"
            r"|Stack smashing protect"
        ),
    ),
    ("heap_corruption", re.compile(r"CORRUPT HEAP|assert failed: .*(heap|tlsf)", re.IGNORECASE)),
    ("interrupt_watchdog", re.compile(r"Interrupt wdt timeout on CPU")),
    ("task_watchdog", re.compile(r"Task watchdog got triggered")),
    (
        "out_of_memory",
        re.compile(
            r"Mem alloc fail|root_alloc failed|MemoryManagerGreedy.*alloc.*fail|Failed to alloc"
            r"|std::bad_alloc|Failed to resize buffer|Arena size is too small|AllocateTensors\(\) failed",
            re.IGNORECASE,
        ),
    ),
    (
        "psram",
        re.compile(r"PSRAM chip (is not connected|not found)|Failed to init external RAM|failed memory test"),
    ),
    (
        "partition_table",
        re.compile(r"[Pp]artition table|flash_parts: partition \d+ invalid|No bootable app partitions"),
    ),
    (
        "invalid_image",
        re.compile(
            r"^invalid header: 0x|^csum err|invalid magic byte|Image hash failed|image is corrupt"
            r"|mismatch chip ID|Image requires (chip|efuse blk) rev|Invalid app image header"
            r"|Invalid flash size in app image header|Checksum failed"
        ),
    ),
    (
        "flash_read",
        re.compile(r"^flash read err|flash_read failed|smaller than the size in the binary image"),
    ),
    ("assert", re.compile(r"assert failed: ")),
    ("abort", re.compile(r"abort\(\) was called at PC|ESP_ERROR_CHECK failed|terminate called")),
    ("panic", re.compile(r"Guru Meditation Error|Panic handler entered multiple times")),
)
# Words of a healthy boot log that a rule above would take for its own.
_HARMLESS = re.compile(r"^[IDV] \(|Partition Table:|End of partition table")
# These the program may survive, or report in an answer: they are a crash only together with another line.
_OMENS: frozenset[CrashKind] = frozenset({"task_watchdog", "out_of_memory", "heap_corruption", "psram"})
_STOPS = re.compile(r"assert failed: |Mem alloc fail|task_wdt: Aborting|^Rebooting\.\.\.|^CPU halted")

_LOG_TAG = re.compile(r"^[EWIDV] \([^)]*\) [\w.\-]+: ?")

_CORE = re.compile(r"Core +(\d+) (?:panic'ed|register dump)|on core (\d+)|timeout on CPU(\d)")
_TASK = re.compile(r"triggered \(([^)]+)\)|overflow in task (\S+)|Detected in task \"([^\"]+)\"")
_WATCHED = re.compile(r"^ ?- (\S+) \(CPU")
_ABORT_PC = re.compile(r"abort\(\) was called at PC 0x([0-9a-fA-F]+)")
_REGISTER = re.compile(r"([A-Z][A-Z0-9/]{0,9}) *: 0x([0-9a-fA-F]{8})")
_BACKTRACE = re.compile(r"Backtrace:((?: *0x[0-9a-fA-F]{8}:0x[0-9a-fA-F]{8})+)")
_STACK = re.compile(r"^[0-9a-f]{8}: ((?:0x[0-9a-f]{8} ?){8})\s*$", re.MULTILINE)
_ELF = re.compile(r"ELF file SHA256: +([0-9a-fA-F]+)")


def crash_kind(line: str) -> CrashKind | None:
    """The class of crash that one console line names by itself, or None."""
    rank = _rank(plain(line))
    return None if rank is None else _RULES[rank][0]


def _rank(line: str) -> int | None:
    """Place in _RULES of the first rule that a line fulfils: the lower, the more telling."""
    if not line or _HARMLESS.search(line):
        return None
    return next((rank for rank, (_, pattern) in enumerate(_RULES) if pattern.search(line)), None)


def _is_fatal(line: str, rank: int | None) -> bool:
    """Whether a line says that the program has stopped."""
    return (rank is not None and _RULES[rank][0] not in _OMENS) or bool(_STOPS.search(line))


def parse_crash(text: str) -> Crash | None:
    """The crash that a piece of console text tells of, or None if it tells of none."""
    lines = [plain(line) for line in text.splitlines()]
    ranked = [(rank, line) for line in lines if (rank := _rank(line)) is not None]
    if not ranked:
        return None
    rank, reason = min(ranked, key=lambda entry: entry[0])
    whole = "\n".join(lines)
    registers = {name: int(value, 16) for name, value in _REGISTER.findall(whole)}
    aborted = first_group(_ABORT_PC, whole)  # the registers are those inside abort() then
    pc = int(aborted, 16) if aborted else registers.get("PC", registers.get("MEPC"))
    core = first_group(_CORE, whole)
    return Crash(
        kind=_RULES[rank][0],
        reason=_LOG_TAG.sub("", reason).strip(),
        task=first_group(_TASK, whole) or _watched_task(lines),
        core=int(core) if core else None,
        pc=pc,
        address=registers.get("EXCVADDR", registers.get("MTVAL")),
        backtrace=_backtrace(whole, registers),
        stack=tuple(int(word, 16) for row in _STACK.findall(whole) for word in row.split()),
        registers=registers,
        elf_sha256=first_group(_ELF, whole),
        text=whole,
    )


def _watched_task(lines: Iterable[str]) -> str:
    """The first task in the task watchdog's list of those that did not report."""
    return next((found[1] for line in lines if (found := _WATCHED.match(_LOG_TAG.sub("", line)))), "")


def _backtrace(text: str, registers: Mapping[str, int]) -> tuple[int, ...]:
    if found := _BACKTRACE.search(text):
        return tuple(int(pair.split(":")[0], 16) for pair in found[1].split())
    aborted = first_group(_ABORT_PC, text)  # RA is long overwritten then
    return (
        (int(aborted, 16),)
        if aborted
        else tuple(registers[name] for name in ("MEPC", "RA") if name in registers)
    )


class Watch:
    """Follows a console stream: the boot log of the last start, and a crash from its first line on.

    Attributes:
        boots: how often the ROM said that the chip started.
    """

    def __init__(self) -> None:
        self.boots = 0
        self._partial = ""
        self._boot: list[str] = []
        self._lines: deque[str] = deque(maxlen=CRASH_LINES)
        self._fatal = False
        self._ended = False

    def feed(self, text: str) -> None:
        """Take the next piece of the stream, of any size. A crash is known when its line is complete."""
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._take(plain(line))

    def _take(self, line: str) -> None:
        if self._starts(line):
            self.boots += 1
            self._boot = []
            self._ended = self._fatal
        if len(self._boot) < CRASH_LINES:
            self._boot.append(line)
        if self._ended:
            return
        rank = _rank(line)
        if self._fatal:
            if len(self._lines) < CRASH_LINES:
                self._lines.append(line)
        elif self._lines or rank is not None:
            self._lines.append(line)
            if len(self._lines) > OMEN_LINES:
                self._lines.popleft()
        self._fatal = self._fatal or (bool(self._lines) and _is_fatal(line, rank))
        self._ended = self._fatal and line.startswith(("Rebooting...", "CPU halted."))

    def _starts(self, line: str) -> bool:
        """Whether the line is the ROM's first: its banner, or its reset line where the banner was lost."""
        if ROM_BANNER.match(line):
            return True
        in_rom = 0 < len(self._boot) <= 3 and ROM_BANNER.match(self._boot[0])
        return bool(RESET_LINE.search(line)) and not in_rom

    @property
    def boot(self) -> Boot:
        """What the boot log of the last start has said so far."""
        return parse_boot("\n".join(self._boot))

    @property
    def crash(self) -> Crash | None:
        """The first crash since `clear`, as far as its text has come; omens alone are none."""
        return parse_crash("\n".join(self._lines)) if self._fatal else None

    @property
    def crash_ended(self) -> bool:
        """Whether all text of the crash is there: the chip restarted or halted."""
        return self._ended

    def clear(self) -> None:
        """Forget the crash, so that the next one is seen."""
        self._lines.clear()
        self._fatal = self._ended = False


_HINTS: Mapping[CrashKind, str] = {
    "stack_overflow": "raise its stack: HIL_ENGINE_STACK_BYTES or HIL_SERVER_STACK_BYTES of Kconfig",
    "heap_corruption": "build with --build-profile debug (pytest: --hil-build-profile): "
    "comprehensive heap poisoning names the block",
    "out_of_memory": "use a smaller model, PSRAM, or parameters that stay in flash (param_copy off)",
    "task_watchdog": "the server task was starved: is the engine task pinned with a lower priority?",
    "interrupt_watchdog": "interrupts were off too long; a flash write or a critical section in a kernel",
    "brownout": "the supply dropped: another cable, a powered hub, a board of its own port",
    "flash_read": "wrong flash mode or size: build with the board's flash settings, try DIO at 40 MHz",
    "invalid_image": "flash again; the image may be of another chip or cut short",
    "partition_table": "flash the whole image, partition table included",
    "psram": "the image expects PSRAM of another mode or size than the board has",
}


def crashed(crash: Crash) -> DeviceCrashed:
    """The error that a crash is, with its console text and what to do next."""
    where = "".join(
        (
            f" in task {crash.task}" if crash.task else "",
            f" at pc {crash.pc:#010x}" if crash.pc is not None else "",
            f", data address {crash.address:#010x}" if crash.address is not None else "",
        )
    )
    said = f"{crash.kind.replace('_', ' ')}{where}: {crash.reason}"
    hint = _HINTS.get(
        crash.kind, "the console text names the cause; decode the backtrace with the image's ELF"
    )
    return DeviceCrashed(said, console=crash.text, hint=hint, kind=crash.kind)

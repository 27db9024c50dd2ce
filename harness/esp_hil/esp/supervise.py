r"""What a chip's console says: how it booted, and that (and why) it crashed. Text in, values out; no I/O.

    watch = Watch()
    watch.feed("Guru Meditation Error: Core  0 panic'ed (LoadProhib")     # pieces of any size
    watch.feed("ited). Exception was unhandled.\r\n")
    if watch.crash: raise crashed(watch.crash)

The wording is ESP-IDF's (esp_system/panic.c and panic_arch.c, task_wdt.c, brownout.c, newlib's abort.c and
assert.c, heap/multi_heap_poisoning.c, bootloader_support, esp_psram) of v5.3 .. v6.0, that of the mask ROMs,
of TFLM's allocators, interpreter and kernels, and of ESP-DL 3.x. A line that says why outranks one that only
says that.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from esp_hil.errors import DeviceCrashed
from esp_hil.esp.bootlog import RESET_LINE, ROM_BANNER, BootLog, first_group, parse_boot, plain

CrashKind = Literal[
    "panic",
    "abort",
    "assert",
    "cpu_lockup",
    "stack_overflow",
    "overrun",
    "heap_corruption",
    "out_of_memory",
    "unsupported_operator",
    "model_file",
    "model",
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


@dataclass(frozen=True, slots=True)
class _Rule:
    """Lines of one class.

    Attributes:
        kind: the class.
        tier: the lower, the more telling; within a tier the line that came first is the cause.
        pattern: what the line holds, its log tag included.
        fatal: a program does not live on after such a line. Others it may survive, or report in an answer:
            they explain a crash, and are none.
    """

    kind: CrashKind
    tier: int
    pattern: re.Pattern[str]
    fatal: bool = True


_WHY = 50
"""Tier of what a library says of the cause: no memory, no operator, a bad file."""
_THAT = 90
"""Tier of lines that only say that something failed."""

_TAGGED = r"[EWIDV] \([^)]*\) "
_ENGINE_TAG = r"E \([^)]*\) (?:tflm|esp-dl|dl[\w:]*|requantize_linear|resize): "
"""Log tags of what computes models; other parts of a firmware lack features, too, and those are no operators."""
_OF_TENSORS = (
    r"(?:\b(?:[Tt]ypes?|[Ii]nput|[Oo]utput|[Tt]ensors?|[Ww]eights?|[Ff]ilter|axes|Op|[Oo]perator|num dimensions)\b"
    r"|\b(?:FLOAT|INT|UINT|float|int|uint)(?:4|8|16|32|64)(?:_t)?\b)"
)
"""What a line without a log tag has to speak of before a lack of support is one of an operator."""
_UNABLE = (
    r"\b[Oo]nly\b.{0,80}\bsupport(?:s|ed)?\b|\b[Oo]nly (?:currently )?supports?\b|\bsupports? only\b"
    r"|(?:\b[Nn]ot|n't)\b.{0,24}\bsupport(?:s|ed)?\b|\b[Uu]nsupported\b|\bUnhandled\b|\baccepted as input type"
    r"|\b(?:[Tt]ype|Output) is \S+ requires \w+|type is \w+, requires \w+"
)
_UNSUPPORTED = (
    # TFLM since 2020, AllOpsResolver and mutable ones, custom operators
    r"Didn't find (?:op|custom op)|Failed to get registration from op ?code|Missing registration for opcode"
    r"|Did(?:n't| not) find a parser for|Op builtin_code out of range|has no custom_code|Unresolved custom op"
    r"|Hybrid models are not supported|[Dd]ynamic tensors are not supported"
    r"|resolver size is too ?small"
    # its kernels: "Type INT16 (7) not supported.", "ELU only supports float32 and int8 currently, got INT16."
    rf"|^(?:{_ENGINE_TAG}|(?!{_TAGGED})(?=.*{_OF_TENSORS})).*(?:{_UNABLE})"
    # ESP-DL
    r"|implement and register it first|^(?:E \([^)]*\) \S+: )?Do(?:n't| not) support "
    rf"|^E \([^)]*\) (?:dl|[A-Z])[\w:.]*: .*(?:{_UNABLE}|Not implemented)"
)
_NO_MEMORY = (
    # two of TFLM's messages speak of allocating, and no memory lacks
    r"^(?!.*(?:Maximum resource variable count|when one is already allocated)).*?(?:"
    r"Mem alloc fail|root_alloc failed|can not callocate|std::bad_alloc"
    r"|\b(?:fail(?:ed)?|unable|could(?:n't| not)|can(?:'t|not| not)) (?:to )?(?:m|c|re)?alloc(?:ate)?\b"
    r"|\b(?:m|c|re)?alloc(?:ation|ate)? (?:of \d+ bytes )?fail(?:ed|ure)?\b"
    r"|\b\w*alloc\b.{0,30}\b(?:fail|returned (?:NULL|nullptr))"
    r"|Failed to resize buffer|Arena size is too small|Failed starting model allocation"
    r"|exceeds available tensor arena|Requested: \d+, available:? \d+, missing:? \d+"
    r"|ESP_ERR_NO_MEM|esp_err_t 0x101\b"
    r"|\b(?:out of|not enough|no|insufficient) (?:free |internal )?(?:memory|heap|s?ram|psram|spiram)\b"
    r"|memory allocation failed|no memory for|[Tt]ried to allocate \d+ bytes)"
)
_RULES: tuple[_Rule, ...] = (
    _Rule("brownout", 0, re.compile(r"Brownout detector was triggered")),
    # the next start tells of it: by then whoever waits has been told of the reset
    _Rule("brownout", 1, re.compile(r"rst:0x\w+ \(\w*BROWN_?OUT\w*\)"), fatal=False),
    _Rule(
        "stack_overflow",
        10,
        re.compile(
            r"Stack canary watchpoint triggered|A stack overflow in task|Stack protection fault"
            r"|stack overflow (?:detected|in task)"
        ),
    ),
    _Rule("overrun", 11, re.compile(r"[Ss]tack smashing (?:protect|detected)")),
    _Rule(
        "heap_corruption",
        12,
        re.compile(
            r"CORRUPT HEAP|assert(?:ion)? .*failed: .*(?:heap|tlsf)|assert failed: .*tlsf", re.IGNORECASE
        ),
        fatal=False,
    ),
    _Rule("interrupt_watchdog", 13, re.compile(r"Interrupt wdt timeout on CPU")),
    _Rule("task_watchdog", 14, re.compile(r"Task watchdog got triggered"), fatal=False),
    _Rule(
        "model_file",
        _WHY,
        re.compile(
            r"flatbuffers is empty or broken|model file is corrupted|cryptographic model|schema version \d+ not"
            r"|[Mm]odel .* is not found|model index is out of range|Invalid PDL3|PDL3 .* verification failed"
            r"|FbsLoader: Failed to open "
        ),
        fatal=False,
    ),
    _Rule("unsupported_operator", _WHY, re.compile(_UNSUPPORTED), fatal=False),
    _Rule("out_of_memory", _WHY, re.compile(_NO_MEMORY, re.IGNORECASE), fatal=False),
    _Rule(
        "psram",
        60,
        re.compile(
            r"PSRAM chip (is not connected|not found)|PSRAM ID read error|PSRAM enabled but init"
            r"|failed memory test"
        ),
        fatal=False,
    ),
    _Rule("psram", 60, re.compile(r"Failed to init external RAM")),
    _Rule(
        "partition_table",
        61,
        re.compile(
            r"(?:verify|load|read) partition table|[Pp]artition table .*(?:invalid|mismatch|corrupt|MD5)"
            r"|flash_parts: partition \d+ invalid"
        ),
    ),
    _Rule(
        "partition_table",
        61,
        re.compile(
            r"(?<!app partitions )in (?:the )?partition table|[Cc]an(?:not|'t| not) find .*partition"
            r"|[Pp]artition\b.{0,40}\b(?:could not be|cannot be|not) found|[Nn]o \S+ partition found"
            r"|(?:[Nn]o|[Ff]ind|[Ff]ound) .{0,30}partition (?:named|with|labell?ed|of type|in the)"
            r"|Failed to find (?:the )?\S+ partition|no partition `"
        ),
        fatal=False,
    ),
    _Rule(
        "invalid_image",
        62,
        re.compile(
            r"^invalid header: 0x|^csum err|invalid magic byte|Image hash failed|image is corrupt"
            r"|mismatch chip ID|Image requires (chip|efuse blk) rev|Invalid app image header"
            r"|Invalid flash size in app image header|Checksum failed"
        ),
    ),
    # the loader's last word of any application that it refused: why, its lines before say
    _Rule("partition_table", 64, re.compile(r"No bootable app partitions")),
    _Rule(
        "flash_read",
        63,
        re.compile(r"^flash read err|flash_read failed|smaller than the size in the binary image"),
    ),
    _Rule(
        "model",
        _THAT - 10,
        re.compile(
            r"AllocateTensors(?:\(\))? failed|failed to (?:prepare|invoke) with status"
            r"|Fail(?:ed)? to load (?:the )?model|Invoke(?:\(\))? failed|Invoke\(\) called after initialization failed"
        ),
        fatal=False,
    ),
    _Rule("assert", _THAT, re.compile(r"assert failed: |assertion \".*\" failed")),
    _Rule("cpu_lockup", _THAT + 1, re.compile(r"rst:0x\w+ \(\w*LOCK_?UP\w*\)|cpu_lockup")),
    _Rule(
        "abort",
        _THAT + 2,
        re.compile(
            r"abort\(\) was called at PC|ESP_ERROR_CHECK failed|terminate called|Undefined behavior of type"
        ),
    ),
    _Rule("panic", _THAT + 3, re.compile(r"Guru Meditation Error|Panic handler entered multiple times")),
)
# Words of a healthy boot log that a rule above would take for its own.
_HARMLESS = re.compile(r"^[IDV] \(|Partition Table:|End of partition table")
_STOPS = re.compile(
    r"assert failed: |Mem alloc fail|task_wdt: Aborting|^Rebooting( in \d+ seconds)?\.\.\.|^CPU halted"
)
_ERROR_LINE = re.compile(r"^E \(")

_LOG_TAG = re.compile(r"^[EWIDV] \([^)]*\) \S+?:(?: |$)")

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
    rule = _rule(plain(line))
    return None if rule is None else rule.kind


def _rule(line: str) -> _Rule | None:
    """The most telling rule that a line fulfils."""
    if not line or _HARMLESS.search(line):
        return None
    # min keeps the first of equals
    return min(
        (rule for rule in _RULES if rule.pattern.search(line)), key=lambda rule: rule.tier, default=None
    )


def _is_fatal(line: str, rule: _Rule | None) -> bool:
    """Whether a line says that the program has stopped."""
    return (rule is not None and rule.fatal) or bool(_STOPS.search(line))


def parse_crash(text: str) -> Crash | None:
    """The crash that a piece of console text tells of, or None if it tells of none."""
    lines = [plain(line) for line in text.splitlines()]
    ranked = [(rule, line) for line in lines if (rule := _rule(line)) is not None]
    if not ranked:
        return None
    rule, line = min(ranked, key=lambda entry: entry[0].tier)
    reason = _LOG_TAG.sub("", line).strip()
    if rule.kind in {"panic", "abort"} and (last := _last_error(lines)):
        reason += f"; the last error before it: {last}"
    whole = "\n".join(lines)
    registers = {name: int(value, 16) for name, value in _REGISTER.findall(whole)}
    aborted = first_group(_ABORT_PC, whole)  # the registers are those inside abort() then
    pc = int(aborted, 16) if aborted else registers.get("PC", registers.get("MEPC"))
    core = first_group(_CORE, whole)
    return Crash(
        kind=rule.kind,
        reason=reason,
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


def _last_error(lines: Iterable[str]) -> str:
    """The last line that was logged as an error before the program ended: nobody else may say why it did."""
    last = ""
    for line in lines:
        if _is_fatal(line, _rule(line)):
            break
        if _ERROR_LINE.match(line):
            last = line.partition(") ")[2].strip()
    return last


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
        rule = _rule(line)
        if self._fatal:
            if len(self._lines) < CRASH_LINES:
                self._lines.append(line)
        elif self._lines or rule is not None or _ERROR_LINE.match(line):
            self._lines.append(line)
            if len(self._lines) > OMEN_LINES:
                self._lines.popleft()
        self._fatal = self._fatal or (bool(self._lines) and _is_fatal(line, rule))
        self._ended = self._fatal and line.startswith(("Rebooting...", "CPU halted."))

    def _starts(self, line: str) -> bool:
        """Whether the line is the ROM's first: its banner, or its reset line where the banner was lost."""
        if ROM_BANNER.match(line):
            return True
        in_rom = 0 < len(self._boot) <= 3 and ROM_BANNER.match(self._boot[0])
        return bool(RESET_LINE.search(line)) and not in_rom

    @property
    def boot(self) -> BootLog:
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
    "stack_overflow": "raise its stack: HIL_ENGINE_STACK_BYTES of Kconfig, or ESP_MAIN_TASK_STACK_SIZE for main",
    "overrun": "a function wrote past the end of an array of its own; the backtrace begins in that function",
    "heap_corruption": "build with --build-profile debug (pytest: --hil-build-profile): "
    "comprehensive heap poisoning names the block",
    "out_of_memory": "use a smaller model, PSRAM, or parameters that stay in flash (param_copy off)",
    "unsupported_operator": "`hil resolver MODEL.tflite` lists the operators that the firmware must have, `hil lint` "
    "what this runtime lacks",
    "model_file": "is the file whole, of this chip's family and not encrypted? hil lint tells; then upload it again",
    "model": "the line before it says why, if the log is at hand; else hil lint the model",
    "task_watchdog": "the server task was starved: is the engine task pinned with a lower priority?",
    "interrupt_watchdog": "interrupts were off too long; a flash write or a critical section in a kernel",
    "cpu_lockup": "an exception inside an exception: the stack or the vectors are gone; try --build-profile debug",
    "brownout": "the supply dropped: another cable, a powered hub, a board of its own port",
    "flash_read": "wrong flash mode or size: build with the board's flash settings, try DIO at 40 MHz",
    "invalid_image": "flash again; the image may be of another chip or revision (p4-rev1, p4-rev3), or cut short",
    "partition_table": "flash the whole image, partition table included; is the partition in it?",
    "psram": "the image expects PSRAM of another mode or size than the board has",
}
_CAUSES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"Illegal ?[Ii]nstruction"),
        "code that this chip does not have (another chip's or revision's image), or a jump into data",
    ),
    (
        re.compile(r"Cache (disabled|error)|cache error|MMU entry fault"),
        "flash was touched while its cache was off",
    ),
    (
        re.compile(r"(Load|Store)Prohibited|(Load|Store) access fault|LoadStoreError|LoadStorePIF"),
        "a pointer that leads nowhere: near address 0 it is null, such as that of a model that did not load",
    ),
    (
        re.compile(r"Instr(uction)?(Fetch| access)|InstFetch"),
        "a jump to something that is not code: a stale function pointer",
    ),
    (re.compile(r"IntegerDivideByZero"), "a division by zero"),
    (re.compile(r"misaligned|LoadStoreAlignment"), "an address that is not a multiple of the access's size"),
)
_DECODE = "decode the backtrace with the image's ELF"


def hint_of(crash: Crash) -> str:
    """What to do next about a crash."""
    if crash.kind in _HINTS:
        return _HINTS[crash.kind]
    cause = next((said for pattern, said in _CAUSES if pattern.search(crash.reason)), "")
    return f"{cause}; {_DECODE}" if cause else f"the console text names the cause; {_DECODE}"


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
    return DeviceCrashed(said, console=crash.text, hint=hint_of(crash), kind=crash.kind)
